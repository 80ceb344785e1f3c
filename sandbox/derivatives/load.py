"""The clients: a closed loop, each waits for its answer and thinks. `python -m sandbox.derivatives.load`.

How many there are and what they ask comes from a file, read anew every second. Over the day they ask more at its
middle than at night.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.derivatives.market import CLIENTS, UNDERLYINGS, ladder

__all__ = ["Demand", "main", "read"]

_REQUESTS_A_CONNECTION = 12
_STAYS_S = 6.0  # with one underlying
_ANSWER_S = 20.0
_log = logging.getLogger("load-generator")
_LADDER = ladder()


@dataclass(frozen=True, slots=True)
class Demand:
    """What the clients want.

    Attributes
    ----------
    clients : int
    think_s : float
        Mean time between an answer and the next request [s].
    options : int
        Options at the market's spot in a request.
    ladder : int
        Options of a risk ladder in a request; those can be cached.
    large_share, large_options
        Share of requests that ask for a whole book, and its options.
    new_sessions : float
        Share of requests that begin a session, which nobody ends; the others are of the client's own.
    trades : int
        Trades that a client sends at once.
    """

    clients: int = 12
    think_s: float = 0.7
    options: int = 1
    ladder: int = 6
    large_share: float = 0.0
    large_options: int = 0
    new_sessions: float = 0.0
    trades: int = 1


def read(path: Path) -> Demand:
    """The file as it is now; the usual demand where there is none, or it is of no use."""
    try:
        return Demand(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Demand()
    except (ValueError, TypeError) as problem:
        _log.warning("%s is not understood: %s", path.name, problem)
        return Demand()


class _Client:
    """One client, on a connection of its own that it renews now and then."""

    def __init__(self, number: int, load: _Load) -> None:
        self._name = CLIENTS[number % len(CLIENTS)]
        self._rng = random.Random(number + time.time_ns())
        self._load = load
        self._underlying, self._until, self._left = "", 0.0, 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def live(self) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, 1.0))
        try:
            while True:
                try:
                    async with asyncio.timeout(_ANSWER_S):
                        self._load.count(await self._ask(*self._next()))
                except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
                    self._load.count(0)
                    await self._hang_up()
                await asyncio.sleep(self._rng.expovariate(1.0 / (self._load.demand.think_s / shape(time.time()))))
        finally:
            await self._hang_up()

    def _next(self) -> tuple[str, str, dict[str, Any] | None]:
        demand, rng = self._load.demand, self._rng
        pick = rng.random()
        if pick < 0.1:
            return "GET", f"/trades?client={self._name}", None
        if pick < 0.2:
            return "POST", "/trades", self._trade()
        if time.monotonic() > self._until:
            self._underlying, self._until = rng.choice(list(UNDERLYINGS)), time.monotonic() + _STAYS_S
        large = rng.random() < demand.large_share
        options = [self._option() for _ in range(demand.large_options if large else demand.options)]
        for name, kind, strike, days, spot in rng.choices(_LADDER, k=demand.ladder):
            options.append({"underlying": name, "kind": kind, "strike": strike, "expiry_days": days, "spot": spot})
        begins = rng.random() < demand.new_sessions
        session = f"{self._name}-{rng.getrandbits(48):012x}" if begins else self._name
        return "POST", "/greeks", {"client": self._name, "session": session, "options": options}

    def _option(self) -> dict[str, Any]:
        spot = UNDERLYINGS[self._underlying].spot
        strike = round(spot * self._rng.uniform(0.85, 1.15), 1)
        kind = self._rng.choice(("call", "put"))
        return {
            "underlying": self._underlying,
            "kind": kind,
            "strike": strike,
            "expiry_days": self._rng.randint(7, 360),
        }

    def _trade(self) -> dict[str, Any]:
        one = UNDERLYINGS[self._rng.choice(list(UNDERLYINGS))]
        return {
            "client": self._name,
            "underlying": one.name,
            "kind": self._rng.choice(("call", "put")),
            "strike": round(one.spot * self._rng.uniform(0.9, 1.1), 1),
            "days": self._rng.randint(7, 360),
            "quantity": self._rng.randint(1, 50),
            "price": round(one.spot * one.volatility * self._rng.uniform(0.02, 0.1), 2),
            "auto": self._rng.random() < 0.5,
        }

    async def _ask(self, method: str, target: str, body: dict[str, Any] | None) -> int:
        if self._left <= 0 or self._writer is None or self._reader is None:
            await self._hang_up()
            self._reader, self._writer = await asyncio.open_connection(*self._load.address)
            self._left = _REQUESTS_A_CONNECTION
        self._left -= 1
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        head = f"{method} {target} HTTP/1.1\r\nhost: api\r\ncontent-length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode("ascii") + content)
        await self._writer.drain()
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        await self._reader.readexactly(length)
        return int(lines[0].split(" ")[1])

    async def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None


class _Load:
    """All clients."""

    def __init__(self, path: Path, host: str, port: int) -> None:
        self.address = (host, port)
        self.demand = read(path)
        self._path = path
        self._clients: list[asyncio.Task[None]] = []
        self._answered = self._failed = 0

    def count(self, status: int) -> None:
        """Note an answer; 0 is none."""
        self._answered += 1
        self._failed += status >= 500 or status == 0

    async def run(self) -> None:
        """Keep as many clients as are wanted, for ever."""
        for step in range(sys.maxsize):
            self.demand = read(self._path)
            while len(self._clients) < self.demand.clients:
                self._clients.append(asyncio.create_task(_Client(len(self._clients), self).live()))
            while len(self._clients) > self.demand.clients:
                self._clients.pop().cancel()
            if step % 15 == 14:
                _log.info("%d requests in 15 s, %d without success", self._answered, self._failed)
                self._answered = self._failed = 0
            await asyncio.sleep(1.0)


def shape(at: float) -> float:
    """How busy the hour is: 1 on average, a quarter more at 14:00 UTC."""
    return 1.0 + 0.25 * math.cos((at / 86_400.0 - 14.0 / 24.0) * 2.0 * math.pi)


def main() -> None:
    """Ask, for ever."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    setting = os.environ
    asyncio.run(_Load(Path(setting["DEMAND"]), setting["API_HOST"], int(setting["API_PORT"])).run())


if __name__ == "__main__":
    main()
