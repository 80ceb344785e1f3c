# A volume of limited size, that outlives the pod: memory of the node, mounted at $1, of $VOLUME_MIB.
set -eu
grep -q "^volume $1 " /proc/mounts || mount -t tmpfs -o mode=700,uid=65534,gid=65534 volume "$1"
mount -o "remount,size=${VOLUME_MIB}m" "$1"
