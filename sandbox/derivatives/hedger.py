"""The auto-hedger: marks the book by the served Greeks and trades futures against its delta.

`python -m sandbox.derivatives.hedger`. Its state lies in Redis: `hedges:options` (units and cost of each future) and
`book:options` (profit and loss, and risk). The key `auto_hedger` holds `off` while it only watches.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis

from sandbox.derivatives.market import BOOK, Position
from sandbox.derivatives.sql import queries

__all__ = ["Book", "Mark", "main"]

_STEP_S = 3.0
_BAND_USD = 60_000.0  # net delta of an underlying that is left alone
_PART = 3  # positions a request
_STORE_EVERY = 5  # steps
_log = logging.getLogger("auto-hedger")


@dataclass(frozen=True, slots=True)
class Mark:
    """Served figures of one position, per unit."""

    price: float
    delta: float
    gamma: float
    vega: float
    spot: float


@dataclass(slots=True)
class Book:
    """The desk's options and hedges.

    Attributes
    ----------
    entries : dict
        Price of each position when it was taken [USD].
    hedges : dict
        By underlying: units of the future held, and what was paid for them [USD].
    """

    entries: dict[Position, float] = field(default_factory=dict)
    hedges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def net_delta(self, marks: dict[Position, Mark]) -> dict[str, float]:
        """Delta of options and hedges together, by underlying [units]."""
        found = {name: units for name, (units, _) in self.hedges.items()}
        for one, mark in marks.items():
            found[one.underlying] = found.get(one.underlying, 0.0) + one.quantity * mark.delta
        return found

    def trade(self, name: str, units: float, price: float) -> None:
        """Buy (or, negative, sell) a future."""
        held, cost = self.hedges.get(name, (0.0, 0.0))
        self.hedges[name] = (held + units, cost + units * price)

    def summary(self, marks: dict[Position, Mark], futures: dict[str, float]) -> dict[str, float]:
        """Profit and loss [USD] and risk [USD] of everything."""
        options = sum(one.quantity * (mark.price - self.entries[one]) for one, mark in marks.items())
        hedges = sum(units * futures[name] - cost for name, (units, cost) in self.hedges.items())
        spots = {one.underlying: mark.spot for one, mark in marks.items()}
        return {
            "pnl_usd": options + hedges,
            "pnl_options_usd": options,
            "pnl_hedges_usd": hedges,
            "net_delta_usd": sum(units * spots[name] for name, units in self.net_delta(marks).items()),
            "gamma_usd_per_pct": sum(one.quantity * mark.gamma * mark.spot**2 * 0.01 for one, mark in marks.items()),
            "vega_usd_per_point": sum(one.quantity * mark.vega * 0.01 for one, mark in marks.items()),
            "time": time.time(),
        }


def served(host: str, port: int) -> dict[Position, Mark]:
    """Greeks of the whole book from the service.

    Raises
    ------
    OSError, http.client.HTTPException, ValueError
        There were none.
    """
    connection = http.client.HTTPConnection(host, port, timeout=5.0)
    marks: dict[Position, Mark] = {}
    try:
        for start in range(0, len(BOOK), _PART):
            part = BOOK[start : start + _PART]
            options = [
                {"underlying": p.underlying, "kind": p.kind, "strike": p.strike, "expiry_days": p.expiry_days}
                for p in part
            ]
            body = json.dumps({"client": "desk", "session": "desk", "options": options, "cache": False, "keep": False})
            connection.request("POST", "/greeks", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            document = json.loads(answer.read())
            if answer.status != 200:
                raise ValueError(f"{answer.status} {document.get('message', '')}")
            for position, row in zip(part, document["greeks"], strict=True):
                marks[position] = Mark(row["price"], row["delta"], row["gamma"], row["vega"], row["spot"])
    finally:
        connection.close()
    return marks


class _Hedger:
    def __init__(self, client: Any, postgres: str, host: str, port: int) -> None:
        self._client, self._postgres, self._host, self._port = client, postgres, host, port
        self._said = ""
        self._steps = 0

    def step(self) -> None:
        """Mark, hedge, and write."""
        book = self._read()
        if not book.entries:
            book = self._recover()
        marks = served(self._host, self._port)
        futures = {name: float(self._client.hget(f"market:{name}", "future")) for name in {p.underlying for p in marks}}
        hedging = self._client.get("auto_hedger") != b"off"
        spots = {one.underlying: mark.spot for one, mark in marks.items()}
        trades, left = [], 0.0
        for name, units in sorted(book.net_delta(marks).items()):
            if abs(units * spots[name]) < _BAND_USD:
                continue
            if not hedging:
                left += units * spots[name]
                continue
            book.trade(name, -units, futures[name])
            self._client.hset("hedges:options", name, json.dumps(book.hedges[name]))
            side = "sold" if units > 0 else "bought"
            _log.info(
                "hedged %s: %s %.2f at %.2f, net delta was %.0f USD",
                name, side, abs(units), futures[name], units * spots[name],
            )  # fmt: skip
            trades.append((name, -units, futures[name], f"net delta {units * spots[name]:.0f} USD"))
        if left:
            _log.warning("hedging is switched off: net delta of %.0f USD stays open", left)
        self._client.hset("book:options", mapping=book.summary(marks, futures))
        self._steps += 1
        if trades or self._steps % _STORE_EVERY == 0:
            self._store(marks, trades)

    def _read(self) -> Book:
        entries = self._client.hgetall("entries:options")
        hedges = self._client.hgetall("hedges:options")
        places = {f"{p.underlying}|{p.kind}|{p.strike:g}|{p.expiry_days}".encode(): p for p in BOOK}
        return Book(
            {places[place]: float(price) for place, price in entries.items() if place in places},
            {name.decode(): tuple(json.loads(pair)) for name, pair in hedges.items()},
        )

    def _recover(self) -> Book:
        """The book out of the database, where Redis has lost it."""
        sql = queries("store")
        with psycopg.connect(self._postgres, connect_timeout=2, application_name="auto-hedger") as connection:
            positions = connection.execute(sql.entries).fetchall()
            held = connection.execute(sql.held_hedges).fetchall()
        entries = {f"{name}|{kind}|{strike:g}|{days}": price for name, kind, strike, days, price in positions}
        if not entries:
            raise ValueError("the book is empty")
        with self._client.pipeline() as pipe:
            pipe.hset("entries:options", mapping=entries)
            for name, units, cost in held:
                pipe.hset("hedges:options", name, json.dumps([units, cost]))
            pipe.execute()
        _log.warning("the book was read from the database: %d positions, %d hedges", len(entries), len(held))
        return self._read()

    def _store(self, marks: dict[Position, Mark], trades: list[tuple[str, float, float, str]]) -> None:
        sql = queries("store")
        rows = [
            (m.price, m.delta, m.gamma, m.vega, p.underlying, p.kind, p.strike, p.expiry_days) for p, m in marks.items()
        ]
        try:
            with (
                psycopg.connect(self._postgres, connect_timeout=2, application_name="auto-hedger") as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("SET statement_timeout = '2s'")
                cursor.executemany(sql.mark_position, rows)
                cursor.executemany(sql.insert_hedge, trades)
        except psycopg.Error as problem:
            self._say(logging.ERROR, f"positions are not stored: {problem}")

    def _say(self, level: int, text: str) -> None:
        """Log, but the same line only once in a row."""
        if text != self._said:
            _log.log(level, "%s", text)
        self._said = text

    def run(self) -> None:
        """Step for ever; what fails is told and tried again."""
        while True:
            try:
                self.step()
                self._said = ""
            except (OSError, http.client.HTTPException, ValueError, TypeError) as problem:
                self._say(logging.ERROR, f"no Greeks for the book: {problem}")
            except redis.RedisError as problem:
                self._say(logging.ERROR, f"Redis does not answer: {problem}")
            except psycopg.Error as problem:
                self._say(logging.ERROR, f"the book cannot be read: {problem}")
            time.sleep(_STEP_S)


def main() -> None:
    """Hedge, for ever."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    setting = os.environ
    client = redis.Redis.from_url(setting["REDIS_URL"], socket_timeout=2.0, socket_connect_timeout=1.0)
    _Hedger(client, setting["POSTGRES_URL"], setting["API_HOST"], int(setting["API_PORT"])).run()


if __name__ == "__main__":
    main()
