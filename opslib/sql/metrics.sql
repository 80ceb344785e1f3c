-- What `/metrics` tells of the queue and the runs.

-- name: queue
-- How many runs wait in each lane, and how long the oldest has waited [s].
SELECT lane, count(*) AS runs, extract(epoch FROM now() - min(queued_at))::float8 AS oldest_s
FROM runs WHERE state = 'waiting' GROUP BY lane

-- name: tallies
-- All kept counts: those folded, and the changes since.
SELECT what, label, bucket, sum(count)::bigint AS count, sum(sum_s)::float8 AS sum_s
FROM (SELECT what, label, bucket, count, sum_s FROM tallies
      UNION ALL SELECT what, label, bucket, count, sum_s FROM tally_changes) AS each
GROUP BY what, label, bucket ORDER BY what, label, bucket

-- name: bounds
-- The bounds of the buckets of a kind of duration [s].
SELECT tally_bounds(%(what)s) AS bounds

-- name: lock_tallies
-- Whether this transaction alone folds.
SELECT pg_try_advisory_xact_lock(%(space)s, 0) AS alone

-- name: fold
-- The changes go into the counts.
WITH gone AS (
    DELETE FROM tally_changes RETURNING what, label, bucket, count, sum_s
)
INSERT INTO tallies (what, label, bucket, count, sum_s)
SELECT what, label, bucket, sum(count), sum(sum_s) FROM gone GROUP BY what, label, bucket
ON CONFLICT (what, label, bucket)
DO UPDATE SET count = tallies.count + excluded.count, sum_s = tallies.sum_s + excluded.sum_s

-- name: processes
-- How many processes of each kind have beaten lately.
SELECT kind, count(*) AS alive FROM processes
WHERE heartbeat_at > now() - make_interval(secs => %(within_s)s) GROUP BY kind

-- name: kernels
-- What the nurseries of each host count: the workers of one home tell of the same nursery, the last of them counts.
SELECT host,
       sum((kernels ->> 'ready')::bigint)::bigint AS ready,
       sum((kernels ->> 'in_use')::bigint)::bigint AS in_use,
       sum((kernels ->> 'taken')::bigint)::bigint AS taken,
       sum((kernels ->> 'died')::bigint)::bigint AS died,
       sum((kernels ->> 'died_in_use')::bigint)::bigint AS died_in_use
FROM (SELECT DISTINCT ON (host, kernels ->> 'nursery') host, kernels FROM processes
      WHERE kernels IS NOT NULL AND heartbeat_at > now() - make_interval(secs => %(within_s)s)
      ORDER BY host, kernels ->> 'nursery', heartbeat_at DESC) AS each
GROUP BY host ORDER BY host
