# shellcheck shell=sh
# Saving: the kernel log first, then the core collector under a watcher that ends it when it stalls.

collector_status=
vmcore_bytes=0
panic_line=

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
# report stands at the end of the log, the last one counts: an older oops may have been survived.
find_panic_line() {
    panic=''
    bug=''
    oops=''
    trigger=''
    tail -c 32768 "$1" >"$run/last-words"
    while read -r line; do
        # Without the time stamp and the caller before the text.
        case $line in
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
}

# With fewer than 4 processors threads lose: they spin, and the writer needs one for itself.
choose_threads() {
    threads=0
    [ "$plan_collector_max_threads" -gt 0 ] && command -v nproc >/dev/null || return 0
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
    measure "$vmcore"
    vmcore_bytes=$bytes
    if was_ended; then
        return 1
    elif [ "$collector_status" -ne 0 ]; then
        fail "the core collector ended with $collector_status; $free_mib MiB are free on the target"
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

# Sets `bytes` to the size of a file, 0 where there is none.
measure() {
    bytes=0
    [ -e "$1" ] && stat -c %s "$1" >"$run/bytes" && read -r bytes <"$run/bytes"
    return 0
}

# watch_collector PID FILE: its own process. Progress is a growing file, bytes read or written, or processor time:
# makedumpfile reads through memory maps for minutes on a large machine before it writes the first page.
watch_collector() {
    napping=
    trap '[ -z "$napping" ] || kill "$napping" 2>/dev/null; exit 0' TERM
    begin_watch
    while nap "$plan_watch_seconds"; do
        measure "$2"
        look_at_work "$1"
        watch_once "$work" || continue
        end_program "$1" $$
        return
    done
}

begin_watch() {
    look_at_clock
    began=$now
    moved_at=$now
    told_at=$now
    bytes=0
    progress=
}

# watch_once WORK: one look, with `bytes` written so far. Succeeds when it is over, with the reason in a file.
watch_once() {
    look_at_clock
    look_at_memory
    printf '%s\n' "$memory_least" >"$run/memory"
    if [ "$progress" != "$bytes $1" ]; then
        progress="$bytes $1"
        moved_at=$now
    fi
    if [ $((now - told_at)) -ge 1000 ]; then
        told_at=$now
        say "$((bytes / 1048576)) MiB written, $memory_least KiB of memory were left at the least"
    fi
    if [ "$plan_stall_seconds" -gt 0 ] && [ $((now - moved_at)) -ge $((plan_stall_seconds * 100)) ]; then
        printf '%s\n' "no progress for $plan_stall_seconds s" >"$run/ended"
    elif [ "$plan_collector_timeout" -gt 0 ] && [ $((now - began)) -ge $((plan_collector_timeout * 100)) ]; then
        printf '%s\n' "not done after $plan_collector_timeout s" >"$run/ended"
    else
        return 1
    fi
}

# Sets `work` to a text that changes while a process reads, writes or computes, and `written` to the bytes that it
# wrote, empty where nobody counts them.
look_at_work() {
    work=
    written=
    if [ -r "$root/proc/$1/io" ]; then
        while read -r name count; do
            case $name in
            rchar:) work="$work $count" ;;
            wchar:)
                work="$work $count"
                written=$count
                ;;
            esac
        done <"$root/proc/$1/io"
    fi
    if [ -r "$root/proc/$1/stat" ]; then
        read -r process <"$root/proc/$1/stat"
        # After the name in parentheses, which may hold blanks: state and ten more fields, then user and system time.
        # shellcheck disable=SC2086
        set -- ${process##*) }
        [ $# -lt 13 ] || work="$work ${12} ${13}"
    fi 2>/dev/null
}
