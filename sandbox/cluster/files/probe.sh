#!/bin/sh
# probe.sh   Tries what a cluster asks of the kernel, in namespaces of its own, and says on a line each what it refuses.
. "${0%/*}/cgroups.sh"
mount --make-rprivate / 2>/dev/null || { echo "mounting in a namespace of its own"; exit 0; }
folder=/sys/fs/cgroup
if [ ! -d "$folder" ] || ! mount_hierarchies "$folder" 2>/dev/null; then
    echo "control groups of version 1 (boot with systemd.unified_cgroup_hierarchy=0)"
fi
for one in cpu cpuacct cpuset memory devices freezer blkio pids; do
    [ -e "$folder/$one/cgroup.procs" ] || echo "the control group controller $one of version 1"
done
mount -t tmpfs probe /mnt 2>/dev/null && mkdir /mnt/lower /mnt/upper /mnt/work /mnt/all &&
    mount -t overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/all 2>/dev/null ||
    echo "overlay file systems"
[ -d /sys/module/bridge ] || modprobe -q bridge 2>/dev/null || echo "network bridges (module bridge)"
