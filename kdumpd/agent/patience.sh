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

# Sets `waiter` to this very process: $$ is PID 1 in each of its subshells as well. sh opens the file itself, so that
# `self` is this shell and no program is needed.
know_waiter() {
    waiter=$$
    [ ! -r "$root/proc/self/stat" ] || read -r waiter _ <"$root/proc/self/stat"
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
    "$@" &
    bounded_program=$!
    (
        napping=
        trap '[ -z "$napping" ] || kill "$napping" 2>/dev/null; exit 0' TERM
        nap "$bound"
        end_program "$bounded_program" "$waiter"
    ) &
    until_end "$bounded_program" $!
    return "$status"
}
