-- name: slow_once
-- A count that no index helps.
SELECT count(*) FROM greeks_history WHERE mod(id, %(step)s) = 1 AND price * delta > 0.5;

-- name: slow_look
-- The same of the trades, which the service itself asks.
SELECT count(*) FROM option_trades WHERE mod(id, %(step)s) = 1 AND price * quantity > 0.5;
