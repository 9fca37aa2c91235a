[[ -r /etc/profile ]] && emulate sh -c 'source /etc/profile' 2>/dev/null
[[ -r $HOME/.zprofile ]] && source $HOME/.zprofile
