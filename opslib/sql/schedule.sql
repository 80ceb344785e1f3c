-- The schedule: which times were due, and the run that each became.

-- name: lock
-- One look at a time, over all workers; the time of the database, which is one for all of them.
SELECT pg_advisory_xact_lock(7301, 4), clock_timestamp() AS now

-- name: see
-- How far an entry was looked at; one that is new begins now, so nothing before it was missed.
INSERT INTO schedule_entries (name, seen_until) VALUES (%(entry)s, %(now)s)
ON CONFLICT (name) DO UPDATE SET name = excluded.name
RETURNING seen_until

-- name: seen
-- Everything up to now is decided.
UPDATE schedule_entries SET seen_until = %(now)s WHERE name = %(entry)s

-- name: take_back
-- The clock was set back: what was decided about times that are to come again is forgotten, but no run.
DELETE FROM schedule_starts WHERE entry = %(entry)s AND due_at > %(now)s AND run IS NULL

-- name: decide
-- A time that was due: it starts at a time, or it is skipped with the reason. Decided once.
INSERT INTO schedule_starts (entry, due_at, starts_at, missed, skipped)
VALUES (%(entry)s, %(due_at)s, %(starts_at)s, %(missed)s, %(skipped)s)
ON CONFLICT DO NOTHING

-- name: look_again
-- A job that looks at the schedule when the jitter of a start is over.
SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
    %(queue)s, %(task)s, 0, NULL, NULL, '{"timestamp": 0}'::jsonb, %(at)s::timestamptz)::procrastinate_job_to_defer_v1])

-- name: to_start
-- What is to start now, oldest first.
SELECT entry, due_at, starts_at, missed FROM schedule_starts
WHERE run IS NULL AND skipped IS NULL AND starts_at <= %(now)s
ORDER BY starts_at, entry

-- name: still_going
-- The incident of an entry in which a run still waits or runs.
SELECT starts.incident FROM schedule_starts AS starts
WHERE starts.entry = %(entry)s AND EXISTS (
    SELECT FROM runs WHERE runs.incident = starts.incident AND runs.state IN ('waiting', 'running'))
LIMIT 1

-- name: started
-- The run that a start became.
UPDATE schedule_starts SET incident = %(incident)s, run = %(run)s WHERE entry = %(entry)s AND due_at = %(due_at)s

-- name: skip
-- A start that is left out, and why.
UPDATE schedule_starts SET skipped = %(skipped)s WHERE entry = %(entry)s AND due_at = %(due_at)s

-- name: nothing_found
-- Open incidents of the schedule whose last run succeeded and confirmed nothing.
SELECT incidents.id FROM incidents
JOIN LATERAL (SELECT state, verdict FROM runs WHERE incident = incidents.id ORDER BY number DESC LIMIT 1) AS last ON true
WHERE incidents.opened_by = %(opener)s AND incidents.state = 'open' AND last.state = 'succeeded'
    AND coalesce((last.verdict ->> 'confirmed')::boolean, false) = false
ORDER BY incidents.id

-- name: forget_jobs
-- Looks that failed, or whose worker died: the next one does their work.
DELETE FROM procrastinate_jobs
WHERE task_name = %(task)s AND (status = 'failed' OR (status = 'doing' AND worker_id IS NULL))

-- name: last
-- What became of the last time of each entry.
SELECT DISTINCT ON (starts.entry) starts.entry, starts.due_at, starts.starts_at, starts.missed, starts.incident,
       starts.run, starts.skipped, runs.state
FROM schedule_starts AS starts LEFT JOIN runs ON runs.id = starts.run
ORDER BY starts.entry, starts.due_at DESC
