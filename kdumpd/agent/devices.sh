# shellcheck shell=sh
# Kernel modules and block devices: what is loaded, what appears, and under which node.
#
# No udev runs here, so there is no /dev/disk/by-uuid. What Debian 12 (busybox 1.35) and 13 (1.37) offer, seen by
# running them: `blkid NODE...` prints LABEL=, UUID= and TYPE=, never PARTUUID= or PARTLABEL=; `findfs` takes LABEL=
# and UUID= and prints only the first match, which for a mirrored disk may be a half of the mirror. So blkid is
# asked, and a node that something else holds is passed over. util-linux's blkid prints PARTUUID= and PARTLABEL=
# too; without it the kernel's uevent has PARTNAME= always, PARTUUID= only in newer kernels.

# util-linux's blkid would keep a cache on a disk; busybox has none and ignores the variable.
export BLKID_FILE=/dev/null

modules_missing=
node=
seen_names=
seen_at=-1000
# A blkid that has read all devices in time is the quickest; these are the devices that one did not hear from.
blkid_seconds=5
silent_names=

# A driver that looks for its hardware may never come back: it is left behind in the end.
load_modules() {
    bounded "$((plan_disk_timeout + 120))" insert_modules "$@" || say "loading the modules was given up"
    modules_missing=
    [ -s "$run/modules-missing" ] && read -r modules_missing <"$run/modules-missing" && modules_missing=" $modules_missing"
    return 0
}

# In a process of its own: what it finds missing goes through a file.
#
# The image lies in memory, so the file of a module that is loaded only takes the collector's. Who gets a shell may
# want to load one again.
insert_modules() {
    loaded=
    # Splitting and quoting of options is the kernel's own: words joined by blanks.
    set -f
    while [ $# -ge 2 ]; do
        # shellcheck disable=SC2086
        if insert_module "$1" $2; then
            case $1 in /*) loaded="$loaded $root$1" ;; esac
        else
            say "$1 $2 could not be loaded"
            modules_missing="$modules_missing ${1##*/}"
            printf '%s\n' "${modules_missing# }" >"$run/modules-missing"
        fi
        shift 2
    done
    # shellcheck disable=SC2086
    [ -z "$loaded" ] || [ "$plan_failure_action" = shell ] || rm -f $loaded
    set +f
}

# insert_module FILE|NAME OPTION...: by name where dracut made the image, with the kmod that it brought along.
insert_module() {
    case $1 in
    /*)
        module=$root$1
        shift
        insmod "$module" "$@"
        ;;
    *) "$root/sbin/modprobe" "$@" ;;
    esac
}

# The layers above the disks; harmless to repeat, so each look at the devices may repeat it.
bring_up_layers() {
    eval "run_each $plan_bring_up"
}

run_each() {
    for layer in "$@"; do
        # No longer than its device is awaited: a program that waits for a dead disk does not come back.
        bounded "$((plan_disk_timeout + 1))" eval "$layer" || say "not yet: $layer"
    done
}

# wait_for_device SPEC SECONDS: sets `node`; fails when the device has not come in time.
wait_for_device() {
    look_at_clock
    give_up_at=$((now + $2 * 100))
    until find_device "$1"; do
        look_at_clock
        [ "$now" -lt "$give_up_at" ] || return 1
        sleep "$plan_poll_seconds"
    done
}

# Looking costs a read of /proc/partitions; the devices themselves are read when that list has changed, and every
# two seconds because a device may become readable without a change of the list.
find_device() {
    case $1 in
    /dev/*)
        node=$1
        [ -e "$root$node" ] && return 0
        devices_are_worth_a_look && bring_up_layers && [ -e "$root$node" ]
        ;;
    UUID=* | LABEL=* | PARTUUID=* | PARTLABEL=*)
        devices_are_worth_a_look || return 1
        bring_up_layers
        read_device_names
        find_by_content "$1" || find_by_uevent "$1"
        ;;
    *)
        say "cannot look for a device named $1"
        return 1
        ;;
    esac
}

read_device_names() {
    names=
    while read -r _ _ _ name; do
        # The kernel spells the directory of /dev/cciss/c0d0 with an exclamation mark.
        case $name in
        '' | name) ;;
        *!*) names="$names ${name%%!*}/${name#*!}" ;;
        *) names="$names $name" ;;
        esac
    done <"$root/proc/partitions"
}

devices_are_worth_a_look() {
    read_device_names
    look_at_clock
    [ "$names" != "$seen_names" ] || [ $((now - seen_at)) -ge 200 ] || return 1
    seen_names=$names
    seen_at=$now
}

find_by_content() {
    command -v blkid >/dev/null || return 1
    wanted=" ${1%%=*}=\"${1#*=}\""
    # shellcheck disable=SC2086
    find_among $silent_names && return 0
    set --
    asked=
    for name in $names; do
        [ -e "$root/dev/$name" ] || continue
        case "$silent_names " in *" $name "*) continue ;; esac
        set -- "$@" "$root/dev/$name"
        asked="$asked $name"
    done
    [ $# -gt 0 ] || return 1
    bounded "$blkid_seconds" blkid "$@" >"$run/blkid" 2>/dev/null
    if [ "$status" -lt 124 ]; then
        find_in_answer "$run/blkid"
    else
        ask_each_device
    fi
}

# One blkid reads all devices and tells what it found when it ends: a disk that does not answer silences them all. So
# each has a blkid of its own then. Those are not waited for; a disk that is late is read when it has answered, and
# never asked again.
ask_each_device() {
    say "a device does not answer: each of$asked is asked on its own"
    for name in $asked; do
        answer_of "$name"
        rm -f "$answer.whole"
        (
            blkid "$root/dev/$name" >"$answer" 2>/dev/null
            : >"$answer.whole"
        ) &
    done
    # What is well answers at once.
    nap 1
    heard=
    for name in $asked; do
        answer_of "$name"
        if [ -e "$answer.whole" ]; then heard="$heard $name"; else silent_names="$silent_names $name"; fi
    done
    # shellcheck disable=SC2086
    find_among $heard
}

# find_among NAME...: in what each has answered on its own by now.
find_among() {
    for name; do
        answer_of "$name"
        [ ! -e "$answer.whole" ] || ! find_in_answer "$answer" || return 0
    done
    return 1
}

# answer_of NAME: sets `answer`.
answer_of() {
    case $1 in
    */*) answer=$run/blkid-${1%%/*}!${1#*/} ;;
    *) answer=$run/blkid-$1 ;;
    esac
}

# Sets `node`.
find_in_answer() {
    while read -r found; do
        case "$found " in
        *"$wanted "*)
            node=${found%%: *}
            node=${node#"$root"}
            is_held "${node#/dev/}" || return 0
            ;;
        esac
    done <"$1"
    return 1
}

# A half of a mirror carries the content of the whole; the kernel names the whole as its holder.
is_held() {
    for holder in "$root/sys/class/block/$1/holders"/*; do
        [ -e "$holder" ] && return 0
    done
    return 1
}

find_by_uevent() {
    case $1 in
    PARTUUID=*) wanted=$1 ;;
    PARTLABEL=*) wanted=PARTNAME=${1#*=} ;;
    *) return 1 ;;
    esac
    for uevent in "$root/sys/class/block"/*/uevent; do
        [ -r "$uevent" ] || continue
        device_name=
        matches=0
        while read -r line; do
            case $line in
            DEVNAME=*) device_name=${line#*=} ;;
            "$wanted") matches=1 ;;
            esac
        done <"$uevent"
        if [ "$matches" -eq 1 ]; then
            node=/dev/$device_name
            return 0
        fi
    done
    return 1
}
