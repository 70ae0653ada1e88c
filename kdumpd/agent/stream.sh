# shellcheck shell=sh
# The core collector into a stream: what leaves through a pipe is watched like what goes into a file.
#
# POSIX sh tells only the last status of a pipeline, so the pipe is a fifo and both ends are waited for.

consumer_status=
consumer_name=

# stream_collector CONSUMER ARGUMENT...: runs the core collector, and CONSUMER, which reads the dump from its standard
# input; sets `collector_status` and `consumer_status`. Fails with a reason where one of them failed or both stalled.
# A CONSUMER that is a function ends with `exec PROGRAM`: what is to be ended has to be the program itself. People are
# told of it as `consumer_name`, where that is set.
stream_collector() {
    rm -f "$run/ended"
    choose_threads
    open_stream || fail "no fifo could be made" || return
    # By exec: around a function sh would keep what it redirects, and with it the end that the consumer waits for.
    (
        exec <&8 8<&- 9>&-
        "$@"
    ) &
    consumer=$!
    # Sets `collector`.
    eval "begin_stream $plan_stream_collector"
    # From here on each end is open in one process only: the end of either is felt by the other.
    exec 8<&- 9>&-
    watch_stream "$collector" "$consumer" &
    until_both_end "$collector" "$consumer" $!
    judge_stream "$1"
}

# Leaves both ends open as 8 and 9. Opened for reading and writing first, a fifo waits for nobody.
open_stream() {
    rm -f "$run/stream"
    mkfifo "$run/stream" || return
    exec 7<>"$run/stream"
    exec 8<"$run/stream"
    exec 9>"$run/stream" 7<&-
    rm -f "$run/stream"
}

# begin_stream PROGRAM OPTION...: sets `collector`.
begin_stream() {
    if [ "$threads" -gt 0 ]; then
        program=$1
        shift
        set -- "$program" --num-threads "$threads" "$@"
    fi
    say "running $* /proc/vmcore into a stream"
    "$@" "$root/proc/vmcore" >&9 8<&- 9>&- &
    collector=$!
}

# Progress is what the collector does: it waits while its consumer takes nothing. What the consumer does is no sign of
# it, for ssh writes 52 bytes each 15 s to a server that lives, though its disk be dead.
watch_stream() {
    napping=
    trap '[ -z "$napping" ] || kill "$napping" 2>/dev/null; exit 0' TERM
    begin_watch
    while nap "$plan_watch_seconds"; do
        if kill -0 "$1" 2>/dev/null; then
            look_at_work "$1"
            [ -z "$written" ] || bytes=$written
        else
            # What is left to send is counted in steps that such small talk makes in hours.
            look_at_work "$2"
            moved="sent $((${written:-0} / 65536))"
            worked=
        fi
        watch_once "$moved" "$worked" || continue
        end_both "$1" "$2"
    done
}

# end_both COLLECTOR CONSUMER: asks, insists, and frees the agent until it has noticed.
end_both() {
    kill -TERM "$1" "$2" 2>/dev/null
    nap "$plan_grace_seconds"
    kill -KILL "$1" "$2" 2>/dev/null
    while nap "$plan_grace_seconds"; do
        kill -USR1 $$
    done
}

# until_both_end COLLECTOR CONSUMER GUARD: sets both statuses, 124 for whom was left behind, and dismisses the guard.
until_both_end() {
    left_behind=0
    wait "$1"
    collector_status=$?
    consumer_status=124
    if [ "$left_behind" -ne 0 ]; then
        collector_status=124
    else
        wait "$2"
        consumer_status=$?
        [ "$left_behind" -eq 0 ] || consumer_status=124
    fi
    kill -TERM "$3" 2>/dev/null
    wait "$3" 2>/dev/null
    left_behind=0
}

# A collector whose reader is gone is ended by the broken pipe: the reader's own status is the cause then.
judge_stream() {
    if was_ended; then
        return 1
    elif [ "$consumer_status" -ne 0 ]; then
        fail "${consumer_name:-$1}, which took the dump, ended with $consumer_status, the core collector with $collector_status"
    elif [ "$collector_status" -ne 0 ]; then
        fail "the core collector ended with $collector_status"
    fi
}

# The crashed kernel's log into memory, for a target that is no file system. Sets `kernel_log`, empty where there is
# none, and `panic_line`.
hold_kernel_log() {
    kernel_log=
    if ! command -v makedumpfile >/dev/null; then
        say "no makedumpfile in the image: the kernel log is not saved apart"
    elif bounded "$plan_stall_seconds" makedumpfile --dump-dmesg "$root/proc/vmcore" "$run/vmcore-dmesg.txt"; then
        kernel_log=$run/vmcore-dmesg.txt
        find_panic_line "$kernel_log"
        say "the crashed kernel's last words: ${panic_line:-not found}"
    else
        say "the kernel log could not be read"
    fi
    return 0
}
