"""Faults of playbook A12: four ways in which Redis becomes slow, by what really happens to it or around it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import redis

from opslib.settings import Settings
from sandbox import state
from sandbox.crypto.lifecycle import platform_status
from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.steps import Step
from sandbox.faults.fault import Fault
from sandbox.faults.on_crypto import Steps, fault
from sandbox.state import State

__all__ = ["FAULTS"]

_MB = 1_000_000
_LIMIT_MB = 96  # maxmemory of the platform's Redis
_MEMBER_BYTES = 74  # what one member of a large set takes


def memory_swapping(rng: random.Random) -> list[Step]:
    """Another team keeps more in the store than its memory holds: to put one set back, another has to go."""
    members = rng.randrange(70_000, 100_000, 1_000)
    wanted = rng.uniform(1.25, 1.45) * _LIMIT_MB * _MB
    facts = {
        "name": rng.choice(["feature-store", "research", "signal-cache"]),
        "keys": round(wanted / (members * _MEMBER_BYTES)),
        "members": members,
        "life_s": rng.randint(100, 160),
        "pause_s": round(rng.uniform(0.03, 0.1), 3),
    }
    return [Step(rng.uniform(0.0, 1.0), "keep-features", facts)]


def slow_commands(rng: random.Random) -> list[Step]:
    """Series that nobody trims are read whole, again and again."""
    kind = rng.choice(["hash", "zset"])
    symbols = rng.sample(SYMBOLS, rng.randint(1, 2))
    metric = rng.choice(["trade_price", "mid_price", "book_depth"])
    facts = {
        "name": rng.choice(["reporting", "daily-report", "backtest"]),
        "series": [f"metrics:{metric}:{symbol}" for symbol in symbols],
        "points": rng.randrange(25_000, 45_000, 1_000),
        "days": rng.randint(40, 90),
        "kind": kind,
        "pause_s": round(rng.uniform(0.1, 0.25), 3),
    }
    return [Step(rng.uniform(0.0, 1.0), "read-series", facts)]


def network(rng: random.Random) -> list[Step]:
    """The path to Redis becomes slow, for the platform alone or for everybody."""
    facts = {
        "delay_ms": round(rng.uniform(3.5, 9.0), 2),
        "jitter_ms": round(rng.uniform(0.5, 4.0), 2),
        "everyone": rng.random() < 0.5,
    }
    return [Step(rng.uniform(0.0, 1.0), "slow-path", facts)]


def too_many_clients(rng: random.Random) -> list[Step]:
    """A pool without a limit asks over all its connections at the same moment."""
    facts = {
        "name": rng.choice(["pricing-grid", "web-workers", "screener"]),
        "connections": rng.randint(150, 210),
        "key": f"metrics:price:{rng.choice(SYMBOLS)}",
        "pause_s": round(rng.uniform(0.15, 0.3), 3),
    }
    return [Step(rng.uniform(0.0, 1.0), "ask-all-at-once", facts)]


def _slow(found: State) -> str | None:
    """Whether the 99th percentile of Redis' latency is above its limit."""
    document = platform_status(found)
    p99, limit = document["store"]["p99_us"], document["limits"]["redis_p99_us"]
    if p99 is None or p99 <= limit:
        return None
    return f"the 99th percentile of Redis' latency is {p99 / 1000:.1f} ms, above {limit / 1000:g} ms"


def _evicting(client: redis.Redis) -> str | None:
    evicted = int(client.info("stats")["evicted_keys"])
    return f"{evicted} keys were evicted" if evicted >= 5 else None


def _slow_log(client: redis.Redis) -> str | None:
    length = int(client.slowlog_len())
    return f"{length} commands are in the slow log" if length >= 5 else None


def _crowded(client: redis.Redis) -> str | None:
    connected = int(client.info("clients")["connected_clients"])
    return f"{connected} clients are connected" if connected >= 100 else None


def _made(steps: Steps, why: Callable[[redis.Redis], str | None]) -> Fault:
    """A fault of these steps; it shows once Redis is slow and the reason can be seen there."""

    def visible(settings: Settings) -> str | None:
        found = state.require(settings)
        slow = _slow(found)
        try:
            with redis.Redis.from_url(found.endpoints.redis_admin, socket_timeout=5.0) as client:
                because = why(client)
        except redis.RedisError:
            return None  # too busy to say
        return f"{slow}; {because}" if slow and because else None

    return replace(fault(steps, lambda _: None), visible=visible)


FAULTS = {
    "memory-swapping": _made(memory_swapping, _evicting),
    "network": _made(network, lambda _: "calls take longer on their way"),
    "slow-commands": _made(slow_commands, _slow_log),
    "too-many-clients": _made(too_many_clients, _crowded),
}
