# In powerlevel10k's manner: segments on coloured ground, a second line to type on, status and time on the right.
source $REXEC_SHELL/themes/git.zsh

_rexec_precmd() {
    _rexec_duration
    typeset -g _rexec_repository=
    _rexec_git || return 0
    local ground=2 state=
    (( _rexec_ahead )) && state+=" ⇡$_rexec_ahead"
    (( _rexec_behind )) && state+=" ⇣$_rexec_behind"
    (( _rexec_conflicts )) && state+=" ~$_rexec_conflicts"
    (( _rexec_staged )) && state+=" +$_rexec_staged"
    (( _rexec_changed )) && state+=" !$_rexec_changed"
    (( _rexec_unknown )) && state+=" ?$_rexec_unknown"
    (( _rexec_staged || _rexec_changed || _rexec_unknown )) && ground=3
    (( _rexec_conflicts )) && ground=1
    _rexec_repository="%K{$ground}%F{0} ${_rexec_branch//\%/%%}${_rexec_doing:+ $_rexec_doing}$state "
}
add-zsh-hook precmd _rexec_precmd

PROMPT='%K{238}%(!.%F{209}.%F{180}) %n@'${REXEC_SHELL_NAME:-%m}' %K{4}%F{255} %~ ${_rexec_repository}%k%f
%(?.%F{green}.%F{red})❯%f '
RPROMPT='%(?..%K{1}%F{255} ✘ %? )${_rexec_took:+%K{3\}%F{0\} $_rexec_took }%K{252}%F{0} %D{%H:%M:%S} %k%f'
_rexec_told=${TMPDIR:-/tmp}/.rexec-prompt-$UID
if [[ ! -e $_rexec_told ]]; then
    print -P '%F{yellow}powerlevel10k is not in this bundle: this is a prompt in its manner.%f'
    : >$_rexec_told
fi 2>/dev/null
unset _rexec_told
