#!/bin/sh
# keeper.sh NAME COMMAND...   The outermost process of a cluster, on the host: runs COMMAND as the first process of
# namespaces of its own. Ending any of keeper, unshare and COMMAND ends all; what is left of control groups is removed.
name=$1
shift
setpriv --pdeathsig KILL unshare --net --mount --pid --uts --ipc --fork --kill-child=KILL -- "$@"
exec unshare --mount "${0%/*}/sweep.sh" "$name"
