# shellcheck shell=sh
# How long the agent waits for a program: to its end, and not for ever.
#
# `wait` returns at once when the program ends, so nothing is lost to polling. Beside it one guard for all waits ends
# a program that takes too long, and frees the agent by a signal where even KILL does not help: a task waiting for a
# dead disk cannot be ended, and must not keep the machine from rebooting.
#
# The guard lasts as long as this kernel. What it is to end, and when, stands in a file for each shell that waits.

waits=$run/waits
guard=
left_behind=0
trap 'left_behind=1' USR1

# A sleep that dies with the guard that started it.
nap() {
    sleep "$1" &
    napping=$!
    wait "$napping"
}

# Sets `waiter` to this very process: $$ is PID 1 in each of its subshells as well. sh reads the folder itself, so
# that `self` is this shell and no program is needed.
know_waiter() {
    for waiter in "$root/proc/self/task"/*; do
        waiter=${waiter##*/}
        [ "$waiter" != '*' ] || waiter=$$
        return
    done
}

# end_program PID WAITER: asks, insists, and in the end frees the shell that waits for it. When the program is gone
# nobody waits for it any more, and a signal would end the wait for another.
end_program() {
    kill -TERM "$1" 2>/dev/null || return 0
    nap "$plan_grace_seconds"
    kill -KILL "$1" 2>/dev/null || return 0
    nap "$plan_grace_seconds"
    ! kill -0 "$1" 2>/dev/null || kill -USR1 "$2" 2>/dev/null
}

# until_end PID GUARD: sets `status` to that of PID, 124 where it was left behind, and dismisses the guard.
until_end() {
    left_behind=0
    wait "$1"
    status=$?
    [ "$left_behind" -eq 0 ] || status=124
    kill -TERM "$2" 2>/dev/null
    wait "$2" 2>/dev/null
    # The guard may have signalled while it was being dismissed.
    left_behind=0
}

# One that is gone (of memory) is followed by another.
keep_guard() {
    [ -z "$guard" ] || ! kill -0 "$guard" 2>/dev/null || return 0
    [ -d "$waits" ] || mkdir -p "$waits"
    # It must hold no end of a stream open.
    guard_waits 8<&- 9>&- &
    guard=$!
}

# A process of its own: each second it looks at all waits. It ends with the agent, which as PID 1 never does.
guard_waits() {
    # Whoever frees memory by force shall look elsewhere.
    [ ! -w "$root/proc/self/oom_score_adj" ] || echo -1000 2>/dev/null >"$root/proc/self/oom_score_adj"
    late=
    while kill -0 $$; do
        nap "$plan_watch_seconds"
        look_at_clock
        for wait_file in "$waits"/*; do
            end_late_program "$wait_file"
        done
    done
}

# Ends the program of a wait once, in a process of its own: it takes a while.
end_late_program() {
    awaited=
    read -r awaited until 2>/dev/null <"$1"
    [ -n "$awaited" ] && [ "$now" -ge "$until" ] || return 0
    case $late in *" $awaited:$until "*) return 0 ;; esac
    late="$late $awaited:$until "
    end_program "$awaited" "${1##*/}" &
}

# bounded SECONDS PROGRAM ARGUMENT...: runs it for so long at most (0: without limit); returns its status.
bounded() {
    bound=$1
    shift
    if [ "$bound" -eq 0 ]; then
        "$@"
        return
    fi
    know_waiter
    # A subshell has forgotten the trap, and would be ended by the signal.
    trap 'left_behind=1' USR1
    keep_guard
    left_behind=0
    "$@" &
    bounded_program=$!
    look_at_clock
    own_guard=
    # Where memory has no room for a line this wait is guarded on its own.
    if ! echo "$bounded_program $((now + bound * 100))" >"$waits/$waiter"; then
        guard_alone "$bounded_program" &
        own_guard=$!
    fi
    wait "$bounded_program"
    status=$?
    [ "$left_behind" -eq 0 ] || status=124
    echo >"$waits/$waiter"
    [ -z "$own_guard" ] || kill -TERM "$own_guard" 2>/dev/null
    return "$status"
}

guard_alone() {
    napping=
    trap '[ -z "$napping" ] || kill "$napping" 2>/dev/null; exit 0' TERM
    nap "$bound"
    end_program "$1" "$waiter"
}
