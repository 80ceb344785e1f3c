"""What A06 proposes: how much memory, which release goes back, and how long until the cache is warm."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import cache_miss_rate
from tests.diagnosis.cache_facts import MB, NOW, Facts, cold, full, gone, short


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


def history(age_s: float) -> pd.DataFrame:
    """A release that came so long ago, and the one before it."""
    created = [pd.Timestamp(NOW) - pd.Timedelta(seconds=age) for age in (age_s, 9000)]
    told = {"revision": [4, 3], "current": [True, False], "created": created, "change_cause": ["fresher", ""]}
    return pd.DataFrame(told).assign(changes="env")


def test_the_release_to_blame_is_recent() -> None:
    assert cache_miss_rate.culprit(history(60), NOW, 1800) == (4, 3, "fresher")
    assert cache_miss_rate.culprit(history(2000), NOW, 1800) is None
    assert cache_miss_rate.culprit(None, NOW, 1800) is None


def test_a_release_is_to_blame_only_where_the_misses_follow_it() -> None:
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


def test_the_time_until_the_cache_is_warm() -> None:
    rates = cold(Facts()).rates
    assert rates is not None
    assert 30 < cache_miss_rate.full_again_s(rates) < 60
    assert cache_miss_rate.full_again_s(Facts().rates) == 0.0  # type: ignore[arg-type]
    away = gone(Facts(), None).rates
    assert away is not None
    assert cache_miss_rate.full_again_s(away) == pytest.approx(away.again_s * math.log(2.0))
    assert away.told.startswith("It was not seen how many keys are held, usually 11,400.")
