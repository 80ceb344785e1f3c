"""Break a sandbox platform and heal it; both act only on what carries the sandbox-id that `up` wrote."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import httpx
import redis

from opslib.settings import Settings
from sandbox import state
from sandbox.crypto import control
from sandbox.crypto.lifecycle import Progress, platform_status, verify
from sandbox.crypto.publisher import RELOAD
from sandbox.errors import NotUp, NotVisible, UnknownFault
from sandbox.faults.catalogue import FAULTS, Step
from sandbox.faults.decoys import decoys as harmless
from sandbox.state import State

__all__ = ["break_", "heal"]

_VISIBLE_S = 45.0
_HEALTHY_S = 20.0
_POLL_S = 0.25
_HEALTHY_SHARE = 0.8  # of the warning level: VaR below it counts as healed


def _quiet(message: str) -> None:
    """Show no progress."""


def break_(
    settings: Settings,
    fault: str,
    *,
    seed: int = 0,
    decoys: int = 0,
    progress: Progress = _quiet,
) -> dict[str, Any]:
    """Break the crypto platform, and wait until the fault shows on it.

    Parameters
    ----------
    settings : Settings
    fault : str
        `RUNBOOK/CAUSE`, a key of `sandbox.faults.FAULTS`.
    seed : int
        Varies symbol, intensity and timing.
    decoys : int
        Number of true but unrelated events beside it.
    progress : callable
        Takes a line for the person who waits.

    Returns
    -------
    dict
        `fault`, `seed`, `decoys`, `platform`, `visible_after_s`, `var_pct` per symbol.

    Raises
    ------
    UnknownFault, NotUp, NotOurs
        Nothing was changed.
    NotVisible
        The fault did not show in time.
    """
    if fault not in FAULTS:
        raise UnknownFault(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
    found = state.require(settings)
    verify(found)
    rng = random.Random(f"{fault} {seed}")
    steps = FAULTS[fault](rng)
    noise = harmless(rng, decoys)
    before = sum(rng.random() < 0.5 for _ in noise)
    begun = time.monotonic()
    for number, step in enumerate([*noise[:before], *steps, *noise[before:]]):
        time.sleep(step.after_s)
        progress(f"change {number + 1} of {len(steps) + len(noise)} made")
        _make(found, step)

    def breached(document: dict[str, Any]) -> bool:
        warn = document["limits"]["var_warn_pct"]
        return any(symbol["var_pct"] > warn for symbol in document["symbols"].values())

    document = _wait(found, breached, _VISIBLE_S, "VaR above its warning level", progress)
    return {
        "fault": fault,
        "seed": seed,
        "decoys": decoys,
        "platform": found.platform,
        "visible_after_s": round(time.monotonic() - begun, 2),
        "var_pct": _var(document),
    }


def heal(settings: Settings, *, progress: Progress = _quiet) -> dict[str, Any]:
    """Put the crypto platform back to what it is right after `up`, history included, and wait until it is healthy.

    Whatever was changed is undone: market, estimator, models, limits, Kelly fraction, breaker, router, trading,
    configuration files. Healing twice is harmless.

    Returns
    -------
    dict
        `platform`, `healthy`, `var_pct` per symbol.

    Raises
    ------
    NotUp, NotOurs
        Nothing was changed.
    NotVisible
        The platform did not become healthy in time.
    """
    found = state.require(settings)
    verify(found)
    control.ask(found.control, found.sandbox_id, "restore")

    def healthy(document: dict[str, Any]) -> bool:
        ceiling = _HEALTHY_SHARE * document["limits"]["var_warn_pct"]
        return (
            document["circuit_breaker"]["state"] == "CLOSED"
            and document["trading"]
            and not document["router"]["paused"]
            and document["kelly_fraction"] == document["kelly_fraction_configured"]
            and all(symbol["var_pct"] < ceiling for symbol in document["symbols"].values())
        )

    document = _wait(found, healthy, _HEALTHY_S, "a healthy platform", progress)
    return {"platform": found.platform, "healthy": True, "var_pct": _var(document)}


def _make(found: State, step: Step) -> None:
    """Make one change: over the control channel, or as anyone would."""
    if step.do == "publish-reload":
        message = json.dumps({"component": "model_router", "config_path": "conf/model_router_rules.yml"})
        try:
            with redis.Redis.from_url(
                found.endpoints.redis_admin, socket_timeout=3.0, socket_connect_timeout=1.0
            ) as client:
                client.publish(RELOAD, message)
        except redis.RedisError as problem:
            raise NotUp(
                f"Redis of the sandbox does not answer ({problem}): run `runbook sandbox up crypto`"
            ) from problem
    elif step.do == "slow-request":
        try:
            httpx.get(f"{found.endpoints.api}/api/status?audit=true", timeout=10.0, trust_env=False).raise_for_status()
        except httpx.HTTPError as problem:
            raise NotUp(f"the platform does not answer ({problem}): run `runbook sandbox up crypto`") from problem
    else:
        control.ask(found.control, found.sandbox_id, step.do, **step.facts)


def _wait(
    found: State, seen: Callable[[dict[str, Any]], bool], within_s: float, what: str, progress: Progress
) -> dict[str, Any]:
    """Poll the platform until `seen` holds."""
    deadline = time.monotonic() + within_s
    shown = ""
    while True:
        document = platform_status(found)
        if seen(document):
            return document
        largest = max(_var(document).values())
        if time.monotonic() > deadline:
            raise NotVisible(
                f"after {within_s:.0f} s there is not {what} (largest VaR {largest:.2f} %, breaker "
                f"{document['circuit_breaker']['state']}, Kelly {document['kelly_fraction']:g}): "
                "run `runbook sandbox heal`, then try again"
            )
        if (line := f"largest VaR {largest:.1f} % of NAV, waiting for {what}") != shown:
            progress(line)
            shown = line
        time.sleep(_POLL_S)


def _var(document: dict[str, Any]) -> dict[str, float]:
    return {name: symbol["var_pct"] for name, symbol in document["symbols"].items()}
