"""A06 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
import math
import random
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from opslib.clusters import objects
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


def likely(verdict: Verdict) -> set[str]:
    return {item.key for item in verdict.causes if item.likelihood > 0.5}


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_alone(cause: str) -> None:
    verdict = CASES[cause](Facts()).diagnose()
    assert (verdict.cause, likely(verdict)) == (cause, {cause}), verdict
    assert verdict.confidence > 0.8


def test_a_healthy_cache_has_no_cause() -> None:
    verdict = Facts().diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


@pytest.mark.parametrize(
    "pattern",
    [
        "greeks:{now:.0f}:{name}:{kind}:{strike:g}:{days}:{spot:g}",
        "greeks:{release}:{name}:{kind}:{strike:g}:{days}:{spot:g}",
        "greeks:{name}:{kind}:{strike:.4f}:{days}:{spot:.4f}",
        "risk:{name}:{kind}:{strike:g}:{days}:{spot:g}",
    ],
)
def test_names_that_changed_in_another_way_are_seen_as_well(pattern: str) -> None:
    assert likely(renamed(Facts(), pattern).diagnose()) == {"key-pattern-changed"}
    bare = renamed(Facts(), pattern)
    bare.documented = []
    assert likely(bare.diagnose()) == {"key-pattern-changed"}


@pytest.mark.parametrize("seconds", [60, 3600])
def test_names_with_a_time_stay_named_when_the_old_ones_are_gone(seconds: int) -> None:
    facts = renamed(Facts())
    facts.rows = keys(2000, "greeks:v2:{name}:{kind}:{strike:.4f}:{days}:{now:.0f}", life=(0, seconds), idle=(0, 50))
    facts.held, facts.ended = 5500.0, 109.0
    assert likely(facts.diagnose()) == {"key-pattern-changed"}


def test_short_lives_beside_older_keys_that_live_on() -> None:
    facts = short(Facts())
    facts.rows = [*keys(900, idle=(4, 250)), *keys(60, life=(0, 6), idle=(0, 3))]
    facts.held, facts.misses, facts.ended = 4500.0, 70.0, 66.0
    assert likely(facts.diagnose()) == {"keys-expiring"}


def test_a_cache_that_may_not_evict_refuses_writes() -> None:
    facts = full(Facts())
    assert facts.memory is not None
    facts.memory["policy"] = "noeviction"
    facts.evicted = 0.0
    verdict = facts.diagnose()
    assert likely(verdict) == {"memory-full"}
    assert "writes are refused" in verdict.causes[0].because


def redis_pod(created_s: float, status: dict[str, Any] | None = None) -> pd.DataFrame:
    """Redis' containers as the probe tells them, of a pod as Kubernetes does: made so long ago, on its way or not."""
    made = (NOW - dt.timedelta(seconds=created_s)).isoformat()
    pod = {"metadata": {"name": "redis-0", "creationTimestamp": made}, "spec": {"containers": [{"name": "redis"}]}}
    pod["status"] = {"containerStatuses": [{"name": "redis", "restartCount": 0, **(status or {})}]}
    found = pd.DataFrame(objects.container_rows(pod))
    found.attrs["evidence"] = "E012"
    return found


def gone(facts: Facts, containers: pd.DataFrame | None) -> Facts:
    """Redis does not answer us: what Prometheus and Kubernetes tell is all there is."""
    facts.lookups, facts.misses = 105.0, 68.0  # over a window that began before
    facts.own, facts.evicted, facts.ended = False, float("nan"), float("nan")
    facts.memory = facts.rows = facts.uptime_s = None
    facts.containers = containers
    return facts


def begun(seconds: float, **more: Any) -> dict[str, Any]:
    return {"state": {"running": {"startedAt": (NOW - dt.timedelta(seconds=seconds)).isoformat()}}, **more}


CREATING = {"state": {"waiting": {"reason": "ContainerCreating"}}}


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        (redis_pod(14, CREATING), "redis-0 (waiting, ContainerCreating, begun 14 s ago)"),
        (redis_pod(14), "redis-0 (not begun, begun 14 s ago)"),
        (redis_pod(20, begun(3)), "redis-0 (running, begun 3 s ago)"),
        (redis_pod(90_000, begun(2, restartCount=4)), "redis-0 (running, begun 2 s ago)"),
    ],
    ids=["being made", "just made", "loading", "a container begun anew"],
)
def test_a_cache_that_is_just_being_made_is_cold_before_it_answers(containers: pd.DataFrame, said: str) -> None:
    """The alert comes while Redis' pod is being replaced: then only Kubernetes tells, and does."""
    verdict = gone(Facts(), containers).diagnose()
    assert (verdict.cause, likely(verdict)) == ("cold-after-restart", {"cold-after-restart"}), verdict
    assert f"Redis does not answer us: {said}" in verdict.summary
    assert "E012" in verdict.causes[0].evidence


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        (redis_pod(90_000, begun(90_000)), "redis-0 (running, begun 90,000 s ago)"),
        (redis_pod(1200, CREATING), "redis-0 (waiting, ContainerCreating, begun 1,200 s ago)"),
        (redis_pod(0)[:0], "Redis does not answer us, and has no pod"),
    ],
    ids=["hangs", "cannot be made", "no pod"],
)
def test_a_redis_that_is_away_for_long_is_not_called_cold(containers: pd.DataFrame, said: str) -> None:
    verdict = gone(Facts(), containers).diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    assert said in verdict.summary


def test_two_at_once_are_both_likely() -> None:
    facts = full(renamed(Facts()))
    facts.rows = [*keys(600, idle=(20, 60)), *keys(600, "greeks:v2:{name}:{strike:g}:{now:.0f}", idle=(0, 15))]
    assert likely(facts.diagnose()) == {"memory-full", "key-pattern-changed"}
    both = cold(short(Facts()))
    both.ended, both.held = 104.0, 300.0
    both.rows = keys(300, life=(0, 5), idle=(0, 5))
    assert "keys-expiring" in likely(both.diagnose())


def test_a_platform_that_is_young_itself_is_not_cold_for_that() -> None:
    for cause in ("memory-full", "keys-expiring", "key-pattern-changed"):
        facts = CASES[cause](Facts())
        facts.uptime_s = 110.0
        assert likely(facts.diagnose()) == {cause}


def test_a_cache_that_was_flushed_is_none_of_these() -> None:
    facts = cold(Facts())
    facts.uptime_s = 90_000.0
    verdict = facts.diagnose()
    assert verdict.cause == "none-of-these", verdict
    assert "Redis started 90,000 s ago" in repr(verdict)


def test_a_cache_that_is_emptied_soon_after_a_restart_is_not_cold_for_that() -> None:
    facts = cold(Facts())
    facts.lookups, facts.misses, facts.held, facts.uptime_s = 59.4, 51.4, 65.0, 264.0
    facts.rows = keys(64, life=(2700, 3600), idle=(0, 3))
    verdict = facts.diagnose()
    assert verdict.cause == "none-of-these", verdict
    assert "made some 13,570 keys, and Redis holds 65: something removes them" in repr(verdict)
    facts.uptime_s, facts.held = 20.0, 1000.0  # as many as there can be by then
    assert facts.diagnose().cause == "cold-after-restart"


def test_other_questions_than_usual_are_none_of_these() -> None:
    facts = Facts()
    facts.misses, facts.ended, facts.held = 80.0, 4.0, 30_000.0
    assert facts.diagnose().cause == "none-of-these"


def test_a_restart_long_ago_is_no_cause() -> None:
    facts = short(Facts())
    facts.uptime_s = 900.0
    assert likely(facts.diagnose()) == {"keys-expiring"}


def test_without_idle_times_documented_names_tell() -> None:
    for cause, make in CASES.items():
        facts = make(Facts())
        assert facts.rows is not None
        facts.rows = [(*row[:3], float("nan")) for row in facts.rows]
        verdict = facts.diagnose()
        assert verdict.cause in (cause, None), verdict
        assert likely(verdict) <= {cause}


def test_what_cannot_be_seen_is_never_guessed() -> None:
    for cause, make in CASES.items():
        facts = make(Facts())
        facts.own = False
        assert likely(facts.diagnose()) <= {cause}
        facts.memory = facts.rows = facts.uptime_s = None
        verdict = facts.diagnose()
        assert (verdict.cause, verdict.confidence) == (None, 0.0)
        facts.seen = False
        assert facts.diagnose().summary.startswith("Not known")


def fixes(facts: Facts, *causes: str, **other: Any) -> list[Any]:
    given = {
        "memory": facts.memory,
        "rates": facts.rates,
        "earlier_bytes": float("nan"),
        "container": None,
        "growth": 2.0,
        "release": (4, 3, "Release 2.4.1"),
        "service": "deployment/derivatives-api",
    }
    return cache_miss_rate.fixes(causes, **{**given, **other})


def test_memory_goes_back_to_what_it_was_or_grows_to_what_the_usual_keys_need() -> None:
    facts = full(Facts())
    ((name, step),) = fixes(facts, "memory-full", earlier_bytes=32.0 * MB)
    assert (name, step["name"], step["value"], step["until"]) == (
        "redis.set-configuration", "maxmemory", str(32 * MB), "alert",
    )  # fmt: skip
    assert 120 <= step["within_s"] <= 3600
    ((_, grown),) = fixes(facts, "memory-full")
    assert int(grown["value"]) > 1.0 * MB + 0.7 * MB * 11_400 / 2400  # all usual keys, some to spare
    assert int(grown["value"]) < 10 * MB
    small = pd.DataFrame({"memory_limit": [2.5 * MB]})
    ((_, capped),) = fixes(facts, "memory-full", container=small)
    assert int(capped["value"]) == 2 * MB
    assert fixes(facts, "memory-full", container=pd.DataFrame({"memory_limit": [1.8 * MB]})) == []


def test_a_release_goes_back_once_and_a_cold_cache_needs_nothing() -> None:
    back = ("kubernetes.undo-rollout", {"workload": "deployment/derivatives-api", "revision": 3})
    assert fixes(short(Facts()), "keys-expiring", "key-pattern-changed") == [back]
    assert fixes(short(Facts()), "keys-expiring", release=None) == []
    assert fixes(cold(Facts()), "cold-after-restart") == []


def test_the_release_to_blame_is_recent() -> None:
    def history(age_s: float) -> pd.DataFrame:
        created = [pd.Timestamp(NOW) - pd.Timedelta(seconds=age) for age in (age_s, 9000)]
        return pd.DataFrame(
            {"revision": [4, 3], "current": [True, False], "created": created, "change_cause": ["fresher", ""],
             "changes": "env"}
        )  # fmt: skip

    assert cache_miss_rate.culprit(history(60), NOW, 1800) == (4, 3, "fresher")
    assert cache_miss_rate.culprit(history(2000), NOW, 1800) is None
    assert cache_miss_rate.culprit(None, NOW, 1800) is None


def test_a_release_is_to_blame_only_where_the_misses_follow_it() -> None:
    def history(age_s: float) -> pd.DataFrame:
        created = [pd.Timestamp(NOW) - pd.Timedelta(seconds=age) for age in (age_s, 9000)]
        told = {"revision": [4, 3], "current": [True, False], "created": created, "change_cause": ["new", "old"]}
        return pd.DataFrame(told).assign(changes="env")

    def rate(began_s: float, *, slow_s: float = 30.0) -> pd.DataFrame:
        ages = range(900, -1, -5)
        falls = [min(1.0, max(0.0, (began_s - age) / slow_s)) for age in ages]
        times = [pd.Timestamp(NOW) - pd.Timedelta(seconds=age) for age in ages]
        return pd.DataFrame(
            {"found": [95.0 - 0.3 * (age % 4) - 90.0 * fall for age, fall in zip(ages, falls, strict=True)]},
            index=times,
        )

    def blamed(release_s: float, found: pd.DataFrame | None, alert_s: float | None = None) -> bool:
        alert_at = None if alert_s is None else NOW - dt.timedelta(seconds=alert_s)
        began = cache_miss_rate.onset(found, 50.0, alert_at, NOW)
        return cache_miss_rate.culprit(history(release_s), NOW, 1800, began, 300.0) is not None

    assert blamed(150, rate(120))
    assert blamed(400, rate(300, slow_s=280))
    assert not blamed(1500, rate(120))  # all was well for 23 minutes after it
    assert not blamed(60, rate(120))  # it came later
    assert blamed(1000, rate(1000, slow_s=1))  # nobody saw when all was well
    assert not blamed(600, rate(1000, slow_s=1))
    assert blamed(600, None)
    assert blamed(600, None, 500)
    assert not blamed(400, None, 500)
    assert blamed(150, rate(120).iloc[:0])


def test_the_services_own_counters_tell_where_prometheus_is_away() -> None:
    def look(at: float, started: float, hits: int, misses: int) -> tuple[dt.datetime, dict[str, Any]]:
        stats = {"cache": {"hits": hits, "misses": misses}, "uptime_s": round(at - started, 1)}
        return NOW + dt.timedelta(seconds=at), stats

    looks = [look(0.0, -50, 100, 10), look(0.0, -90, 500, 50), look(2.0, -50, 110, 40), look(2.0, -90, 510, 70)]
    traffic = cache_miss_rate.traffic(None, None, looks)
    assert traffic is not None
    assert (traffic.lookups, traffic.misses) == pytest.approx((35.0, 25.0))
    assert cache_miss_rate.traffic(None, None, looks[:2]) is None
    assert cache_miss_rate.traffic(None, None, [(NOW, None)]) is None
    queried = pd.DataFrame({"value": [80.0]}), pd.DataFrame({"value": [60.0]})
    seen = cache_miss_rate.traffic(*queried, [])
    assert seen is not None
    assert seen.hit_pct == pytest.approx(25.0)


def test_the_time_until_the_cache_is_warm() -> None:
    rates = cold(Facts()).rates
    assert rates is not None
    assert 30 < cache_miss_rate.full_again_s(rates) < 60
    assert cache_miss_rate.full_again_s(Facts().rates) == 0.0  # type: ignore[arg-type]
    away = gone(Facts(), None).rates
    assert away is not None
    assert cache_miss_rate.full_again_s(away) == pytest.approx(away.again_s * math.log(2.0))
    assert away.told.startswith("It was not seen how many keys are held, usually 11,400.")


def test_evictions_that_come_by_fits_are_counted_over_the_longer_window() -> None:
    own = {"server": {"evicted_per_s": 0.0, "expired_per_s": 3.0}}
    traffic = cache_miss_rate.Traffic(110.0, 90.0, ())
    gone = {"evicted": pd.DataFrame({"value": [85.0]}), "expired": None}
    rates = cache_miss_rate.rates(traffic, {}, own, gone, 11_400.0)
    assert rates is not None
    assert (rates.evicted, rates.ended) == (85.0, 3.0)
