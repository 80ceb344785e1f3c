-- The schedule: how far each entry was looked at, and what became of each time that was due.
-- depends: 0004-lanes

CREATE TABLE schedule_entries (
    name       text PRIMARY KEY,
    seen_until timestamptz NOT NULL                      -- every time up to here is decided
);

CREATE TABLE schedule_starts (                           -- one row a time that was due: what makes it once over all workers
    entry     text NOT NULL,
    due_at    timestamptz NOT NULL,
    starts_at timestamptz NOT NULL,                      -- with jitter
    missed    integer NOT NULL DEFAULT 0,                -- earlier times that it stands for
    incident  text REFERENCES incidents,
    run       bigint REFERENCES runs,                    -- null: it waits for its jitter, or was skipped
    skipped   text,                                      -- the reason
    PRIMARY KEY (entry, due_at)
);
CREATE INDEX schedule_starts_open ON schedule_starts (starts_at) WHERE run IS NULL AND skipped IS NULL;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'runbook_worker') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON schedule_entries, schedule_starts TO runbook_worker;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'runbook_reader') THEN
        GRANT SELECT ON schedule_entries, schedule_starts TO runbook_reader;
    END IF;
END $$;
