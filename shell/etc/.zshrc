# Every part is switched by a variable that the guest sets from the container's `shell` options.
_rexec_on() { [[ ${(P)${:-REXEC_SHELL_${(U)1}}} == 1 ]] }

if _rexec_on use_tmux && [[ -z $TMUX ]]; then
    if (( $+commands[tmux] )); then
        exec tmux -f $REXEC_SHELL/etc/tmux.conf new-session -A -s main
    else
        print -P '%F{yellow}tmux is not in this image; the terminal itself survives disconnects.%f'
    fi
fi

# The user's own ~/.zshrc and the ones after it are found where users put them.
unset ZDOTDIR
HISTFILE=$HOME/.zsh_history HISTSIZE=10000 SAVEHIST=10000
setopt append_history inc_append_history hist_ignore_all_dups hist_ignore_space hist_reduce_blanks extended_history
setopt auto_cd interactive_comments prompt_subst no_beep long_list_jobs complete_in_word always_to_end
bindkey -e
autoload -Uz compinit colors add-zsh-hook
colors
compinit -C -u -d ${TMPDIR:-/tmp}/.zcompdump-$UID
zstyle ':completion:*' menu select
zstyle ':completion:*' matcher-list 'm:{a-zA-Z}={A-Za-z}' 'r:|[._-]=* r:|=*'
zstyle ':completion:*' list-colors ''
bindkey '^[[1;5C' forward-word '^[[1;5D' backward-word '^[[3~' delete-char '^[[H' beginning-of-line '^[[F' end-of-line

if ls --color=auto -d / >/dev/null 2>&1; then alias ls='ls --color=auto'; fi
alias ll='ls -lh' la='ls -lAh' grep='grep --color=auto' ..='cd ..' ...='cd ../..'

# Unpack whatever it is.
extract() {
    local file
    for file in "$@"; do
        case $file in
            *.tar|*.tar.*|*.tgz|*.tbz2|*.txz) tar -xf $file ;;
            *.zip|*.jar) unzip $file ;;
            *.gz) gunzip -k $file ;;
            *.bz2) bunzip2 -k $file ;;
            *.xz) unxz -k $file ;;
            *.7z) 7z x $file ;;
            *) print -u2 "extract: I do not know how to unpack $file"; return 1 ;;
        esac || return
    done
}

command_not_found_handler() {
    local install
    if (( $+commands[apt-get] )); then install='apt-get update && apt-get install'
    elif (( $+commands[apk] )); then install='apk add'
    elif (( $+commands[dnf] )); then install='dnf install'
    elif (( $+commands[pacman] )); then install='pacman -Sy'
    fi
    print -u2 "$1: command not found${install:+ (its package may come with: $install …)}"
    return 127
}

if _rexec_on git_aliases; then
    alias g=git ga='git add' gaa='git add --all' gb='git branch' gc='git commit -v' gcam='git commit -am' gcb='git checkout -b'
    alias gco='git checkout' gd='git diff' gds='git diff --staged' gf='git fetch' gl='git pull' glog='git log --oneline --graph'
    alias gp='git push' gpf='git push --force-with-lease' grb='git rebase' gsh='git show' gst='git status' gsta='git stash' gsw='git switch'
fi

_rexec_theme=${REXEC_SHELL_THEME:-rexec}
if [[ $_rexec_theme == powerlevel10k && ! -r $REXEC_SHELL/themes/powerlevel10k.zsh ]]; then
    print -P '%F{yellow}powerlevel10k is not in this bundle; the theme rexec takes its place.%f'
    _rexec_theme=rexec
fi
[[ -r $REXEC_SHELL/themes/$_rexec_theme.zsh ]] && source $REXEC_SHELL/themes/$_rexec_theme.zsh

_rexec_on autosuggestions && source $REXEC_SHELL/plugins/zsh-autosuggestions/zsh-autosuggestions.zsh

if _rexec_on history_search; then
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
        if (( $1 > 0 )); then BUFFER=$_rexec_query CURSOR=$#_rexec_query _rexec_found=$_rexec_query _rexec_at=$HISTCMD; fi
    }
    _rexec_search_up() { _rexec_search -1 }
    _rexec_search_down() { _rexec_search 1 }
    zle -N _rexec_search_up
    zle -N _rexec_search_down
    bindkey '^[[A' _rexec_search_up '^[OA' _rexec_search_up '^[[B' _rexec_search_down '^[OB' _rexec_search_down
fi

if _rexec_on system_stats; then
    () {
        local memory load disk
        memory=$(awk '/MemTotal/{t=$2}/MemAvailable/{a=$2}END{printf "%d of %d MB", (t-a)/1024, t/1024}' /proc/meminfo 2>/dev/null)
        load=${"$(</proc/loadavg)"%% [0-9]*/*}
        disk=$(df -h / 2>/dev/null | awk 'NR==2{print $3" of "$2}')
        print -P "%F{cyan}System%f  ${HOST}  load ${load:-?}  memory ${memory:-?}  disk ${disk:-?}"
    }
fi

[[ -r $HOME/.zshrc ]] && source $HOME/.zshrc

# Last, as it must wrap the widgets of all the others.
_rexec_on syntax_highlight && source $REXEC_SHELL/plugins/zsh-syntax-highlighting/zsh-syntax-highlighting.zsh
true
