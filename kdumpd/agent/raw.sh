# shellcheck shell=sh
# A block device that takes the collector's flattened stream.
#
# The first block of the device says what is on it. While the dump is written that is a record of a capture that
# failed; the stream's own first block takes its place when all the rest is on the disk. Behind the stream, from the
# next block on, stand the summary and this kernel's own log, which the next system recovers together with the dump.

raw_node=
raw_block=4096

reach_raw() {
    await_target_device || return
    look_before_writing "${node#/dev/}" || return
    raw_node=$node
    say "the dump goes to $raw_node"
}

# Names of disks may have changed places since the plan was made, and what is written over is gone.
look_before_writing() {
    for part in "$root/sys/class/block/$1/$1"*/partition "$root/sys/class/block/$1/holders"/*; do
        [ ! -e "$part" ] || fail "$node is in use, or divided: it is another device than was planned" || return
    done
    if [ "$plan_raw_bytes" -gt 0 ] && [ -r "$root/sys/class/block/$1/size" ]; then
        read -r sectors <"$root/sys/class/block/$1/size"
        [ $((sectors * 512)) -eq "$plan_raw_bytes" ] ||
            fail "$node has $((sectors * 512)) bytes, not $plan_raw_bytes: it is another device than was planned" || return
    fi
    command -v blkid >/dev/null || return 0
    bounded 30 blkid "$root$node" >"$run/blkid" 2>/dev/null
    while read -r found; do
        case $found in
        *" TYPE=\"$plan_raw_contents\""*) ;;
        *" TYPE=\""*) fail "$node holds $found: it is another device than was planned" || return ;;
        esac
    done <"$run/blkid"
}

save_raw() {
    begin_step dmesg "reading the crashed kernel's log"
    hold_kernel_log
    begin_step collect "saving the crashed kernel's memory"
    write_first_raw_record || fail "$raw_node cannot be written to" || return
    consumer_name="dd to $raw_node"
    if ! stream_collector take_stream; then
        count_raw_blocks
        reason="$reason${dd_fault:+: $dd_fault}"
        [ "$plan_failure_action" != dump_to_rootfs ] || forget_raw_record
        return 1
    fi
    count_raw_blocks
    begin_step publish "making the $vmcore_bytes bytes on $raw_node a dump"
    ends_whole || fail "the stream on $raw_node does not end with its end mark" || return
    result=saved
    write_raw_record "$blocks" || say "there is no room for the whole record behind the dump"
    if ! write_raw_block "$run/head" 0; then
        result=failed
        fail "the dump's first block could not be written"
        return
    fi
    say "saved $vmcore_bytes bytes on $raw_node"
}

# The consumer of the stream: keeps its first block back, and fills its last one with zeros.
take_stream() {
    dd bs="$raw_block" count=1 iflag=fullblock of="$run/head" 2>/dev/null || exit
    exec dd bs="$raw_block" iflag=fullblock seek=1 of="$root$raw_node" conv=notrunc,sync,fsync 2>"$run/dd"
}

# Sets `blocks` to how many dd wrote, the first one included, `vmcore_bytes` to what they hold, and `dd_fault` to what
# went wrong. Not every busybox tells the bytes.
count_raw_blocks() {
    dd_fault=
    blocks=1
    [ -r "$run/dd" ] || return 0
    while read -r count unit rest; do
        case $count in
        *+*) [ "$rest" = in ] || blocks=$((${count%+*} + ${count#*+} + 1)) ;;
        *[!0-9]*) dd_fault="$count $unit $rest" ;;
        esac
    done <"$run/dd"
    vmcore_bytes=$((blocks * raw_block))
}

# Whether the end mark is all that stands before the zeros of the last block; `vmcore_bytes` is exact afterwards.
ends_whole() {
    [ "$blocks" -ge 2 ] || return 1
    bounded 60 dd if="$root$raw_node" of="$run/end" bs="$raw_block" skip=$((blocks - 2)) count=2 2>/dev/null || return
    end=$(tr '\000\377\001-\376' 'ZEx' <"$run/end")
    padding=${end##*[!Z]}
    vmcore_bytes=$((vmcore_bytes - ${#padding}))
    case ${end%"$padding"} in *EEEEEEEEEEEEEEEE) ;; *) return 1 ;; esac
}

# write_raw_block FILE NUMBER
write_raw_block() {
    bounded "$plan_stall_seconds" dd if="$1" of="$root$raw_node" bs="$raw_block" seek="$2" \
        conv=notrunc,sync,fsync 2>"$run/dd-block" || {
        cat "$run/dd-block"
        return 1
    }
}

# write_raw_record NUMBER: the summary at that block, its length before it.
write_raw_record() {
    write_summary "$run/record.json" || return
    measure "$run/record.json"
    # In the first block there is room for so much: the stream begins behind it.
    [ "$1" -gt 0 ] || [ "$bytes" -le $((raw_block - 64)) ] || bytes=0
    printf 'kdumpd-record 1 %s\n' "$bytes" >"$run/record"
    [ "$bytes" -eq 0 ] || cat "$run/record.json" >>"$run/record"
    [ "$1" -eq 0 ] || add_raw_log
    write_raw_block "$run/record" "$1"
}

# The end of the log, which tells what the capture did.
add_raw_log() {
    own_log | tail -c 131072 >"$run/own-log"
    measure "$run/own-log"
    printf 'kdumpd-log %s\n' "$bytes" >>"$run/record"
    cat "$run/own-log" >>"$run/record"
}

# The root file system has the word from here on.
forget_raw_record() {
    head -c "$raw_block" /dev/zero >"$run/zeros" && write_raw_block "$run/zeros" 0
    raw_node=
}

write_first_raw_record() {
    failing_step=collect
    reason="the capture kernel ended while it was saving"
    write_raw_record 0
    set -- $?
    failing_step=
    reason=
    return "$1"
}
