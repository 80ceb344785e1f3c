"""Greeks of risk ladders, cached in Redis; the market and the switches that lie there too."""

from __future__ import annotations

import json
import logging
import random
import time
from typing import Any

import redis
import redis.asyncio

from sandbox.derivatives.service.pricing import Option, Quote, Row
from sandbox.derivatives.service.release import Release

__all__ = ["OLDEST_S", "Cache", "StaleCache", "encode"]

OLDEST_S = 7200.0  # a result older than this is never served
_log = logging.getLogger("cache")


class StaleCache(RuntimeError):
    """A cached result is older than may be served."""


def encode(row: Row, at: float) -> str:
    """A result as it is cached."""
    return json.dumps([round(at, 3), *(float(f"{value:.10g}") for value in row)], separators=(",", ":"))


class Cache:
    """The platform's Redis.

    Attributes
    ----------
    hits, misses : int
        Of this process.
    connected : bool
        Whether the last call was answered.
    """

    def __init__(self, url: str, release: Release) -> None:
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=1.0, socket_connect_timeout=1.0, max_connections=8
        )
        self._release = release
        self.hits = 0
        self.misses = 0
        self.connected = True

    def key(self, option: Option) -> str:
        """Where the result for an option lies."""
        return self._release.cache_key.format(
            underlying=option.underlying,
            kind=option.kind,
            strike=option.strike,
            days=option.days,
            spot=option.spot,
            now=time.time(),
            release=self._release.name,
        )

    async def find(self, options: list[Option]) -> list[Row | None]:
        """Results that are cached, None for the others.

        Raises
        ------
        StaleCache
            An entry is older than may be served.
        """
        keys = [self.key(option) for option in options]
        try:
            answers = await self._client.mget(keys)
            self.connected = True
        except redis.RedisError as problem:
            self._away(problem)
            answers = [None] * len(options)
        found: list[Row | None] = []
        oldest = time.time() - OLDEST_S
        for key, answer in zip(keys, answers, strict=True):
            if answer is None:
                self.misses += 1
                found.append(None)
                continue
            self.hits += 1
            at, *row = json.loads(answer)
            if at < oldest:
                raise StaleCache(f"stale cache entry {key}: computed {time.time() - at:.0f} s ago")
            found.append(tuple(row))
        return found

    async def keep(self, options: list[Option], rows: list[Row]) -> None:
        """Cache results; their lives differ, so that they do not all end at once."""
        now = time.time()
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for option, row in zip(options, rows, strict=True):
                    life = max(1, round(self._release.cache_ttl_s * random.uniform(0.75, 1.0)))
                    pipe.set(self.key(option), encode(row, now), ex=life)
                await pipe.execute()
        except redis.RedisError as problem:
            self._away(problem)

    async def market(self, names: list[str]) -> dict[str, Quote]:
        """Spot and volatility of every underlying that has a market; empty where Redis does not answer."""
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(f"market:{name}", ["spot", "volatility"])
                answers = await pipe.execute()
            self.connected = True
        except redis.RedisError as problem:
            self._away(problem)
            return {}
        pairs = zip(names, answers, strict=True)
        return {name: Quote(float(spot), float(level)) for name, (spot, level) in pairs if spot and level}

    async def book(self) -> dict[str, float]:
        """Profit and loss, and risk, of the desk's book as the hedger last wrote them."""
        try:
            found: dict[bytes, bytes] = await self._client.hgetall("book:options")  # type: ignore[assignment]
        except redis.RedisError as problem:
            self._away(problem)
            return {}
        return {name.decode(): float(value) for name, value in found.items()}

    async def auto_trading(self) -> dict[str, Any]:
        """Whether new risk may be taken, since when and why; on where nobody has said otherwise."""
        text = await self._client.get("auto_trading")
        found: dict[str, Any] = json.loads(text) if text else {"enabled": True, "reason": "", "since": None}
        return found

    async def set_auto_trading(self, enabled: bool, reason: str) -> None:
        """Stop or start new risk."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        await self._client.set("auto_trading", json.dumps({"enabled": enabled, "reason": reason, "since": now}))

    async def auto_hedger(self) -> dict[str, Any]:
        """Whether the auto-hedger may trade, since when and why; it may where nobody has said otherwise."""
        switch, told = await self._client.mget("auto_hedger", "auto_hedger_told")
        enabled = switch != b"off"
        found: dict[str, Any] = json.loads(told) if told else {}
        if found.get("enabled") is not enabled:  # it was switched by hand
            found = {"enabled": enabled, "reason": "", "since": None}
        return found

    async def set_auto_hedger(self, enabled: bool, reason: str) -> None:
        """Stop or start hedging; new risk is another switch."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = json.dumps({"enabled": enabled, "reason": reason, "since": now})
        await self._client.mset({"auto_hedger": "on" if enabled else "off", "auto_hedger_told": told})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _away(self, problem: redis.RedisError) -> None:
        if self.connected:
            _log.error("Redis does not answer: %s", problem)
        self.connected = False
