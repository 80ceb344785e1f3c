"""The platforms that the sandbox has. A platform is a module `sandbox.NAME.operations`, loaded when it is used."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from opslib.settings import Settings
from sandbox.errors import UnknownPlatform
from sandbox.progress import Progress

__all__ = ["PLATFORMS", "Decoy", "Platform", "find"]

Decoy = Callable[[Settings], None]
"""A true but unrelated event; calling it lets it happen."""


class Up(Protocol):
    """Start a platform, or find the one that runs; returns where it answers, for a person to read."""

    def __call__(self, settings: Settings, *, progress: Progress, **options: Any) -> str:
        """Start it."""


class Down(Protocol):
    """End a platform and remove what it kept; returns whether it ran."""

    def __call__(self, settings: Settings, *, progress: Progress) -> bool:
        """End it."""


class Heal(Protocol):
    """Put a platform back to what it is right after `up`, wait until it is healthy, and tell."""

    def __call__(self, settings: Settings, *, progress: Progress) -> dict[str, Any]:
        """Heal it."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What the sandbox's commands do with a platform.

    Attributes
    ----------
    name : str
    up, down, heal : callable
    status : callable
        Addresses, as `sandbox status --json` shows them under `platforms.NAME`; None where it does not run.
    verify : callable
        Raises NotUp or NotOurs where what answers is not what `up` started.
    decoys : callable
        Takes a generator and a count; returns as many true but unrelated events.
    """

    name: str
    up: Up
    down: Down
    status: Callable[[Settings], dict[str, Any] | None]
    verify: Callable[[Settings], None]
    heal: Heal
    decoys: Callable[[random.Random, int], list[Decoy]]


def find(name: str) -> Platform:
    """The platform of that name.

    Raises
    ------
    UnknownPlatform
    """
    if name not in PLATFORMS:
        raise UnknownPlatform(f"the sandbox has no platform {name!r}; it has {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


def _later(name: str) -> Platform:
    """A platform whose module is loaded by the first call."""

    def operation(word: str) -> Callable[..., Any]:
        return lambda *facts, **named: getattr(import_module(f"sandbox.{name}.operations"), word)(*facts, **named)

    words = ("up", "down", "status", "verify", "heal", "decoys")
    return Platform(name, **{word: operation(word) for word in words})


PLATFORMS: dict[str, Platform] = {name: _later(name) for name in ("crypto", "derivatives")}
