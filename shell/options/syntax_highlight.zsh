source $REXEC_SHELL/plugins/zsh-syntax-highlighting/zsh-syntax-highlighting.zsh
