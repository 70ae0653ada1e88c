# shellcheck shell=sh
# How long the agent waits for a program: to its end, and not for ever.
#
# `wait` returns at once when the program ends, so nothing is lost to polling. A guard beside it ends a program
# that takes too long, and frees the agent by a signal where even KILL does not help: a task waiting for a dead
# disk cannot be ended, and must not keep the machine from rebooting.

left_behind=0
trap 'left_behind=1' USR1

# A sleep that dies with the guard that started it.
nap() {
    sleep "$1" &
    napping=$!
    wait "$napping"
}

# end_program PID: asks, insists, and in the end lets go.
end_program() {
    kill -TERM "$1" 2>/dev/null
    nap "$plan_grace_seconds"
    kill -KILL "$1" 2>/dev/null
    nap "$plan_grace_seconds"
    kill -USR1 $$
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

# bounded SECONDS PROGRAM ARGUMENT...: runs it for so long at most (0: without limit); returns its status.
bounded() {
    bound=$1
    shift
    if [ "$bound" -eq 0 ]; then
        "$@"
        return
    fi
    "$@" &
    bounded_program=$!
    (
        napping=
        trap '[ -z "$napping" ] || kill "$napping" 2>/dev/null; exit 0' TERM
        nap "$bound"
        end_program "$bounded_program"
    ) &
    until_end "$bounded_program" $!
    return "$status"
}
