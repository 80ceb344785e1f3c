-- Lanes of the queue, suppressions that are looked at again, storms, and what the metrics are made of.
-- depends: 0003-roles

ALTER TABLE runs ADD COLUMN lane text NOT NULL DEFAULT 'warning'
    CHECK (lane IN ('critical', 'high', 'warning', 'info', 'routine'));
ALTER TABLE runs ADD COLUMN first_cell_at timestamptz;   -- when the first cell was done, as the journal has it
CREATE INDEX runs_by_runbook ON runs (platform, runbook, queued_at);
CREATE INDEX runs_lost ON runs (retry_of) WHERE retry_of IS NOT NULL;

ALTER TABLE alerts ADD COLUMN again_at timestamptz;      -- suppressed: when it is looked at again while it fires
CREATE INDEX alerts_held_back ON alerts (again_at) WHERE state = 'firing' AND run IS NULL AND again_at IS NOT NULL;

CREATE INDEX incidents_by_place ON incidents (platform, runbook, target);
ALTER TABLE incidents ADD COLUMN told_at timestamptz;    -- of a storm: when it was last told what waits
-- One storm a platform at a time. No person's name has a space.
CREATE UNIQUE INDEX incidents_one_storm ON incidents (platform) WHERE state <> 'resolved' AND opened_by = 'the intake';
