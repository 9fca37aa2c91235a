# Every option is a file of its own, read where the container's `shell` has it on.
_rexec_give_back
_rexec_option() { if [[ ${(P)${:-REXEC_SHELL_${(U)1}}} == 1 ]]; then source $REXEC_SHELL/options/$1.zsh; fi }

_rexec_option use_tmux
source $REXEC_SHELL/options/always.zsh
_rexec_option git_aliases
_rexec_theme=$REXEC_SHELL/themes/${REXEC_SHELL_THEME:-rexec}.zsh
[[ -r $_rexec_theme ]] && source $_rexec_theme
_rexec_option autosuggestions
_rexec_option history_search
_rexec_option system_stats
[[ -r ${_rexec_dots:-$HOME}/.zshrc ]] && source ${_rexec_dots:-$HOME}/.zshrc
# Last, as it must wrap the widgets of all the others.
_rexec_option syntax_highlight
true
