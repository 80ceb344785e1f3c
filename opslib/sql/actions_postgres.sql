-- What the actions on a platform's PostgreSQL read and change, versions 12 to 18.
-- `{name}` is filled in with a quoted identifier that was found in the catalogue, never with text from outside.

-- name: begin
-- The time-outs of a session whose statements are transactions of their own.
SELECT set_config('statement_timeout', %(statement_ms)s, false), set_config('lock_timeout', %(lock_ms)s, false)

-- name: server
-- Which database this is: told from a restored or another one of the same name.
SELECT current_database()::text AS database, pg_is_in_recovery() AS standby,
       (SELECT system_identifier FROM pg_control_system())::text || '/'
           || (SELECT oid FROM pg_database WHERE datname = current_database())::text AS uid

-- name: relation
-- A table or index by its name, with or without its schema; as the catalogue spells it.
SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       greatest(c.reltuples, 0)::int8 AS rows_estimate, c.relpages::int8 * current_setting('block_size')::int8 AS bytes,
       c.relfilenode::text AS file
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%(name)s)

-- name: table_of
-- The table of an index.
SELECT n.nspname::text AS schema, t.relname::text AS name FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace WHERE i.indexrelid = %(oid)s::oid

-- name: columns
-- The columns of a relation with their types.
SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type, attnotnull AS required
FROM pg_attribute WHERE attrelid = %(oid)s::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum

-- name: sessions
-- Sessions that are still the ones meant: process and start are the same, and, where one was named, the transaction.
SELECT a.pid, a.backend_start, a.xact_start AS transaction_start, coalesce(a.state, 'not shown') AS state,
       coalesce(a.usename, '')::text AS "user", coalesce(a.application_name, '') AS application,
       coalesce(a.datname, '')::text AS database, coalesce(host(a.client_addr), 'local') AS client, a.backend_type AS kind,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s,
       (SELECT count(*) FROM pg_locks l WHERE NOT l.granted AND a.pid = ANY(pg_blocking_pids(l.pid))) AS blocks,
       left(a.query, 500) AS query
FROM unnest(%(pids)s::int[], %(starts)s::timestamptz[], %(transactions)s::timestamptz[]) AS m(pid, started, transaction)
JOIN pg_stat_activity a ON a.pid = m.pid AND a.backend_start = m.started
    AND (m.transaction IS NULL OR a.xact_start = m.transaction)
ORDER BY a.pid

-- name: terminate
-- End one session, if it is still the one meant.
SELECT pg_terminate_backend(a.pid) AS sent FROM pg_stat_activity a
WHERE a.pid = %(pid)s AND a.backend_start = %(start)s::timestamptz AND a.backend_type = 'client backend'
    AND (%(transaction)s::timestamptz IS NULL OR a.xact_start = %(transaction)s::timestamptz) AND a.pid <> pg_backend_pid()

-- name: index
-- An index by its schema and name.
SELECT c.oid::int8 AS oid, i.indisvalid AS valid, i.indisready AS ready, i.indrelid::int8 AS table_oid,
       i.indisunique AS is_unique, i.indisprimary OR i.indisexclusion AS constraint_of, i.indkey::int2[] AS key,
       pg_relation_size(c.oid) AS bytes, c.relfilenode::text AS file, pg_get_indexdef(c.oid) AS definition,
       (SELECT count(*) FROM pg_constraint k WHERE k.conindid = c.oid) AS constraints,
       (SELECT p.phase FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid LIMIT 1) AS building
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s

-- name: same_index
-- A valid index that begins with the same columns in the same order, and so serves already.
SELECT c.relname::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = %(oid)s::oid AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND c.relname <> %(name)s
    AND (SELECT array_agg(a.attname::text ORDER BY k.at)
         FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, at)
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
         WHERE k.at <= cardinality(%(columns)s::text[])) = %(columns)s::text[]
LIMIT 1

-- name: create_index
-- Built while others read and write.
CREATE INDEX CONCURRENTLY {index} ON {table} ({columns})

-- name: drop_index
-- Dropped while others read and write.
DROP INDEX CONCURRENTLY IF EXISTS {index}

-- name: maintenance
-- When a table was last vacuumed and analyzed by hand or by itself, and its dead rows.
SELECT n_live_tup AS live_rows, n_dead_tup AS dead_rows, n_mod_since_analyze AS changed_since_analyze,
       greatest(last_vacuum, last_autovacuum) AS last_vacuum, greatest(last_analyze, last_autoanalyze) AS last_analyze,
       vacuum_count, analyze_count,
       (SELECT p.phase FROM pg_stat_progress_vacuum p WHERE p.relid = %(oid)s::oid LIMIT 1) AS running
FROM pg_stat_all_tables WHERE relid = %(oid)s::oid

-- name: oldest_snapshot
-- The oldest snapshot that any session holds [s]: dead rows younger than it stay.
SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8 AS seconds FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'

-- name: vacuum
-- Frees the room of dead rows for new rows of the table.
VACUUM {table}

-- name: vacuum_analyze
-- The same, and new statistics for the planner.
VACUUM (ANALYZE) {table}

-- name: analyze
-- New statistics for the planner.
ANALYZE {table}

-- name: reindex_index
-- An index built anew while others read and write.
REINDEX INDEX CONCURRENTLY {name}

-- name: reindex_table
-- All indexes of a table built anew while others read and write.
REINDEX TABLE CONCURRENTLY {name}

-- name: indexes_of
-- The indexes of a table, or an index itself, with the file that each lies in.
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relfilenode::text AS file, i.indisvalid AS valid,
       pg_relation_size(c.oid) AS bytes
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = %(oid)s::oid OR i.indexrelid = %(oid)s::oid ORDER BY 2

-- name: dependents
-- What deleting a row of a table also does elsewhere: foreign keys that delete or empty, triggers, rules; partitions.
SELECT (SELECT array_agg(conrelid::regclass::text) FROM pg_constraint
        WHERE confrelid = %(oid)s::oid AND contype = 'f' AND confdeltype IN ('c', 'n', 'd')) AS cascades,
       (SELECT array_agg(tgname::text) FROM pg_trigger
        WHERE tgrelid = %(oid)s::oid AND NOT tgisinternal AND (tgtype & 8) = 8) AS triggers,
       (SELECT array_agg(rulename::text) FROM pg_rules r JOIN pg_class c ON c.relname = r.tablename
        WHERE c.oid = %(oid)s::oid) AS rules,
       EXISTS (SELECT FROM pg_inherits WHERE inhparent = %(oid)s::oid) AS has_children

-- name: cutoff
-- The moment that lies so many days back, by the server's clock.
SELECT clock_timestamp() - make_interval(secs => %(days)s * 86400) AS cutoff

-- name: count_old
-- How many rows are older; the same condition as that of the delete.
SELECT count(*) AS rows FROM {table} WHERE {column} < %(cutoff)s

-- name: delete_old
-- One batch of the rows that are older.
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {column} < %(cutoff)s LIMIT %(batch)s))
    AND {column} < %(cutoff)s

-- name: without_ours
-- A setting that this session of ours has for itself, such as its time-outs, as other sessions have it.
SELECT set_config(name, NULL, false) FROM pg_settings WHERE name = %(name)s AND source = 'session'

-- name: setting
-- A setting as it is, what may be set, and whether the server's own file (postgresql.auto.conf) sets it or another;
-- what hides the files from a session, such as a role's own value, hides whether they set it.
SELECT name::text, setting, unit, context::text, vartype::text AS kind, min_val, max_val, enumvals::text[] AS choices,
       boot_val, reset_val, pending_restart, category::text AS category,
       current_setting(name) AS shown,
       CASE WHEN source IN ('database', 'user', 'database user', 'client', 'session') THEN 'unseen'
            WHEN source <> 'configuration file' THEN 'elsewhere' WHEN sourcefile IS NULL THEN 'unseen'
            WHEN sourcefile LIKE '%%postgresql.auto.conf' THEN 'own file' ELSE 'another file' END AS set_by
FROM pg_settings WHERE name = %(name)s

-- name: set_setting
-- Written into the server's own file, for the next reload or restart.
ALTER SYSTEM SET {name} = {value}

-- name: reset_setting
-- Taken out of the server's own file.
ALTER SYSTEM RESET {name}

-- name: reload
-- The server reads its files again.
SELECT pg_reload_conf() AS sent
