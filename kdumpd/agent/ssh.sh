# shellcheck shell=sh
# A host that takes the dump over ssh.
#
# What the server is asked are short commands of cat, mkdir, mv, df, sync and wc, without syntax that only one shell
# has: its user's may be any, and may know little. plan_remote_* are quoted for it; a date needs no quotes.

ssh_config=$root/kdump/ssh_config
ssh_host=
remote_directory=
# Where files lie that are to be sent, once there is a directory on the server.
outgoing=

reach_ssh() {
    begin_step target "reaching $plan_target_device for $plan_disk_timeout s at most"
    look_at_clock
    give_up_at=$((now + plan_disk_timeout * 100))
    until find_ssh_host; do
        look_at_clock
        if [ "$server_refused" -eq 1 ] || [ "$now" -ge "$give_up_at" ]; then
            fail "$plan_target_device cannot be used: ${ssh_words:-it does not answer}"
            return
        fi
        nap "$plan_ssh_retry_seconds"
    done
    say "reached $plan_target_device as $ssh_host"
}

# Tries each address once. A server that answers and refuses will refuse again.
find_ssh_host() {
    server_refused=0
    eval "set -- $plan_ssh_hosts"
    for ssh_host; do
        over_ssh 60 "mkdir -p -- $plan_remote_parent" && return
        # 255 is ssh's own; above 123 it was ended.
        [ "$status" -ge 124 ] || server_refused=1
    done
    return 1
}

# over_ssh SECONDS COMMAND: runs it on the server; what it prints is in ssh.out. Sets `status` and `ssh_words`.
over_ssh() {
    bounded "$1" ssh -F "$ssh_config" -T "$ssh_host" "$2" >"$run/ssh.out" 2>"$run/ssh.err"
    status=$?
    hear_ssh
    return "$status"
}

# Sets `ssh_words` to the last line that ssh or the server complained with.
hear_ssh() {
    ssh_words=
    while read -r line || [ -n "$line" ]; do
        [ -z "$line" ] || ssh_words=$line
    done <"$run/ssh.err"
    [ -z "$ssh_words" ] || say "ssh: $ssh_words"
}

# into_file NAME: standard input becomes a file of the dump directory on the server.
into_file() {
    exec ssh -F "$ssh_config" -T "$ssh_host" "cat > $remote_directory/$1"
}

# send_file FILE NAME: whole or not at all.
send_file() {
    bounded 120 send_beside "$1" "$2" 2>"$run/ssh.err"
    status=$?
    hear_ssh
    return "$status"
}

send_beside() {
    file=$remote_directory/$2
    exec ssh -F "$ssh_config" -T "$ssh_host" "cat > $file.new && mv -- $file.new $file" <"$1"
}

# deliver NAME...: sends files of the dump directory, where that is not yet the place they are for.
deliver() {
    [ -n "$outgoing" ] && [ "$dump_directory" = "$outgoing" ] || return 0
    for name; do
        send_file "$outgoing/$name" "$name" || { say "$name could not be sent"; return 1; }
    done
}

make_remote_directory() {
    moment=$(date +%Y-%m-%d-%H:%M:%S)
    attempt=1
    numbered=$moment
    until over_ssh 60 "mkdir -- $plan_remote_beginning$numbered"; do
        attempt=$((attempt + 1))
        if [ "$status" -ge 124 ] || [ "$attempt" -gt 9 ]; then
            fail "no new directory could be made on $plan_target_device: $ssh_words"
            return
        fi
        numbered=$moment.$attempt
    done
    remote_directory=$plan_remote_beginning$numbered
    dump_path=${plan_target_directory%/}/$plan_directory_prefix-$numbered
    outgoing=$run/outgoing
    mkdir -p "$outgoing"
    dump_directory=$outgoing
    say "saving to $dump_path on $plan_target_device"
}

# Sets `free_mib`; empty where the server does not say. The fourth column, counted from the one with a percent sign: a
# device's name may hold blanks (df, POSIX).
look_at_remote_space() {
    free_mib=
    over_ssh 60 "df -P -k -- $plan_remote_parent" || return 0
    while read -r line; do
        before=
        set -f
        for word in $line; do
            case $word in
            [0-9]*%)
                [ -z "${before##*[!0-9]*}" ] || free_mib=$((before / 1024))
                break
                ;;
            esac
            before=$word
        done
        set +f
    done <"$run/ssh.out"
}

save_ssh() {
    begin_step directory "making the dump directory"
    make_remote_directory || return
    begin_step dmesg "saving the crashed kernel's log"
    hold_kernel_log
    [ -z "$kernel_log" ] || send_file "$kernel_log" vmcore-dmesg.txt || say "the kernel log could not be sent"
    begin_step collect "saving the crashed kernel's memory"
    look_at_remote_space
    require_space || return
    write_first_record
    if eval "is_scp $plan_core_collector"; then copy_by_scp; else stream_by_ssh; fi || return
    begin_step publish "asking the server to write it to its disk"
    publish_remote || return
    result=saved
    say "saved $dump_path/$remote_name on $plan_target_device"
}

is_scp() {
    [ "${1##*/}" = scp ]
}

stream_by_ssh() {
    remote_part='vmcore-incomplete.flat'
    remote_name=vmcore.flat
    stream_collector into_file "$remote_part"
}

# The collector is given no name that a shell would read otherwise: the plan sees to that.
copy_by_scp() {
    remote_part='vmcore-incomplete'
    remote_name=vmcore
    threads=0
    vmcore=$ssh_host:$dump_path/$remote_part
    eval "run_collector $plan_core_collector -q -F \"\$ssh_config\""
    collector_status=$status
    if was_ended; then
        return 1
    elif [ "$collector_status" -ne 0 ]; then
        fail "the core collector ended with $collector_status"
    fi
}

# On the server's disk before the rename: the name means that all of it is there. What comes after the rename changes
# nothing of that, and is no failure: a sync of the whole server may wait for other disks than ours.
publish_remote() {
    part=$remote_directory/$remote_part
    over_ssh "$plan_stall_seconds" "sync $part || sync" || say "the server did not say that it wrote the dump to its disk"
    vmcore_bytes=0
    over_ssh "$plan_stall_seconds" "wc -c < $part && mv -- $part $remote_directory/$remote_name" ||
        fail "the finished dump could not be renamed: $ssh_words" || return
    read -r vmcore_bytes <"$run/ssh.out"
    case $vmcore_bytes in
    '' | *[!0-9]*) vmcore_bytes=0 ;;
    0) fail "the core collector said it was done but the server has nothing" || return ;;
    esac
    over_ssh "$plan_stall_seconds" "sync $remote_directory || sync" ||
        say "the server did not say that it wrote the dump's name to its disk"
}
