"""What the platform's stores hold right after `up`: tables with two months of trades, the book, a warm cache."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import psycopg
from psycopg import sql as compose

from sandbox.derivatives.market import BOOK, RATE, UNDERLYINGS, black_scholes, ladder, surface
from sandbox.derivatives.service.cache import encode
from sandbox.derivatives.service.models import Models
from sandbox.derivatives.service.pricing import Option, Quote, greeks
from sandbox.derivatives.service.release import Release
from sandbox.derivatives.sql import queries

__all__ = [
    "HISTORY",
    "INDEXES",
    "MARK",
    "TRADES",
    "age_s",
    "every_key",
    "fill_database",
    "fill_rows",
    "reset_book",
    "reset_indexes",
    "warm_cache",
]

MARK = "sandbox-id"  # the key in Redis, the label of the namespace
TRADES = 100_000
HISTORY = 60_000
INDEXES = ("greeks_history_timestamp", "option_trades_client_timestamp")  # of the tables, beside those of their keys
_PART = 2_000


def fill_database(connection: psycopg.Connection[Any], sandbox_id: str, *, trades: int = TRADES) -> None:
    """Make the tables, two months of rows, and the mark that says whose database this is."""
    sql = queries("schema")
    with connection.transaction():
        connection.execute(sql.tables)
        connection.execute(sql.mark)
        connection.execute(sql.put_mark, {"sandbox_id": sandbox_id})
        fill_rows(connection, trades=trades)
        connection.execute(sql.indexes)


def fill_rows(connection: psycopg.Connection[Any], *, trades: int = TRADES) -> None:
    """Two months of trades and of Greeks."""
    sql = queries("schema")
    connection.execute(sql.trades_of_two_months, {"rows": trades})
    connection.execute(sql.history_of_two_months, {"rows": HISTORY * trades // TRADES})


def reset_indexes(connection: psycopg.Connection[Any]) -> list[str]:
    """Make the indexes that are missing, and drop those that are of somebody else; what was done, in words."""
    statements = queries("healing")
    there = dict(connection.execute(statements.indexes).fetchall())
    other = [name for name, whole in there.items() if name not in INDEXES or not whole]
    for name in other:
        connection.execute(compose.SQL(statements.drop_index).format(compose.Identifier(name)))
    missing = [name for name in INDEXES if name not in there or name in other]
    connection.execute(queries("schema").indexes)
    return [*(f"index {name} removed" for name in other if name not in INDEXES), *(f"index {one}" for one in missing)]


def reset_book(connection: psycopg.Connection[Any], client: Any) -> None:
    """Take the book anew at the reference market: no profit, no loss, no hedge."""
    entries = {}
    for one in BOOK:
        underlying = UNDERLYINGS[one.underlying]
        years = one.expiry_days / 365.0
        factor = surface(math.log(one.strike / underlying.spot), years)
        sign = 1.0 if one.kind == "call" else -1.0
        entries[one] = black_scholes(
            underlying.spot, one.strike, years, RATE, underlying.dividend, underlying.volatility * factor, sign
        )
    rows = [(p.underlying, p.kind, p.strike, p.expiry_days, p.quantity, price) for p, price in entries.items()]
    with connection.cursor() as cursor:
        cursor.execute(queries("store").forget_hedges)
        cursor.executemany(queries("store").put_position, rows)
    with client.pipeline() as pipe:
        pipe.delete("hedges:options", "book:options", "entries:options")
        pipe.delete("auto_hedger", "auto_hedger_told", "auto_trading")
        places = {f"{p.underlying}|{p.kind}|{p.strike:g}|{p.expiry_days}": price for p, price in entries.items()}
        pipe.hset("entries:options", mapping=places)
        pipe.execute()


def warm_cache(client: Any, models: Models, release: Release) -> None:
    """Compute every ladder and cache it, with lives that end one by one."""
    market = {one.name: Quote(one.spot, one.volatility) for one in UNDERLYINGS.values()}
    every = [Option(*entry) for entry in ladder()]
    now = time.time()
    for start in range(0, len(every), _PART):
        part = every[start : start + _PART]
        with client.pipeline(transaction=False) as pipe:
            for number, (option, row) in enumerate(
                zip(part, greeks(part, market, models, release, card=True), strict=True)
            ):
                key = release.cache_key.format(**option._asdict(), now=now, release=release.name)
                life = release.cache_ttl_s * (0.2 + 0.8 * ((start + number) % 97) / 97)
                pipe.set(key, encode(row, now), ex=max(1, round(life)))
            pipe.execute()


def every_key(release: Release) -> list[str]:
    """Where every ladder is cached."""
    return [release.cache_key.format(**Option(*one)._asdict(), now=0.0, release=release.name) for one in ladder()]


def age_s(entry: str | None) -> float:
    """How long ago a cached result was computed [s]; 0 for what is none."""
    try:
        return time.time() - float(json.loads(entry or "")[0])
    except (ValueError, TypeError, IndexError, KeyError):
        return 0.0
