-- Incidents: opened, read, acknowledged, resolved. Every change goes with its journal entry in one transaction.

-- name: take_numbers
-- The next numbers of a year, without gaps: the row stays locked until the transaction ends.
INSERT INTO incident_numbers (year, last) VALUES (%(year)s, %(count)s)
ON CONFLICT (year) DO UPDATE SET last = incident_numbers.last + excluded.last
RETURNING last

-- name: open_incidents
-- Open incidents, one for each element of the arrays.
INSERT INTO incidents (id, folder, platform, runbook, target, severity, title, opened_by, opened_at)
SELECT new.id, new.folder, new.platform, new.runbook, new.target, new.severity, new.title, new.opened_by, %(now)s
FROM unnest(%(ids)s::text[], %(folders)s::text[], %(platforms)s::text[], %(runbooks)s::text[], %(targets)s::text[],
            %(severities)s::text[], %(titles)s::text[], %(openers)s::text[])
     AS new (id, folder, platform, runbook, target, severity, title, opened_by)
RETURNING *

-- name: find_open
-- The open incidents that alerts of these platforms, runbooks and targets belong to, locked.
SELECT incidents.* FROM incidents
JOIN unnest(%(platforms)s::text[], %(runbooks)s::text[], %(targets)s::text[]) AS wanted (platform, runbook, target)
  USING (platform, runbook, target)
WHERE incidents.state <> 'resolved' AND incidents.opened_by = 'alert'
ORDER BY incidents.id
FOR UPDATE OF incidents

-- name: lock
-- One incident, locked until the transaction ends.
SELECT * FROM incidents WHERE id = %(incident)s FOR UPDATE

-- name: list
-- Incidents, newest first, each with the alerts that belong to it.
SELECT incidents.id, incidents.state, incidents.severity, incidents.platform, incidents.runbook, incidents.target,
       incidents.title, incidents.opened_by, incidents.opened_at, incidents.acknowledged_at, incidents.resolved_at,
       coalesce((SELECT json_agg(json_build_object(
                            'fingerprint', alerts.fingerprint, 'state', alerts.state, 'labels', alerts.labels,
                            'starts_at', to_char(alerts.starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                                 ORDER BY alerts.id)
                 FROM alerts WHERE alerts.incident = incidents.id), '[]') AS alerts
FROM incidents
WHERE %(state)s::text IS NULL OR incidents.state = %(state)s
ORDER BY incidents.opened_at DESC, incidents.id DESC
LIMIT %(limit)s

-- name: one
-- One incident.
SELECT * FROM incidents WHERE id = %(incident)s

-- name: alerts_of
-- The episodes of an incident, oldest first.
SELECT id, fingerprint, labels, annotations, starts_at, ends_at, state, received_at, last_seen_at, resolved_at, repeats,
       run, suppressed, lost
FROM alerts WHERE incident = %(incident)s ORDER BY id

-- name: runs_of
-- The runs of an incident, in their order.
SELECT id, number, runbook, platform, mode, state, requested_by, queued_at, started_at, ended_at, attempt, retry_of,
       parameters, verdict, error, record
FROM runs WHERE incident = %(incident)s ORDER BY number

-- name: plans_of
-- The plans of an incident, oldest first, with the decisions on each.
SELECT plans.hash, plans.run, plans.state, plans.document, plans.undo_of, plans.proposed_at, plans.expires_at,
       plans.changed_at, plans.reason, plans.result,
       coalesce((SELECT json_agg(json_build_object(
                            'person', decisions.person, 'role', decisions.role, 'decision', decisions.decision,
                            'reason', decisions.reason, 'break_glass', decisions.break_glass,
                            'decided_at', to_char(decisions.decided_at AT TIME ZONE 'UTC',
                                                  'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) ORDER BY decisions.decided_at)
                 FROM decisions WHERE decisions.plan = plans.hash), '[]') AS decisions
FROM plans WHERE plans.incident = %(incident)s ORDER BY plans.proposed_at

-- name: acknowledge
-- Someone is on it.
UPDATE incidents SET acknowledged_at = coalesce(acknowledged_at, now()),
                     state = CASE WHEN state = 'open' THEN 'acknowledged' ELSE state END
WHERE id = %(incident)s

-- name: resolve
-- It is over.
UPDATE incidents SET state = 'resolved', resolved_at = now() WHERE id = %(incident)s

-- name: still_firing
-- How many episodes of an incident have not ended.
SELECT count(*) AS episodes FROM alerts WHERE incident = %(incident)s AND state = 'firing'

-- name: set_state
-- Incidents whose alerts have all ended are mitigated; an alert that fires again opens them.
UPDATE incidents SET state = %(state)s WHERE id = ANY (%(incidents)s)

-- name: set_severity
-- An alert may make an incident more severe.
UPDATE incidents SET severity = %(severity)s WHERE id = %(incident)s

-- name: void_plans
-- Plans that nobody has begun to apply have lost their ground; a plan that undoes another has not.
UPDATE plans SET state = 'void', reason = %(reason)s, changed_at = now()
WHERE incident = %(incident)s AND state IN ('proposed', 'approved') AND undo_of IS NULL
RETURNING hash

-- name: journal_after
-- The next entries of a journal, exactly as written; a line has no line break.
SELECT seq, line, line::jsonb ->> 'kind' AS kind FROM journal
WHERE incident = %(incident)s AND seq > %(after)s ORDER BY seq LIMIT 200
