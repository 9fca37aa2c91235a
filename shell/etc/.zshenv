# Rexec's shell: system-wide and read-only. The user's own files are read after these, and win.
typeset -g REXEC_SHELL=${${ZDOTDIR:-/.rexec/shell/etc}:h}
fpath=($REXEC_SHELL/functions $fpath)
[[ -d $REXEC_SHELL/terminfo ]] && export TERMINFO_DIRS=/etc/terminfo:/lib/terminfo:/usr/share/terminfo:$REXEC_SHELL/terminfo
: ${EDITOR:=$(for e in nano vim vi; do (( $+commands[$e] )) && print $e && break; done)}
export EDITOR
[[ -r $HOME/.zshenv ]] && source $HOME/.zshenv
