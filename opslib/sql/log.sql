-- Sealing and the one log of all seals.

-- name: lock_log
-- One signer at a time, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('runbook log'))

-- name: ask_for_seal
-- Tell the signer that somebody waits for a seal.
SELECT pg_notify('runbook_seal', %(incident)s)

-- name: unsealed
-- The incidents whose journal goes on after their last seal, and which nobody works on now. A run that has just
-- ended is given a while to write its files; it asks for the seal itself.
SELECT i.id FROM incidents i
WHERE i.journal_seq > i.sealed_seq
  AND NOT EXISTS (SELECT FROM runs r WHERE r.incident = i.id AND r.state = 'running')
  AND NOT EXISTS (SELECT FROM plans p WHERE p.incident = i.id AND p.state = 'applying')
  AND NOT EXISTS (
      SELECT FROM runs r
      WHERE r.incident = i.id AND r.ended_at > now() - interval '10 seconds' AND r.started_at IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM journal j
            WHERE j.incident = i.id AND j.line::jsonb ->> 'kind' = 'file'
              AND j.line::jsonb -> 'body' ->> 'run' = r.id::text))

-- name: unsealed_one
-- Whether that is so of one incident.
SELECT EXISTS (
    SELECT FROM incidents i
    WHERE i.id = %(incident)s AND i.journal_seq > i.sealed_seq
      AND NOT EXISTS (SELECT FROM runs r WHERE r.incident = i.id AND r.state = 'running')
      AND NOT EXISTS (SELECT FROM plans p WHERE p.incident = i.id AND p.state = 'applying')
      AND NOT EXISTS (
          SELECT FROM runs r
          WHERE r.incident = i.id AND r.ended_at > now() - interval '10 seconds' AND r.started_at IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM journal j
                WHERE j.incident = i.id AND j.line::jsonb ->> 'kind' = 'file'
                  AND j.line::jsonb -> 'body' ->> 'run' = r.id::text))
) AS so

-- name: runs
-- The runs of an incident, as a seal tells them.
SELECT id, number, runbook, platform, mode, state, requested_by, parameters, record FROM runs
WHERE incident = %(incident)s ORDER BY number

-- name: alerts
-- The alerts of an incident, as delivered.
SELECT id, fingerprint, payload FROM alerts WHERE incident = %(incident)s ORDER BY id

-- name: plans
-- The plans of an incident.
SELECT hash, run, state, undo_of FROM plans WHERE incident = %(incident)s ORDER BY proposed_at, hash

-- name: decisions
-- Who decided what about them.
SELECT d.plan, d.person, d.role, d.decision, d.reason, d.decided_at, d.break_glass FROM decisions d
JOIN plans p ON p.hash = d.plan
WHERE p.incident = %(incident)s ORDER BY d.decided_at, d.plan, d.person

-- name: seals_of
-- The leaves of an incident, in order.
SELECT index, line FROM log_leaves WHERE incident = %(incident)s ORDER BY index

-- name: leaves
-- The whole log, in order.
SELECT line, leaf_hash FROM log_leaves ORDER BY index

-- name: size
-- How many leaves the log has.
SELECT count(*) AS leaves FROM log_leaves

-- name: add_leaf
-- One more leaf.
INSERT INTO log_leaves (index, incident, line, leaf_hash) VALUES (%(index)s, %(incident)s, %(line)s, %(leaf_hash)s)

-- name: mark_sealed
-- Up to which entry of the journal the last seal reaches.
UPDATE incidents SET sealed_seq = %(seq)s WHERE id = %(incident)s AND sealed_seq < %(seq)s
