[[ -r $HOME/.zlogin ]] && source $HOME/.zlogin
