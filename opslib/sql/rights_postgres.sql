-- What `runbook rbac` gives a role on a platform's PostgreSQL, versions 12 to 18.
-- `{name}` is filled in with a quoted identifier, `{name_text}` with the same as a literal.

-- name: anew
-- Whatever the role was given here before goes, so that it has what the runbook declares now and no more.
DO $anew$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = {role_text}) THEN
        DROP OWNED BY {role};
        DROP ROLE {role};
    END IF;
END $anew$

-- name: role
-- It owns nothing and nobody logs in as it.
CREATE ROLE {role} NOLOGIN

-- name: connect
-- Everybody may connect to a database unless that was taken away.
DO $connect$ BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {role_text});
END $connect$

-- name: given
-- The rights of several runbooks add up in the account that logs in.
GRANT {role} TO {account}

-- name: sessions
-- What the sessions of others do.
GRANT pg_read_all_stats TO {role}

-- name: settings
-- Settings that only superusers see else, and where each one is set.
GRANT pg_read_all_settings TO {role}

-- name: wal
-- How much room the WAL takes.
GRANT EXECUTE ON FUNCTION pg_ls_waldir() TO {role}

-- name: statements
-- The schema in which pg_stat_statements was created.
DO $statements$ DECLARE place text; BEGIN
    SELECT n.nspname INTO place FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_stat_statements';
    IF FOUND THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', place, {role_text});
    END IF;
END $statements$

-- name: schema
-- To find a table by its name.
GRANT USAGE ON SCHEMA {schema} TO {role}

-- name: rows
-- All columns of a table.
GRANT SELECT ON TABLE {table} TO {role}

-- name: columns
-- Some columns of a table.
GRANT SELECT ({columns}) ON TABLE {table} TO {role}

-- name: signal
-- To end sessions, those of superusers excepted.
GRANT pg_signal_backend TO {role}

-- name: delete
-- To delete rows of a table.
GRANT DELETE ON TABLE {table} TO {role}

-- name: create
-- To put an index into the schema.
GRANT CREATE ON SCHEMA {schema} TO {role}

-- name: maintain
-- To vacuum and analyze a table: a right of its own from 17 on, before that its owner's.
DO $maintain$ DECLARE owner regrole := (SELECT relowner FROM pg_class WHERE oid = {table_text}::regclass); BEGIN
    IF current_setting('server_version_num')::int >= 170000 THEN
        EXECUTE format('GRANT MAINTAIN ON TABLE %s TO %I', {table_text}, {role_text});
    ELSIF (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        RAISE EXCEPTION '% belongs to a superuser: give it an owner that is none', {table_text};
    ELSE
        EXECUTE format('GRANT %s TO %I', owner, {role_text})
            || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH SET FALSE' ELSE '' END;
    END IF;
END $maintain$

-- name: own
-- What only the owner of a table may do; from 16 on without becoming the owner by SET ROLE.
DO $own$ DECLARE owner regrole := (SELECT relowner FROM pg_class WHERE oid = {table_text}::regclass); BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        RAISE EXCEPTION '% belongs to a superuser: give it an owner that is none', {table_text};
    END IF;
    EXECUTE format('GRANT %s TO %I', owner, {role_text})
        || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH SET FALSE' ELSE '' END;
END $own$

-- name: set
-- To write one setting into the server's own file: a right of its own from 15 on, before that a superuser's.
DO $set$ BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE WARNING 'before PostgreSQL 15 superusers alone may ALTER SYSTEM: % is not given', {setting_text};
    ELSE
        EXECUTE format('GRANT ALTER SYSTEM ON PARAMETER %s TO %I', {setting_text}, {role_text});
    END IF;
END $set$

-- name: reload
-- To have the server read its files again.
GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {role}
