-- The statements of the running platform.

-- name: recent_trades
-- The latest trades of a client.
SELECT timestamp, underlying, kind, strike, quantity, price FROM option_trades
WHERE client = %(client)s ORDER BY timestamp DESC LIMIT 20

-- name: exposure
-- What a client traded today, by underlying.
SELECT underlying, sum(quantity * price) AS premium, count(*) AS trades FROM option_trades
WHERE client = %(client)s AND timestamp > now() - interval '1 day' GROUP BY underlying

-- name: insert_trade
INSERT INTO option_trades (client, underlying, kind, strike, expiry, quantity, price)
VALUES (%(client)s, %(underlying)s, %(kind)s, %(strike)s, current_date + %(days)s::integer, %(quantity)s, %(price)s)

-- name: insert_greeks
INSERT INTO greeks_history (underlying, kind, strike, days, price, delta, gamma, vega, theta)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: positions
SELECT book, underlying, kind, strike, expiry_days, quantity, entry_price, mark_price, delta, gamma, vega, updated_at
FROM positions ORDER BY underlying, expiry_days, kind

-- name: put_position
-- A position of the book with its price at the start.
INSERT INTO positions (book, underlying, kind, strike, expiry_days, quantity, entry_price)
VALUES ('options', %s, %s, %s, %s, %s, %s)
ON CONFLICT (book, underlying, kind, strike, expiry_days)
DO UPDATE SET quantity = excluded.quantity, entry_price = excluded.entry_price

-- name: mark_position
UPDATE positions SET mark_price = %s, delta = %s, gamma = %s, vega = %s, updated_at = now()
WHERE book = 'options' AND underlying = %s AND kind = %s AND strike = %s AND expiry_days = %s

-- name: insert_hedge
INSERT INTO hedges (underlying, quantity, price, reason) VALUES (%s, %s, %s, %s)

-- name: entries
SELECT underlying, kind, strike, expiry_days, entry_price FROM positions WHERE book = 'options'

-- name: held_hedges
-- What the hedges add up to: units and what was paid for them.
SELECT underlying, sum(quantity), sum(quantity * price) FROM hedges GROUP BY underlying

-- name: forget_hedges
DELETE FROM hedges
