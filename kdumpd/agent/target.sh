# shellcheck shell=sh
# Where a dump goes: the mounted file system, its free space, the directory of this dump.
#
# No fsck runs before the mount: the journal of ext3, ext4, xfs and btrfs is replayed by the mount itself, a check
# of a large disk needs more memory and time than there is here, and one that repairs may throw away what the
# administrator would have wanted to see.

mounted=
dump_directory=
dump_path=
reserve=
free_mib=

fail() {
    # The first reason is the cause; what follows from it is only said.
    if [ -z "$reason" ]; then
        failing_step=$step
        reason=$*
    fi
    say "failed at $step: $*"
    return 1
}

# Sets `refusal` to the reason in the first line that mount or mkdir said, which is in $run/refusal.
look_at_refusal() {
    refusal=
    read -r refusal <"$run/refusal"
    case $refusal in
    *"failed: "*) refusal=${refusal##*"failed: "} ;;
    *) refusal=${refusal##*": "} ;;
    esac
    refusal=${refusal:-no reason given}
}

# Sets `node`.
await_target_device() {
    begin_step device "waiting for $plan_target_device for $plan_disk_timeout s at most"
    wait_for_device "$plan_target_device" "$plan_disk_timeout" ||
        fail "$plan_target_device did not come in $plan_disk_timeout s${modules_missing:+; not loaded:$modules_missing}"
}

# mount_rw FSTYPE OPTIONS DIRECTORY: mounts `node`; sets `mounted`.
mount_rw() {
    [ -d "$run/$3" ] || mkdir -p "$run/$3"
    # The device is there; two minutes more are for the journal.
    if bounded "$((plan_disk_timeout + 120))" mount -t "$1" -o "rw${2:+,$2}" "$root$node" "$run/$3"; then
        mounted=$run/$3
        say "mounted $node ($1) at /kdumpd/$3"
    else
        fail "$node could not be mounted as $1 with options rw${2:+,$2}"
    fi
}

# Whether another machine keeps what is saved now.
target_is_far() {
    case $plan_target_kind:$fallback in nfs: | ssh: | virtiofs:) ;; *) return 1 ;; esac
}

# Sets `free_mib`; empty where nobody knows. Of a disk's file system root may also use the blocks that are kept for it;
# what a server keeps for its own root is not ours.
look_at_free_space() {
    free_mib=
    if target_is_far; then free_format='%a %S'; else free_format='%f %S'; fi
    bounded 60 stat -f -c "$free_format" "$1" >"$run/free" && read -r free_blocks block_bytes <"$run/free" || return 0
    case $free_blocks$block_bytes in
    '' | *[!0-9]*) ;;
    *) free_mib=$((free_blocks * block_bytes / 1048576)) ;;
    esac
}

# Where nobody knows how much is free the collector is tried.
require_space() {
    say "${free_mib:-an unknown number of} MiB are free"
    [ "${free_mib:-$plan_least_free_mib}" -ge "$plan_least_free_mib" ] ||
        fail "no space: $free_mib MiB are free on the target, $plan_least_free_mib are the least"
}

# make_dump_directory BELOW: sets `dump_directory` to a new directory named after this moment.
make_dump_directory() {
    moment=$(date +%Y-%m-%d-%H:%M:%S)
    dump_directory=${1%/}/$plan_directory_prefix-$moment
    # What it lies in is there but for the first time.
    attempt=1
    if bounded 60 mkdir "$dump_directory" 2>"$run/refusal"; then
        attempt=0
    elif ! bounded 60 mkdir -p "$1" 2>"$run/refusal"; then
        dump_directory=
        look_at_refusal
        explain_refusal
        fail "$1 could not be made: $refusal"
        return
    fi
    # A clock that stands still must not let a second dump overwrite the first.
    until [ "$attempt" -eq 0 ] || bounded 60 mkdir "$dump_directory" 2>"$run/refusal"; do
        attempt=$((attempt + 1))
        # Ended from outside: this file system does not answer any more.
        [ "$status" -lt 124 ] || attempt=100
        if [ "$attempt" -gt 99 ]; then
            dump_directory=
            look_at_refusal
            explain_refusal
            fail "no new directory could be made in $1: $refusal"
            return
        fi
        dump_directory=${1%/}/$plan_directory_prefix-$moment.$attempt
    done
    # Inside the file system, not where this kernel has it mounted.
    dump_path=${dump_directory#"$mounted"}
    say "saving to $dump_path on $node"
}

# root writes everywhere but where a server takes it for nobody.
explain_refusal() {
    case $plan_target_kind:$refusal in
    nfs:"Permission denied" | nfs:"Operation not permitted")
        refusal="$refusal (the export has root_squash, or its directory is closed to this machine)"
        ;;
    esac
}

# A collector that fills the disk must leave room for the record that says so.
reserve_room_for_record() {
    reserve=$dump_directory/.room-for-the-record
    # Synced: the blocks are taken only then.
    bounded 60 dd if=/dev/zero of="$reserve" bs=262144 count=1 conv=fsync 2>/dev/null
}

release_room_for_record() {
    [ -z "$reserve" ] || rm -f "$reserve"
    reserve=
}

leave_target() {
    [ -z "$mounted" ] || bounded 60 umount "$mounted" || say "$mounted could not be unmounted"
    mounted=
}
