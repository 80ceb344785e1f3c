"""A06 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from opslib.clusters import objects
from opslib.diagnosis import cache_miss_rate
from tests.diagnosis.cache_facts import CASES, NOW, Facts, cold, full, gone, keys, renamed, short
from tests.diagnosis.verdicts import likely


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


def test_evictions_that_come_by_fits_are_counted_over_the_longer_window() -> None:
    own = {"server": {"evicted_per_s": 0.0, "expired_per_s": 3.0}}
    traffic = cache_miss_rate.Traffic(110.0, 90.0, ())
    gone = {"evicted": pd.DataFrame({"value": [85.0]}), "expired": None}
    rates = cache_miss_rate.rates(traffic, {}, own, gone, 11_400.0)
    assert rates is not None
    assert (rates.evicted, rates.ended) == (85.0, 3.0)
