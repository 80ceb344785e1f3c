-- What the embedded server's roles may do. With a database of the user's own these roles do not exist and this does nothing.
-- depends: 0002-queue

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'runbook_worker') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO runbook_worker;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO runbook_worker;
        REVOKE UPDATE, DELETE ON journal, log_leaves FROM runbook_worker;
        REVOKE DELETE ON alerts, incidents, runs, plans, decisions, intake_bodies FROM runbook_worker;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'runbook_reader') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO runbook_reader;
        REVOKE SELECT ON people FROM runbook_reader;
    END IF;
END $$;
