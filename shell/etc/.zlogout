[[ -r $HOME/.zlogout ]] && source $HOME/.zlogout
