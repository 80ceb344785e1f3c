"""Which new alerts start no run: those that a run answered a moment ago, and those above a runbook's ceiling.

An alert of the lane `critical` (critical, P0) always starts its run. No other is forgotten: one that fires on is
looked at again as soon as the reason has passed (`opslib.intake.release`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opslib import store
from opslib.intake.routes import Routed
from opslib.runs import catalogue, queue
from opslib.runs.catalogue import Bounds
from opslib.settings import Settings
from opslib.sql import queries

__all__ = ["CEILING", "COOLDOWN", "Asking", "Held", "cooldown_s", "held", "runs_per_hour"]

COOLDOWN, CEILING = "cool-down", "ceiling"
"""How the reason of a suppression begins, which tells the kinds apart."""
_CEILINGS = 0x52554E43
_NEAR = 64
"""So near to the ceiling those who count take turns; further away they do not, since it costs the intake its speed."""

Place = tuple[str, str, str]


@dataclass(frozen=True)
class Asking:
    """New alerts of one place that no run answers yet, and the severity of their incident."""

    routed: Routed
    severity: str

    @property
    def place(self) -> Place:
        """What names the incident."""
        return self.routed.place


@dataclass(frozen=True)
class Held:
    """Why alerts start no run, and when that is looked at again if they still fire."""

    reason: str
    again_at: dt.datetime


def held(settings: Settings, connection: store.Connection, asking: Sequence[Asking]) -> dict[Place, Held]:
    """Those that start no run now, each with its reason; the caller holds the locks of their places."""
    bound = [one for one in asking if queue.lane(one.severity) != "critical"]
    declared = {name: catalogue.bounds(settings, name) for name in {one.routed.runbook for one in bound}}
    cooldowns = {one.place: cooldown_s(settings, one.routed, declared[one.routed.runbook]) for one in bound}
    found = _cooling(connection, {place: seconds for place, seconds in cooldowns.items() if seconds > 0})
    rest = [one for one in bound if one.place not in found]
    ceilings = {one.place: runs_per_hour(settings, one.routed, declared[one.routed.runbook]) for one in rest}
    return found | _above(connection, rest, ceilings)


def cooldown_s(settings: Settings, routed: Routed, declared: Bounds) -> float:
    """The cool-down of a route [s], else of its runbook, else of the settings."""
    for value in (routed.cooldown_s, declared.cooldown_s):
        if value is not None:
            return value
    return settings.cooldown_s


def runs_per_hour(settings: Settings, routed: Routed, declared: Bounds) -> int:
    """The ceiling of a route, else of its runbook, else of the settings."""
    return routed.runs_per_hour or declared.runs_per_hour or settings.runs_per_hour


def _cooling(connection: store.Connection, cooldowns: Mapping[Place, float]) -> dict[Place, Held]:
    """Those whose runbook succeeded for the same target a moment ago."""
    if not cooldowns:
        return {}
    platforms, runbooks, targets = (list(column) for column in zip(*cooldowns, strict=True))
    facts = {"platforms": platforms, "runbooks": runbooks, "targets": targets, "cooldowns": list(cooldowns.values())}
    found = {}
    for row in connection.execute(queries("intake").cooling, facts):
        place = row["platform"], row["runbook"], row["target"]
        reason = (
            f"{COOLDOWN}: run {row['number']} of {row['incident']} examined the same {row['ago_s']:.0f} s before; "
            f"another starts {cooldowns[place]:g} s after that one, at {_clock(row['again_at'])} UTC, if it still fires"
        )
        found[place] = Held(reason, row["again_at"])
    return found


def _above(connection: store.Connection, asking: Sequence[Asking], ceilings: Mapping[Place, int]) -> dict[Place, Held]:
    """Those for which no run of the hour is left; the graver have theirs first."""
    if not asking:
        return {}
    kinds: dict[tuple[str, str], list[Asking]] = {}
    for one in asking:
        kinds.setdefault((one.routed.platform, one.routed.runbook), []).append(one)
    counts = _counts(connection, list(kinds))
    found: dict[Place, Held] = {}
    for (platform, runbook), group in sorted(kinds.items()):
        most = min(ceilings[one.place] for one in group)
        runs, frees_at = counts[platform, runbook]
        if runs + len(group) + _NEAR > most:
            facts = {"space": _CEILINGS, "name": f"{platform}\n{runbook}"}
            connection.execute(queries("intake").lock_ceiling, facts)
            runs, frees_at = _counts(connection, [(platform, runbook)])[platform, runbook]
        left = max(0, most - runs)
        reason = (
            f"{CEILING}: alerts started {runs + min(left, len(group))} runs of {runbook} on {platform} within an hour, "
            f"and {most} are the most; looked at again at {_clock(frees_at)} UTC, if it still fires"
        )
        graver = sorted(group, key=lambda one: -queue.PRIORITIES[queue.lane(one.severity)])
        found |= {one.place: Held(reason, frees_at) for one in graver[left:]}
    return found


def _counts(
    connection: store.Connection, kinds: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, dt.datetime]]:
    """How many runs alerts started within the hour, and when the next may, by platform and runbook."""
    facts = {"platforms": [kind[0] for kind in kinds], "runbooks": [kind[1] for kind in kinds]}
    rows = connection.execute(queries("intake").runs_of_the_hour, facts)
    return {(row["platform"], row["runbook"]): (row["runs"], row["frees_at"]) for row in rows}


def _clock(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%H:%M:%S")
