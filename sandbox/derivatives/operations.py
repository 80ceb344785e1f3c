"""The derivatives platform as the sandbox's commands know it (`sandbox.platforms`)."""

from __future__ import annotations

import random
from typing import Any

from opslib.settings import Settings
from sandbox import cluster, state
from sandbox.derivatives import healing, lifecycle
from sandbox.derivatives.access import reach
from sandbox.derivatives.decoys import decoys as noise
from sandbox.derivatives.setup import NAMESPACE
from sandbox.platforms import Decoy
from sandbox.progress import Progress, quiet

__all__ = ["decoys", "down", "heal", "status", "up", "verify"]


def up(
    settings: Settings, *, progress: Progress = quiet, monitored: bool | None = None, webhook: str | None = None
) -> str:
    """Start the platform and its cluster, or find those that run; return where the API answers."""
    return lifecycle.up(settings, monitored=monitored, webhook=webhook, progress=progress).endpoints.api


def down(settings: Settings, *, progress: Progress = quiet) -> bool:
    """End the platform and its cluster; return whether they ran."""
    return lifecycle.down(settings, progress=progress)


def status(settings: Settings) -> dict[str, Any] | None:
    """Where everything answers; None where the platform does not run."""
    found = state.load(state.file(settings, NAMESPACE))
    running = cluster.find(settings)
    if found is None or not found.whole or running is None:
        return None
    return {
        **found.endpoints.model_dump(exclude={"files"}),
        "kubeconfig": str(running.kubeconfig),
        "context": running.context,
        "namespace": NAMESPACE,
        "sandbox_id": found.sandbox_id,
    }


def verify(settings: Settings) -> None:
    """Make sure that what answers is the platform that `up` started.

    Raises
    ------
    NotUp, NotOurs
    """
    reach(settings).verify()


def decoys(rng: random.Random, count: int) -> list[Decoy]:
    """Return `count` true but harmless events; each is made by calling it."""
    return noise(rng, count)


def heal(settings: Settings, *, progress: Progress = quiet) -> dict[str, Any]:
    """Put the platform back to what it is right after `up`, and wait until it is healthy. Healing twice is harmless.

    Returns
    -------
    dict
        `platform`, `healthy`, `restored`: what had to be put back.

    Raises
    ------
    NotUp, NotOurs
        Nothing was changed.
    NotVisible
        The platform did not become healthy in time.
    """
    access = reach(settings)
    access.verify()
    restored = healing.heal(access, progress)
    return {"platform": NAMESPACE, "healthy": True, "restored": restored}
