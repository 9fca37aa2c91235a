# What every enhanced shell has: history, completion, keys, colours, `extract`, and a word for what is not there.
HISTFILE=$HOME/.zsh_history HISTSIZE=10000 SAVEHIST=10000
setopt append_history inc_append_history hist_ignore_all_dups hist_ignore_space hist_reduce_blanks extended_history
setopt auto_cd auto_pushd pushd_ignore_dups interactive_comments prompt_subst no_beep long_list_jobs
setopt complete_in_word always_to_end
bindkey -e
bindkey '^[[1;5C' forward-word '^[[1;5D' backward-word '^[[3~' delete-char '^[[3;5~' kill-word
bindkey '^[[H' beginning-of-line '^[[F' end-of-line '^[[1~' beginning-of-line '^[[4~' end-of-line
bindkey '^[OH' beginning-of-line '^[OF' end-of-line

# What the bundle completes was dumped when it was made; what the image brings is added.
autoload -Uz compinit add-zsh-hook colors
compinit -C -d $REXEC_SHELL/etc/completions
() {
    local file first
    for file in /usr/{local/,}share/zsh/{site-functions,vendor-completions}/_*(N.); do
        (( $+functions[${file:t}] )) && continue
        read -r first <$file
        [[ $first == '#compdef '* ]] && autoload -Uz ${file:t} && compdef ${file:t} ${=first#\#compdef }
    done 2>/dev/null
}
zstyle ':completion:*' menu select
zstyle ':completion:*' matcher-list 'm:{a-zA-Z}={A-Za-z}' 'r:|[._-]=* r:|=*'
zstyle ':completion:*' list-colors 'di=1;34' 'ln=1;36' 'ex=1;32' 'so=35' 'pi=33'
zstyle ':completion:*:descriptions' format '%F{yellow}%d%f'
zstyle ':completion:*' use-cache on
zstyle ':completion:*' cache-path ${TMPDIR:-/tmp}/.zsh-completions-$UID

export CLICOLOR=1 LESS=${LESS:--R}
if (( $+commands[ls] )); then alias ls='ls --color=auto'; fi
if (( $+commands[grep] )); then alias grep='grep --color=auto'; fi
if (( $+commands[diff] && ! $+commands[busybox] )); then alias diff='diff --color=auto'; fi
alias ll='ls -lh' la='ls -lAh' l='ls -lah' ..='cd ..' ...='cd ../..' ....='cd ../../..' md='mkdir -p' rd=rmdir

# Unpacks whatever it is.
extract() {
    local file
    (( $# )) || { print -u2 'usage: extract FILE...'; return 1; }
    for file in "$@"; do
        [[ -r $file ]] || { print -u2 "extract: no file $file"; return 1; }
        case ${(L)file} in
            (*.tar|*.tar.*|*.tgz|*.tbz|*.tbz2|*.txz|*.tzst) tar -xf $file ;;
            (*.zip|*.jar|*.war|*.whl) unzip $file ;;
            (*.gz) gunzip -k $file ;;
            (*.bz2) bunzip2 -k $file ;;
            (*.xz|*.lzma) unxz -k $file ;;
            (*.zst) unzstd $file ;;
            (*.7z) 7z x $file ;;
            (*.rar) unrar x $file ;;
            (*.deb) dpkg-deb -x $file ${file:t:r} ;;
            (*.rpm) rpm2cpio $file | cpio -idm ;;
            (*) print -u2 "extract: I do not know how to unpack $file"; return 1 ;;
        esac || return
    done
}
alias x=extract

command_not_found_handler() {
    local install
    if [[ -x /usr/lib/command-not-found ]]; then /usr/lib/command-not-found -- $1; return 127; fi
    if (( $+commands[apt-get] )); then install='apt-get update && apt-get install'
    elif (( $+commands[apk] )); then install='apk add'
    elif (( $+commands[dnf] )); then install='dnf install'
    elif (( $+commands[pacman] )); then install='pacman -Sy'
    fi
    print -u2 "$1: command not found${install:+ (perhaps: $install $1)}"
    return 127
}
