"""What the playbook of slow Greeks sees of a service, by cause, and what it concludes and proposes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

import engine
from opslib.diagnosis import Diagnosis, Verdict, greeks_latency, lost_cards, service_pods
from tests.diagnosis.derivatives_facts import WORKLOAD, World, noisy, over_time, ramp

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


def fixes(
    world: World, *causes: str, cards: pd.DataFrame | None = None, revisions: pd.DataFrame | None = None
) -> list[Any]:
    pods = service_pods.by_pod(world.figures(), None, world.listed(), world.nodes())
    where = outlook(world, cards, revisions)
    seen = {"pods": pods, "outlook": where, "workloads": world.workloads(), "autoscalers": world.autoscalers}
    return greeks_latency.fixes(causes, workload=WORKLOAD, scale_to=10, **seen)
