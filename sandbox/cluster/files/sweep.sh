#!/bin/sh
# sweep.sh NAME   Ends what lives in the control groups NAME and removes them, in every hierarchy of the machine.
# Runs in a mount namespace of its own. Says `swept` where there was something.
. "${0%/*}/cgroups.sh"
mount --make-rprivate /
mount_hierarchies /sys/fs/cgroup
left() { find /sys/fs/cgroup -mindepth 2 -maxdepth 2 -type d -name "$1" | grep -q .; }
left "$1" || exit 0
tries=0
while left "$1" && [ $tries -lt 200 ]; do
    for folder in /sys/fs/cgroup/*/"$1"; do
        [ -d "$folder" ] || continue
        for pid in $(find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u); do
            kill -KILL "$pid" 2>/dev/null
        done
        find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
    done
    left "$1" || break
    tries=$((tries + 1))
    sleep 0.05
done
left "$1" && exit 1
echo swept
