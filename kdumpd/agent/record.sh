# shellcheck shell=sh
# What is told to the system that boots next: summary.json, the capture kernel's own log, a failure record.

result=failed
failing_step=
reason=
fallback=
# By the clock that nobody sets; by the other one only when something is written.
began_at=0
test_id=

# Sets `quoted` to a JSON string of $1. Bytes that are not UTF-8 are the reader's to replace.
quote_json() {
    quoted=
    text=$1
    case $text in
    *[[:cntrl:]]*) text=$(printf '%s' "$text" | tr '\001-\037\177' ' ') ;;
    esac
    while :; do
        case $text in
        *[\"\\]*)
            plain=${text%%[\"\\]*}
            text=${text#"$plain"}
            quoted="$quoted$plain\\${text%"${text#?}"}"
            text=${text#?}
            ;;
        *) break ;;
        esac
    done
    quoted="\"$quoted$text\""
}

# member NAME TEXT: one line of the object.
member() {
    quote_json "$2"
    printf '  "%s": %s,\n' "$1" "$quoted"
}

summary() {
    printf '{\n'
    member version "$plan_version"
    member capture_id "$plan_capture_id"
    member test_id "$test_id"
    member result "$result"
    member failing_step "$failing_step"
    member reason "$reason"
    member fallback "$fallback"
    member kernel_release "$plan_kernel_release"
    member host_name "$plan_host_name"
    member panic "$panic_line"
    member target "$plan_target_device"
    member directory "$dump_path"
    member modules_missing "${modules_missing# }"
    printf '  "collector_status": %s,\n' "${collector_status:-null}"
    printf '  "vmcore_bytes": %s,\n' "$vmcore_bytes"
    printf '  "memory_total_kib": %s,\n' "$memory_total"
    printf '  "memory_least_kib": %s,\n' "$memory_least"
    printf '  "memory_reserved_kib": %s,\n' "$memory_reserved"
    member memory_kind "$plan_memory_kind"
    printf '  "crashed_us": %s,\n' "$crashed_us"
    printf '  "started_at": %s,\n' "$started_at"
    printf '  "finished_at": %s,\n' "$finished_at"
    printf '  "seconds": %s,\n' "$finished_shown"
    printf '  "steps": [%s]\n}\n' "$steps"
}

# write_summary FILE: whole or not at all.
write_summary() {
    look_at_memory
    look_at_date
    finished_at=$seconds_now
    look_at_clock
    finished_shown=$shown
    started_at=$((finished_at - (now - began_at) / 100))
    # The capture kernel started when the other one crashed: as near as anyone here can tell.
    crashed_us=$((finished_at - now / 100))000000
    # By way of memory: printf after printf would not tell of a full disk, dd does.
    summary >"$run/summary.json"
    bounded 60 dd if="$run/summary.json" of="$1.new" bs=65536 conv=fsync 2>/dev/null && mv "$1.new" "$1"
}

# The capture kernel's log, and after it what the agent said.
own_log() {
    dmesg
    cat "$run/log"
}

save_own_log() {
    own_log >"$dump_directory/kexec-dmesg.log" 2>/dev/null ||
        say "the capture kernel's log could not be saved"
}

# A disk that died under the collector must not keep the machine from what comes after.
write_dump_record() {
    # A target that is no file system has it already, or has no place for it.
    [ -n "$dump_directory" ] || return 0
    bounded 240 write_whole_record || { say "the record of this dump is not whole"; return 1; }
}

write_whole_record() {
    release_room_for_record
    if ! write_summary "$dump_directory/summary.json"; then
        say "summary.json could not be written"
        return 1
    fi
    save_own_log
    bounded 60 sync "$dump_directory"
    deliver summary.json kexec-dmesg.log
}

# Should this kernel die while it saves (of memory, of the power), this is what it leaves.
write_first_record() {
    failing_step_before=$failing_step
    reason_before=$reason
    failing_step=collect
    reason="the capture kernel ended while it was saving"
    { bounded 120 write_summary "$dump_directory/summary.json" && deliver summary.json; } ||
        say "summary.json could not be written"
    failing_step=$failing_step_before
    reason=$reason_before
}

# A failed capture is not silent: it is recorded beside what there is of the dump, else on the root file system, else
# in pstore, which the next kernel shows as a file. Where a server has the record there is another one at home: after
# the reboot nobody asks the server.
write_failure_record() {
    recorded=
    if record_beside_dump; then
        target_is_far || return 0
        recorded="on $plan_target_device"
        say "the failure is recorded $recorded"
    fi
    leave_target
    if record_on_rootfs failures; then
        say "the failure is recorded on the root file system"
        return 0
    fi
    if [ -e "$root/dev/pmsg0" ] && write_summary "$run/record.json" &&
        cat "$run/record.json" >"$root/dev/pmsg0"; then
        say "the failure is recorded in pstore"
        return 0
    fi
    say "the failure could not be recorded anywhere${recorded:+ but $recorded}"
    [ -n "$recorded" ]
}

# On the target itself, in a directory of its own where the dump has none yet.
record_beside_dump() {
    if [ -n "$raw_node" ] && [ -z "$fallback" ] && write_raw_record 0; then
        say "the failure is recorded on $raw_node"
        return 0
    fi
    if [ -z "$dump_directory" ]; then
        [ -n "$mounted" ] && make_dump_directory "$mounted$plan_target_directory" || return
    fi
    write_dump_record
}

# A dump that this machine does not keep is told of on its root file system: after the reboot nobody has to ask a
# server, which may be far or dead.
write_remote_record() {
    target_is_far || return 0
    leave_target
    if record_on_rootfs remote; then
        say "the dump is recorded on the root file system"
    else
        say "the dump could not be recorded on the root file system: nobody there will know of it"
    fi
}

# record_on_rootfs FOLDER: the summary, below /var/lib/kdumpd.
record_on_rootfs() {
    [ -n "$plan_root_device" ] && find_root_device "$((plan_disk_timeout < 10 ? plan_disk_timeout : 10))" &&
        mount_rw "$plan_root_fstype" "$plan_root_mount_options" rootfs || return
    records=$mounted$plan_root_directory/var/lib/kdumpd/$1
    bounded 60 mkdir -p "$records" &&
        bounded 120 write_summary "$records/$(date +%Y-%m-%d-%H:%M:%S).json" || return
    bounded 60 sync "$records"
}

find_root_device() {
    # The last look may have been a moment ago, for another device.
    seen_at=-1000
    wait_for_device "$plan_root_device" "$1"
}
