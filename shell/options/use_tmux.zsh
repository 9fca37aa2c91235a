# The terminal `main` is the session `main`; every other terminal has a session of its own name.
if [[ -z $TMUX && -o interactive && -t 0 ]]; then
    _rexec_session=${${REXEC_SHELL_TERMINAL:-main}//[.:]/_}
    # What is started in a terminal ends with it, and is known by a limit (the 15th, RTTIME) that it inherits: sessions must not.
    if [[ -w ${TMUX_TMPDIR:-/tmp} ]] && {
        tmux has-session -t "=$_rexec_session" || (
            ulimit -S -N 15 unlimited
            tmux -u -f $REXEC_SHELL/etc/tmux.conf new-session -d -x $COLUMNS -y $LINES -s $_rexec_session
        )
    } >/dev/null 2>&1; then
        exec tmux -u attach-session -t "=$_rexec_session"
    fi
    print -P '%F{yellow}tmux cannot run here; the terminal itself survives disconnects.%f'
fi
