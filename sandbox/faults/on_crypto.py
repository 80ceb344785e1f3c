"""Faults of the crypto platform: steps over its control channel, and its own status to show them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from opslib.settings import Settings
from sandbox import state
from sandbox.crypto.lifecycle import platform_status
from sandbox.crypto.operations import var_pct
from sandbox.crypto.steps import Step, make
from sandbox.faults.fault import Fault
from sandbox.progress import Progress

__all__ = ["Shows", "Steps", "fault"]

Steps = Callable[[random.Random], list[Step]]
"""Builds the steps of a fault; intensity, symbol and timing vary with the generator."""

Shows = Callable[[dict[str, Any]], str | None]
"""What shows in the document of `/api/status`, in words; None until it does."""


def fault(steps: Steps, shows: Shows, within_s: float = 45.0) -> Fault:
    """A fault made of steps, which shows in the platform's status within `within_s` [s]."""

    def inject(settings: Settings, rng: random.Random, progress: Progress) -> None:
        found = state.require(settings)
        planned = steps(rng)
        for number, step in enumerate(planned):
            time.sleep(step.after_s)
            make(found, step)
            progress(f"change {number + 1} of {len(planned)} made")

    def visible(settings: Settings) -> str | None:
        return shows(platform_status(state.require(settings)))

    def figures(settings: Settings) -> dict[str, Any]:
        return {"var_pct": var_pct(platform_status(state.require(settings)))}

    return Fault("crypto", inject, visible, within_s, figures)
