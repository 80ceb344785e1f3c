# A new database cluster where there is none.
set -eu
bin=/usr/lib/postgresql/15/bin
data=/var/lib/postgresql/data
[ ! -e $data/pgdata/PG_VERSION ] || exit 0
umask 077
printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
$bin/initdb -D $data/new -U postgres --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 \
    --wal-segsize=4 --no-sync >/dev/null
rm /tmp/password
echo "host all all all scram-sha-256" >>$data/new/pg_hba.conf
cat >>$data/new/postgresql.conf <<'CONF'
listen_addresses = '*'
unix_socket_directories = '/tmp'
max_connections = 40
shared_buffers = 16MB
max_wal_size = 32MB
min_wal_size = 16MB
fsync = off
shared_preload_libraries = 'pg_stat_statements'
log_line_prefix = '%m [%p] %q%u@%d %a '
log_min_duration_statement = 300
log_checkpoints = off
max_parallel_workers_per_gather = 0
jit = off
CONF
mv $data/new $data/pgdata
