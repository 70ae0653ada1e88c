#!/bin/bash
# dracut's part of kdumpd: hands over to the agent once the devices are up. kdumpd alone asks for it (--add kdumpd).

# called by dracut
check() {
    # Never by itself: the initramfs of an ordinary boot must not hold it.
    return 255
}

# called by dracut
depends() {
    echo base udev-rules
    return 0
}

# called by dracut
install() {
    # By inst_hook, for the hooks are below /lib/dracut/hooks with dracut 059 and below /var/lib/dracut/hooks with 106.
    # shellcheck disable=SC2154 # moddir is dracut's
    inst_hook cmdline 95 "$moddir/kdumpd-no-root.sh"
    inst_hook initqueue/finished 05 "$moddir/kdumpd-target-is-there.sh"
    inst_hook pre-mount 00 "$moddir/kdumpd-agent.sh"
    inst_hook emergency 00 "$moddir/kdumpd-agent.sh"
}
