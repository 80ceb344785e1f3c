# A run by hand whose record goes to a disk that gets full, in a mount namespace of its own: full_disk.sh RUNBOOK HOME.
# Prints, a line each: what the run said, the notebook as it was kept, the incident; and once a worker has been there
# and the disk has room again: the notebook, and what `verify` says.
runbook=$1
day=$2/$(date -u +%F)
notebook() { tr -d '\n' <"$(echo "$day"/INC-*/01-var-breach.ipynb)"; echo; }
mkdir -p "$day"
mount -t tmpfs -o size=96k none "$day"
"$runbook" run var-breach --platform crypto --json >"$2/../run.json" || test $? -eq 1
tr -d '\n' <"$2/../run.json"
echo
notebook
"$runbook" show "$(basename "$day"/INC-*)" --json | tr -d '\n'
echo
mount -o remount,size=64m "$day"
"$runbook" worker &
for _ in $(seq 60); do
    "$runbook" verify --json >"$2/../verify.json" && break
    sleep 0.5
done
kill $!
wait $! || true
notebook
tr -d '\n' <"$2/../verify.json"
echo
