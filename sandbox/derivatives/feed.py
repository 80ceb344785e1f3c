"""Market data: a simulated market, written to Redis every second. `python -m sandbox.derivatives.feed`.

`market:NAME` is a hash of spot, future, volatility (at the money), dividend, rate and the times of spot and future
[ms since 1970]; `quotes` a hash from UNDERLYING|KIND|STRIKE|DAYS to a quote of that option in JSON.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from sandbox.derivatives.market import BOOK, RATE, UNDERLYINGS, black_scholes, surface

__all__ = ["Exchange", "Market", "main"]

_STEP_S = 1.0
_PULL = 0.02  # per step, towards the level
_NOISE = 2.5e-4  # per step and unit of volatility, ten times that of a calm day
_log = logging.getLogger("market-data")


@dataclass(slots=True)
class Exchange:
    """What the exchanges do beside their usual noise; read from a file.

    Attributes
    ----------
    session : int
        Another number begins a new day: spots at their references.
    halted : list of str
        Underlyings of which no spot and no option quote comes in.
    move : float
        Change of every level [log return], reached over `steps` steps.
    steps : int
    volatility : float
        Multiple of every volatility.
    """

    session: int = 0
    halted: list[str] = field(default_factory=list)
    move: float = 0.0
    steps: int = 1
    volatility: float = 1.0


class Market:
    """Spots that wander about a level."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._away = dict.fromkeys(UNDERLYINGS, 0.0)
        self._level = 0.0
        self.exchange = Exchange()
        self.futures: dict[str, float] = {}
        self.seen: dict[str, tuple[float, float, int]] = {}

    def step(self, exchange: Exchange, now_ms: int) -> None:
        """Let one step pass."""
        if exchange.session != self.exchange.session:
            self._away, self._level, self.seen = dict.fromkeys(UNDERLYINGS, 0.0), 0.0, {}
        self.exchange = exchange
        gap = exchange.move - self._level
        stride = abs(exchange.move) / max(exchange.steps, 1) or abs(gap)
        self._level += math.copysign(min(abs(gap), stride), gap)
        for name, one in UNDERLYINGS.items():
            self._away[name] = (1.0 - _PULL) * self._away[name] + self._rng.gauss(0.0, _NOISE * one.volatility)
            spot = one.spot * math.exp(self._level + self._away[name])
            self.futures[name] = spot
            if name not in exchange.halted or name not in self.seen:
                self.seen[name] = (spot, one.volatility * exchange.volatility, now_ms)

    def documents(self, now_ms: int) -> dict[str, dict[str, str]]:
        """The hashes as they are written to Redis."""
        found: dict[str, dict[str, str]] = {}
        for name, (spot, level, at_ms) in self.seen.items():
            found[f"market:{name}"] = {
                "spot": f"{spot:.6f}",
                "future": f"{self.futures[name]:.6f}",
                "volatility": f"{level:.6f}",
                "dividend": f"{UNDERLYINGS[name].dividend}",
                "rate": f"{RATE}",
                "time": str(at_ms),
                "future_time": str(now_ms),
            }
        found["quotes"] = {}
        for one in BOOK:
            spot, level, at_ms = self.seen[one.underlying]
            years = one.expiry_days / 365.0
            volatility = level * surface(math.log(one.strike / spot), years)
            dividend, sign = UNDERLYINGS[one.underlying].dividend, 1.0 if one.kind == "call" else -1.0
            price = black_scholes(spot, one.strike, years, RATE, dividend, volatility, sign)
            place = f"{one.underlying}|{one.kind}|{one.strike:g}|{one.expiry_days}"
            quote = {"price": round(price, 6), "volatility": round(volatility, 6), "time": at_ms}
            found["quotes"][place] = json.dumps(quote, separators=(",", ":"))
        return found


def read(path: Path) -> Exchange:
    """The file as it is now; the usual market where there is none."""
    try:
        return Exchange(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Exchange()
    except (ValueError, TypeError) as problem:
        _log.warning("%s is not understood: %s", path.name, problem)
        return Exchange()


def main() -> None:
    """Write the market, for ever."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    client: Any = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2.0, socket_connect_timeout=1.0)
    path = Path(os.environ["EXCHANGE"])
    market = Market(random.SystemRandom().randrange(2**32))
    connected = None
    while True:
        now_ms = time.time_ns() // 1_000_000
        market.step(read(path), now_ms)
        try:
            with client.pipeline(transaction=False) as pipe:
                for key, mapping in market.documents(now_ms).items():
                    pipe.hset(key, mapping=mapping)
                pipe.execute()
            if connected is not True:
                _log.info("market data of %d underlyings are written", len(market.seen))
            connected = True
        except redis.RedisError as problem:
            if connected is not False:
                _log.error("Redis does not take market data: %s", problem)
            connected = False
        time.sleep(_STEP_S)


if __name__ == "__main__":
    main()
