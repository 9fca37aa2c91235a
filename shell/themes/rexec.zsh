# Who and the container's name, path, git branch and state, the last command's duration and exit code.
source $REXEC_SHELL/themes/git.zsh

_rexec_precmd() {
    _rexec_duration
    typeset -g _rexec_repository=
    _rexec_git || return 0
    local state=
    (( _rexec_ahead )) && state+="⇡$_rexec_ahead"
    (( _rexec_behind )) && state+="⇣$_rexec_behind"
    (( _rexec_conflicts )) && state+="%F{red}~$_rexec_conflicts"
    (( _rexec_staged )) && state+="%F{green}+$_rexec_staged"
    (( _rexec_changed )) && state+="%F{yellow}!$_rexec_changed"
    (( _rexec_unknown )) && state+="%F{blue}?$_rexec_unknown"
    _rexec_repository=" %F{magenta}${_rexec_branch//\%/%%}${_rexec_doing:+|$_rexec_doing}${state:+ }$state%f"
}
add-zsh-hook precmd _rexec_precmd

_rexec_name=${REXEC_SHELL_NAME:-%m}
PROMPT='%(!.%F{red}.%F{green})%n%f@%F{blue}'$_rexec_name'%f %F{cyan}%~%f${_rexec_repository}'
PROMPT+='${_rexec_took:+ %F{yellow\}$_rexec_took%f}%(?.. %F{red}✘ %?%f)
%(?.%F{green}.%F{red})❯%f '
