"""Whom to call at which time, and when those who wait hear more: clock times, from the path and the severity."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opslib.record.shown import Context

FIRST = "L1"  # who has it from the beginning
_DAY_MIN = 1440.0
_EVERY_MIN = 15.0  # where the record tells no interval


@dataclass(frozen=True)
class Call:
    """One level of the path.

    Attributes
    ----------
    level, who, how, within : str
        Empty where `params/contacts.yaml` names nobody.
    at : datetime
        When it is called, as long as the incident is not over.
    """

    level: str
    who: str
    how: str
    within: str
    at: dt.datetime


def path(context: Context, cause: str | None, now: dt.datetime) -> list[Call]:
    """Whom to call, from the first level on, by the time.

    Parameters
    ----------
    context : Context
        Its `paths` give minutes after the incident was opened: of `RUNBOOK/CAUSE`, else of `RUNBOOK`, else `default`.
    cause : str or None
        That the verdict names.
    now : datetime
        Counts as the beginning where the record does not tell when the incident was opened.
    """
    names = (f"{context.runbook}/{cause}", context.runbook, "default")
    minutes = next((context.paths[name] for name in names if name in context.paths), {})
    opened = context.opened_at or now
    found = []
    for level, after in sorted({FIRST: 0.0, **minutes}.items(), key=lambda item: (item[1], item[0])):
        one = context.contacts.get(level, {})
        at = opened + dt.timedelta(minutes=after)
        found.append(Call(level, one.get("who", ""), one.get("how", ""), one.get("within", ""), at))
    return found


def lines(calls: Sequence[Call], now: dt.datetime) -> list[str]:
    """The path, a line a level: when it is called, who that is, how, and how soon they answer.

    No columns: a message is read on a telephone too, and in letters that are not all as wide.
    """
    found = []
    for one in calls:
        when = "has it now" if one.level == FIRST else _when(one.at, now)
        how = f"{one.how} (not filled in yet)" if "[" in one.how else one.how
        facts = [one.level, one.who or "nobody is named", how, f"answers within {one.within}" if one.within else ""]
        found.append(f"- {when}: {', '.join(fact for fact in facts if fact)}")
    return found


def update(context: Context, calls: Sequence[Call], now: dt.datetime) -> str:
    """When the next update is due by the severity; when the next level is called, where that is earlier."""
    severity = context.severity or "not told"
    known = {name.lower(): minutes for name, minutes in context.updates.items()}
    every = known.get(severity.lower(), min(known.values(), default=_EVERY_MIN))
    due = now + dt.timedelta(minutes=every)
    coming = [one for one in calls if one.level != FIRST and now < one.at < due]
    told = f"severity {severity}: every {_span(every)}"
    if severity.lower() not in known:
        told = f"severity {severity}, of which params/contacts.yaml knows no interval: every {_span(every)}"
    if coming:
        due, told = coming[0].at, f"when {coming[0].level} is called; {told} at the latest"
    return f"Next update due at {_when(due, now)} ({told})."


def _when(at: dt.datetime, now: dt.datetime) -> str:
    """A time of day, UTC, and how far away that is."""
    at, now = at.astimezone(dt.UTC), now.astimezone(dt.UTC)
    clock = f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
    away = (at - now).total_seconds() / 60.0
    if away <= 0:
        return f"now (due {clock})"
    return f"{clock}, in {_span(away)}"


def _span(minutes: float) -> str:
    """A duration in words."""
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes <= _DAY_MIN else f"{minutes / _DAY_MIN:.0f} days"
