"""One change that a fault or a decoy makes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Fault", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the platform.

    Attributes
    ----------
    after_s : float
        Time to wait after the step before it [s].
    do : str
        A word of the control channel, `publish-reload` or `slow-request`.
    facts : dict
        What goes with the word.
    """

    after_s: float
    do: str
    facts: dict[str, Any] = field(default_factory=dict)


Fault = Callable[[random.Random], list[Step]]
"""Builds the steps of a fault; intensity, symbol and timing vary with the generator."""
