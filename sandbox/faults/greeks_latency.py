"""Faults of playbook A01: Greeks that take longer than the 100 us promised."""

from __future__ import annotations

import random
import time
from functools import partial

from sandbox.derivatives.access import Access
from sandbox.faults.fault import Fault
from sandbox.faults.on_derivatives import demand, fault, slow
from sandbox.progress import Progress

__all__ = ["FAULTS", "new_sessions"]

_API = "deployment/derivatives-api"
_POLL_S = 0.2
_SHARE = 0.25  # of the requests: the promise is broken after about a minute, and as long after a restart


def gpu_unavailable(access: Access, rng: random.Random, progress: Progress) -> None:
    """The node of the card takes no pods for a moment; those of the service are deleted, and run elsewhere."""
    kube = access.kube
    nodes = [pod["spec"]["nodeName"] for pod in kube.pods("derivatives-api")]
    left = rng.choice(nodes)
    progress("moving the pods of the service to another node")
    kube.cordon(left, access.setup.sandbox_id)
    try:
        kube("delete", "pod", "-l", "app=derivatives-api", "--wait=false", "--grace-period=2")
        _moved(access, left, len(nodes))
    finally:
        kube.uncordon(left)
    kube("rollout", "status", _API, "--timeout=240s")


def _moved(access: Access, left: str, many: int, within_s: float = 60.0) -> None:
    """Wait until so many pods of the service have places, on another node than that one."""
    for _ in range(round(within_s / _POLL_S)):
        pods = [one for one in access.kube.pods("derivatives-api") if "deletionTimestamp" not in one["metadata"]]
        places = [one["spec"].get("nodeName", left) for one in pods]
        if len(places) >= many and left not in places:
            return
        time.sleep(_POLL_S)


def high_load(access: Access, rng: random.Random, _progress: Progress) -> None:
    """Many more clients, that think less."""
    demand(access, clients=rng.randint(42, 50), think_s=round(rng.uniform(0.25, 0.3), 2))


def model_not_cached(access: Access, _rng: random.Random, progress: Progress) -> None:
    """The model store is empty while the pods of the service start, and full again afterwards."""
    store = access.setup.models
    aside = store.with_name("models.moving")
    progress("restarting the service on an empty model store")
    store.rename(aside)
    store.mkdir()
    try:
        access.kube("rollout", "restart", _API)
        access.kube("rollout", "status", _API, "--timeout=240s")
    finally:
        store.rmdir()
        aside.rename(store)


def new_sessions(access: Access, rng: random.Random, _progress: Progress, share: float = 1.0) -> None:
    """Clients begin a session with that share of their requests and end none; the service keeps them all."""
    demand(access, clients=rng.randint(12, 15), think_s=round(rng.uniform(0.6, 0.7), 2), new_sessions=share)


def _few_models(access: Access) -> str | None:
    ready = access.value("min(derivatives_models_resident)")
    shown = slow(access)
    return f"{shown}; {ready:.0f} models are ready in a pod" if shown and ready is not None and ready < 12 else None


def _no_card(access: Access) -> str | None:
    shown = slow(access)
    return f"{shown}; no card" if shown and access.value("min(derivatives_gpu_available)") == 0.0 else None


def _queued(access: Access) -> str | None:
    depth = access.value("max(max_over_time(derivatives_queue_depth[10s]))") or 0.0
    shown = slow(access)
    return f"{shown}; up to {depth:.0f} requests wait" if shown and depth >= 5 else None


def _many_sessions(access: Access) -> str | None:
    held = access.value("max(derivatives_sessions)") or 0.0
    shown = slow(access)
    return f"{shown}; {held:.0f} sessions in a pod" if shown and held > 100 else None


FAULTS: dict[str, Fault] = {
    "gpu-unavailable": fault(gpu_unavailable, _no_card),
    "high-load": fault(high_load, _queued),
    "memory-leak": fault(partial(new_sessions, share=_SHARE), _many_sessions, 240.0),
    "model-not-cached": fault(model_not_cached, _few_models),
}
