"""A05 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import engine
from opslib.diagnosis import latency_degrading
from tests.diagnosis.derivatives_facts import NOW, WORKLOAD, noisy, over_time, ramp
from tests.diagnosis.latency_facts import CASES, Case, busier, fixes, full_of_data, leaking, released
from tests.diagnosis.verdicts import likely


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_alone(cause: str) -> None:
    verdict = CASES[cause](Case()).diagnose()
    assert (verdict.cause, likely(verdict)) == (cause, {cause}), verdict
    assert verdict.confidence > 0.8


PAIRS = [
    ("memory-leak", "recent-deployment"),
    ("recent-deployment", "load-growth"),
    ("memory-leak", "load-growth"),
    ("load-growth", "data-growth"),
    ("recent-deployment", "data-growth"),
    ("memory-leak", "missing-index"),
    ("recent-deployment", "missing-index"),
    ("load-growth", "missing-index"),
]


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_at_once_are_both_likely(pair: tuple[str, str]) -> None:
    case = Case()
    for cause in reversed(pair):
        CASES[cause](case)
    assert likely(case.diagnose()) == set(pair), case.diagnose()


def test_a_healthy_platform_has_no_cause() -> None:
    case = Case()
    case.holds = False
    verdict = case.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


def test_a_healthy_platform_speaks_for_no_cause_though_its_alert_were_true() -> None:
    verdict = Case().diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "none-of-these", set()), verdict
    assert all(item.likelihood < 0.2 for item in verdict.causes), verdict


def test_slow_without_any_of_them_is_none_of_these() -> None:
    case = Case()
    case.lines["greeks_us"] = ramp(50, 200, last_s=60)
    case.lines["quick_us"] = ramp(15, 60, last_s=60)
    assert case.diagnose().cause == "none-of-these", case.diagnose()


def test_requests_that_wait_under_the_usual_load_are_no_growth_of_it() -> None:
    case = busier(Case())
    case.lines["rate"] = noisy(17.0, 0.05, seed=7)
    assert case.diagnose().cause == "none-of-these", case.diagnose()
    case = busier(released(Case()))
    case.lines["rate"] = noisy(17.0, 0.05, seed=7)
    assert likely(case.diagnose()) == {"recent-deployment"}, case.diagnose()


def test_without_prometheus_nothing_is_confirmed_or_guessed() -> None:
    case = leaking(Case())
    case.holds, case.seen = None, False
    verdict = case.diagnose()
    assert (verdict.confirmed, verdict.cause) == (False, None)
    assert verdict.summary.startswith("Not known")
    case.holds = True
    verdict = case.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)


def test_what_the_tests_say_is_told_in_words() -> None:
    risen = leaking(Case()).risen()
    assert risen is not None
    told = latency_degrading.reading(risen)
    assert "Latency of Greeks creeps up (+" in told
    jumped = released(Case()).risen()
    assert jumped is not None
    assert "Latency of Greeks jumps up at 11:59:2" in latency_degrading.reading(jumped)
    assert "Latency of whole requests shows no trend (p = " in latency_degrading.reading(jumped)
    assert abs((jumped.at["greeks_us", "jumped"] - (NOW - pd.Timedelta(seconds=38))).total_seconds()) < 5


def test_an_empty_answer_is_no_level() -> None:
    windows = {"now_s": 15.0, "before_s": 60.0, "before_span_s": 30.0}
    assert latency_degrading.levels(pd.DataFrame(), engine, **windows) is None
    short = pd.DataFrame({"greeks_us": over_time([40.0, 50.0])})
    found = latency_degrading.levels(short, engine, **windows)
    assert found is not None
    assert math.isnan(found.at["greeks_us", "ratio"])


def test_each_cause_has_its_fix_and_no_more() -> None:
    assert fixes(Case(), "memory-leak") == [("kubernetes.restart", {"workload": WORKLOAD})]
    back = [("kubernetes.undo-rollout", {"workload": WORKLOAD})]
    assert fixes(Case(), "recent-deployment") == back
    assert fixes(Case(), "memory-leak", "recent-deployment") == back
    assert fixes(Case(), "load-growth") == [("kubernetes.scale", {"workload": WORKLOAD, "replicas": 10})]
    upkeep = [("postgres.vacuum", {"table": "option_trades", "reason": "option_trades has grown"})]
    assert fixes(full_of_data(Case()), "data-growth") == upkeep
    index = {"table": "option_trades", "columns": ["client", "timestamp", "price"]}
    both = fixes(full_of_data(Case()), "data-growth", index=index)
    assert [name for name, _ in both] == ["postgres.create-index", "postgres.vacuum"]
