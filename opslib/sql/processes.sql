-- Who is alive.

-- name: beat
-- This process is alive now.
INSERT INTO processes (id, kind, host, pid, kernels) VALUES (%(id)s, %(kind)s, %(host)s, %(pid)s, %(kernels)s)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), kernels = excluded.kernels

-- name: remove
-- This process ends; so do those that stopped beating an hour ago.
DELETE FROM processes WHERE id = %(id)s OR heartbeat_at < now() - interval '1 hour'

-- name: alive
-- Whether one of a kind has beaten lately.
SELECT EXISTS (
    SELECT FROM processes WHERE kind = %(kind)s AND heartbeat_at > now() - make_interval(secs => %(within_s)s)
) AS alive

-- name: alive_here
-- Whether one of a kind on this host has beaten lately.
SELECT EXISTS (
    SELECT FROM processes WHERE kind = %(kind)s AND host = %(host)s
        AND heartbeat_at > now() - make_interval(secs => %(within_s)s)
) AS alive
