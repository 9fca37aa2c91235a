# The terminal `main` is the session `main`; every other terminal has a session of its own name.
if [[ -z $TMUX && -o interactive && -t 0 ]]; then
    if [[ -w ${TMUX_TMPDIR:-/tmp} ]] && tmux -V >/dev/null 2>&1; then
        exec tmux -u -f $REXEC_SHELL/etc/tmux.conf new-session -A -s ${${REXEC_SHELL_TERMINAL:-main}//[.:]/_}
    fi
    print -P '%F{yellow}tmux cannot run here; the terminal itself survives disconnects.%f'
fi
