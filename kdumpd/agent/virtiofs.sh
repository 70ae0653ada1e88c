# shellcheck shell=sh
# A directory that the hypervisor shares as the target.

reach_virtiofs() {
    # No path in /dev: mount takes the tag as it is.
    node=$plan_target_device
    begin_step mount "mounting the shared directory $node"
    mkdir -p "$run/target"
    # Nothing has to come first, so that disk_timeout may be 0; a dead virtiofsd must not be waited for without a bound.
    if bounded "$((plan_disk_timeout + 30))" mount -t virtiofs -o "rw${plan_target_mount_options:+,$plan_target_mount_options}" \
        "$node" "$run/target" 2>"$run/refusal"; then
        mounted=$run/target
        say "mounted $node (virtiofs) at /kdumpd/target"
    else
        look_at_refusal
        fail "the shared directory $node could not be mounted: $refusal${modules_missing:+; not loaded:$modules_missing}"
    fi
}
