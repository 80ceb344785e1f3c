"""What the probes tell of a cache, by cause of its misses: healthy, until something is changed."""

from __future__ import annotations

import datetime as dt
import random
from types import SimpleNamespace
from typing import Any

import pandas as pd

from opslib.diagnosis import Diagnosis, Verdict, cache_miss_rate

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
MB = 1_000_000
OLD = "greeks:{name}:{kind}:{strike:g}:{days}:{spot:g}"
DOCUMENTED = ["greeks:word:word:number:number:number"]
Row = tuple[str, str, float, float]


def keys(
    count: int, pattern: str = OLD, *, life: tuple[float, float] = (600, 3500), idle: tuple[float, float] = (0, 250)
) -> list[Row]:
    """Names of cached results, with what is left of their lives and the time since they were used [s]."""
    rng = random.Random(f"{pattern} {count}")
    rows = []
    for _ in range(count):
        used = rng.uniform(*idle)
        spot = round(rng.uniform(100, 5500), 2)
        facts = {"name": rng.choice(("SPX", "SX5E", "AAPL")), "kind": rng.choice(("call", "put")), "spot": spot}
        facts |= {"strike": round(spot * 1.02, 1), "days": rng.choice((30, 60, 91)), "now": NOW.timestamp() - used}
        rows.append((pattern.format(**facts, release="2.5.1"), "string", rng.uniform(*life), used))
    return rows


class Facts:
    """What the probes told; a healthy cache, until something is changed."""

    def __init__(self) -> None:
        self.lookups, self.misses = 110.0, 4.0
        self.evicted, self.ended = 0.0, 4.0
        self.held, self.usual = 11_400.0, 11_400.0
        self.uptime_s: float | None = 8000.0
        self.memory: dict[str, Any] | None = {
            "used_memory": 6 * MB, "used_memory_dataset": 4 * MB, "maxmemory": 32 * MB, "policy": "volatile-lru",
            "total_system_memory": 8_000 * MB,
        }  # fmt: skip
        self.rows: list[Row] | None = [*keys(2000), ("market:SPX", "hash", float("nan"), 0.0)]
        self.documented = DOCUMENTED
        self.own = True
        self.seen = True
        self.containers: pd.DataFrame | None = None

    @property
    def rates(self) -> cache_miss_rate.Rates | None:
        if not self.seen:
            return None
        server = self.server
        own = {"server": {"evicted_per_s": self.evicted, "expired_per_s": self.ended}} if self.own else None
        traffic = cache_miss_rate.Traffic(self.lookups, self.misses, ("e1",))
        return cache_miss_rate.rates(traffic, server, own, {}, self.usual)

    @property
    def server(self) -> dict[str, str]:
        """What Redis says of itself; nothing while it does not answer."""
        if self.uptime_s is None:
            return {}
        return {"db0": str({"keys": int(self.held), "expires": 1, "avg_ttl": 5})}

    def diagnose(self) -> Verdict:
        case = Diagnosis(SimpleNamespace(unseen=[]), cache_miss_rate.CAUSES)
        rates = self.rates
        case.confirm(None if rates is None else rates.hit_pct < 50, "the hit rate")
        columns = ["key", "type", "life_s", "idle_s"]
        lives = None if self.rows is None else pd.DataFrame(self.rows, columns=columns).assign(of=int(self.held))
        names = None if lives is None else cache_miss_rate.names(lives, NOW)
        case.examine("memory-full", memory=self.memory, rates=rates)
        away = cache_miss_rate.away(self.server, self.containers, NOW)
        case.notes += [away.told]
        since_s = away.age_s if self.uptime_s is None else self.uptime_s
        case.examine("cold-after-restart", uptime_s=since_s, rates=rates, away=away)
        case.examine("keys-expiring", names=names, rates=rates)
        case.examine("key-pattern-changed", names=names, rates=rates, documented=self.documented)
        return case.verdict()


def full(facts: Facts) -> Facts:
    assert facts.memory is not None
    facts.memory |= {"used_memory": 1_700_000, "used_memory_dataset": 700_000, "maxmemory": 1_700_000}
    facts.misses, facts.evicted, facts.ended, facts.held = 85.0, 84.0, 0.0, 2400.0
    facts.rows = keys(2000, idle=(0, 25))
    return facts


def cold(facts: Facts) -> Facts:
    facts.misses, facts.evicted, facts.ended = 90.0, 0.0, 0.0
    facts.held, facts.uptime_s = 2500.0, 30.0
    facts.rows = keys(2000, life=(2700, 3600), idle=(0, 30))
    return facts


def short(facts: Facts) -> Facts:
    facts.misses, facts.evicted, facts.ended, facts.held = 106.0, 0.0, 104.0, 380.0
    facts.rows = keys(380, life=(0, 5), idle=(0, 5))
    return facts


def renamed(facts: Facts, pattern: str = "greeks:v2:{name}:{kind}:{strike:.4f}:{days}:{now:.0f}") -> Facts:
    facts.misses, facts.evicted, facts.ended, facts.held = 110.0, 0.0, 3.0, 13_000.0
    facts.rows = [*keys(1700, idle=(20, 250)), *keys(300, pattern, life=(35, 60), idle=(0, 15))]
    return facts


CASES = {
    "memory-full": full,
    "cold-after-restart": cold,
    "keys-expiring": short,
    "key-pattern-changed": renamed,
}


def gone(facts: Facts, containers: pd.DataFrame | None) -> Facts:
    """Redis does not answer us: what Prometheus and Kubernetes tell is all there is."""
    facts.lookups, facts.misses = 105.0, 68.0  # over a window that began before
    facts.own, facts.evicted, facts.ended = False, float("nan"), float("nan")
    facts.memory = facts.rows = facts.uptime_s = None
    facts.containers = containers
    return facts
