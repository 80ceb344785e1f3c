-- What `/metrics` tells of the queue and the runs.

-- name: queue
-- How many runs wait in each lane, and how long the oldest has waited [s].
SELECT lane, count(*) AS runs, extract(epoch FROM now() - min(queued_at))::float8 AS oldest_s
FROM runs WHERE state = 'waiting' GROUP BY lane

-- name: runs
-- Every run that examines, by state.
SELECT state, count(*) AS runs FROM runs WHERE mode IN ('observe', 'plan') GROUP BY state

-- name: waits
-- How long runs waited [s], by lane: of each, how many fall between which of the bounds, and their sum.
SELECT lane AS label, width_bucket(took.s, %(bounds)s::float8[]) AS bucket, count(*) AS runs, sum(took.s) AS sum_s
FROM runs, LATERAL (SELECT greatest(extract(epoch FROM started_at - queued_at), 0)::float8 AS s) AS took
WHERE started_at IS NOT NULL AND mode IN ('observe', 'plan')
GROUP BY label, bucket ORDER BY label

-- name: first_cells
-- From the request to the first cell that was done [s], by lane: of each, how many fall between which of the bounds, and their sum.
SELECT lane AS label, width_bucket(took.s, %(bounds)s::float8[]) AS bucket, count(*) AS runs, sum(took.s) AS sum_s
FROM runs, LATERAL (SELECT greatest(extract(epoch FROM first_cell_at - queued_at), 0)::float8 AS s) AS took
WHERE first_cell_at IS NOT NULL AND mode IN ('observe', 'plan')
GROUP BY label, bucket ORDER BY label

-- name: durations
-- How long runs went on [s], by runbook: of each, how many fall between which of the bounds, and their sum.
SELECT runbook AS label, width_bucket(took.s, %(bounds)s::float8[]) AS bucket, count(*) AS runs, sum(took.s) AS sum_s
FROM runs, LATERAL (SELECT greatest(extract(epoch FROM ended_at - started_at), 0)::float8 AS s) AS took
WHERE started_at IS NOT NULL AND ended_at IS NOT NULL AND mode IN ('observe', 'plan')
GROUP BY label, bucket ORDER BY label

-- name: processes
-- How many processes of each kind have beaten lately.
SELECT kind, count(*) AS alive FROM processes
WHERE heartbeat_at > now() - make_interval(secs => %(within_s)s) GROUP BY kind
