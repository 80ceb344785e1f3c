-- name: tables
-- What the service keeps: the clients' trades, a history of Greeks, the desk's positions and its hedges.
CREATE TABLE option_trades (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    timestamp timestamptz NOT NULL DEFAULT now(),
    client text NOT NULL,
    underlying text NOT NULL,
    kind text NOT NULL,
    strike double precision NOT NULL,
    expiry date NOT NULL,
    quantity double precision NOT NULL,
    price double precision NOT NULL
);
CREATE TABLE greeks_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    timestamp timestamptz NOT NULL DEFAULT now(),
    underlying text NOT NULL,
    kind text NOT NULL,
    strike double precision NOT NULL,
    days integer NOT NULL,
    price double precision NOT NULL,
    delta double precision NOT NULL,
    gamma double precision NOT NULL,
    vega double precision NOT NULL,
    theta double precision NOT NULL
);
CREATE TABLE positions (
    book text NOT NULL,
    underlying text NOT NULL,
    kind text NOT NULL,
    strike double precision NOT NULL,
    expiry_days integer NOT NULL,
    quantity double precision NOT NULL,
    entry_price double precision NOT NULL,
    mark_price double precision,
    delta double precision,
    gamma double precision,
    vega double precision,
    updated_at timestamptz,
    PRIMARY KEY (book, underlying, kind, strike, expiry_days)
);
CREATE TABLE hedges (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    timestamp timestamptz NOT NULL DEFAULT now(),
    underlying text NOT NULL,
    quantity double precision NOT NULL,
    price double precision NOT NULL,
    reason text NOT NULL
);

-- name: statements
-- Where the time of the database goes; needs shared_preload_libraries.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;

-- name: indexes
CREATE INDEX IF NOT EXISTS option_trades_client_timestamp ON option_trades (client, timestamp);
CREATE INDEX IF NOT EXISTS greeks_history_timestamp ON greeks_history (timestamp);

-- name: trades_of_two_months
-- Two months of trades.
INSERT INTO option_trades (timestamp, client, underlying, kind, strike, expiry, quantity, price)
SELECT now() - n * interval '50 seconds', 'client-' || to_char(1 + mod(n, 12), 'FM00'),
       (ARRAY['SPX', 'NDX', 'RUT', 'SX5E', 'AAPL', 'MSFT', 'NVDA', 'AMZN', 'JPM', 'XOM', 'TSLA', 'GLD'])[1 + mod(n, 7) + mod(n, 6)],
       CASE mod(n, 2) WHEN 0 THEN 'call' ELSE 'put' END, 100 + mod(n, 40), now() + interval '60 days', 1 + mod(n, 25), 2 + mod(n, 11)
FROM generate_series(1, %(rows)s) AS n ORDER BY n DESC;

-- name: history_of_two_months
-- Two months of computed Greeks.
INSERT INTO greeks_history (timestamp, underlying, kind, strike, days, price, delta, gamma, vega, theta)
SELECT now() - n * interval '75 seconds',
       (ARRAY['SPX', 'NDX', 'RUT', 'SX5E', 'AAPL', 'MSFT', 'NVDA', 'AMZN', 'JPM', 'XOM', 'TSLA', 'GLD'])[1 + mod(n, 12)],
       CASE mod(n, 2) WHEN 0 THEN 'call' ELSE 'put' END, 100 + mod(n, 40), 60, 4.0, 0.5, 0.01, 30.0, -8.0
FROM generate_series(1, %(rows)s) AS n ORDER BY n DESC;

-- name: mark
-- Who started this database: what breaks and heals it looks here first.
CREATE TABLE IF NOT EXISTS sandbox (sandbox_id text PRIMARY KEY);

-- name: put_mark
INSERT INTO sandbox VALUES (%(sandbox_id)s);

-- name: read_mark
SELECT sandbox_id FROM sandbox;
