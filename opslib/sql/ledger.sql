-- The ledger: what became of every accepted alert, and what may never be.

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

-- name: totals
-- The ledger in numbers. Each outcome is counted by a condition of its own, so that an alert that none or two of them
-- claim shows as a sum that is not `accepted`.
WITH RECURSIVE again AS (
    SELECT alerts.id AS alert, alerts.run, 0 AS depth FROM alerts JOIN runs ON runs.id = alerts.run
    WHERE runs.state = 'lost'
    UNION ALL
    SELECT again.alert, runs.id, again.depth + 1 FROM again JOIN runs ON runs.retry_of = again.run WHERE again.depth < 20
), last AS (
    SELECT DISTINCT ON (alert) alert, run FROM again ORDER BY alert, depth DESC, run DESC
), told AS (
    SELECT alerts.repeats, alerts.suppressed IS NOT NULL AS suppressed, alerts.lost IS NOT NULL AS lost, runs.state,
           runs.started_at IS NOT NULL AS began
    FROM alerts LEFT JOIN last ON last.alert = alerts.id
    LEFT JOIN runs ON runs.id = coalesce(last.run, alerts.run)
)
SELECT count(*) AS accepted, coalesce(sum(repeats), 0) AS repeats,
       count(*) FILTER (WHERE suppressed) AS suppressed,
       count(*) FILTER (WHERE NOT suppressed AND state = 'waiting') AS waiting,
       count(*) FILTER (WHERE state IN ('running', 'succeeded', 'failed', 'cancelled', 'kernel-died')
                        OR (state = 'timed-out' AND began)) AS run,
       count(*) FILTER (WHERE state = 'lost' OR (state = 'timed-out' AND NOT began)
                        OR (state IS NULL AND lost AND NOT suppressed)) AS lost
FROM told

-- name: mistakes
-- What may never be, how often it is, and where first.
SELECT 'alerts that nothing answers' AS what, count(*) AS count, min(incident) AS first FROM alerts
WHERE run IS NULL AND suppressed IS NULL AND lost IS NULL HAVING count(*) > 0
UNION ALL
SELECT 'alerts that are both suppressed and answered', count(*), min(incident) FROM alerts
WHERE run IS NOT NULL AND suppressed IS NOT NULL HAVING count(*) > 0
UNION ALL
SELECT 'alerts that a run of another incident answers', count(*), min(alerts.incident)
FROM alerts JOIN runs ON runs.id = alerts.run WHERE runs.incident <> alerts.incident HAVING count(*) > 0
UNION ALL
SELECT 'places where two runs that alerts started go on at once', count(*), min(first) FROM (
    SELECT min(runs.incident) AS first FROM runs JOIN incidents ON incidents.id = runs.incident
    WHERE runs.state = 'running' AND runs.requested_by = 'alert' AND runs.mode IN ('observe', 'plan')
    GROUP BY incidents.platform, incidents.runbook, incidents.target HAVING count(*) > 1) AS doubled HAVING count(*) > 0
UNION ALL
SELECT 'waiting runs that no job will ever start', count(*), min(runs.incident)
FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.state = 'waiting' AND runs.requested_by = 'alert'
    AND runs.queued_at < now() - make_interval(secs => %(older_s)s)
    AND NOT EXISTS (SELECT FROM procrastinate_jobs AS jobs WHERE jobs.task_name = %(task)s
                    AND jobs.args ->> 'run' = runs.id::text AND jobs.status IN ('todo', 'doing'))
    AND NOT EXISTS (
        SELECT FROM runs AS others JOIN incidents AS there ON there.id = others.incident
        WHERE others.state = 'running' AND others.requested_by = 'alert'
            AND (there.platform, there.runbook, there.target)
                = (incidents.platform, incidents.runbook, incidents.target))
HAVING count(*) > 0
UNION ALL
SELECT 'runs that ended with the journal saying otherwise', count(*), min(runs.incident)
FROM runs LEFT JOIN (
    SELECT incident, (line::jsonb -> 'body' ->> 'run')::bigint AS run, count(*) AS ends,
           min(line::jsonb -> 'body' ->> 'state') AS state
    FROM journal WHERE line::jsonb ->> 'kind' = 'run-ended' GROUP BY 1, 2
) AS told ON told.incident = runs.incident AND told.run = runs.id
WHERE runs.mode IN ('observe', 'plan') AND runs.state NOT IN ('waiting', 'running')
    AND (told.ends IS DISTINCT FROM 1 OR told.state <> runs.state)
HAVING count(*) > 0
UNION ALL
SELECT 'runs that began after the journal says they ended', count(*), min(incident) FROM (
    SELECT incident, max(seq) FILTER (WHERE line::jsonb ->> 'kind' = 'run-started') AS began,
           min(seq) FILTER (WHERE line::jsonb ->> 'kind' = 'run-ended') AS ended
    FROM journal WHERE line::jsonb ->> 'kind' IN ('run-started', 'run-ended')
    GROUP BY incident, line::jsonb -> 'body' ->> 'run') AS told
WHERE began > ended
HAVING count(*) > 0
