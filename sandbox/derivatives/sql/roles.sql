-- name: make
CREATE ROLE {} LOGIN PASSWORD {}

-- name: database
CREATE DATABASE {} OWNER axiom_prod

-- name: rights
-- The recorder reads everything, and sees what runs.
GRANT pg_monitor, pg_read_all_data TO recorder;
ALTER ROLE recorder SET default_transaction_read_only = on;
