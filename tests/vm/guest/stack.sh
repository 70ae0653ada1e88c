#!/bin/sh
# Makes the stacks that dumps are saved on, each on disks that later machines are given copies of. Run once.
set -eu
disk() { echo "/dev/disk/by-id/virtio-$1"; }
modprobe -a dm_thin_pool raid1 dm_crypt btrfs

vgcreate -qq linear "$(disk linear)"
lvcreate -qq -y -n dumps -L 1G linear
mke2fs -q -t ext4 /dev/linear/dumps

# A key that costs next to nothing to derive: the machine is emulated.
vgcreate -qq thin "$(disk thin)"
lvcreate -qq -y --type thin --thinpool pool -L 1G -V 3G -n sealed thin
printf 'correct horse' | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
  --key-file - /dev/thin/sealed
printf 'correct horse' | cryptsetup open --key-file - /dev/thin/sealed sealed
mke2fs -q -t ext4 -E nodiscard -L sealed /dev/mapper/sealed
cryptsetup close sealed

mdadm --quiet --create /dev/md/mirror --homehost=any --level=1 --raid-devices=2 --assume-clean --metadata=1.2 \
  "$(disk mirror-a)" "$(disk mirror-b)" </dev/null
mke2fs -q -t ext4 -L mirror /dev/md/mirror

mkfs.btrfs -q -L subvolumes "$(disk subvolumes)"
mkdir -p /mnt/subvolumes
mount "$(disk subvolumes)" /mnt/subvolumes
btrfs -q subvolume create /mnt/subvolumes/@dumps
btrfs -q subvolume create /mnt/subvolumes/@other
umount /mnt/subvolumes

vgchange -qq -an
mdadm --quiet --stop /dev/md/mirror
sync
