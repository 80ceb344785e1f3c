-- The store: alerts, incidents, runs, plans, journal, people. One transaction accepts an alert: all or nothing.

CREATE TABLE people (
    name         text PRIMARY KEY,
    role         text NOT NULL CHECK (role IN ('viewer', 'L1', 'L2', 'L3', 'L4', 'machine')),
    platform     text,                                   -- null: every platform
    token_sha256 text NOT NULL UNIQUE,                   -- the token itself is shown once and kept nowhere
    created_at   timestamptz NOT NULL DEFAULT now(),
    removed_at   timestamptz
);

CREATE TABLE incident_numbers (                          -- INC-YYYY-NNNNNN: gapless within a year
    year integer PRIMARY KEY,
    last integer NOT NULL
);

CREATE TABLE incidents (
    id              text PRIMARY KEY,
    state           text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'acknowledged', 'mitigated', 'resolved')),
    severity        text NOT NULL DEFAULT '',
    platform        text NOT NULL,
    runbook         text NOT NULL,
    target          text NOT NULL DEFAULT '',
    title           text NOT NULL DEFAULT '',
    opened_by       text NOT NULL,                       -- 'alert', or the person who ran the runbook by hand
    folder          text NOT NULL,                       -- YYYY-MM-DD/INC-..., below RUNBOOK_HOME
    opened_at       timestamptz NOT NULL DEFAULT now(),
    acknowledged_at timestamptz,
    resolved_at     timestamptz,
    journal_seq     integer NOT NULL DEFAULT 0,          -- entries so far
    journal_head    text NOT NULL DEFAULT '',            -- SHA-256 of the last line
    sealed_seq      integer NOT NULL DEFAULT 0           -- the last entry that a seal covers
);
-- One open incident per platform, runbook and target. What a person starts by hand is an incident of its own.
CREATE UNIQUE INDEX incidents_one_open ON incidents (platform, runbook, target)
    WHERE state <> 'resolved' AND opened_by = 'alert';
CREATE INDEX incidents_by_age ON incidents (opened_at DESC);

CREATE TABLE intake_bodies (                             -- every body that could not be understood, or was too large
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    sender      text NOT NULL,
    endpoint    text NOT NULL,
    size        bigint NOT NULL,
    sha256      text NOT NULL DEFAULT '',
    body        bytea,                                   -- null: too large to keep
    problem     text NOT NULL,
    incident    text REFERENCES incidents
);

CREATE TABLE runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident     text NOT NULL REFERENCES incidents,
    number       integer NOT NULL,                       -- NN of NN-<runbook>.ipynb
    runbook      text NOT NULL,
    platform     text NOT NULL,
    mode         text NOT NULL CHECK (mode IN ('observe', 'plan', 'apply', 'interactive')),
    requested    jsonb NOT NULL DEFAULT '{}',            -- parameters given with the request
    parameters   jsonb,                                  -- as resolved and validated
    alert        jsonb,                                  -- as delivered, redacted
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN
                 ('waiting', 'running', 'succeeded', 'failed', 'timed-out', 'cancelled', 'kernel-died', 'lost')),
    requested_by text NOT NULL,
    worker       text,
    queued_at    timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    heartbeat_at timestamptz,
    ended_at     timestamptz,
    attempt      integer NOT NULL DEFAULT 1,
    retry_of     bigint REFERENCES runs,
    verdict      jsonb,
    error        text,
    record       text,                                   -- the executed notebook, below RUNBOOK_HOME
    UNIQUE (incident, number)
);
CREATE INDEX runs_unfinished ON runs (state, heartbeat_at) WHERE state IN ('waiting', 'running');

CREATE TABLE alerts (                                    -- one row an episode
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key          text NOT NULL,                          -- SHA-256 of fingerprint and labels
    fingerprint  text NOT NULL,
    labels       jsonb NOT NULL,
    annotations  jsonb NOT NULL DEFAULT '{}',
    payload      jsonb NOT NULL,                         -- the alert as delivered, redacted
    platform     text NOT NULL,
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz,                            -- when it ended, or will unless it is sent again
    state        text NOT NULL CHECK (state IN ('firing', 'resolved', 'expired')),
    received_at  timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    resolved_at  timestamptz,                            -- when the end was received
    repeats      integer NOT NULL DEFAULT 0,
    incident     text REFERENCES incidents,
    run          bigint REFERENCES runs,                 -- the run that answers it; null: suppressed or lost
    suppressed   text,                                   -- the reason
    lost         text                                    -- the reason
);
CREATE UNIQUE INDEX alerts_one_firing ON alerts (key) WHERE state = 'firing';
CREATE INDEX alerts_by_key ON alerts (key, received_at DESC);
CREATE INDEX alerts_by_incident ON alerts (incident);

CREATE TABLE plans (
    hash        text PRIMARY KEY,                        -- SHA-256 over the canonical document
    incident    text NOT NULL REFERENCES incidents,
    run         bigint NOT NULL REFERENCES runs,
    platform    text NOT NULL,
    document    text NOT NULL,                           -- canonical JSON, exactly the bytes hashed
    state       text NOT NULL DEFAULT 'proposed' CHECK (state IN ('proposed', 'approved', 'rejected', 'expired', 'void',
                'applying', 'verified', 'partial', 'failed', 'undone')),
    undo_of     text REFERENCES plans,
    proposed_at timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    reason      text,                                    -- why void, failed, partial
    result      jsonb                                    -- before, done, after, check
);
CREATE INDEX plans_by_incident ON plans (incident);

CREATE TABLE decisions (                                 -- approvals and rejections, one a person and plan
    plan       text NOT NULL REFERENCES plans,
    person     text NOT NULL,
    role       text NOT NULL,
    decision   text NOT NULL CHECK (decision IN ('approve', 'reject', 'apply', 'undo')),
    reason     text NOT NULL DEFAULT '',
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan, person, decision)
);

CREATE TABLE holds (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform    text,                                    -- null: every platform
    reason      text NOT NULL,
    person      text NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz,
    released_by text
);

CREATE TABLE journal (                                   -- hash chain per incident; written under the incident's row lock
    incident text NOT NULL REFERENCES incidents,
    seq      integer NOT NULL,
    line     text NOT NULL,                              -- canonical JSON, exactly the bytes of the file's line
    sha256   text NOT NULL,
    PRIMARY KEY (incident, seq)
);

CREATE TABLE log_leaves (                                -- the global append-only log; index without gaps
    index     bigint PRIMARY KEY,
    incident  text NOT NULL REFERENCES incidents,
    line      text NOT NULL,                             -- canonical JSON, exactly the bytes of the leaf
    leaf_hash text NOT NULL,                             -- RFC 6962 leaf hash
    logged_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE processes (                                 -- who is alive: worker, recorder, applier, signer, server
    id           text PRIMARY KEY,
    kind         text NOT NULL,
    host         text NOT NULL,
    pid          integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);

-- The journal and the log are append-only for everybody but the owner.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER log_append_only BEFORE UPDATE OR DELETE ON log_leaves FOR EACH ROW EXECUTE FUNCTION refuse_change();
