"""What the faults of the derivatives platform have in common: how they reach it, deploy to it, and see it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from opslib.settings import Settings
from sandbox.derivatives.access import Access, reach
from sandbox.derivatives.load import Demand
from sandbox.derivatives.service.release import Release, write
from sandbox.faults.fault import Fault
from sandbox.progress import Progress

__all__ = ["Inject", "Shows", "demand", "deploy", "exchange", "fault", "grown", "slow"]

_LATEST_S = 4.0

Inject = Callable[[Access, random.Random, Progress], None]
Shows = Callable[[Access], str | None]


def fault(inject: Inject, shows: Shows, within_s: float = 150.0) -> Fault:
    """A fault of this platform, which comes some moments sooner or later."""

    def make(settings: Settings, rng: random.Random, progress: Progress) -> None:
        time.sleep(rng.uniform(0.0, _LATEST_S))
        inject(reach(settings), rng, progress)

    return Fault("derivatives", make, lambda settings: shows(reach(settings)), within_s)


def demand(access: Access, **wanted: Any) -> None:
    """Let the clients want something else than usual."""
    facts = {name: getattr(Demand(), name) for name in Demand.__dataclass_fields__} | wanted
    access.setup.demand.write_text(json.dumps(facts), "utf-8")


def exchange(access: Access, **facts: Any) -> None:
    """Let the exchanges do something, from now on in the running market day."""
    path = access.setup.exchange
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**known, **facts}), "utf-8")


def deploy(access: Access, release: Release, cause: str) -> None:
    """Roll a release out under a build's number of its own, as a deployment pipeline does, and wait until it runs."""
    release = replace(release, name=f"{release.name}-{int(time.time()) % 100_000:05d}")
    write(access.setup.releases, release)
    container = {"name": "api", "env": [{"name": "RELEASE", "value": release.name}]}
    template = {"metadata": {"labels": {"release": release.name}}, "spec": {"containers": [container]}}
    annotations = {"kubernetes.io/change-cause": f"Release {release.name}: {cause}"}
    access.kube.patch(
        "deployment", "derivatives-api", {"metadata": {"annotations": annotations}, "spec": {"template": template}}
    )
    access.kube("rollout", "status", "deployment/derivatives-api", "--timeout=240s")


def slow(access: Access) -> str | None:
    """Whether the 95th percentile of the Greeks' latency is above what was promised."""
    value = access.value("derivatives_greeks_latency_p95")
    return f"Greeks take {value:.0f} us (95th percentile)" if value is not None and value > 100.0 else None


def grown(access: Access) -> str | None:
    """Whether latency keeps rising, as the alert rule sees it."""
    if not access.query('ALERTS{alertname="LatencyDegrading"}'):
        return None
    greeks, requests = access.value("derivatives_greeks_latency_p95"), access.value("derivatives_api_request_p95")
    return f"latency rises: Greeks {greeks or 0.0:.0f} us, requests {requests or 0.0:.0f} ms (95th percentiles)"
