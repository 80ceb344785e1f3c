-- The console's reading. Everything here is read only.

-- name: person
-- Somebody as they are now; nothing when the token was taken away.
SELECT name, role, platform FROM people WHERE name = %(name)s AND removed_at IS NULL;

-- name: incidents
-- The incidents, those that need someone first; with the newest verdict and plan of each.
SELECT i.id, i.state, i.severity, i.platform, i.runbook, i.target, i.title, i.opened_by, i.opened_at, i.resolved_at,
       run.state AS run_state, run.verdict, plan.state AS plan_state, plan.hash AS plan_hash,
       (SELECT count(*) FROM alerts a WHERE a.incident = i.id) AS alerts,
       (SELECT coalesce(sum(a.repeats), 0) FROM alerts a WHERE a.incident = i.id) AS repeats
FROM incidents i
LEFT JOIN LATERAL (SELECT r.state, r.verdict FROM runs r WHERE r.incident = i.id AND r.mode <> 'apply'
                   ORDER BY r.number DESC LIMIT 1) run ON true
LEFT JOIN LATERAL (SELECT p.state, p.hash FROM plans p WHERE p.incident = i.id
                   ORDER BY p.proposed_at DESC LIMIT 1) plan ON true
WHERE %(state)s::text IS NULL OR i.state = %(state)s OR (%(state)s = 'active' AND i.state <> 'resolved')
ORDER BY i.state = 'resolved', i.opened_at DESC
LIMIT %(limit)s;

-- name: counts
-- How many incidents are in each state.
SELECT state, count(*) AS count FROM incidents GROUP BY state;

-- name: pulse
-- One value that changes when the list does.
SELECT count(*) || ':' || coalesce(sum(journal_seq), 0) || ':'
       || coalesce((SELECT extract(epoch FROM max(changed_at)) FROM plans), 0) AS pulse
FROM incidents;

-- name: incident
-- One incident.
SELECT * FROM incidents WHERE id = %(incident)s;

-- name: incident_pulse
-- What changes when an incident does: entries, seals, plans, runs.
SELECT i.journal_seq, i.sealed_seq, i.state, i.folder,
       (SELECT coalesce(max(p.changed_at)::text, '') FROM plans p WHERE p.incident = i.id) AS plans,
       (SELECT coalesce(string_agg(r.number || r.state, ',' ORDER BY r.number), '') FROM runs r
        WHERE r.incident = i.id) AS runs
FROM incidents i WHERE i.id = %(incident)s;

-- name: alerts
-- The episodes of an incident, the first ones.
SELECT id, fingerprint, labels, annotations, state, starts_at, received_at, last_seen_at, resolved_at, repeats,
       suppressed, lost
FROM alerts WHERE incident = %(incident)s ORDER BY received_at LIMIT %(limit)s;

-- name: count_alerts
-- How many episodes an incident has.
SELECT count(*) AS count FROM alerts WHERE incident = %(incident)s;

-- name: runs
-- The runs of an incident.
SELECT id, number, runbook, mode, state, requested_by, queued_at, started_at, ended_at, attempt, verdict, error, record,
       parameters
FROM runs WHERE incident = %(incident)s ORDER BY number;

-- name: run
-- One run by its number.
SELECT id, number, runbook, mode, state, record, started_at, ended_at
FROM runs WHERE incident = %(incident)s AND number = %(number)s;

-- name: plans
-- The plans of an incident, the newest first.
SELECT p.hash, p.state, p.document, p.undo_of, p.proposed_at, p.expires_at, p.changed_at, p.reason, p.result,
       r.requested_by, r.number AS run_number
FROM plans p JOIN runs r ON r.id = p.run
WHERE p.incident = %(incident)s ORDER BY p.proposed_at DESC;

-- name: decisions
-- Who decided what about the plans of an incident.
SELECT d.plan, d.person, d.role, d.decision, d.reason, d.decided_at, d.break_glass
FROM decisions d JOIN plans p ON p.hash = d.plan
WHERE p.incident = %(incident)s ORDER BY d.decided_at;

-- name: journal
-- The entries of an incident, as written.
SELECT seq, line FROM journal WHERE incident = %(incident)s ORDER BY seq;

-- name: holds
-- The holds that bind a platform (or any, without one).
SELECT platform, reason, person, placed_at FROM holds
WHERE released_at IS NULL AND (%(platform)s::text IS NULL OR platform IS NULL OR platform = %(platform)s)
ORDER BY placed_at;

-- name: plan_hashes
-- The plans of an incident by hash.
SELECT hash FROM plans WHERE incident = %(incident)s;
