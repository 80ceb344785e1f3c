-- Rows that a platform gathers over months.

-- name: history
-- Old results of the engine.
INSERT INTO greeks_history (timestamp, underlying, kind, strike, days, price, delta, gamma, vega, theta)
SELECT now() - (40 + mod(n, %(days)s)) * interval '1 day', 'SPX', 'call', 5000 + mod(n, 400), 60, 4.0, 0.5, 0.01, 30, -8
FROM generate_series(1, %(rows)s) AS n;

-- name: trades
-- Today's trades of every client.
INSERT INTO option_trades (timestamp, client, underlying, kind, strike, expiry, quantity, price)
SELECT now() - random() * interval '20 hours', 'client-' || to_char(1 + mod(n, 12), 'FM00'), 'SPX', 'call',
       5000 + mod(n, 400), now() + interval '60 days', 1 + mod(n, 25), 2 + mod(n, 11)
FROM generate_series(1, %(rows)s) AS n;

-- name: open_migration
-- A column more; the transaction is left open by whoever runs this.
ALTER TABLE option_trades ADD COLUMN IF NOT EXISTS {} text

-- name: archive
-- Trades of the year before, from another system's archive.
INSERT INTO option_trades (timestamp, client, underlying, kind, strike, expiry, quantity, price)
SELECT now() - interval '90 days' - n * interval '2 minutes', 'client-' || to_char(1 + mod(n, 12), 'FM00'), 'SPX', 'call',
       5000 + mod(n, 400), now() - interval '30 days', 1 + mod(n, 25), 2 + mod(n, 11)
FROM generate_series(1, %(rows)s) AS n

-- name: another_index
-- An index that somebody else's report is served by.
CREATE INDEX CONCURRENTLY IF NOT EXISTS {} ON option_trades ({}, timestamp)

-- name: drop_index
-- The one that it is held to replace.
DROP INDEX IF EXISTS option_trades_client_timestamp
