# shellcheck shell=sh
# An NFS export as the target.
#
# Without a helper (`mount -i`): the kernel takes version and address as text, so no mount.nfs, rpcbind or statd is
# needed. Tried on Debian 13 with busybox 1.37 and util-linux 2.41, versions 3, 4.0 and 4.2, over IPv4 and IPv6. A
# server whose nfsd is not up yet refuses at once, one that is away keeps mount waiting: so each attempt has a bound,
# and all of them go on until the target has had its time.

attempt_seconds=30

reach_nfs() {
    node=$plan_target_device
    begin_step mount "mounting $node within $plan_disk_timeout s"
    mkdir -p "$run/target"
    look_at_clock
    give_up_at=$((now + plan_disk_timeout * 100))
    refusals=
    until eval "try_each_mount $plan_mount_tries"; do
        look_at_clock
        [ "$now" -lt "$give_up_at" ] ||
            fail "$node could not be mounted in $plan_disk_timeout s:${refusals:- no attempt}" || return
        sleep "$plan_poll_seconds"
    done
}

# try_each_mount SOURCE OPTIONS WORDS...: sets `mounted`, or `refusals` to what became of each. The first time each of
# them has at least a second, later ones end with the time.
try_each_mount() {
    refused=
    while [ $# -ge 3 ]; do
        look_at_clock
        left=$(((give_up_at - now) / 100))
        [ "$left" -gt 0 ] || [ -z "$refusals" ] || return
        [ "$left" -gt 0 ] || left=1
        [ "$left" -lt "$attempt_seconds" ] || left=$attempt_seconds
        if bounded "$left" mount -i -t nfs -o "rw,$2" "$1" "$run/target" 2>"$run/refusal"; then
            mounted=$run/target
            say "mounted $1 ($3) at /kdumpd/target"
            return 0
        fi
        # Ended from outside: it would have waited on.
        if [ "$status" -ge 124 ] && [ "$status" -le 143 ]; then
            refusal="no answer in $left s"
        else
            look_at_refusal
        fi
        refused="$refused $3: $refusal;"
        shift 3
    done
    refusals=${refused%;}
    return 1
}
