#!/bin/sh
# capsule.sh NAME ADDRESSES COMMAND...   First process of a cluster's namespaces: file systems and network of its own,
# then COMMAND, which starts everything else. When COMMAND ends, this ends, and the kernel ends all that is left.
set -eu
. "${0%/*}/cgroups.sh"
name=$1
addresses=$2
shift 2

mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 run /run
mount_hierarchies /sys/fs/cgroup
enter_group /sys/fs/cgroup "$name"

# The kubelet sets these for the whole machine; here it reads what it wants to see, and the machine keeps its own.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    wanted=/run/settings/${setting%=*}
    mkdir -p "${wanted%/*}"
    echo "${setting#*=}" >"$wanted"
    mount --bind "$wanted" "/proc/sys/${setting%=*}"
done

# One bridge carries the addresses of the nodes; nothing leads out of it.
busybox ip link set lo up
busybox ip link add nodes type bridge
busybox ip link set nodes up
for address in $addresses; do busybox ip addr add "$address/24" dev nodes; done
busybox ip route add default via 10.200.0.254
echo 1 >/proc/sys/net/ipv4/ip_forward

"$@" &
wait $!
