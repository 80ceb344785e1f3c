"""What a fault is, whatever platform it breaks."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opslib.settings import Settings
from sandbox.progress import Progress

__all__ = ["Fault"]


def _nothing(_settings: Settings) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a platform breaks.

    Attributes
    ----------
    platform : str
        The platform that it breaks.
    inject : callable
        Really changes the platform; intensity, target and timing vary with the generator.
    visible : callable
        None until the fault shows on the platform itself, which is read directly; then what shows, in words.
    visible_within_s : float
        When it must show [s].
    figures : callable
        Further members of what `break` tells.
    """

    platform: str
    inject: Callable[[Settings, random.Random, Progress], None]
    visible: Callable[[Settings], str | None]
    visible_within_s: float
    figures: Callable[[Settings], dict[str, Any]] = _nothing
