# The real one where the bundle has it, set up so that it asks nothing; else a prompt in its manner.
if [[ -r $REXEC_SHELL/themes/powerlevel10k/powerlevel10k.zsh-theme ]]; then
    source $REXEC_SHELL/themes/p10k.zsh
    source $REXEC_SHELL/themes/powerlevel10k/powerlevel10k.zsh-theme
    [[ -r ~/.p10k.zsh ]] && source ~/.p10k.zsh
else
    source $REXEC_SHELL/themes/manner.zsh
fi
true
