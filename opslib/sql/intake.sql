-- Intake: episodes of alerts, the incidents and runs that answer them, and what could not be understood.

-- name: lock_buckets
-- Whoever works on incidents of a bucket works alone until the transaction ends; taken in ascending order.
SELECT pg_advisory_xact_lock(%(space)s, bucket) FROM unnest(%(buckets)s::int[]) AS bucket

-- name: bounds
-- No statement of this transaction may hang: the sender tries again.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true),
       set_config('lock_timeout', %(milliseconds)s::text, true)

-- name: latest_episodes
-- The latest episode of each key: the firing one where there is one; and when a person resolved its incident.
SELECT DISTINCT ON (alerts.key) alerts.id, alerts.key, alerts.state, alerts.starts_at, alerts.ends_at,
       alerts.last_seen_at, alerts.resolved_at, alerts.repeats, alerts.incident,
       CASE WHEN incidents.state = 'resolved' THEN incidents.resolved_at END AS closed_at
FROM alerts LEFT JOIN incidents ON incidents.id = alerts.incident
WHERE alerts.key = ANY (%(keys)s)
ORDER BY alerts.key, (alerts.state = 'firing') DESC, alerts.id DESC

-- name: update_episodes
-- What a delivery changed of episodes that were known.
UPDATE alerts SET state = new.state, ends_at = new.ends_at, resolved_at = new.resolved_at,
                  last_seen_at = new.last_seen_at, repeats = new.repeats
FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(ends)s::timestamptz[], %(resolved)s::timestamptz[],
            %(seen)s::timestamptz[], %(repeats)s::int[])
     AS new (id, state, ends_at, resolved_at, last_seen_at, repeats)
WHERE alerts.id = new.id

-- name: add_episodes
-- New episodes.
COPY alerts (key, fingerprint, labels, annotations, payload, platform, starts_at, ends_at, state, received_at,
             last_seen_at, resolved_at, repeats, incident, run, suppressed, again_at) FROM STDIN

-- name: newest_runs
-- The newest run of each incident that examines (applying is no answer to an alert).
SELECT DISTINCT ON (incident) incident, id, state, queued_at FROM runs
WHERE incident = ANY (%(incidents)s) AND mode IN ('observe', 'plan')
ORDER BY incident, number DESC

-- name: incidents_all_over
-- Of these incidents, the unresolved ones whose every episode has ended.
SELECT incidents.id FROM incidents
WHERE incidents.id = ANY (%(incidents)s) AND incidents.state IN ('open', 'acknowledged')
  AND NOT EXISTS (SELECT FROM alerts WHERE alerts.incident = incidents.id AND alerts.state = 'firing')
ORDER BY incidents.id
FOR UPDATE

-- name: due
-- What there is to be done now: ends that have passed, suppressed alerts to be looked at again, a queue that is over
-- its limits or was.
SELECT EXISTS (SELECT FROM alerts WHERE state = 'firing' AND ends_at <= %(now)s) AS overdue,
       EXISTS (SELECT FROM alerts
               WHERE state = 'firing' AND run IS NULL AND again_at IS NOT NULL AND again_at <= now()) AS held_back,
       EXISTS (SELECT FROM incidents WHERE state <> 'resolved' AND opened_by = %(intake)s)
       OR EXISTS (SELECT FROM runs WHERE state = 'waiting' GROUP BY platform
                  HAVING count(*) > %(depth)s OR min(queued_at) < now() - make_interval(secs => %(age_s)s)) AS storm

-- name: cooling
-- The last run of each of these places that succeeded within its cool-down.
SELECT DISTINCT ON (wanted.platform, wanted.runbook, wanted.target)
       wanted.platform, wanted.runbook, wanted.target, runs.incident, runs.number,
       runs.ended_at + make_interval(secs => wanted.cooldown_s) AS again_at,
       extract(epoch FROM now() - runs.ended_at)::float8 AS ago_s
FROM unnest(%(platforms)s::text[], %(runbooks)s::text[], %(targets)s::text[], %(cooldowns)s::float8[])
     AS wanted (platform, runbook, target, cooldown_s)
JOIN incidents ON (incidents.platform, incidents.runbook, incidents.target)
                = (wanted.platform, wanted.runbook, wanted.target)
JOIN runs ON runs.incident = incidents.id
WHERE incidents.opened_by = 'alert' AND runs.mode IN ('observe', 'plan') AND runs.state = 'succeeded'
  AND runs.ended_at > now() - make_interval(secs => wanted.cooldown_s)
ORDER BY wanted.platform, wanted.runbook, wanted.target, runs.ended_at DESC

-- name: lock_ceiling
-- Whoever is near the ceiling of a runbook counts alone until the transaction ends.
SELECT pg_advisory_xact_lock(%(space)s, hashtext(%(name)s))

-- name: runs_of_the_hour
-- How many runs alerts have started within the hour, and when the oldest of them leaves it; not before half a minute,
-- so that many who wait do not look all the time. A run that replaces a lost one is not counted.
SELECT wanted.platform, wanted.runbook, count(runs.id) AS runs,
       greatest(min(runs.queued_at) + interval '1 hour', now() + interval '30 seconds') AS frees_at
FROM unnest(%(platforms)s::text[], %(runbooks)s::text[]) AS wanted (platform, runbook)
LEFT JOIN runs ON runs.platform = wanted.platform AND runs.runbook = wanted.runbook
    AND runs.queued_at > now() - interval '1 hour' AND runs.requested_by = 'alert' AND runs.retry_of IS NULL
    AND runs.mode IN ('observe', 'plan')
GROUP BY wanted.platform, wanted.runbook

-- name: held_back
-- Suppressed alerts that fire and are to be looked at now; what a person resolved stays as it is.
SELECT alerts.id, alerts.incident, alerts.labels, alerts.payload,
       incidents.platform, incidents.runbook, incidents.target, incidents.severity
FROM alerts JOIN incidents ON incidents.id = alerts.incident
WHERE alerts.state = 'firing' AND alerts.run IS NULL AND alerts.again_at <= now() AND incidents.state <> 'resolved'
  AND (%(ids)s::bigint[] IS NULL OR alerts.id = ANY (%(ids)s))
ORDER BY alerts.id LIMIT 500

-- name: hold_back
-- Suppressed alerts that stay so for now.
UPDATE alerts SET suppressed = new.reason, again_at = new.again_at
FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(times)s::timestamptz[]) AS new (id, reason, again_at)
WHERE alerts.id = new.id

-- name: answer_held_back
-- Suppressed alerts that fire are answered by a run after all.
UPDATE alerts SET run = new.run, suppressed = NULL, again_at = NULL
FROM unnest(%(incidents)s::text[], %(runs)s::bigint[]) AS new (incident, run)
WHERE alerts.incident = new.incident AND alerts.state = 'firing' AND alerts.run IS NULL AND alerts.again_at IS NOT NULL

-- name: overdue_episodes
-- Firing episodes whose end has passed.
SELECT id, incident, fingerprint, ends_at FROM alerts
WHERE state = 'firing' AND ends_at <= %(now)s
ORDER BY incident, id LIMIT 1000

-- name: expire_episodes
-- Episodes that were not sent again in time.
UPDATE alerts SET state = 'expired' WHERE id = ANY (%(ids)s) AND state = 'firing'

-- name: keep_body
-- A body that could not be understood, in whole or in part, or of which something was cut or lost.
INSERT INTO intake_bodies (received_at, sender, endpoint, size, sha256, body, problem, incident)
VALUES (%(now)s, %(sender)s, %(endpoint)s, %(size)s, %(sha256)s, %(body)s, %(problem)s, %(incident)s)
RETURNING id

-- name: problems_since
-- How many bodies of an incident were kept since a time.
SELECT count(*) AS bodies FROM intake_bodies WHERE incident = %(incident)s AND received_at > %(since)s

-- name: lock_chains
-- Where the chains of these incidents stand, locked: whoever holds the lock writes the next lines.
SELECT id, journal_seq, journal_head FROM incidents WHERE id = ANY (%(incidents)s) ORDER BY id FOR UPDATE

-- name: add_lines
-- The next lines of several chains.
COPY journal (incident, seq, line, sha256) FROM STDIN

-- name: advance_chains
-- The chains have new heads; those who follow them are told when the transaction commits.
WITH advanced AS (
    UPDATE incidents SET journal_seq = new.seq, journal_head = new.sha256
    FROM unnest(%(incidents)s::text[], %(seqs)s::int[], %(heads)s::text[]) AS new (id, seq, sha256)
    WHERE incidents.id = new.id
    RETURNING incidents.id
)
SELECT count(pg_notify('runbook_journal', id)) FROM advanced

-- name: add_runs
-- A waiting run of each incident, numbered; the incidents' rows are locked.
INSERT INTO runs (incident, number, runbook, platform, mode, alert, requested_by, lane)
SELECT new.incident, (SELECT coalesce(max(runs.number), 0) + 1 FROM runs WHERE runs.incident = new.incident),
       new.runbook, new.platform, 'plan', new.alert, %(requested_by)s, new.lane
FROM unnest(%(incidents)s::text[], %(runbooks)s::text[], %(platforms)s::text[], %(alerts)s::jsonb[], %(lanes)s::text[])
     AS new (incident, runbook, platform, alert, lane)
RETURNING id, incident, number, runbook, mode, attempt, retry_of
