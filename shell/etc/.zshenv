# Rexec's shell: system-wide and read-only. The user's own files are read after these, and win.
typeset -g REXEC_SHELL=/.rexec/shell
typeset -gU path fpath
fpath=($REXEC_SHELL/functions.zwc $REXEC_SHELL/functions /usr/local/share/zsh/site-functions
    /usr/share/zsh/site-functions /usr/share/zsh/vendor-functions /usr/share/zsh/vendor-completions)
path+=($REXEC_SHELL/path)
export TERMINFO_DIRS=${TERMINFO_DIRS:-/etc/terminfo:/lib/terminfo:/usr/share/terminfo:$REXEC_SHELL/terminfo}

skip_global_compinit=1

# Where the user's files are is for the user to say; until ours are read, zsh must look where ours are.
unset ZDOTDIR
[[ -r $HOME/.zshenv ]] && source $HOME/.zshenv
typeset -g _rexec_dots=$ZDOTDIR
if [[ -o interactive || -o login ]]; then export ZDOTDIR=$REXEC_SHELL/etc; fi
_rexec_give_back() { if [[ -n $_rexec_dots ]]; then export ZDOTDIR=$_rexec_dots; else unset ZDOTDIR; fi }
