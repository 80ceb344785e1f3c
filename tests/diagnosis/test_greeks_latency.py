"""A01 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest

import engine
from engine import european
from opslib.diagnosis import Diagnosis, Verdict, greeks_latency, lost_cards, rollouts, service_pods
from opslib.errors import ProbeError
from tests.diagnosis.derivatives_facts import BEFORE, NAME, NOW, REVISION, WORKLOAD, Pod, World, noisy, over_time, ramp
from tests.diagnosis.told import context

if TYPE_CHECKING:
    from opslib import Ops

CACHE = {
    "pattern": "greeks:*",
    "key": "greeks:{underlying}:{kind}:{strike}:{days}:{spot}",
    "fields": ["at", "price", "delta", "gamma", "vega", "theta", "rho", "volatility", "spot"],
    "rate": 0.03,
    "dividends": {"SPX": 0.013},
}
STATS = {
    "greeks_engine": {
        "average_time_microseconds": 40.0, "p50_time_microseconds": 24.0, "p95_time_microseconds": 60.0,
        "device": "gpu", "queue_depth": 1, "models_resident": 12,
    },
    "memory": {"rss_mib": 165.0, "sessions": 13},
}  # fmt: skip


def outlook(
    world: World, cards: pd.DataFrame | None = None, revisions: pd.DataFrame | None = None
) -> lost_cards.Outlook:
    serving = service_pods.by_pod(world.figures(), None, world.listed(), world.nodes())
    seen = (serving, world.nodes(), cards, world.listed(), revisions, world.series("quick"))
    return lost_cards.outlook(*seen, usual_us=15.0)


def diagnose(
    world: World, p95: float | None = 180.0, *, seen: bool = True, lines: float = 0.0, began: pd.Timestamp | None = None
) -> Verdict:
    """The verdict of the playbook; `seen`: whether Prometheus answers; `began`: when the alert fired."""
    case = Diagnosis(SimpleNamespace(unseen=[]), greeks_latency.CAUSES)
    rule = None if p95 is None or not seen else {"value": p95, "holds": p95 > 100}
    value, whose = greeks_latency.latest(rule, STATS)
    case.confirm(None if value is None else value > 100, f"{value} us ({whose})")
    pods = service_pods.by_pod(world.figures() if seen else None, STATS, world.listed(), world.nodes())
    case.examine("gpu-unavailable", pods=pods, usual_us=15.0, outlook=outlook(world))
    cpu = service_pods.cpu_use(world.top(), world.listed(), began)
    latency = pd.DataFrame({"value": over_time(world.latency)})
    times = service_pods.times_as_many(world.load(), latency, 100.0) if seen else float("nan")
    case.examine("high-load", pods=pods, cpu=cpu, times=times, usual_us=15.0)
    case.examine("model-not-cached", pods=pods, total=12, lines=lines)
    held = None
    if seen:
        given = [world.series(name) for name in ("memory", "sessions", "quick")]
        stretch = {"warm_up_s": 15.0, "recent_s": 30.0, "limit_mb": 470.0}
        held = service_pods.growth(*given, world.load(), list(world.pods), engine, **stretch)
    case.examine("memory-leak", held=held, horizon_min=60.0)
    return case.verdict()


def off_the_card(world: World, only: str = "") -> World:
    for name, pod in world.pods.items():
        if name.endswith(only):
            pod.card, pod.node = 0.0, "node-1"
            pod.quick_us, pod.p50_us, pod.p95_us = 120.0, 160.0, 260.0
    return world


def crowded(world: World) -> World:
    world.cpu_of_limit = 0.99
    for pod in world.pods.values():
        pod.rate, pod.queue, pod.p50_us, pod.p95_us = 60.0, 16.0, 140.0, 320.0
        pod.quick_us = max(pod.quick_us, 25.0)
        pod.sessions = ramp(13, 110, last_s=90)
    world.asked = [*noisy(24.0, 0.04, seconds=100), *noisy(120.0, 0.04, seconds=80)]
    return world


def without_models(world: World) -> World:
    return world.each(models=2.0, loads=4.0, p95_us=4800.0)


def leaking(world: World) -> World:
    return world.each(
        memory=ramp(170, 230, last_s=100, share=0.0005),
        sessions=ramp(13, 1500, last_s=100),
        quick=ramp(15, 60, last_s=100),
        quick_us=max(60.0, next(iter(world.pods.values())).quick_us),
    )


CASES = {
    "gpu-unavailable": off_the_card,
    "high-load": crowded,
    "model-not-cached": without_models,
    "memory-leak": leaking,
}


def likely(verdict: Verdict) -> set[str]:
    return {item.key for item in verdict.causes if item.likelihood > 0.5}


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


def test_one_of_several_pods_off_the_card_is_enough() -> None:
    verdict = diagnose(off_the_card(World(), "aaaaa"))
    assert likely(verdict) == {"gpu-unavailable"}
    assert "1 of 2 pods have no card (node-1)" in verdict.causes[0].because


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


def fixes(
    world: World, *causes: str, cards: pd.DataFrame | None = None, revisions: pd.DataFrame | None = None
) -> list[Any]:
    pods = service_pods.by_pod(world.figures(), None, world.listed(), world.nodes())
    where = outlook(world, cards, revisions)
    seen = {"pods": pods, "outlook": where, "workloads": world.workloads(), "autoscalers": world.autoscalers}
    return greeks_latency.fixes(causes, workload=WORKLOAD, scale_to=10, **seen)


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


def test_a_fix_that_cannot_be_aimed_is_not_proposed() -> None:
    world = off_the_card(World())
    world.nodes_cordoned = {"node-2"}
    assert fixes(world, "gpu-unavailable") == []
    world.desired = 12
    assert fixes(world, "high-load") == []


def asked_for_cards(world: World, **says: str) -> pd.DataFrame:
    """What `nvidia-smi` says in each pod, by the end of its name; a card where nothing is told."""
    rows = [
        {"pod": name, "node": pod.node, "card": None if says.get(name[-5:]) else 0.0, "says": says.get(name[-5:])}
        for name, pod in world.pods.items()
    ]
    return pd.DataFrame(rows)


def on_a_lost_card(world: World) -> World:
    off_the_card(world)
    return world.each(node="node-2")


def test_no_pod_is_deleted_that_would_come_back_to_a_lost_card() -> None:
    world = on_a_lost_card(World())
    gone = "Unable to determine the device handle for GPU0: GPU is lost"
    cards = asked_for_cards(world, aaaaa=gone, bbbbb=gone)
    assert likely(diagnose(world)) == {"gpu-unavailable"}
    assert fixes(world, "gpu-unavailable", cards=cards) == []
    assert fixes(world, "gpu-unavailable") == []  # the figures of the pods there tell it, too
    told = outlook(world, cards).hindrance
    assert told.startswith(f"node-2 has lost its card (nvidia-smi there: {gone}) and takes pods")
    assert "L2" in told


def test_a_command_that_could_not_be_run_tells_of_no_card() -> None:
    world = off_the_card(World())
    world.pods[next(iter(world.pods))].node = "node-2"
    cards = asked_for_cards(world, aaaaa="no command can be run in x/api: Handshake status 500", bbbbb="not found")
    world.pods[next(iter(world.pods))].node = "node-1"  # it is about to end there, and serves no more
    assert (outlook(world, cards).free, outlook(world, cards).hindrance) == (("node-2",), "")


def test_a_pod_that_lost_a_card_which_still_answers_is_restarted() -> None:
    world = on_a_lost_card(World())
    assert len(fixes(world, "gpu-unavailable", cards=asked_for_cards(world))) == 2
    other = off_the_card(World(), "aaaaa")  # one beside another that computes on the node's card
    other.pods[next(iter(other.pods))].node = "node-2"
    assert len(fixes(other, "gpu-unavailable", cards=asked_for_cards(other, aaaaa="no card"))) == 1


def test_a_node_without_pods_is_taken_for_good_and_one_that_takes_none_is_told() -> None:
    world = off_the_card(World())
    cards = asked_for_cards(world, aaaaa="not found", bbbbb="not found")
    assert (outlook(world, cards).free, outlook(world, cards).hindrance) == (("node-2",), "")
    world.nodes_cordoned = {"node-2"}
    assert outlook(world, cards).hindrance.startswith("No node with a card takes pods")
    assert lost_cards.Outlook().hindrance == ""  # the nodes were not seen


def a_revision(changes: str) -> pd.DataFrame:
    ago = [NOW - pd.Timedelta(seconds=seconds) for seconds in (60, 3600)]
    told = {"revision": [4, 3], "current": [True, False], "created": ago, "changes": [changes, "nothing"]}
    return pd.DataFrame(told)


def released_off_the_card(world: World) -> World:
    """New pods without a card beside those that they replaced, which had one."""
    world.gone = {f"{NAME}-{BEFORE}-{end}": Pod(revision=BEFORE) for end in ("ccccc", "ddddd")}
    return off_the_card(world).each(quick=noisy(120.0, 0.05))


def test_a_release_that_took_the_card_is_rolled_back() -> None:
    world = released_off_the_card(World())
    undo = [("kubernetes.undo-rollout", {"workload": WORKLOAD})]
    for changes in ("affinity changed; tolerations changed", "api: limits.nvidia.com/gpu 1 -> none"):
        dropped = a_revision(f"api: env RELEASE '2.4.0' -> '2.4.1'; {changes}")
        assert fixes(world, "gpu-unavailable", revisions=dropped) == undo
        assert outlook(world, None, dropped).release == f"revision 4 changed {changes}"
        assert outlook(world, None, dropped).hindrance == ""
    assert fixes(world, "gpu-unavailable", "memory-leak", revisions=dropped) == undo


@pytest.mark.parametrize("changes", ["nothing", "api: env RELEASE '2.4.0' -> '2.4.1'", "restarted at 12:00"])
def test_a_release_that_left_the_card_alone_is_not_rolled_back(changes: str) -> None:
    found = fixes(released_off_the_card(World()), "gpu-unavailable", revisions=a_revision(changes))
    assert [name for name, _ in found] == ["kubernetes.delete-pod"] * 2


def test_a_release_whose_pods_had_a_card_is_not_rolled_back() -> None:
    moved = a_revision("tolerations changed")
    world = released_off_the_card(World())
    world.gone[f"{NAME}-{REVISION}-eeeee"] = Pod()  # of the same revision, quick, and gone
    assert [name for name, _ in fixes(world, "gpu-unavailable", revisions=moved)] == ["kubernetes.delete-pod"] * 2
    world = released_off_the_card(World())
    world.gone.clear()  # nothing is seen of what ran before
    assert [name for name, _ in fixes(world, "gpu-unavailable", revisions=moved)] == ["kubernetes.delete-pod"] * 2


def test_served_greeks_that_differ_are_told_in_verdict_and_message() -> None:
    mine = european(**greeks_latency.EXAMPLE)
    served = {name: float(getattr(mine, name)) for name in greeks_latency.GREEKS}
    assert greeks_latency.disagreement("greeks:SPX", greeks_latency.compared(served, mine)) == ""
    served["vega"] *= 1.05
    told = greeks_latency.disagreement("greeks:SPX", greeks_latency.compared(served, mine))
    assert told == "The Greeks served as greeks:SPX DIFFER from those computed here (vega by 4.8 %): call L2 at once"
    where = context()
    for confirmed, begins in (
        (True, "Slow. No cause is looked for"),
        (False, "Not confirmed: slow"),
        (None, "Not known"),
    ):
        case = Diagnosis(SimpleNamespace(unseen=[], context=where, now=lambda: NOW), ())  # type: ignore[arg-type]
        case.confirm(confirmed, "slow")
        case.notes += ["", told, told]
        assert case.verdict().summary.startswith(begins), case.verdict().summary
        assert case.verdict().summary.count(told) == 1
        assert told in case.message("Greeks latency", None)


def test_roll_outs_are_marked_when_they_came() -> None:
    world, history = World(), a_revision("affinity changed")
    assert rollouts.marks(None, None) == {}
    assert rollouts.marks(history, world.listed())["revision 4"] == NOW - pd.Timedelta(seconds=60)
    history.loc[0, "created"] = NOW - pd.Timedelta(days=3)  # it ran before, and came back
    assert rollouts.marks(history, world.listed())["revision 4"] == world.listed()["created"].min()


def test_a_served_request_is_taken_out_of_the_cache_and_recomputed() -> None:
    option = {"spot": 5148.0, "strike": 5200.0, "expiry": 30 / 365, "rate": 0.03, "dividend": 0.013}
    mine = european(**option, volatility=0.16, kind="call")
    entry = json.dumps([1.7e9, *mine[:6], 0.16, 5148.0])
    found = greeks_latency.understood("greeks:SPX:call:5200:30:5148", entry, CACHE)
    assert found is not None
    assert found["option"] == {**option, "volatility": 0.16, "kind": "call"}
    assert greeks_latency.compared(found["served"], european(**found["option"]))["agrees"].all()
    wrong = {**found["served"], "vega": found["served"]["vega"] * 1.05}
    assert not greeks_latency.compared(wrong, mine).loc["vega", "agrees"]


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("greeks:SPX:call:5200:30:5148", "not json"),
        ("greeks:SPX:call:5200:30:5148", "[1, 2]"),
        ("greeks:ABC:call:5200:30:5148", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        ("market:SPX", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"),
    ],
)
def test_an_entry_that_is_not_understood_is_passed_over(key: str, entry: str) -> None:
    assert greeks_latency.understood(key, entry, CACHE) is None


def test_that_no_served_request_could_be_read_is_unseen() -> None:
    mine = european(
        spot=5148.0, strike=5200.0, expiry=30 / 365, rate=0.03, dividend=0.013, volatility=0.16, kind="call"
    )
    keys = pd.DataFrame({"key": ["greeks:SPX:call:5200:30:5148", "greeks:SPX:call:5200:30:5150"]})

    def served(*answers: Any) -> tuple[bool, list[str]]:
        told = iter(answers)

        def text(_key: str) -> str:
            answer = next(told)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        ops = SimpleNamespace(unseen=[], redis=SimpleNamespace(text=text))
        return greeks_latency.served(cast("Ops", ops), keys, CACHE) is not None, ops.unseen

    gone, entry = ProbeError("no such key"), json.dumps([1.7e9, *mine[:6], 0.16, 5148.0])
    assert served(gone, gone) == (False, ["what is served (no such key)"])
    assert served(gone, entry) == (True, [])
    assert served(gone, "not json") == (False, [])


def test_the_engine_is_timed_by_the_clock_that_is_on_the_record() -> None:
    ticks = iter(range(100))

    def clock() -> dt.datetime:
        return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=10 * next(ticks))

    worked: list[int] = []
    assert greeks_latency.per_call(clock, lambda: worked.append(1), calls=1000) == pytest.approx(10.0)
    assert len(worked) == 5001


def test_a_pod_that_ends_is_left_out_and_the_node_tells_of_the_card() -> None:
    world = World()
    first, second = world.pods
    world.pods[first].status = "Terminating"
    world.pods[second].card = float("nan")
    pods = service_pods.by_pod(world.figures(), None, world.listed(), world.nodes())
    assert pods is not None
    assert list(pods.index) == [second]
    assert pods.at[second, "card"] == 1.0
    assert isinstance(pods, pd.DataFrame)


def test_all_figures_are_one_query() -> None:
    asked = service_pods.at_once(service_pods.FIGURES, "derivatives", 20.0)
    assert asked.count('"figure"') == len(service_pods.FIGURES)
    assert "$" not in asked
    assert '[20s]' in asked  # fmt: skip
