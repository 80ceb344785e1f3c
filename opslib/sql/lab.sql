-- JupyterLab: runs by hand.

-- name: open_runs
-- Interactive runs that have not ended, with the process that keeps each.
SELECT id, incident, worker FROM runs WHERE mode = 'interactive' AND state IN ('waiting', 'running') ORDER BY id
