"""What the notebook of a run declares, and so what the recorder does for it; whatever else it asks for is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from opslib.errors import ConfigurationError, PlanError, ProbeError, UnknownRunbook
from opslib.probes import registry
from opslib.runs import catalogue
from opslib.settings import Settings


@dataclass(frozen=True)
class Declared:
    """The declarations of one runbook, as its notebook had them when the run began.

    Attributes
    ----------
    runbook : str
    reads : frozenset of str or None
        The probes that it may call, `PROBE` or `PROBE@SYSTEM`; None: every one.
    proposes : frozenset of str or None
        The actions that it may propose; None: every one.
    commands : mapping
        The commands that it runs in pods, by name.
    """

    runbook: str
    reads: frozenset[str] | None = frozenset()
    proposes: frozenset[str] | None = frozenset()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def system(self, probe: str, arguments: Mapping[str, Any]) -> str:
        """The system that a call of a probe asks, where it may ask it.

        Raises
        ------
        ProbeError
            When there is no such probe, or the notebook does not declare it.
        """
        usual = registry.find(probe).system
        system = str(arguments.get("system") or usual)
        name = probe if system == usual else f"{probe}@{system}"
        if self.reads is not None and name not in self.reads:
            raise ProbeError(
                f"{self.runbook} does not declare that it reads {name}: add it to metadata.runbook.reads", system=system
            )
        return system

    def check(self, actions: Iterable[str]) -> None:
        """Raise `PlanError` where the notebook does not declare that it may propose these actions."""
        missing = [] if self.proposes is None else sorted(set(actions) - self.proposes)
        if missing:
            what = f"{', '.join(missing)}: add {'it' if len(missing) == 1 else 'them'} to metadata.runbook.proposes"
            raise PlanError(f"{self.runbook} does not declare that it may propose {what}")


def of(settings: Settings, runbook: str, mode: str) -> Declared:
    """The declarations of a runbook; nothing where there is no such notebook, or a broken one.

    A notebook without any, as of earlier, is held to nothing; `runbook rbac` tells what it lacks.

    Parameters
    ----------
    settings : Settings
    runbook, mode : str
        Of the run: a person who investigates by hand (`interactive`) may look at everything that the recorder may.
    """
    every = mode == "interactive"
    try:
        found = catalogue.find(settings, runbook)
    except (UnknownRunbook, ConfigurationError):
        return Declared(runbook, None if every else frozenset())
    commands = {name: tuple(words) for name, words in found.commands.items()}
    if not found.declares:
        return Declared(runbook, None, None, commands)
    return Declared(runbook, None if every else frozenset(found.reads), frozenset(found.proposes), commands)
