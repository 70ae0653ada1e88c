# shellcheck shell=sh
# What the agent says and when: the clock, the console, the steps, the memory at each of them.
#
# Nothing here starts a program: it runs at every step, and memory and time are short.

run=$root/kdumpd
step=start
step_is_open=1
steps=
step_began=0
now=0
shown=0.00
memory_total=0
memory_least=0
memory_reserved=0

# Sets `now` to the hundredths of a second since this kernel started, and `shown` to the same as text.
look_at_clock() {
    shown=0.00
    [ -r "$root/proc/uptime" ] && read -r shown _ <"$root/proc/uptime"
    # The leading 1 keeps sh from reading "08" as octal.
    now=$((${shown%.*} * 100 + 1${shown#*.} - 100))
}

# Sets `seconds_now` to the seconds since 1970: those at which this kernel started, and those since.
look_at_date() {
    seconds_now=
    if [ -r "$root/proc/stat" ]; then
        while read -r stat_name stat_value _; do
            [ "$stat_name" != btime ] || seconds_now=$stat_value
        done <"$root/proc/stat"
    fi
    if [ -n "$seconds_now" ]; then
        look_at_clock
        seconds_now=$((seconds_now + now / 100))
    else
        seconds_now=$(date +%s)
    fi
}

say() {
    look_at_clock
    printf 'kdumpd[%s]: %s\n' "$shown" "$*"
    printf 'kdumpd[%s]: %s\n' "$shown" "$*" >>"$run/log"
}

# Sets `shown` to $1 hundredths of a second as text.
show_seconds() {
    shown=$(($1 % 100))
    [ "${#shown}" -eq 2 ] || shown=0$shown
    shown=$(($1 / 100)).$shown
}

# begin_step NAME WHAT...: closes the step before, with its seconds, and opens this one.
begin_step() {
    end_step
    step=$1
    step_is_open=1
    shift
    say "step $step: $*"
    report_memory
}

end_step() {
    [ "$step_is_open" -eq 1 ] || return 0
    step_is_open=0
    look_at_clock
    show_seconds $((now - step_began))
    steps="$steps${steps:+,}{\"name\":\"$step\",\"seconds\":$shown}"
    step_began=$now
    look_at_memory
}

# Keeps the least MemAvailable seen, also by the watcher of the collector, which is another process.
look_at_memory() {
    [ -r "$root/proc/meminfo" ] || return 0
    while read -r memory_name memory_kib _; do
        case $memory_name in
        MemTotal:) memory_total=$memory_kib ;;
        MemAvailable:)
            note_least_memory "$memory_kib"
            break
            ;;
        esac
    done <"$root/proc/meminfo"
    [ -s "$run/memory" ] && read -r memory_kib <"$run/memory" && note_least_memory "$memory_kib"
    return 0
}

# Sets `memory_reserved` to the KiB that this kernel was given, itself included.
look_at_reservation() {
    [ -r "$root/proc/iomem" ] || return 0
    given=0
    while read -r span _ owner; do
        [ "$owner" = "System RAM" ] || continue
        given=$((given + 0x${span#*-} - 0x${span%-*} + 1))
    done <"$root/proc/iomem"
    memory_reserved=$((given / 1024))
}

note_least_memory() {
    if [ "$memory_least" -eq 0 ] || [ "$1" -lt "$memory_least" ]; then memory_least=$1; fi
}

# debug_mem_level: 1 the lines that matter, 2 all of meminfo, 3 slabinfo as well.
report_memory() {
    [ "$plan_debug_mem_level" -ge 1 ] && [ -r "$root/proc/meminfo" ] || return 0
    while read -r memory_line; do
        if [ "$plan_debug_mem_level" -ge 2 ]; then
            say "memory: $memory_line"
        else
            case $memory_line in
            MemTotal:* | MemFree:* | MemAvailable:* | Cached:* | Dirty:* | Slab:*) say "memory: $memory_line" ;;
            esac
        fi
    done <"$root/proc/meminfo"
    [ "$plan_debug_mem_level" -ge 3 ] && [ -r "$root/proc/slabinfo" ] && cat "$root/proc/slabinfo"
    return 0
}
