-- What the PostgreSQL probes ask of a platform's server, versions 12 to 18; read-only, every block.
-- Columns that some versions lack are read out of `to_jsonb(row)`, which gives null for them.
-- `ops.postgres.named(NAME, ...)` runs any block that needs no `{name}` to be filled in.

-- name: begin
-- The time-outs of the transaction; its first statement.
SELECT set_config('statement_timeout', %(statement_ms)s, true), set_config('lock_timeout', %(lock_ms)s, true),
       set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true)

-- name: identity
-- Who we are there, and what we may see.
SELECT current_user::text AS role, current_database()::text AS database,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE')
           OR pg_has_role(current_user, 'pg_write_server_files', 'USAGE')
           OR pg_has_role(current_user, 'pg_execute_server_program', 'USAGE') AS may_harm

-- name: server
-- The server itself.
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
       pg_is_in_recovery() AS standby, pg_postmaster_start_time() AS started_at, current_database()::text AS database,
       current_user::text AS role, current_setting('transaction_read_only') = 'on' AS read_only,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all

-- name: usage
-- Connections against the limit. Walsenders have a limit of their own; background workers another.
SELECT count(*) FILTER (WHERE counted) AS used, current_setting('max_connections')::int AS connections_limit,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true), '0')::int AS reserved,
       count(*) FILTER (WHERE counted AND state = 'active') AS active,
       count(*) FILTER (WHERE counted AND state = 'idle') AS idle,
       count(*) FILTER (WHERE counted AND state LIKE 'idle in transaction%%') AS idle_in_transaction,
       count(*) FILTER (WHERE counted AND wait_event_type = 'Lock') AS waiting_for_locks,
       count(*) FILTER (WHERE counted AND state IS NULL) AS not_shown
FROM (SELECT *, backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL) AS counted
      FROM pg_stat_activity WHERE pid <> pg_backend_pid()) AS a

-- name: connections
-- Connections by state and client, most first.
SELECT coalesce(state, 'not shown') AS state, coalesce(application_name, '') AS application,
       coalesce(usename, '')::text AS "user", coalesce(datname, '')::text AS database,
       coalesce(host(client_addr), 'local') AS client, count(*) AS connections,
       max(extract(epoch FROM clock_timestamp() - state_change))::float8 AS longest_in_state_s,
       max(extract(epoch FROM clock_timestamp() - xact_start))::float8 AS longest_transaction_s,
       current_setting('max_connections')::int AS connections_limit
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL))
GROUP BY 1, 2, 3, 4, 5 ORDER BY connections DESC, 1, 2, 3, 4, 5 LIMIT %(limit)s

-- name: activity
-- Sessions, those longest in a transaction first.
SELECT pid, backend_start, coalesce(state, 'not shown') AS state, coalesce(usename, '')::text AS "user",
       coalesce(application_name, '') AS application, coalesce(datname, '')::text AS database,
       coalesce(host(client_addr), 'local') AS client, wait_event_type, wait_event,
       xact_start AS transaction_start, query_start,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_s,
       CASE WHEN state = 'active' THEN extract(epoch FROM clock_timestamp() - query_start)::float8 END AS query_s,
       extract(epoch FROM clock_timestamp() - state_change)::float8 AS in_state_s, left(query, 2000) AS query
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL))
ORDER BY transaction_start NULLS LAST, query_start NULLS LAST LIMIT %(limit)s

-- name: blocked
-- Every session that waits for a lock, with those before it, and these themselves. A blocker 0 is a prepared transaction.
WITH waits AS (
    SELECT DISTINCT l.pid, pg_blocking_pids(l.pid) AS blockers FROM pg_locks l WHERE NOT l.granted
), involved AS (
    SELECT pid FROM waits WHERE cardinality(blockers) > 0 UNION SELECT unnest(blockers) FROM waits
)
SELECT i.pid, coalesce(w.blockers, ARRAY[]::int[]) AS blocked_by, a.backend_start,
       a.xact_start AS transaction_start,
       coalesce(a.state, 'not shown') AS state,
       coalesce(a.usename, '')::text AS "user", coalesce(a.application_name, '') AS application,
       coalesce(host(a.client_addr), 'local') AS client, l.mode AS wants,
       coalesce(l.relation::regclass::text, l.locktype) AS wants_of,
       extract(epoch FROM clock_timestamp() - coalesce(l.since, a.query_start))::float8 AS waits_s,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS in_state_s, left(a.query, 2000) AS query
FROM involved i LEFT JOIN waits w USING (pid) LEFT JOIN pg_stat_activity a USING (pid)
LEFT JOIN LATERAL (
    SELECT k.mode, k.relation, k.locktype, (to_jsonb(k) ->> 'waitstart')::timestamptz AS since
    FROM pg_locks k WHERE k.pid = i.pid AND NOT k.granted LIMIT 1
) l ON true
LIMIT %(limit)s

-- name: long_transactions
-- Transactions older than so many seconds, oldest first; a prepared one belongs to no session and has no pid.
SELECT pid, backend_start, coalesce(state, 'not shown') AS state, coalesce(usename, '')::text AS "user",
       coalesce(application_name, '') AS application, coalesce(datname, '')::text AS database,
       coalesce(host(client_addr), 'local') AS client, xact_start AS transaction_start,
       extract(epoch FROM clock_timestamp() - xact_start)::float8 AS transaction_s,
       extract(epoch FROM clock_timestamp() - state_change)::float8 AS in_state_s,
       age(backend_xmin) AS snapshot_age,
       (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.granted AND l.relation IS NOT NULL) AS relations_locked,
       (SELECT count(*) FROM pg_locks l WHERE NOT l.granted AND a.pid = ANY(pg_blocking_pids(l.pid))) AS blocks,
       left(query, 2000) AS query
FROM pg_stat_activity a
WHERE pid <> pg_backend_pid() AND xact_start < clock_timestamp() - make_interval(secs => %(over_s)s)
    AND backend_type IN ('client backend', 'walsender', 'parallel worker')
UNION ALL
SELECT NULL, NULL, 'prepared', owner::text, gid, database::text, '', prepared,
       extract(epoch FROM clock_timestamp() - prepared)::float8,
       extract(epoch FROM clock_timestamp() - prepared)::float8, age(transaction), NULL, NULL, 'PREPARE TRANSACTION'
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - make_interval(secs => %(over_s)s)
ORDER BY transaction_s DESC LIMIT %(limit)s

-- name: extension
-- The schema of an extension, where it is created in this database.
SELECT n.nspname::text AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = %(name)s

-- name: statements
-- Statements as `pg_stat_statements` counts them, with or without their text. Times are in milliseconds.
SELECT s.userid::text || '/' || s.dbid::text || '/' || s.queryid::text AS key, s.queryid::text AS query_id,
       left(s.query, 4000) AS query, s.calls,
       coalesce(j ->> 'total_exec_time', j ->> 'total_time')::float8 AS total_ms,
       coalesce(j ->> 'mean_exec_time', j ->> 'mean_time')::float8 AS mean_ms,
       coalesce(j ->> 'max_exec_time', j ->> 'max_time')::float8 AS max_ms, s.rows,
       s.shared_blks_hit AS blocks_hit, s.shared_blks_read AS blocks_read, s.temp_blks_written AS temp_blocks,
       coalesce(d.datname, '')::text AS database, coalesce(r.rolname, '')::text AS "user"
FROM {function}(%(text)s) s CROSS JOIN LATERAL to_jsonb(s) j
LEFT JOIN pg_database d ON d.oid = s.dbid LEFT JOIN pg_roles r ON r.oid = s.userid
WHERE s.queryid IS NOT NULL

-- name: running
-- Statements that run now, longest first: what there is where `pg_stat_statements` is not.
SELECT left(query, 4000) AS query, 1::int8 AS calls,
       extract(epoch FROM clock_timestamp() - query_start)::float8 * 1000 AS total_ms,
       coalesce(datname, '')::text AS database, coalesce(usename, '')::text AS "user"
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND state = 'active' AND backend_type = 'client backend' AND query <> ''
ORDER BY query_start LIMIT %(limit)s

-- name: forget_snapshot
-- What a transaction has seen of the sessions is looked at anew.
SELECT pg_stat_clear_snapshot()

-- name: watched
-- Statements that run now for longer than a moment, each by session and start.
SELECT a.pid::text || '/' || a.query_start::text AS key, to_jsonb(a) ->> 'query_id' AS query_id,
       left(a.query, 4000) AS query, extract(epoch FROM clock_timestamp() - a.query_start)::float8 * 1000 AS ms,
       coalesce(a.datname, '')::text AS database, coalesce(a.usename, '')::text AS "user"
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.state = 'active' AND a.backend_type = 'client backend' AND a.query <> ''
    AND clock_timestamp() - a.query_start > interval '10 ms'

-- name: tables
-- Tables, largest first. The size of one that is locked exclusively comes from its last analyze, so that we never wait.
SELECT n.nspname::text AS schema, c.relname::text AS "table", greatest(c.reltuples, 0)::int8 AS rows_estimate,
       CASE WHEN k.locked THEN c.relpages::int8 * current_setting('block_size')::int8
            ELSE pg_total_relation_size(c.oid) END AS total_bytes,
       CASE WHEN k.locked THEN c.relpages::int8 * current_setting('block_size')::int8
            ELSE pg_relation_size(c.oid) END AS table_bytes,
       CASE WHEN k.locked THEN NULL ELSE pg_indexes_size(c.oid) END AS index_bytes,
       s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
       round(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 2)::float8 AS dead_pct,
       s.seq_scan AS sequential_scans, s.seq_tup_read AS rows_read_sequentially, s.idx_scan AS index_scans,
       s.n_tup_ins AS inserted, s.n_tup_upd AS updated, s.n_tup_del AS deleted, k.locked AS locked_exclusively
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked) k
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_t'
ORDER BY total_bytes DESC LIMIT %(limit)s

-- name: indexes
-- Indexes, largest first; with how often each was used, and whether it is valid (a failed build leaves one that is not).
SELECT n.nspname::text AS schema, t.relname::text AS "table", c.relname::text AS "index",
       CASE WHEN k.locked THEN c.relpages::int8 * current_setting('block_size')::int8
            ELSE pg_relation_size(c.oid) END AS bytes,
       s.idx_scan AS scans, s.idx_tup_read AS rows_read, i.indisunique AS is_unique, i.indisprimary AS is_primary,
       i.indisvalid AS valid, CASE WHEN k.locked THEN NULL ELSE pg_get_indexdef(c.oid) END AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = c.oid
CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM pg_locks l WHERE l.relation IN (c.oid, t.oid) AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS locked) k
WHERE c.relkind = 'i' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_t'
    AND (%(table)s::text IS NULL OR t.relname = %(table)s OR n.nspname || '.' || t.relname = %(table)s)
ORDER BY bytes DESC, "index" LIMIT %(limit)s

-- name: bloat
-- An estimate: the pages there are, against those that rows (or keys) of the width in the statistics would fill.
-- Null where the statistics cannot be read or the table was never analyzed.
WITH width AS (
    SELECT schemaname, tablename, attname, avg_width * (1 - null_frac) AS bytes FROM pg_stats WHERE NOT inherited
), relations AS (
    SELECT n.nspname, c.relname AS "table", c.relname AS name, 'table' AS kind, c.reltuples, c.relpages, c.oid,
           (SELECT sum(w.bytes) FROM width w WHERE w.schemaname = n.nspname AND w.tablename = c.relname) + 28 AS row_bytes,
           coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                     WHERE option_name = 'fillfactor'), 100) AS fill_pct
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')
    UNION ALL
    SELECT n.nspname, t.relname, c.relname, 'index', c.reltuples, c.relpages, c.oid,
           (SELECT sum(w.bytes) FROM width w JOIN pg_attribute a ON a.attname = w.attname AND a.attrelid = t.oid
            WHERE w.schemaname = n.nspname AND w.tablename = t.relname AND a.attnum = ANY(i.indkey)) + 16,
           coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                     WHERE option_name = 'fillfactor'), 90)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i' JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
    WHERE i.indexprs IS NULL
), sized AS (
    SELECT *, current_setting('block_size')::int8 AS block,
           CASE WHEN reltuples >= 0 AND row_bytes IS NOT NULL THEN
               ceil(reltuples * row_bytes / (current_setting('block_size')::int8 - 24) * 100 / fill_pct) END AS needed
    FROM relations WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_t' AND relpages > 0
)
SELECT nspname::text AS schema, "table"::text, name::text, kind, relpages * block AS bytes,
       CASE WHEN needed IS NOT NULL THEN greatest(relpages - greatest(needed, 1), 0) * block END::int8 AS bloat_bytes,
       CASE WHEN needed IS NOT NULL THEN 100 * greatest(relpages - greatest(needed, 1), 0) / relpages END::float8 AS bloat_pct
FROM sized ORDER BY bloat_bytes DESC NULLS LAST, bytes DESC LIMIT %(limit)s

-- name: scanned
-- Large tables that are read from end to end: the places where an index may be missing, worst first.
SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS "table", greatest(c.reltuples, 0)::int8 AS rows_estimate,
       c.relpages::int8 * current_setting('block_size')::int8 AS bytes, s.seq_scan AS sequential_scans,
       s.seq_tup_read AS rows_read_sequentially, coalesce(s.idx_scan, 0) AS index_scans,
       (s.seq_tup_read / nullif(s.seq_scan, 0))::float8 AS rows_a_scan,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
           AS columns,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL) AS leading
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.seq_scan > 0 AND greatest(c.reltuples, s.n_live_tup) >= %(min_rows)s
ORDER BY s.seq_tup_read DESC LIMIT %(limit)s

-- name: vacuum
-- When each table was last vacuumed and analyzed, whether autovacuum is due, and what holds the dead rows back.
SELECT s.schemaname::text AS schema, s.relname::text AS "table", s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows,
       round(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 2)::float8 AS dead_pct,
       s.n_mod_since_analyze AS changed_since_analyze, s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze,
       coalesce(o.enabled, 'on') NOT IN ('off', 'false', 'no', '0') AND current_setting('autovacuum') = 'on' AS autovacuum,
       s.n_dead_tup > coalesce(o.threshold, current_setting('autovacuum_vacuum_threshold')::float8)
           + coalesce(o.scale, current_setting('autovacuum_vacuum_scale_factor')::float8) * greatest(c.reltuples, 0) AS due,
       (SELECT p.phase FROM pg_stat_progress_vacuum p WHERE p.relid = s.relid LIMIT 1) AS running,
       age(c.relfrozenxid) AS xid_age, current_setting('autovacuum_freeze_max_age')::int8 AS xid_age_limit,
       h.pid AS oldest_snapshot_pid, h.seconds AS oldest_snapshot_s
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
LEFT JOIN LATERAL (
    SELECT max(option_value) FILTER (WHERE option_name = 'autovacuum_enabled') AS enabled,
           max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold') AS threshold,
           max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor') AS scale
    FROM pg_options_to_table(c.reloptions)
    WHERE option_name IN ('autovacuum_enabled', 'autovacuum_vacuum_threshold', 'autovacuum_vacuum_scale_factor')
) o ON true
LEFT JOIN LATERAL (
    SELECT a.pid, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds FROM pg_stat_activity a
    WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'
    ORDER BY age(a.backend_xmin) DESC, a.xact_start LIMIT 1
) h ON true
ORDER BY s.n_dead_tup DESC, 1, 2 LIMIT %(limit)s

-- name: replication
-- Replicas, slots and, on a standby, what it receives: how far each is behind.
WITH here AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn
)
SELECT 'replica' AS kind, coalesce(application_name, '') AS name, coalesce(host(client_addr), 'local') AS client,
       coalesce(state, 'not shown') AS state, sync_state AS synchronous, true AS active,
       pg_wal_lsn_diff(here.lsn, replay_lsn)::int8 AS behind_bytes,
       extract(epoch FROM replay_lag)::float8 AS behind_s
FROM pg_stat_replication, here
UNION ALL
SELECT 'slot', slot_name::text, '', coalesce(to_jsonb(s) ->> 'wal_status', slot_type), NULL, active,
       pg_wal_lsn_diff(here.lsn, restart_lsn)::int8, NULL
FROM pg_replication_slots s, here
UNION ALL
SELECT 'receiver', coalesce(to_jsonb(r) ->> 'sender_host', ''), '', coalesce(status, 'not shown'), NULL,
       coalesce(status = 'streaming', false), NULL,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
FROM pg_stat_wal_receiver r
LIMIT %(limit)s

-- name: databases
-- The databases by size. One that we may not connect to has none that we may see.
SELECT datname::text AS database,
       CASE WHEN has_database_privilege(datname, 'CONNECT') OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
            THEN pg_database_size(oid) END AS bytes
FROM pg_database WHERE datallowconn ORDER BY bytes DESC NULLS LAST LIMIT %(limit)s

-- name: wal
-- The size of the WAL; for members of pg_monitor.
SELECT sum(size)::int8 AS bytes, count(*) AS files FROM pg_ls_waldir()

-- name: space
-- What takes space or keeps it from being freed, apart from the tables.
SELECT pg_size_bytes(current_setting('max_wal_size')) AS max_wal_bytes,
       (SELECT max(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
                                   restart_lsn))::int8 FROM pg_replication_slots) AS kept_for_slots_bytes,
       (SELECT failed_count FROM pg_stat_archiver) AS archiving_failed,
       (SELECT last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_stat_archiver) AS archiving_fails,
       (SELECT sum(temp_bytes)::int8 FROM pg_stat_database) AS temporary_bytes_written

-- name: database
-- Counters of this database since its statistics were reset.
SELECT datname::text AS database, numbackends AS connections, xact_commit AS committed, xact_rollback AS rolled_back,
       blks_read AS blocks_read, blks_hit AS blocks_hit,
       round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 2)::float8 AS cache_hit_pct, tup_returned AS rows_read,
       tup_fetched AS rows_fetched, tup_inserted AS inserted, tup_updated AS updated, tup_deleted AS deleted, conflicts,
       deadlocks, temp_files, temp_bytes, stats_reset
FROM pg_stat_database WHERE datname = current_database()

-- name: locks
-- Locks on relations by mode, those waited for first.
SELECT l.relation::regclass::text AS relation, l.mode, l.granted, count(*) AS sessions,
       (array_agg(l.pid ORDER BY l.pid))[1:20]::text AS pids
FROM pg_locks l WHERE l.relation IS NOT NULL AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY 1, 2, 3 ORDER BY l.granted, sessions DESC, 1, 2 LIMIT %(limit)s

-- name: settings
-- Settings: those named, or all that are not at their default.
SELECT name::text, setting, unit, context::text, source::text, boot_val AS default_value, pending_restart
FROM pg_settings
WHERE CASE WHEN %(names)s::text[] IS NULL
           THEN source NOT IN ('default', 'override', 'session', 'client') ELSE name = ANY(%(names)s::text[]) END
ORDER BY name LIMIT %(limit)s

-- name: columns_of
-- The columns of a table, in their order.
SELECT attname::text AS "column", format_type(atttypid, atttypmod) AS type
FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped
ORDER BY attnum LIMIT %(limit)s

-- name: desk_positions
-- A desk's options with what was paid for them, as the platform's seed names table and columns.
SELECT underlying, kind, strike, expiry_days, quantity, entry_price, updated_at
FROM positions WHERE book = %(book)s ORDER BY underlying, expiry_days, strike, kind LIMIT %(limit)s

-- name: desk_hedges
-- What the hedges add up to by underlying: units and cost; how many there were lately, and when the last one was.
SELECT underlying, sum(quantity)::float8 AS units, sum(quantity * price)::float8 AS cost, max(timestamp) AS last,
       count(*) FILTER (WHERE timestamp > now() - %(window_s)s * interval '1 second') AS recent
FROM hedges GROUP BY underlying ORDER BY underlying LIMIT %(limit)s

-- name: served_greeks
-- The Greeks that were served within the last seconds, newest first.
SELECT timestamp, underlying, kind, strike, days, price, delta, gamma, vega, theta
FROM greeks_history WHERE timestamp > now() - %(within_s)s * interval '1 second' ORDER BY timestamp DESC LIMIT %(limit)s
