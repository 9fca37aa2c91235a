# Path, git branch and state, the last command's duration and exit code, the container's name.
zmodload zsh/datetime
typeset -g _rexec_begun=0 _rexec_git= _rexec_took=

_rexec_preexec() { _rexec_begun=$EPOCHREALTIME }

_rexec_precmd() {
    _rexec_took= _rexec_git=
    if (( _rexec_begun > 0 )); then
        local -F seconds=$(( EPOCHREALTIME - _rexec_begun ))
        (( seconds >= 2 )) && _rexec_took=" %F{yellow}$(printf '%.1fs' $seconds)%f"
        _rexec_begun=0
    fi
    (( $+commands[git] )) || return
    local state
    state=$(git status --porcelain=v1 --branch 2>/dev/null) || return
    local branch=${${${state%%$'\n'*}#\#\# }%%...*} dirty=
    [[ $state == *$'\n'* ]] && dirty='%F{red}*'
    _rexec_git=" %F{magenta}${branch//\%/%%}$dirty%f"
}

add-zsh-hook preexec _rexec_preexec
add-zsh-hook precmd _rexec_precmd
PROMPT='%F{blue}%m%f %F{cyan}%~%f${_rexec_git}${_rexec_took}%(?.. %F{red}%?%f)
%(?.%F{green}.%F{red})❯%f '
