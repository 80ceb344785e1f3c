-- Runs: queued, claimed, alive, ended.

-- name: create
-- The next run of an incident, whose row stays locked so that numbers are given once.
WITH incident AS (SELECT id FROM incidents WHERE id = %(incident)s FOR UPDATE)
INSERT INTO runs (incident, number, runbook, platform, mode, requested, alert, requested_by, attempt, retry_of)
SELECT incident.id, (SELECT coalesce(max(number), 0) + 1 FROM runs WHERE runs.incident = incident.id),
       %(runbook)s, %(platform)s, %(mode)s, %(requested)s, %(alert)s, %(requested_by)s, %(attempt)s, %(retry_of)s
FROM incident
RETURNING id, number

-- name: set_lanes
-- The lane of each run.
UPDATE runs SET lane = new.lane FROM unnest(%(runs)s::bigint[], %(lanes)s::text[]) AS new (run, lane)
WHERE runs.id = new.run AND runs.lane <> new.lane

-- name: defer
-- Jobs of the queue, in the caller's transaction: seen by workers when it commits.
SELECT procrastinate_defer_jobs_v1(array_agg(
    ROW(new.queue, %(task)s, new.priority, NULL, NULL, jsonb_build_object('run', new.run), NULL)
    ::procrastinate_job_to_defer_v1 ORDER BY new.place))
FROM unnest(%(runs)s::bigint[], %(priorities)s::int[], %(queues)s::text[])
     WITH ORDINALITY AS new (run, priority, queue, place)

-- name: hasten
-- A run that waits overtakes: its lane, and the job that no worker has taken yet.
WITH moved AS (
    UPDATE runs SET lane = %(lane)s
    WHERE id = %(run)s AND state = 'waiting'
        AND array_position(%(lanes)s::text[], lane) > array_position(%(lanes)s::text[], %(lane)s)
    RETURNING id
)
UPDATE procrastinate_jobs SET priority = %(priority)s, queue_name = %(queue)s FROM moved
WHERE task_name = %(task)s AND status = 'todo' AND args ->> 'run' = moved.id::text AND priority < %(priority)s

-- name: lock_place
-- Whoever starts or ends a run of this platform, runbook and target does so alone until the transaction ends.
SELECT pg_advisory_xact_lock(%(space)s, hashtext(concat_ws(chr(10), incidents.platform, incidents.runbook, incidents.target)))
FROM runs JOIN incidents ON incidents.id = runs.incident WHERE runs.id = %(run)s

-- name: claim
-- A waiting run becomes this process's own; nobody else gets it. One that an alert asked for waits while another such
-- run of its platform, runbook and target goes on. The caller holds the lock of the place.
UPDATE runs SET state = 'running', started_at = now(), heartbeat_at = now(), worker = %(worker)s
FROM incidents AS here
WHERE runs.id = %(run)s AND runs.state = 'waiting' AND here.id = runs.incident
    AND (runs.requested_by <> 'alert' OR NOT EXISTS (
        SELECT FROM runs AS others JOIN incidents AS there ON there.id = others.incident
        WHERE others.state = 'running' AND others.requested_by = 'alert' AND others.mode IN ('observe', 'plan')
            AND (there.platform, there.runbook, there.target) = (here.platform, here.runbook, here.target)))
RETURNING runs.*

-- name: waits_for_place
-- The runs that wait behind one of the same platform, runbook and target, and have no job that waits too.
SELECT others.id, others.lane
FROM runs JOIN incidents AS here ON here.id = runs.incident
JOIN incidents AS there
    ON (there.platform, there.runbook, there.target) = (here.platform, here.runbook, here.target)
JOIN runs AS others ON others.incident = there.id
WHERE runs.id = %(run)s AND runs.requested_by = 'alert' AND others.id <> runs.id
    AND others.state = 'waiting' AND others.requested_by = 'alert'
    AND NOT EXISTS (SELECT FROM procrastinate_jobs AS jobs
                    WHERE jobs.task_name = %(task)s AND jobs.args ->> 'run' = others.id::text AND jobs.status = 'todo')
ORDER BY others.id

-- name: waiting
-- The runs that wait, by runbook.
SELECT runbook, array_agg(id ORDER BY id) AS runs FROM runs
WHERE state = 'waiting' AND mode IN ('observe', 'plan') GROUP BY runbook ORDER BY runbook

-- name: one
-- One run with what is needed of its incident.
SELECT runs.*, incidents.folder, incidents.opened_by, incidents.severity, incidents.state AS incident_state,
       incidents.journal_seq, incidents.sealed_seq
FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.id = %(run)s

-- name: begin
-- What the run was given, and where its notebook is.
UPDATE runs SET parameters = %(parameters)s, record = %(record)s WHERE id = %(run)s

-- name: beat
-- The run is alive.
UPDATE runs SET heartbeat_at = now() WHERE id = %(run)s AND state = 'running'

-- name: lock
-- The run, so that one process alone ends it.
SELECT id, state FROM runs WHERE id = %(run)s FOR UPDATE

-- name: finish
-- The terminal state, and the verdict with its plan.
UPDATE runs SET state = %(state)s, error = %(error)s, ended_at = now(),
    verdict = coalesce(%(verdict)s, verdict),
    first_cell_at = (SELECT min((line::jsonb ->> 'at')::timestamptz) FROM journal
                     WHERE journal.incident = runs.incident AND (line::jsonb ->> 'kind') = 'cell-ended'
                         AND (line::jsonb -> 'body' ->> 'run')::bigint = runs.id)
WHERE id = %(run)s

-- name: cancel_asked
-- Who asked for the end of a run, and why.
SELECT line::jsonb -> 'body' ->> 'person' AS person, line::jsonb -> 'body' ->> 'reason' AS reason
FROM journal
WHERE incident = %(incident)s AND (line::jsonb ->> 'kind') = 'cancel-requested'
    AND (line::jsonb -> 'body' ->> 'run')::bigint = %(run)s
ORDER BY seq LIMIT 1

-- name: unfinished
-- The runs of an incident that wait or run, as they stay until the transaction ends: none begins or ends meanwhile.
SELECT id, number, mode, state FROM runs
WHERE incident = %(incident)s AND state IN ('waiting', 'running') ORDER BY id FOR UPDATE

-- name: announce_cancel
-- Tell the process that executes a run to look for a request to cancel it.
SELECT pg_notify('runbook_cancel', %(run)s::text)

-- name: newest_verdict
-- The last verdict that a run's notebook sent.
SELECT line::jsonb -> 'body' -> 'verdict' AS verdict
FROM journal
WHERE incident = %(incident)s AND (line::jsonb ->> 'kind') = 'verdict'
    AND (line::jsonb -> 'body' ->> 'run')::bigint = %(run)s
ORDER BY seq DESC LIMIT 1

-- name: newest_plan
-- The last plan that a run proposed.
SELECT hash, state, document FROM plans WHERE run = %(run)s AND undo_of IS NULL ORDER BY proposed_at DESC LIMIT 1

-- name: running
-- Every run that says it runs, when it last did, and whether the journal knows better; the applier has its own care.
SELECT id, incident, worker, heartbeat_at, EXISTS (
    SELECT FROM journal WHERE journal.incident = runs.incident AND (line::jsonb ->> 'kind') = 'run-ended'
        AND (line::jsonb -> 'body' ->> 'run')::bigint = runs.id) AS ended
FROM runs WHERE state = 'running' AND mode IN ('observe', 'plan', 'interactive')

-- name: forgotten
-- Waiting runs that no job will ever start: the job is gone, or the worker that took it stopped beating. One by hand
-- that never had a job is executed by whoever asked for it; one that waits for another run is queued when that ends.
SELECT runs.id, runs.lane FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.state = 'waiting' AND runs.mode IN ('observe', 'plan')
    AND runs.queued_at < now() - make_interval(secs => %(older_s)s)
    AND (runs.requested_by = 'alert'
         OR EXISTS (SELECT FROM procrastinate_jobs AS jobs
                    WHERE jobs.task_name = %(task)s AND jobs.args ->> 'run' = runs.id::text))
    AND NOT EXISTS (
        SELECT FROM procrastinate_jobs AS jobs LEFT JOIN procrastinate_workers AS workers ON workers.id = jobs.worker_id
        WHERE jobs.task_name = %(task)s AND jobs.args ->> 'run' = runs.id::text
            AND (jobs.status = 'todo' OR (jobs.status = 'doing'
                 AND workers.last_heartbeat > now() - make_interval(secs => %(older_s)s))))
    AND NOT EXISTS (
        SELECT FROM runs AS others JOIN incidents AS there ON there.id = others.incident
        WHERE runs.requested_by = 'alert' AND others.state = 'running' AND others.requested_by = 'alert'
            AND (there.platform, there.runbook, there.target)
                = (incidents.platform, incidents.runbook, incidents.target))

-- name: end_jobs
-- The jobs of a run that a dead worker took are over.
SELECT procrastinate_finish_job_v1(id, 'failed', false)
FROM procrastinate_jobs WHERE task_name = %(task)s AND args ->> 'run' = %(run)s::text AND status = 'doing'

-- name: answer_instead
-- The alerts that a lost run was to answer are answered by the run that replaces it.
UPDATE alerts SET run = %(new)s WHERE run = %(old)s

-- name: follow
-- What happened in a run since an entry, for whoever waits.
SELECT seq, line::jsonb AS entry FROM journal
WHERE incident = %(incident)s AND seq > %(after)s ORDER BY seq

-- name: ended_in_journal
-- How a run ended, where the journal knows before the run's row does.
SELECT line::jsonb -> 'body' ->> 'state' AS state, line::jsonb -> 'body' ->> 'error' AS error
FROM journal
WHERE incident = %(incident)s AND (line::jsonb ->> 'kind') = 'run-ended'
    AND (line::jsonb -> 'body' ->> 'run')::bigint = %(run)s
ORDER BY seq LIMIT 1

-- name: files_told
-- Whether the journal names the files of a run already: somebody has closed its record; and whether a seal has that.
SELECT count(*) > 0 AS so, coalesce(bool_or(journal.seq <= incidents.sealed_seq), false) AS sealed
FROM journal JOIN incidents ON incidents.id = journal.incident
WHERE journal.incident = %(incident)s AND (line::jsonb ->> 'kind') = 'file'
    AND (line::jsonb -> 'body' ->> 'run') = (%(run)s)::text

-- name: redacted
-- How many secrets were taken out of the evidence of a run.
SELECT coalesce(sum((line::jsonb -> 'body' ->> 'redacted')::bigint), 0) AS redacted
FROM journal
WHERE incident = %(incident)s AND (line::jsonb ->> 'kind') = 'evidence'
    AND (line::jsonb -> 'body' ->> 'run')::bigint = %(run)s

-- name: closed
-- Whether a seal covers the end of a run.
SELECT EXISTS (
    SELECT FROM journal JOIN incidents ON incidents.id = journal.incident
    WHERE journal.incident = %(incident)s AND (line::jsonb ->> 'kind') = 'run-ended'
        AND (line::jsonb -> 'body' ->> 'run')::bigint = %(run)s AND incidents.sealed_seq >= journal.seq) AS closed

-- name: undecided
-- Runs of alerts that could not tell which of their causes it is, or whether the alert is true, or that saw a cause
-- while it was not, ended a while ago and not long ago, whose alert still fires, and after which nothing was run; none
-- while others wait for a worker.
SELECT runs.* FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.state = 'succeeded' AND runs.requested_by = 'alert' AND runs.mode IN ('observe', 'plan')
    AND runs.ended_at BETWEEN now() - make_interval(secs => %(most_s)s) AND now() - make_interval(secs => %(after_s)s)
    AND runs.verdict ->> 'cause' IS NULL AND runs.verdict ->> 'plan' IS NULL
    AND (jsonb_array_length(runs.verdict -> 'causes') > 0 OR (runs.verdict ->> 'confidence')::float = 0)
    AND incidents.state <> 'resolved'
    AND EXISTS (SELECT FROM alerts WHERE alerts.incident = incidents.id AND alerts.state = 'firing')
    AND NOT EXISTS (SELECT FROM runs AS later WHERE later.incident = incidents.id AND later.number > runs.number)
    AND (SELECT count(*) FROM runs AS looks WHERE looks.incident = incidents.id AND looks.state = 'succeeded'
             AND looks.requested_by = 'alert' AND looks.mode IN ('observe', 'plan')) <= %(times)s
    AND NOT EXISTS (SELECT FROM runs AS others WHERE others.state = 'waiting')
FOR UPDATE OF incidents SKIP LOCKED

-- name: later
-- A run of an incident that came after a run of it.
SELECT id FROM runs WHERE incident = %(incident)s AND number > %(number)s LIMIT 1

-- name: retry
-- The run that replaces a lost one.
SELECT id FROM runs WHERE retry_of = %(run)s

-- name: closed_lately
-- The folders of the runs that ended within the last hour, and when the last of each did.
SELECT incidents.folder, max(runs.ended_at) AS ended_at FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.ended_at > now() - interval '1 hour' AND runs.record IS NOT NULL
GROUP BY incidents.folder ORDER BY incidents.folder

-- name: unclosed
-- Runs that ended a while ago, within the last hour, of whose files the journal knows nothing. One by hand may have
-- none, when its JupyterLab is gone: there it is the seal of its end that is missing.
SELECT runs.id, runs.state, runs.error, runs.worker FROM runs JOIN incidents ON incidents.id = runs.incident
WHERE runs.ended_at BETWEEN now() - interval '1 hour' AND now() - make_interval(secs => %(older_s)s)
    AND runs.record IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM journal WHERE journal.incident = runs.incident
            AND (line::jsonb -> 'body' ->> 'run')::bigint = runs.id
            AND ((line::jsonb ->> 'kind') = 'file' AND runs.mode IN ('observe', 'plan')
                 OR (line::jsonb ->> 'kind') = 'run-ended' AND runs.mode = 'interactive'
                    AND incidents.sealed_seq >= journal.seq))
    AND runs.mode IN ('observe', 'plan', 'interactive')
