# The container's own numbers, from its control group where it shows, read without a program.
() {
    emulate -L zsh
    setopt extended_glob
    local line system used limit group=/sys/fs/cgroup cores load up disk
    local -A memory
    while read -r line; do memory[${line%%:*}]=${${line##*: ##}%% *}; done </proc/meminfo
    used=$(( (memory[MemTotal] - memory[MemAvailable]) / 1024 )) limit=$(( memory[MemTotal] / 1024 ))
    if [[ -r $group/memory.max && $(<$group/memory.max) != max ]]; then
        used=$(( $(<$group/memory.current) >> 20 )) limit=$(( $(<$group/memory.max) >> 20 ))
    elif [[ -r $group/memory/memory.limit_in_bytes ]] && (( $(<$group/memory/memory.limit_in_bytes) >> 20 < limit )); then
        used=$(( $(<$group/memory/memory.usage_in_bytes) >> 20 )) limit=$(( $(<$group/memory/memory.limit_in_bytes) >> 20 ))
    fi
    if [[ -r $group/cpu.max && $(<$group/cpu.max) != max* ]]; then
        line=$(<$group/cpu.max)
        cores=$(printf '%.1f' $(( 1.0 * ${line% *} / ${line#* } )))
    else
        cores=${#${(M)${(f)"$(</proc/cpuinfo)"}:#processor*}}
    fi
    load=${"$(</proc/loadavg)"[(w)1,(w)3]}
    up=$(( ${"$(</proc/uptime)"%%.*} ))
    system=Linux
    if [[ -r /etc/os-release ]]; then
        while read -r line; do [[ $line == PRETTY_NAME=* ]] && system=${(Q)line#PRETTY_NAME=}; done </etc/os-release
    fi
    (( $+commands[df] )) && disk=${${(f)"$(df -hP / 2>/dev/null)"}[2]}
    print -P "%F{cyan}System%f   ${system//\%/%%}"
    print -P "%F{cyan}CPU%f      $cores cores, load $load"
    print -P "%F{cyan}Memory%f   $used of $limit MiB"
    if [[ -n $disk ]]; then print -P "%F{cyan}Disk%f     ${${=disk}[3]} of ${${=disk}[2]} (${${=disk}[5]}%)"; fi
    print -P "%F{cyan}Running%f  ${#${(@f)$(print -l /proc/<->(N/))}} processes"
}
