"""The crypto platform as the sandbox's commands know it (`sandbox.platforms`)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from opslib.settings import Settings
from sandbox import state
from sandbox.crypto import control, lifecycle
from sandbox.crypto.decoys import decoys as steps_of_noise
from sandbox.crypto.deployed import lifecycle as on_cluster
from sandbox.crypto.steps import Step, make
from sandbox.errors import NotVisible
from sandbox.progress import Progress, quiet

__all__ = ["decoys", "down", "heal", "status", "up", "var_pct", "verify"]

_HEALTHY_S = 45.0
_PATIENT_S = 20.0  # after so long a machine that is busy with other things may keep Redis' worst calls slow
_POLL_S = 0.25
_HEALTHY_SHARE = 0.8  # of the warning level: VaR below it counts as healed


def up(
    settings: Settings,
    *,
    progress: Progress = quiet,
    monitored: bool | None = None,
    webhook: str | None = None,
    deployed: bool = False,
) -> str:
    """Start the platform, or find the one that runs; return where its API answers."""
    posting = webhook or lifecycle.DEFAULT_WEBHOOK
    found = lifecycle.up(settings, monitored=monitored, webhook=posting, deployed=deployed, progress=progress)
    return found.endpoints.api


def down(settings: Settings, *, progress: Progress = quiet) -> bool:
    """End the platform; return whether it ran."""
    return lifecycle.down(settings, progress=progress)


def status(settings: Settings) -> dict[str, Any] | None:
    """Where everything answers; None where the platform does not run."""
    found = state.load(state.file(settings))
    if found is None or not found.whole:
        return None
    endpoints = found.endpoints
    return {
        "api": endpoints.api,
        "web": endpoints.web,
        "redis": endpoints.redis,
        "redis_admin": endpoints.redis_admin,
        "redis_replica": endpoints.redis_replica,
        "redis_replica_admin": endpoints.redis_replica_admin,
        "dashboards": endpoints.dashboards,
        "files": endpoints.files,
        "kubernetes_admin": endpoints.kubernetes_admin,
        "prometheus": endpoints.prometheus,
        "alertmanager": endpoints.alertmanager,
        "sandbox_id": found.sandbox_id,
    }


def verify(settings: Settings) -> None:
    """Make sure that what answers is the platform that `up` started.

    Raises
    ------
    NotUp, NotOurs
    """
    found = state.require(settings)
    if _deployed(found):
        on_cluster.verify(settings)
    lifecycle.verify(found)


def decoys(rng: random.Random, count: int) -> list[Callable[[Settings], None]]:
    """Return `count` true but harmless events; each is made by calling it."""

    def event(step: Step) -> Callable[[Settings], None]:
        def happen(settings: Settings) -> None:
            time.sleep(step.after_s)
            make(state.require(settings), step)

        return happen

    return [event(step) for step in steps_of_noise(rng, count)]


def heal(settings: Settings, *, progress: Progress = quiet) -> dict[str, Any]:
    """Put the platform back to what it is right after `up`, history included, and wait until it is healthy.

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
    deployed = _deployed(found)
    if deployed:
        on_cluster.mend(settings)
        lifecycle.until_it_answers(found)
    lifecycle.verify(found)
    control.ask(found.control, found.sandbox_id, "restore")
    if deployed:
        on_cluster.renew_certificate(settings)
    begun = time.monotonic()
    deadline = begun + _HEALTHY_S
    while not _healthy(document := lifecycle.platform_status(found), time.monotonic() - begun > _PATIENT_S):
        if time.monotonic() > deadline:
            raise NotVisible(
                f"after {_HEALTHY_S:.0f} s the platform is not healthy (largest VaR "
                f"{max(var_pct(document).values()):.2f} %, breaker {document['circuit_breaker']['state']}, Kelly "
                f"{document['kelly_fraction']:g}): run `runbook sandbox heal`, then try again"
            )
        progress(f"largest VaR {max(var_pct(document).values()):.1f} % of NAV, waiting for a healthy platform")
        time.sleep(_POLL_S)
    return {"platform": found.platform, "healthy": True, "var_pct": var_pct(document)}


def var_pct(document: dict[str, Any]) -> dict[str, float]:
    """VaR of each symbol in the document of `/api/status` [% of NAV]."""
    return {name: symbol["var_pct"] for name, symbol in document["symbols"].items()}


def _deployed(found: state.State) -> bool:
    return found.endpoints.kubernetes_admin is not None


def _healthy(document: dict[str, Any], patient: bool) -> bool:
    ceiling = _HEALTHY_SHARE * document["limits"]["var_warn_pct"]
    store = document["store"]
    return (
        document["panels_without_data"] == 0
        and store["connected"]
        and store["p99_us"] is not None
        and store["p50_us" if patient else "p99_us"] < document["limits"]["redis_p99_us"]
        and document["circuit_breaker"]["state"] == "CLOSED"
        and document["trading"]
        and not document["router"]["paused"]
        and document["kelly_fraction"] == document["kelly_fraction_configured"]
        and max(var_pct(document).values()) < ceiling
    )
