-- Plans, decisions and holds. A plan changes its state only under the row locks of its incident and itself, in that order.

-- name: lock_incident
-- The incident of a plan, locked first, as the journal does.
SELECT i.* FROM incidents i JOIN plans p ON p.incident = i.id WHERE p.hash = %(hash)s FOR UPDATE OF i

-- name: lock_plan
-- A plan, locked until the transaction ends.
SELECT * FROM plans WHERE hash = %(hash)s FOR UPDATE

-- name: plan
-- A plan as it is now.
SELECT * FROM plans WHERE hash = %(hash)s

-- name: plans_like
-- Plans whose hash begins so, at most two: enough to tell whether the beginning is unambiguous.
SELECT hash FROM plans WHERE starts_with(hash, %(prefix)s)
    AND (%(incident)s::text IS NULL OR incident = %(incident)s) ORDER BY hash LIMIT 2

-- name: of_incident
-- The plans of an incident, oldest first.
SELECT * FROM plans WHERE incident = %(incident)s ORDER BY proposed_at, hash

-- name: taking_back
-- The plan that takes another one back, as long as it may still be applied or is being applied.
SELECT * FROM plans WHERE undo_of = %(hash)s
    AND (state = 'applying' OR state IN ('proposed', 'approved') AND expires_at > now()) ORDER BY proposed_at LIMIT 1

-- name: of_run
-- The plans that a run proposed, oldest first.
SELECT * FROM plans WHERE run = %(run)s ORDER BY proposed_at, hash

-- name: run
-- A run with its incident.
SELECT r.id, r.incident, r.platform, r.mode, r.requested_by, r.state FROM runs r WHERE r.id = %(run)s

-- name: add_plan
-- A new plan; its document is exactly what the hash is over.
INSERT INTO plans (hash, incident, run, platform, document, undo_of, proposed_at, expires_at)
VALUES (%(hash)s, %(incident)s, %(run)s, %(platform)s, %(document)s, %(undo_of)s, %(proposed_at)s, %(expires_at)s)

-- name: move
-- From one state to the next; no row when the plan was in none of the states it may come from.
UPDATE plans SET state = %(state)s, reason = %(reason)s, changed_at = now()
WHERE hash = %(hash)s AND state = ANY(%(from)s) RETURNING hash

-- name: set_result
-- What applying a plan has seen and done so far.
UPDATE plans SET result = %(result)s WHERE hash = %(hash)s

-- name: overdue
-- Plans whose time has passed before they were applied.
SELECT hash FROM plans WHERE state IN ('proposed', 'approved') AND expires_at <= now() ORDER BY expires_at

-- name: open_of_incident
-- The plans of an incident that could still be applied.
SELECT hash FROM plans WHERE incident = %(incident)s AND state IN ('proposed', 'approved')

-- name: decide
-- What a person decided; once a person, plan and decision, but that one who has approved may break the glass then.
INSERT INTO decisions (plan, person, role, decision, reason, break_glass)
VALUES (%(hash)s, %(person)s, %(role)s, %(decision)s, %(reason)s, %(break_glass)s)
ON CONFLICT (plan, person, decision) DO UPDATE
    SET role = excluded.role, reason = excluded.reason, decided_at = now(), break_glass = true
    WHERE excluded.break_glass AND NOT decisions.break_glass
RETURNING plan

-- name: decisions
-- What was decided about a plan, in order.
SELECT person, role, decision, reason, decided_at, break_glass FROM decisions WHERE plan = %(hash)s ORDER BY decided_at, person

-- name: announce
-- Wake the applier.
SELECT pg_notify('runbook_apply', %(hash)s)

-- name: requested
-- Approved plans that somebody asked to be applied, and plans that were being applied: the applier's work.
SELECT p.hash, p.state FROM plans p
WHERE p.state = 'applying'
   OR (p.state = 'approved' AND EXISTS (SELECT FROM decisions d WHERE d.plan = p.hash AND d.decision = 'apply'))
ORDER BY p.state = 'applying' DESC, p.changed_at

-- name: lock_target
-- One at a time per target, over all incidents and processes; held by the session.
SELECT pg_try_advisory_lock(hashtextextended('apply ' || %(target)s, 0)) AS locked

-- name: unlock_targets
-- At once: of a connection that is closed the server gives the locks up in its own time.
SELECT pg_advisory_unlock_all()

-- name: changes_of_target
-- How often any of these targets was changed within the last hour, altogether and by standing approvals.
SELECT count(*) AS altogether,
       count(*) FILTER (WHERE EXISTS (
           SELECT FROM decisions d WHERE d.plan = p.hash AND d.decision = 'approve' AND d.role = 'standing'
       )) AS automatic
FROM plans p
WHERE p.platform = %(platform)s AND p.hash <> %(hash)s
  AND p.state IN ('applying', 'verified', 'partial', 'failed', 'undone')
  AND p.changed_at > now() - interval '1 hour'
  AND EXISTS (
      SELECT FROM jsonb_array_elements(p.document::jsonb -> 'actions') AS action
      WHERE (action -> 'target' ->> 'kind') || '/' || (action -> 'target' ->> 'name') = ANY(%(targets)s::text[])
         OR action -> 'target' -> 'also' ?| %(targets)s::text[]
  )

-- name: episodes
-- The alert's episodes of an incident: how many there were, and the names of those that still fire.
SELECT count(*) AS altogether,
       array_agg(DISTINCT labels ->> 'alertname') FILTER (
           WHERE state = 'firing' AND (ends_at IS NULL OR ends_at > now())
       ) AS firing
FROM alerts WHERE incident = %(incident)s

-- name: labels
-- The labels of the alerts of an incident.
SELECT DISTINCT labels FROM alerts WHERE incident = %(incident)s

-- name: holds
-- The holds on a platform.
SELECT id, platform, reason, person, placed_at FROM holds
WHERE released_at IS NULL AND (platform IS NULL OR platform = %(platform)s) ORDER BY id

-- name: all_holds
-- Every hold that is not released.
SELECT id, platform, reason, person, placed_at FROM holds WHERE released_at IS NULL ORDER BY id

-- name: place_hold
-- Stop automatic approvals and applies.
INSERT INTO holds (platform, reason, person) VALUES (%(platform)s, %(reason)s, %(person)s) RETURNING id

-- name: release_holds
-- Let them go on: one platform's holds, or with null every hold.
UPDATE holds SET released_at = now(), released_by = %(person)s
WHERE released_at IS NULL AND (%(platform)s::text IS NULL OR platform = %(platform)s)
RETURNING id, platform, reason, person

-- name: open_incidents
-- Where a hold is written down: the incidents of a platform that are not resolved.
SELECT id FROM incidents WHERE state <> 'resolved' AND (%(platform)s::text IS NULL OR platform = %(platform)s) ORDER BY id

-- name: who_could
-- People whose level is enough for a platform.
SELECT name, role FROM people
WHERE removed_at IS NULL AND role = ANY(%(roles)s)
  AND (platform IS NULL OR platform = %(platform)s OR platform = 'environment:' || %(environment)s)
ORDER BY role, name

-- name: people_now
-- Those of some people who still are somebody here.
SELECT name, role, platform FROM people WHERE removed_at IS NULL AND name = ANY(%(names)s)

-- name: begin_run
-- The run that applying a plan is; its number names the record.
INSERT INTO runs (incident, number, runbook, platform, mode, requested, state, requested_by, worker, started_at, heartbeat_at)
VALUES (%(incident)s, (SELECT coalesce(max(number), 0) + 1 FROM runs WHERE incident = %(incident)s), 'apply', %(platform)s,
        'apply', %(requested)s, 'running', %(requested_by)s, %(worker)s, now(), now())
RETURNING id, number

-- name: beat_run
-- Applying goes on.
UPDATE runs SET heartbeat_at = now(), worker = %(worker)s WHERE id = %(run)s

-- name: end_run
-- Applying is over.
UPDATE runs SET state = %(state)s, ended_at = now(), error = %(error)s, record = %(record)s WHERE id = %(run)s

-- name: mitigate
-- The firing check is false again.
UPDATE incidents SET state = 'mitigated' WHERE id = %(incident)s AND state IN ('open', 'acknowledged')

-- name: incident
-- An incident.
SELECT * FROM incidents WHERE id = %(incident)s

-- name: alert_name
-- The name of the alert that a run was started with.
SELECT alert FROM runs WHERE id = %(run)s
