"""A01 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest

from opslib.diagnosis import Diagnosis, greeks_latency, lost_cards, service_pods
from tests.diagnosis.derivatives_facts import WORKLOAD, World, noisy, over_time, ramp
from tests.diagnosis.greeks_facts import CASES, STATS, crowded, diagnose, fixes, leaking, off_the_card
from tests.diagnosis.verdicts import likely


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_alone(cause: str) -> None:
    verdict = diagnose(CASES[cause](World()))
    assert (verdict.cause, likely(verdict)) == (cause, {cause}), verdict
    assert verdict.confidence > 0.8


@pytest.mark.parametrize("pair", [(a, b) for a in CASES for b in CASES if a < b], ids="+".join)
def test_two_at_once_are_both_likely(pair: tuple[str, str]) -> None:
    world = World()
    for cause in pair:
        CASES[cause](world)
    assert likely(diagnose(world)) == set(pair), diagnose(world)


def test_a_healthy_platform_has_no_cause() -> None:
    verdict = diagnose(World(), 55.0)
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


def test_slow_without_any_of_them_is_none_of_these() -> None:
    verdict = diagnose(World().each(quick_us=90.0, p50_us=140.0, p95_us=200.0))
    assert verdict.cause == "none-of-these", verdict


def test_one_model_that_is_missing_in_one_pod_is_found() -> None:
    world = World()
    next(iter(world.pods.values())).models = 11.0
    next(iter(world.pods.values())).loads = 1.2
    assert likely(diagnose(world)) == {"model-not-cached"}


def test_a_pod_that_warms_up_is_no_leak() -> None:
    world = World().each(memory=ramp(120, 170, last_s=10)[-5:])
    assert "memory-leak" not in likely(diagnose(world))


def test_memory_that_rose_and_is_level_again_is_no_leak() -> None:
    risen = ramp(170, 200, last_s=20, seconds=100)
    world = crowded(World()).each(memory=[*risen, *noisy(200.0, 0.001, seconds=60)])
    assert likely(diagnose(world)) == {"high-load"}


def test_cpu_that_was_measured_before_the_alert_does_not_speak_against_a_high_load() -> None:
    world = crowded(World())
    world.cpu_of_limit, measured = 0.3, world.top()["time"].max()
    world.asked = noisy(24.0, 0.04)[:10]  # too little to tell
    assert likely(diagnose(world, began=measured - pd.Timedelta(seconds=50))) == set()
    assert likely(diagnose(world, began=measured - pd.Timedelta(seconds=2))) == {"high-load"}


def test_more_that_is_asked_than_usual_speaks_for_a_high_load() -> None:
    world = crowded(World())
    world.asked = noisy(24.0, 0.04)[:10]  # too little to tell
    alike = diagnose(world).causes[0].likelihood
    more = diagnose(crowded(World())).causes[0]
    assert (more.key, more.likelihood > alike) == ("high-load", True)
    assert "times as many computations are asked for as before" in more.because


def waiting(world: World, cpu: float = 0.99) -> World:
    """Requests wait, as under a high load, but no more is asked than usual."""
    world = crowded(world)
    world.cpu_of_limit, world.asked = cpu, noisy(24.0, 0.04)
    return world


def test_requests_that_wait_under_the_usual_load_are_none_of_these() -> None:
    for cpu in (0.99, 0.5):  # a lowered limit, and a node that others use up
        verdict = diagnose(waiting(World(), cpu))
        assert verdict.cause == "none-of-these", verdict
    assert "hardly more than before" in next(item.because for item in verdict.causes if item.key == "high-load")


def test_a_slow_release_whose_requests_wait_is_no_high_load() -> None:
    world = waiting(World()).each(quick_us=70.0, p50_us=160.0, p95_us=420.0)
    assert diagnose(world).cause == "none-of-these", diagnose(world)
    world.asked = noisy(24.0, 0.04)[:10]  # what was asked before is not seen: the slow work explains that they wait
    assert diagnose(world).cause == "none-of-these", diagnose(world)


@pytest.mark.parametrize("cause", ["gpu-unavailable", "memory-leak"])
def test_slow_work_that_fills_the_pods_asks_for_no_more_of_them(cause: str) -> None:
    assert likely(diagnose(CASES[cause](waiting(World())))) == {cause}


def test_load_counts_against_what_was_asked_while_latency_was_as_promised() -> None:
    world = crowded(World())
    world.asked = [*noisy(24.0, 0.04, seconds=30), *noisy(120.0, 0.04, seconds=150)]
    late = pd.DataFrame({"value": over_time([*noisy(50.0, seconds=30), *noisy(300.0, seconds=150)])})
    assert service_pods.times_as_many(world.load(), late, 100.0) == pytest.approx(5.0, rel=0.1)
    always = pd.DataFrame({"value": over_time(noisy(300.0))})
    assert math.isnan(service_pods.times_as_many(world.load(), always, 100.0))
    assert service_pods.times_as_many(world.load()) == pytest.approx(5.0, rel=0.1)


def test_memory_that_rises_with_the_load_is_no_leak() -> None:
    world = leaking(crowded(World()))
    world.asked = [*noisy(24.0, 0.04, seconds=160), *noisy(220.0, 0.04, seconds=20)]
    assert likely(diagnose(world)) == {"high-load"}
    since = service_pods.level_since(world.load())
    assert since == world.load().index[79]
    assert service_pods.level_since(World().load()) is None
    assert service_pods.level_since(pd.DataFrame()) is None


def test_without_prometheus_one_pod_tells_of_itself() -> None:
    lost = json.loads(json.dumps(STATS))
    lost["greeks_engine"] |= {"device": "cpu", "p50_time_microseconds": 170.0, "p95_time_microseconds": 250.0}
    pods = service_pods.by_pod(None, lost, World().listed(), World().nodes())
    assert pods is not None
    assert greeks_latency.latest(None, lost) == (250.0, "the pod that answered")
    case = Diagnosis(SimpleNamespace(unseen=["Prometheus"]), greeks_latency.CAUSES)
    case.confirm(True, "slow")
    case.examine("gpu-unavailable", pods=pods, usual_us=15.0, outlook=lost_cards.Outlook())
    case.examine("memory-leak", held=None, horizon_min=60.0)
    verdict = case.verdict()
    assert verdict.cause == "gpu-unavailable"
    assert verdict.confidence < 0.8
    assert "cause model-not-cached" in verdict.unseen


def test_what_cannot_be_seen_is_not_guessed() -> None:
    case = Diagnosis(SimpleNamespace(unseen=[]), greeks_latency.CAUSES)
    case.confirm(True, "slow")
    pods = service_pods.by_pod(None, {}, None, None)
    for key, facts in {
        "gpu-unavailable": {"pods": pods, "usual_us": 15.0, "outlook": lost_cards.Outlook()},
        "high-load": {"pods": pods, "cpu": service_pods.CpuUse(float("nan")), "times": float("nan"), "usual_us": 15.0},
        "model-not-cached": {"pods": pods, "total": 12, "lines": float("nan")},
        "memory-leak": {"held": None, "horizon_min": 60.0},
    }.items():
        case.examine(key, **facts)
    verdict = case.verdict()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    assert greeks_latency.latest(None, None) == (None, "")


def test_each_cause_has_the_seeds_fix_and_no_more() -> None:
    one = off_the_card(World(), "bbbbb")
    deleted = [("kubernetes.delete-pod", {"pod": next(name for name in one.pods if name.endswith("bbbbb"))})]
    assert fixes(one, "gpu-unavailable") == deleted
    assert fixes(World(), "high-load") == [("kubernetes.scale", {"workload": WORKLOAD, "replicas": 10})]
    world = World()
    world.autoscalers = pd.DataFrame({"workload": [WORKLOAD], "least": [2], "most": [8]}, index=["hpa"])
    step = ("kubernetes.set-autoscaler", {"autoscaler": "hpa", "least": 10, "most": 10})
    assert fixes(world, "high-load") == [step]
    world.autoscalers["least"] = 12
    assert fixes(world, "high-load") == []
    restart = [("kubernetes.restart", {"workload": WORKLOAD})]
    assert fixes(World(), "model-not-cached") == restart
    assert fixes(World(), "memory-leak", "model-not-cached") == restart
    assert fixes(one, "gpu-unavailable", "memory-leak") == restart


def test_all_figures_are_one_query() -> None:
    asked = service_pods.at_once(service_pods.FIGURES, "derivatives", 20.0)
    assert asked.count('"figure"') == len(service_pods.FIGURES)
    assert "$" not in asked
    assert '[20s]' in asked  # fmt: skip


def test_a_pod_that_computed_nothing_yet_has_no_average() -> None:
    assert greeks_latency.average({"greeks_engine": {"average_time_microseconds": 15.2}}) == (
        "One pod: 15 us on average, in half a minute."
    )
    for none in ({}, {"greeks_engine": None}, {"greeks_engine": {"average_time_microseconds": None}}):
        assert greeks_latency.average(none) == "One pod: computed nothing in half a minute."
