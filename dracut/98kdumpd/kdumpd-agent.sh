#!/bin/sh
# Sourced by dracut's init, which is PID 1, once the devices are up or once they are given up: from here on the agent
# is PID 1. It never comes back, so that dracut neither mounts a root file system nor opens a shell.
# shellcheck disable=SC2093 # the second is for an image without busybox
[ ! -x /kdump/bin/sh ] || exec /kdump/bin/sh /kdump/init
exec /bin/sh /kdump/init
