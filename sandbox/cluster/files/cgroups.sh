# Read by the other scripts: control groups, version 1, in a mount namespace of one's own.

# Mounts every hierarchy of the machine under $1, grouped as the machine groups them, and those that it does not use yet.
mount_hierarchies() {
    mount -t tmpfs -o mode=755 cgroups "$1"
    cut -d: -f2 /proc/self/cgroup | while read -r names; do
        case $names in
        "") continue ;;
        name=*) folder=${names#name=} options=none,$names ;;
        *) folder=$names options=$names ;;
        esac
        mkdir "$1/$folder"
        mount -t cgroup -o "$options" cgroup "$1/$folder"
        case $names in
        *,*) for one in $(echo "$names" | tr , ' '); do ln -s "$folder" "$1/$one"; done ;;
        esac
    done
    for one in cpu cpuacct cpuset memory devices freezer blkio pids; do
        [ -e "$1/$one" ] && continue
        mkdir "$1/$one"
        mount -t cgroup -o "$one" cgroup "$1/$one"
    done
}

# Makes the group $2 in every hierarchy under $1 and moves this process there.
enter_group() {
    for hierarchy in "$1"/*; do
        [ -L "$hierarchy" ] && continue
        mkdir -p "$hierarchy/$2"
        if [ -e "$hierarchy/cpuset.cpus" ]; then
            cat "$hierarchy/$2/../cpuset.cpus" >"$hierarchy/$2/cpuset.cpus"
            cat "$hierarchy/$2/../cpuset.mems" >"$hierarchy/$2/cpuset.mems"
        fi
        echo $$ >"$hierarchy/$2/cgroup.procs"
    done
}
