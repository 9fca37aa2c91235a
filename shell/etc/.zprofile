# The distribution's profile may add to PATH, but what the image and the container say comes first.
if [[ -r /etc/profile ]]; then
    _rexec_path=("${path[@]}") _rexec_umask=$(umask)
    emulate sh -c 'source /etc/profile' 2>/dev/null
    path=("${_rexec_path[@]}" "${path[@]}")
    umask $_rexec_umask
    unset _rexec_path _rexec_umask
fi
[[ -o interactive ]] || _rexec_give_back
[[ -r ${_rexec_dots:-$HOME}/.zprofile ]] && source ${_rexec_dots:-$HOME}/.zprofile
true
