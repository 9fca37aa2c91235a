PROMPT='%F{cyan}%1~%f %(?.%F{green}.%F{red})%#%f '
