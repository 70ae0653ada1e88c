#!/bin/sh
# Makes this machine the server of the other: addresses, NFS, SSH, iSCSI and DNS. Run once, before it is frozen.
set -eu
hostnamectl hostname server
systemctl stop kdumpd.service 2>/dev/null || true
modprobe -a bridge 8021q nfsd

# Both cards are ports of one bridge: a single card, a bond of any mode without LACP, and VLAN 7 all find the server.
ip link add br0 type bridge stp_state 0 forward_delay 0
for card in /sys/class/net/e*; do ip link set "${card##*/}" up master br0; done
ip link set br0 up
ip addr add 192.0.2.1/24 dev br0
ip addr add 2001:db8::1/64 dev br0 nodad
ip link add link br0 name br0.7 type vlan id 7
ip link set br0.7 up
ip addr add 198.51.100.1/24 dev br0.7
ip addr add 2001:db8:7::1/64 dev br0.7 nodad
# Reached only through the server as gateway.
ip addr add 203.0.113.1/32 dev lo
ip addr add 2001:db8:f::1/128 dev lo

mkdir -p /srv/dumps /srv/squashed /srv/readonly /srv/iscsi /root/.ssh
chmod 755 /srv/squashed && chmod 700 /root/.ssh
cat >/etc/exports <<'EXPORTS'
/srv/dumps *(rw,no_root_squash,sync,no_subtree_check)
/srv/squashed *(rw,root_squash,sync,no_subtree_check)
/srv/readonly *(ro,no_root_squash,sync,no_subtree_check)
EXPORTS
# Short, or the first to open a file with NFS 4 would wait a minute and a half after the server's start.
mkdir -p /etc/nfs.conf.d
printf '[nfsd]\ngrace-time=10\nlease-time=10\nthreads=4\n' >/etc/nfs.conf.d/test.conf
useradd --create-home --shell /bin/sh crash
install -d -m 700 -o crash -g crash /home/crash/.ssh /home/crash/dumps
truncate -s 2G /srv/iscsi/disk
# What is offered first otherwise is emulated at a quarter of a megabyte a second.
printf 'PermitRootLogin prohibit-password\nUseDNS no\nCiphers aes128-ctr\nMACs umac-64-etm@openssh.com\n' \
  >/etc/ssh/sshd_config.d/test.conf
systemctl start rpcbind.socket rpcbind.service nfs-server.service ssh.service tgt.service
systemd-run --quiet --unit=names dnsmasq --keep-in-foreground --no-resolv --no-hosts --no-poll \
  --address=/named.kdumpd.test/192.0.2.1 --address=/named.kdumpd.test/2001:db8::1 --address=/named6.kdumpd.test/2001:db8::1

target() { tgtadm --lld iscsi "$@"; }
target --op new --mode target --tid 1 -T iqn.2026-01.test.kdumpd:open
target --op new --mode logicalunit --tid 1 --lun 1 -b /srv/iscsi/disk
target --op bind --mode target --tid 1 -I ALL
# The same disk for those who can say who they are.
target --op new --mode target --tid 2 -T iqn.2026-01.test.kdumpd:chap
target --op new --mode logicalunit --tid 2 --lun 1 -b /srv/iscsi/disk
target --op new --mode account --user crashbox --password correct-horse-battery
target --op bind --mode account --tid 2 --user crashbox
target --op bind --mode target --tid 2 -I ALL
