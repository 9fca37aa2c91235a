source $REXEC_SHELL/plugins/zsh-autosuggestions/zsh-autosuggestions.zsh
