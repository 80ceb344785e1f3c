-- Kept counts of alerts and runs, so that `/metrics` looks at no old row.
-- depends: 0005-schedule
--
-- A transaction that changes what is counted adds rows to tally_changes and so waits for no other; the server folds
-- them into tallies now and then. The sum of both is exact at any moment.

CREATE TABLE tallies (
    what   text NOT NULL,                                -- accepted, repeats, alerts, suppressed, runs, wait, ...
    label  text NOT NULL DEFAULT '',                     -- outcome, reason, state, lane or runbook
    bucket integer NOT NULL DEFAULT 0,                   -- of a duration: between which of the bounds
    count  bigint NOT NULL,
    sum_s  float8 NOT NULL DEFAULT 0,                    -- of a duration [s]
    PRIMARY KEY (what, label, bucket)
);

CREATE TABLE tally_changes (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    what   text NOT NULL,
    label  text NOT NULL DEFAULT '',
    bucket integer NOT NULL DEFAULT 0,
    count  bigint NOT NULL,
    sum_s  float8 NOT NULL DEFAULT 0
);

CREATE INDEX alerts_by_run ON alerts (run) WHERE run IS NOT NULL;

-- What became of an alert; null for one that nothing answers, which must never be.
CREATE FUNCTION alert_outcome(suppressed text, lost text, state text, began boolean) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN suppressed IS NOT NULL THEN 'suppressed'
                WHEN state = 'waiting' THEN 'waiting'
                WHEN state = 'lost' OR (state = 'timed-out' AND NOT began) OR (state IS NULL AND lost IS NOT NULL)
                    THEN 'lost'
                WHEN state IS NOT NULL THEN 'run' END
$$;

-- Why an alert started no run, without the particulars.
CREATE FUNCTION suppression_kind(reason text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN reason LIKE 'cool-down:%' THEN 'cool-down' WHEN reason LIKE 'ceiling:%' THEN 'ceiling'
                ELSE 'over before it was seen' END
$$;

-- The bounds between which durations are counted [s]: of waits and times to the first cell, and of whole runs.
CREATE FUNCTION tally_bounds(what text) RETURNS float8[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE what WHEN 'duration' THEN ARRAY[0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300, 900]::float8[]
                     ELSE ARRAY[0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 15, 60, 300, 1800]::float8[] END
$$;

CREATE FUNCTION tally_duration(what text, label text, since timestamptz, until timestamptz) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO tally_changes (what, label, bucket, count, sum_s)
    SELECT what, label, width_bucket(took.s, tally_bounds(what)), 1, took.s
    FROM (SELECT greatest(extract(epoch FROM until - since), 0)::float8 AS s) AS took
$$;

-- The run's row is held, so that its state cannot change between being read here and being counted.
CREATE FUNCTION tally_alert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text; after text; run runs;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT * INTO run FROM runs WHERE runs.id = OLD.run FOR SHARE;
        before := alert_outcome(OLD.suppressed, OLD.lost, run.state, run.started_at IS NOT NULL);
    END IF;
    SELECT * INTO run FROM runs WHERE runs.id = NEW.run FOR SHARE;
    after := alert_outcome(NEW.suppressed, NEW.lost, run.state, run.started_at IS NOT NULL);
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tally_changes (what, count) VALUES ('accepted', 1), ('repeats', NEW.repeats);
    ELSIF NEW.repeats <> OLD.repeats THEN
        INSERT INTO tally_changes (what, count) VALUES ('repeats', NEW.repeats - OLD.repeats);
    END IF;
    IF before IS DISTINCT FROM after THEN
        INSERT INTO tally_changes (what, label, count)
        SELECT 'alerts', label, count FROM (VALUES (before, -1), (after, 1)) AS change (label, count)
        WHERE label IS NOT NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.suppressed IS NOT NULL THEN
        INSERT INTO tally_changes (what, label, count) VALUES ('suppressed', suppression_kind(OLD.suppressed), -1);
    END IF;
    IF NEW.suppressed IS NOT NULL THEN
        INSERT INTO tally_changes (what, label, count) VALUES ('suppressed', suppression_kind(NEW.suppressed), 1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER alerts_added AFTER INSERT ON alerts FOR EACH ROW EXECUTE FUNCTION tally_alert();
CREATE TRIGGER alerts_changed AFTER UPDATE ON alerts FOR EACH ROW
    WHEN ((OLD.run, OLD.suppressed, OLD.lost, OLD.repeats) IS DISTINCT FROM (NEW.run, NEW.suppressed, NEW.lost, NEW.repeats))
    EXECUTE FUNCTION tally_alert();

CREATE FUNCTION tally_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text; after text; answered bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO tally_changes (what, label, count) VALUES ('runs', NEW.state, 1);
        RETURN NULL;
    END IF;
    IF NEW.state <> OLD.state THEN
        INSERT INTO tally_changes (what, label, count) VALUES ('runs', OLD.state, -1), ('runs', NEW.state, 1);
    END IF;
    before := alert_outcome(NULL, NULL, OLD.state, OLD.started_at IS NOT NULL);
    after := alert_outcome(NULL, NULL, NEW.state, NEW.started_at IS NOT NULL);
    IF before <> after THEN
        SELECT count(*) INTO answered FROM alerts WHERE alerts.run = NEW.id AND alerts.suppressed IS NULL;
        INSERT INTO tally_changes (what, label, count)
        SELECT 'alerts', label, count FROM (VALUES (before, -answered), (after, answered)) AS change (label, count)
        WHERE answered > 0;
    END IF;
    IF OLD.started_at IS NULL AND NEW.started_at IS NOT NULL THEN
        PERFORM tally_duration('wait', NEW.lane, NEW.queued_at, NEW.started_at);
    END IF;
    IF OLD.first_cell_at IS NULL AND NEW.first_cell_at IS NOT NULL THEN
        PERFORM tally_duration('first cell', NEW.lane, NEW.queued_at, NEW.first_cell_at);
    END IF;
    IF OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL AND NEW.started_at IS NOT NULL THEN
        PERFORM tally_duration('duration', NEW.runbook, NEW.started_at, NEW.ended_at);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER runs_added AFTER INSERT ON runs FOR EACH ROW
    WHEN (NEW.mode IN ('observe', 'plan')) EXECUTE FUNCTION tally_run();
CREATE TRIGGER runs_changed AFTER UPDATE ON runs FOR EACH ROW
    WHEN (NEW.mode IN ('observe', 'plan') AND (OLD.state, OLD.started_at, OLD.first_cell_at, OLD.ended_at)
          IS DISTINCT FROM (NEW.state, NEW.started_at, NEW.first_cell_at, NEW.ended_at))
    EXECUTE FUNCTION tally_run();

-- What there is already.
INSERT INTO tallies (what, count) SELECT 'accepted', count(*) FROM alerts;
INSERT INTO tallies (what, count) SELECT 'repeats', coalesce(sum(repeats), 0) FROM alerts;
INSERT INTO tallies (what, label, count)
SELECT 'alerts', outcome, count(*)
FROM (SELECT alert_outcome(suppressed, lost, runs.state, runs.started_at IS NOT NULL) AS outcome
      FROM alerts LEFT JOIN runs ON runs.id = alerts.run) AS each
WHERE outcome IS NOT NULL GROUP BY outcome;
INSERT INTO tallies (what, label, count)
SELECT 'suppressed', suppression_kind(suppressed), count(*) FROM alerts WHERE suppressed IS NOT NULL GROUP BY 2;
INSERT INTO tallies (what, label, count)
SELECT 'runs', state, count(*) FROM runs WHERE mode IN ('observe', 'plan') GROUP BY state;
DO $$
BEGIN
    PERFORM tally_duration('wait', lane, queued_at, started_at) FROM runs
    WHERE started_at IS NOT NULL AND mode IN ('observe', 'plan');
    PERFORM tally_duration('first cell', lane, queued_at, first_cell_at) FROM runs
    WHERE first_cell_at IS NOT NULL AND mode IN ('observe', 'plan');
    PERFORM tally_duration('duration', runbook, started_at, ended_at) FROM runs
    WHERE ended_at IS NOT NULL AND started_at IS NOT NULL AND mode IN ('observe', 'plan');
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'runbook_worker') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON tallies, tally_changes TO runbook_worker;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'runbook_reader') THEN
        GRANT SELECT ON tallies, tally_changes TO runbook_reader;
    END IF;
END $$;
