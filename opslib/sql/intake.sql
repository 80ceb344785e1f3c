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
             last_seen_at, resolved_at, repeats, incident, run, suppressed) FROM STDIN

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

-- name: any_overdue
-- Whether a firing episode's end has passed.
SELECT id FROM alerts WHERE state = 'firing' AND ends_at <= %(now)s LIMIT 1

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

-- name: ledger
-- Every accepted alert with the run that answers it, in the end: a lost run may have been run again.
WITH RECURSIVE answers AS (
    SELECT alerts.id AS alert, runs.id AS run, runs.state, runs.started_at, runs.error, 0 AS depth
    FROM alerts JOIN runs ON runs.id = alerts.run
    UNION ALL
    SELECT answers.alert, runs.id, runs.state, runs.started_at, runs.error, answers.depth + 1
    FROM answers JOIN runs ON runs.retry_of = answers.run
    WHERE answers.depth < 20
), final AS (
    SELECT DISTINCT ON (alert) alert, run, state, started_at, error FROM answers ORDER BY alert, depth DESC, run DESC
)
SELECT alerts.fingerprint, alerts.starts_at, alerts.labels, alerts.incident, alerts.repeats, alerts.suppressed,
       alerts.lost, final.run, final.state AS run_state, final.started_at AS run_started_at, final.error AS run_error
FROM alerts LEFT JOIN final ON final.alert = alerts.id
ORDER BY alerts.id

-- name: queue_age
-- How long the oldest waiting run has waited [s], and how many wait.
SELECT coalesce(extract(epoch FROM now() - min(queued_at)), 0)::float8 AS oldest_s, count(*) AS waiting
FROM runs WHERE state = 'waiting'

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
INSERT INTO runs (incident, number, runbook, platform, mode, alert, requested_by)
SELECT new.incident, (SELECT coalesce(max(runs.number), 0) + 1 FROM runs WHERE runs.incident = new.incident),
       new.runbook, new.platform, 'plan', new.alert, %(requested_by)s
FROM unnest(%(incidents)s::text[], %(runbooks)s::text[], %(platforms)s::text[], %(alerts)s::jsonb[])
     AS new (incident, runbook, platform, alert)
RETURNING id, incident, number, runbook, mode, attempt, retry_of
