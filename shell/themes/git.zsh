# The repository's branch and state, for the prompts: nothing is run outside of a repository.
# Sets: _rexec_branch, _rexec_doing (a merge, a rebase), and counts _rexec_ahead _behind _staged _changed _unknown _conflicts.
_rexec_git() {
    emulate -L zsh
    local place=$PWD line
    typeset -g _rexec_branch= _rexec_doing=
    typeset -gi _rexec_ahead=0 _rexec_behind=0 _rexec_staged=0 _rexec_changed=0 _rexec_unknown=0 _rexec_conflicts=0
    until [[ -e $place/.git ]]; do
        [[ $place == / || -z $place ]] && return 1
        place=${place:h}
    done
    if (( ! $+commands[git] )); then
        [[ -r $place/.git/HEAD ]] && _rexec_branch=${"$(<$place/.git/HEAD)"#ref: refs/heads/}
        return 0
    fi
    for line in ${(f)"$(git --no-optional-locks status --porcelain=v2 --branch 2>/dev/null)"}; do
        case $line in
            ('# branch.oid '*) _rexec_branch=${${line#\# branch.oid }[1,7]} ;;
            ('# branch.head (detached)') ;;
            ('# branch.head '*) _rexec_branch=${line#\# branch.head } ;;
            ('# branch.ab '*) _rexec_ahead=${${line#*+}%% *} _rexec_behind=${line##*-} ;;
            ('u '*) _rexec_conflicts+=1 ;;
            ([12]' '*)
                [[ $line[3] != . ]] && _rexec_staged+=1
                [[ $line[4] != . ]] && _rexec_changed+=1 ;;
            ('? '*) _rexec_unknown+=1 ;;
        esac
    done
    if [[ -e $place/.git/MERGE_HEAD ]]; then _rexec_doing=merge
    elif [[ -e $place/.git/rebase-merge || -e $place/.git/rebase-apply ]]; then _rexec_doing=rebase
    elif [[ -e $place/.git/CHERRY_PICK_HEAD ]]; then _rexec_doing=cherry-pick
    elif [[ -e $place/.git/BISECT_LOG ]]; then _rexec_doing=bisect
    fi
    return 0
}

# How long the last command took, if long enough to be worth a word: _rexec_took.
_rexec_duration() {
    local -F seconds=$(( _rexec_begun > 0 ? EPOCHREALTIME - _rexec_begun : 0 ))
    typeset -gF _rexec_begun=0
    typeset -g _rexec_took=
    if (( seconds >= 3600 )); then _rexec_took=$(( int(seconds / 3600) ))h$(( int(seconds % 3600 / 60) ))m
    elif (( seconds >= 60 )); then _rexec_took=$(( int(seconds / 60) ))m$(( int(seconds % 60) ))s
    elif (( seconds >= 2 )); then printf -v _rexec_took '%.1fs' $seconds
    fi
}
zmodload zsh/datetime zsh/mathfunc
typeset -gF _rexec_begun=0
_rexec_preexec() { _rexec_begun=$EPOCHREALTIME }
add-zsh-hook preexec _rexec_preexec
