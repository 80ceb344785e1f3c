-- The journal: one hash chain an incident, written under the incident's row lock.

-- name: lock_incident
-- The incident's place in its chain; whoever holds this lock writes the next line.
SELECT id, folder, journal_seq, journal_head FROM incidents WHERE id = %(incident)s FOR UPDATE

-- name: incident
-- What sealing and exporting need to know of an incident.
SELECT id, folder, state, platform, runbook, target, severity, opened_at, journal_seq, journal_head, sealed_seq
FROM incidents WHERE id = %(incident)s

-- name: add
-- The next line.
INSERT INTO journal (incident, seq, line, sha256) VALUES (%(incident)s, %(seq)s, %(line)s, %(sha256)s)

-- name: advance
-- The chain has a new head.
UPDATE incidents SET journal_seq = %(seq)s, journal_head = %(sha256)s WHERE id = %(incident)s

-- name: announce
-- Tell those who follow the journal; delivered when the transaction commits.
SELECT pg_notify('runbook_journal', %(incident)s)

-- name: lines
-- The lines of an incident after one, in order.
SELECT seq, line, sha256 FROM journal WHERE incident = %(incident)s AND seq > %(after)s ORDER BY seq

-- name: holds_text
-- Whether a line of the incident holds a text: the mark of an entry that was spooled.
SELECT EXISTS (SELECT FROM journal WHERE incident = %(incident)s AND position(%(text)s IN line) > 0) AS there

-- name: evidence
-- The pieces of evidence of an incident, and which run saw each.
SELECT line::jsonb -> 'body' ->> 'id' AS id, (line::jsonb -> 'body' ->> 'run')::bigint AS run
FROM journal WHERE incident = %(incident)s AND (line::jsonb ->> 'kind') = 'evidence'

-- name: set_verdict
-- The verdict of a run that goes on; no row when it has ended.
UPDATE runs SET verdict = %(verdict)s WHERE id = %(run)s AND state = 'running' RETURNING id
