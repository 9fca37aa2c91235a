# Up and down go through the lines that contain what is typed, wherever in the line it stands.
_rexec_search() {
    emulate -L zsh
    if [[ $BUFFER != $_rexec_found ]]; then _rexec_query=$BUFFER _rexec_at=$HISTCMD; fi
    local at=$_rexec_at
    while (( (at += $1) > 0 && at < HISTCMD )); do
        if [[ -n $history[$at] && $history[$at] == *"$_rexec_query"* && $history[$at] != $BUFFER ]]; then
            _rexec_at=$at BUFFER=$history[$at] CURSOR=$#history[$at] _rexec_found=$history[$at]
            return
        fi
    done
    if (( $1 > 0 )); then
        BUFFER=$_rexec_query CURSOR=$#_rexec_query _rexec_found=$_rexec_query _rexec_at=$HISTCMD
    fi
}
# In a command of several lines they move from line to line first.
_rexec_search_up() {
    if [[ $LBUFFER == *$'\n'* && $BUFFER != $_rexec_found ]]; then zle up-line; else _rexec_search -1; fi
}
_rexec_search_down() {
    if [[ $RBUFFER == *$'\n'* && $BUFFER != $_rexec_found ]]; then zle down-line; else _rexec_search 1; fi
}
zmodload zsh/parameter
zle -N _rexec_search_up
zle -N _rexec_search_down
bindkey '^[[A' _rexec_search_up '^[OA' _rexec_search_up '^[[B' _rexec_search_down '^[OB' _rexec_search_down
