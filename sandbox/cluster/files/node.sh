#!/bin/sh
# node.sh NAME   One node: mounts, control groups and host name of its own; containerd, then the kubelet once the API
# server answers. Its files lie in $STATE/nodes/NAME; its /run is /run/nodes/NAME of the capsule.
set -eu
umask 022
. "${0%/*}/cgroups.sh"
node=$1
files=$STATE/nodes/$node
if [ "${2:-}" != inside ]; then
    mkdir -p "/run/nodes/$node"
    enter_group /sys/fs/cgroup "$GROUP/$node"
    exec unshare --mount --cgroup --uts "$0" "$node" inside
fi

hostname "$node"
mount --make-rshared /
umount -R /sys/fs/cgroup
mount_hierarchies /sys/fs/cgroup
mount --bind "/run/nodes/$node" /run
mount -t tmpfs -o mode=755 log /var/log
# What the kubelet and the network plugins make under /var/lib stays here.
mkdir /run/lib /run/lib/upper /run/lib/work /run/state
mount --bind "$STATE" /run/state
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/lib/upper,workdir=/run/lib/work lib /var/lib
case $STATE in /var/lib/*) mount --bind /run/state "$STATE" ;; esac
mkdir -p "$files/kubelet" /var/lib/kubelet
mount --bind "$files/kubelet" /var/lib/kubelet # a short path: the kubelet makes sockets there
# The kernel log is the whole machine's: every kubelet would report what another node, or the host, ran out of.
mount --bind /dev/null /dev/kmsg

if [ -d "$files/nvidia" ]; then
    cp -r "$files/nvidia" /run/nvidia
    chmod 1777 /run/nvidia/clients
fi

keep() {
    log=$1
    shift
    while :; do
        "$@" >>"$files/$log" 2>&1 || :
        sleep 1
    done
}

keep containerd.log containerd --config "$files/containerd.toml" &
until ctr --address /run/containerd/containerd.sock version >/dev/null 2>&1; do sleep 0.05; done
for image in "$STATE"/images/*.tar; do
    ctr --address /run/containerd/containerd.sock --namespace k8s.io images import "$image" >>"$files/images.log" 2>&1
done
until [ -e "$STATE/api-ready" ]; do sleep 0.05; done
# shellcheck disable=SC2046 # one option a line
keep kubelet.log kubelet $(cat "$files/kubelet.options")
