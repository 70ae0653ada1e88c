#!/bin/sh
# A kdump_post: every core collector on this crash, one after the other, beside the dump that was saved.
# Says on the console what each gave: name, status, bytes, blocks of 512 bytes.
beside=/kdumpd/target/var/crash/tried

try() {
    name=$1
    shift
    # makedumpfile overwrites nothing.
    rm -f "$beside"
    "$@" /proc/vmcore "$beside" >/kdumpd/tried.log 2>&1
    status=$?
    bytes=$(stat -c %s "$beside")
    printf 'tried %s: status %s bytes %s blocks %s\n' "$name" "$status" "$bytes" "$(stat -c %b "$beside")"
    [ "$status" -eq 0 ] || tail -n 3 /kdumpd/tried.log
}

try raw makedumpfile -d 31
try zlib makedumpfile -c -d 31
try zstd makedumpfile -z -d 31
try elf makedumpfile -E -d 31
try all makedumpfile -l -d 0
try sparse /usr/bin/cp --sparse=always
try eleven makedumpfile -l -d 11
eleven=$bytes
try lzo makedumpfile -l -d 31
rm -f "$beside"

# Now so full that a dump of level 31 finds room and one of level 11 does not; root may use what is reserved.
# shellcheck disable=SC2046
set -- $(stat -f -c '%f %S' "${beside%/*}")
fallocate -l $(($1 * $2 - (eleven + bytes) / 2)) "$beside.filler"
try eleven-too-large makedumpfile -l -d 11
try list makedumpfile -l -d 11,31
rm -f "$beside.filler"
# makedumpfile reads the whole of it and writes it again.
makedumpfile -l -d 31 "$beside" "$beside.again" >/kdumpd/tried.log 2>&1
echo "tried read-back: status $? bytes $(stat -c %s "$beside.again")"
makedumpfile --dump-dmesg "$beside" "$beside.dmesg" >/kdumpd/tried.log 2>&1
echo "tried log: status $? panics $(grep -c 'Kernel panic - not syncing' "$beside.dmesg")"
