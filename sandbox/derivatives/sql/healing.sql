-- What `heal` puts back.

-- name: end_others
-- Sessions that are not of the platform, and those that hold a transaction open.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND (application_name NOT IN ('derivatives-api', 'auto-hedger') AND usename <> 'postgres'
       OR state = 'idle in transaction' OR application_name LIKE 'report%%')

-- name: changed_settings
SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%%postgresql.auto.conf'

-- name: reset_settings
ALTER SYSTEM RESET ALL

-- name: reload
SELECT pg_reload_conf()

-- name: rows
-- Trades and history, as the planner counts them.
SELECT (SELECT count(*) FROM option_trades), (SELECT count(*) FROM greeks_history)

-- name: empty
TRUNCATE {}

-- name: indexes
-- Those of the tables that belong to no key, and whether each is whole.
SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid IN ('option_trades'::regclass, 'greeks_history'::regclass) AND NOT i.indisprimary ORDER BY c.relname

-- name: drop_index
DROP INDEX {}
