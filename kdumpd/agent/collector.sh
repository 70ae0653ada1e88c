# shellcheck shell=sh
# Saving: the kernel log first, then the core collector under a watcher that ends it when it stalls.

collector_status=
vmcore_bytes=0
panic_line=
# How many times stall_seconds a collector may compute without a byte: makedumpfile was seen to look through 32 TiB for
# two hours before its first page, silent where no progress is asked for.
byte_patience=120

save_kernel_log() {
    if ! command -v makedumpfile >/dev/null; then
        say "no makedumpfile in the image: the kernel log is not saved apart"
        return 0
    fi
    kernel_log=$dump_directory/vmcore-dmesg-incomplete.txt
    if bounded "$plan_stall_seconds" makedumpfile --dump-dmesg "$root/proc/vmcore" "$kernel_log" &&
        bounded 60 sync "$kernel_log" && bounded 60 mv "$kernel_log" "$dump_directory/vmcore-dmesg.txt"; then
        find_panic_line "$dump_directory/vmcore-dmesg.txt"
        say "the crashed kernel's last words: ${panic_line:-not found}"
    else
        say "the kernel log could not be saved"
    fi
}

# The panic's own line is the best name of a crash; an oops that went straight to the crash kernel has none. The
# report stands at the end of the log, the last one counts: an older oops may have been survived. Just before it stands
# the id of a test crash, if it was one: kdumpd wrote that into the log, and takes it back if no crash came.
find_panic_line() {
    panic=''
    bug=''
    oops=''
    trigger=''
    # sh reads byte by byte: it gets the lines that matter, and no others.
    tail -c 32768 "$1" | grep -F -e 'Kernel panic - not syncing' -e 'kernel BUG at' -e 'BUG: ' \
        -e 'Unable to handle kernel' -e 'general protection fault' -e 'Oops: ' -e 'sysrq: Trigger a crash' \
        -e 'kdumpd: test crash ' -e 'kdumpd: no test crash' >"$run/last-words"
    while read -r line; do
        # Without the time stamp and the caller before the text.
        case $line in
        *"kdumpd: test crash "*) test_id=${line##*"kdumpd: test crash "} ;;
        *"kdumpd: no test crash"*) test_id= ;;
        *"Kernel panic - not syncing"*) panic="Kernel panic - not syncing${line#*"Kernel panic - not syncing"}" ;;
        *"kernel BUG at"*) bug="kernel BUG at${line#*"kernel BUG at"}" ;;
        *"BUG: "*) bug="BUG: ${line#*"BUG: "}" ;;
        *"Unable to handle kernel"*) bug="Unable to handle kernel${line#*"Unable to handle kernel"}" ;;
        *"general protection fault"*) bug="general protection fault${line#*"general protection fault"}" ;;
        *"Oops: "*) oops="Oops: ${line#*"Oops: "}" ;;
        *"sysrq: Trigger a crash"*) trigger="sysrq: Trigger a crash" ;;
        esac
    done <"$run/last-words"
    panic_line=${panic:-${bug:-${oops:-$trigger}}}
    case $test_id in *[!0-9a-f]*) test_id= ;; esac
}

# Whether this kernel runs on one processor, as most capture kernels do: no program is needed then.
is_only_processor() {
    online=
    [ -r "$root/sys/devices/system/cpu/online" ] && read -r online <"$root/sys/devices/system/cpu/online"
    [ "$online" = 0 ]
}

# With fewer than 4 processors threads lose: they spin, and the writer needs one for itself.
choose_threads() {
    threads=0
    [ "$plan_collector_max_threads" -gt 0 ] && ! is_only_processor && command -v nproc >/dev/null || return 0
    processors=$(nproc)
    [ "$processors" -ge 4 ] || return 0
    threads=$((processors - 1))
    [ "$threads" -le "$plan_collector_max_threads" ] || threads=$plan_collector_max_threads
}

# Runs the collector into vmcore-incomplete. A file of that name stays behind when it fails, and only then.
collect() {
    vmcore=$dump_directory/vmcore-incomplete
    choose_threads
    eval "run_collector $plan_core_collector"
    collector_status=$status
    look_at_free_space "$dump_directory"
    answers=1
    measure "$vmcore" || answers=0
    vmcore_bytes=$bytes
    if was_ended; then
        return 1
    elif [ "$answers" -eq 0 ]; then
        fail "the core collector ended with $collector_status, and the target does not answer any more"
    elif [ "$collector_status" -ne 0 ]; then
        fail "the core collector ended with $collector_status; ${free_mib:-an unknown number of} MiB are free on the target"
    elif [ "$vmcore_bytes" -eq 0 ]; then
        fail "the core collector said it was done but wrote nothing"
    fi
}

# Whether the watcher ended the core collector; what has failed then is said.
was_ended() {
    [ -s "$run/ended" ] || return 1
    read -r ended <"$run/ended"
    fail "the core collector was ended: $ended"
    return 0
}

# run_collector PROGRAM OPTION...: sets `status`.
run_collector() {
    if [ "$threads" -gt 0 ]; then
        program=$1
        shift
        set -- "$program" --num-threads "$threads" "$@"
    fi
    say "running $* /proc/vmcore"
    rm -f "$run/ended"
    "$@" "$root/proc/vmcore" "$vmcore" &
    collector=$!
    watch_collector "$collector" "$vmcore" &
    until_end "$collector" $!
}

# fsync before the rename: the name vmcore means that all of it is on the disk.
publish() {
    bounded "$plan_stall_seconds" sync "$vmcore" || fail "writing the dump to the disk failed" || return
    bounded 60 mv "$vmcore" "$dump_directory/vmcore" || fail "the finished dump could not be renamed" || return
    bounded "$plan_stall_seconds" sync "$dump_directory" || fail "writing the directory to the disk failed"
}

# Sets `bytes` to the size of a file, 0 where there is none. Fails where its file system does not answer.
measure() {
    bytes=0
    if bounded 60 stat -c %s "$1" >"$run/bytes" 2>/dev/null; then
        read -r bytes <"$run/bytes" || bytes=0
    else
        # 1 is stat's own; above 123 it was ended.
        [ "$status" -lt 124 ]
    fi
}

# watch_collector PID FILE: its own process. Progress is bytes read or written, a growing file, or processor time:
# makedumpfile reads through memory maps for minutes on a large machine before it writes the first page.
watch_collector() {
    napping=
    sizing=
    size=0
    bytes_before=
    trap '[ -z "$napping" ] || kill "$napping" 2>/dev/null; exit 0' TERM
    begin_watch
    while nap "$plan_watch_seconds"; do
        look_at_work "$1"
        # What a collector writes itself is counted. A script lets others write: only the file tells.
        if [ -z "$written" ] || [ "$written" = "$bytes_before" ]; then look_at_size "$2"; fi
        bytes_before=$written
        bytes=${written:-$size}
        [ "$bytes" -ge "$size" ] || bytes=$size
        watch_once "$size$moved" "$worked" || continue
        end_program "$1" $$
        return
    done
}

# Sets `size` to what the file had at the look before. stat is not waited for: where a server is dead it never ends.
look_at_size() {
    if [ -n "$sizing" ]; then
        ! kill -0 "$sizing" 2>/dev/null || return 0
        [ ! -s "$run/size" ] || read -r size <"$run/size"
    fi
    stat -c %s "$1" >"$run/size" 2>/dev/null &
    sizing=$!
}

begin_watch() {
    look_at_clock
    began=$now
    active_at=$now
    moved_at=$now
    told_at=$now
    bytes=0
    moved_before=
    worked_before=
}

# watch_once MOVED WORKED: one look, with `bytes` written so far. Succeeds when it is over, with the reason in a file.
# Two clocks: one starts anew with whatever changes, the other, byte_patience times as long, with bytes alone. Threads
# of makedumpfile that wait for each other spin for ever. Where nobody counts bytes MOVED is empty.
watch_once() {
    look_at_clock
    look_at_memory
    printf '%s\n' "$memory_least" >"$run/memory"
    if [ "$moved_before $worked_before" != "$1 $2" ]; then active_at=$now; fi
    if [ "$moved_before" != "$1" ] || [ -z "$1" ]; then moved_at=$now; fi
    moved_before=$1
    worked_before=$2
    if [ $((now - told_at)) -ge 1000 ]; then
        told_at=$now
        say "$((bytes / 1048576)) MiB written, $memory_least KiB of memory were left at the least"
    fi
    byte_seconds=$((plan_stall_seconds * byte_patience))
    if [ "$plan_stall_seconds" -gt 0 ] && [ $((now - active_at)) -ge $((plan_stall_seconds * 100)) ]; then
        printf '%s\n' "no progress for $plan_stall_seconds s" >"$run/ended"
    elif [ "$plan_stall_seconds" -gt 0 ] && [ $((now - moved_at)) -ge $((byte_seconds * 100)) ]; then
        printf '%s\n' "it used the processor, but read and wrote nothing for $byte_seconds s" >"$run/ended"
    elif [ "$plan_collector_timeout" -gt 0 ] && [ $((now - began)) -ge $((plan_collector_timeout * 100)) ]; then
        printf '%s\n' "not done after $plan_collector_timeout s" >"$run/ended"
    else
        return 1
    fi
}

# Sets `moved` to a text that changes while a process reads or writes, `worked` to one that changes while it computes,
# and `written` to the bytes that it wrote; each empty where nobody counts.
look_at_work() {
    moved=
    worked=
    written=
    if [ -r "$root/proc/$1/io" ]; then
        while read -r name count; do
            case $name in
            rchar:) moved="$moved $count" ;;
            wchar:)
                moved="$moved $count"
                written=$count
                ;;
            esac
        done <"$root/proc/$1/io"
    fi 2>/dev/null
    if [ -r "$root/proc/$1/stat" ]; then
        read -r process <"$root/proc/$1/stat"
        # After the name in parentheses, which may hold blanks: state and ten more fields, then user and system time.
        # shellcheck disable=SC2086
        set -- ${process##*) }
        [ $# -lt 13 ] || worked="${12} ${13}"
    fi 2>/dev/null
}
