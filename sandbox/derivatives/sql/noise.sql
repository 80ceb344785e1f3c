-- name: slow_once
-- A count that no index helps.
SELECT count(*) FROM greeks_history WHERE mod(id, %(step)s) = 1 AND price * delta > 0.5;
