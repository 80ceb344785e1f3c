-- Storms: what waits on each platform, and the incident that says so.

-- name: lock
-- One process at a time looks at the queues.
SELECT pg_advisory_xact_lock(%(space)s, 0)

-- name: waiting
-- How many runs wait on each platform, by lane, and how long the oldest has waited [s].
SELECT platform, lane, count(*) AS runs, extract(epoch FROM now() - min(queued_at))::float8 AS oldest_s
FROM runs WHERE state = 'waiting' GROUP BY platform, lane

-- name: newest
-- The newest storm of each platform, and for how long nothing has been said about it [s].
SELECT DISTINCT ON (platform) platform, id, state,
       extract(epoch FROM now() - greatest(told_at, resolved_at))::float8 AS silent_s
FROM incidents WHERE opened_by = %(intake)s
ORDER BY platform, opened_at DESC, id DESC

-- name: told
-- What waits has just been told.
UPDATE incidents SET told_at = now() WHERE id = %(incident)s

-- name: listed
-- The waiting runs of a platform, those first that are next.
SELECT runs.incident, runs.number, runs.runbook, incidents.target, runs.lane,
       extract(epoch FROM now() - runs.queued_at)::float8 AS waited_s
FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.state = 'waiting' AND runs.platform = %(platform)s
ORDER BY array_position(%(lanes)s::text[], runs.lane), runs.id LIMIT %(most)s

-- name: open
-- The platforms on which a storm goes on.
SELECT platform FROM incidents WHERE state <> 'resolved' AND opened_by = %(intake)s ORDER BY platform
