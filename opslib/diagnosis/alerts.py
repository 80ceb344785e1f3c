"""An alert as a notebook was given it, by hand too: what of it is understood, and what is left out."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 4096  # characters of a text that are read, as intake does
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_EARLY = dt.timedelta(minutes=5)  # by which the clock of who sent it may be ahead
_OLDEST = dt.timedelta(days=366)
_SHOWN = 60
_MOST = 5  # doubts that are told one by one


@dataclass(frozen=True)
class Understood:
    """What of an alert is understood.

    Attributes
    ----------
    alert : dict
        `labels` and `annotations` as texts by name, and every other text; empty where it is no alert at all.
    began : datetime or None
        When it began [UTC].
    unread : tuple of str
        The labels that are left out.
    doubts : tuple of str
        What is not understood and what was made of it, each without a full stop.
    """

    alert: dict[str, Any]
    began: dt.datetime | None
    unread: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def told(self) -> str:
        """The doubts in one line; empty where there are none."""
        more = len(self.doubts) - _MOST
        return "; ".join([*self.doubts[:_MOST], *([f"and {more} more"] if more > 0 else [])])


def understood(alert: Any, started_at: dt.datetime | None, now: Callable[[], dt.datetime]) -> Understood:
    """Read an alert, whatever it is; nothing of it makes this fail.

    Parameters
    ----------
    alert : Any
        As it was delivered, or as somebody wrote it into the notebook.
    started_at : datetime or None
        When the run began.
    now : callable
        The time, asked for only where the alert says that it began later than the run, as it may in JupyterLab.
    """
    if not isinstance(alert, Mapping):
        return Understood({}, None, (), (f"it is {_kind(alert)}, not an alert, and is left out",))
    if not alert:
        return Understood({}, None, (), ())
    doubts: list[str] = []
    texts = {name: _texts(name, alert.get(name), doubts) for name in ("labels", "annotations")}
    began = _began(alert.get("startsAt"), started_at, now, doubts)
    others = {
        text(name): text(value)
        for name, value in alert.items()
        if isinstance(name, str) and isinstance(value, str) and name not in ("labels", "annotations", "startsAt")
    }
    read = {**others, **texts, **({"startsAt": f"{began:%Y-%m-%dT%H:%M:%SZ}"} if began else {})}
    given = alert.get("labels")
    names = given if isinstance(given, Mapping) else ()
    unread = [short(name) for name in names if text(str(name)) not in texts["labels"]]
    return Understood(read, began, tuple(unread), tuple(doubts))


def text(value: str) -> str:
    """A text that can be printed and stored: NUL and lone surrogates as U+FFFD, cut at 4096 characters."""
    return _UNFIT.sub("\ufffd", value if len(value) <= LONGEST else f"{value[:LONGEST]}...[cut]")


def short(value: object) -> str:
    """A text on one line, cut."""
    told = " ".join(text(str(value)).split())
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]}..."


def _texts(what: str, given: Any, doubts: list[str]) -> dict[str, str]:
    """Labels or annotations as texts by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        doubts.append(f"its {what} are {_kind(given)}, not texts by name, and are left out")
        return {}
    found = {}
    for name, value in given.items():
        if isinstance(value, str):
            found[text(str(name))] = text(value)
        elif isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**18):
            found[text(str(name))] = str(value)
            doubts.append(f"{what[:-1]} {short(name)} is {_kind(value)}, read as the text {value}")
        else:
            doubts.append(f"{what[:-1]} {short(name)} is {_kind(value)}, not a text, and is left out")
    return found


def _began(
    given: Any, started_at: dt.datetime | None, now: Callable[[], dt.datetime], doubts: list[str]
) -> dt.datetime | None:
    """When an alert began; None where it does not say, or what it says cannot be."""
    if given is None or given == "":
        doubts.append("it does not say when it began")
        return None
    if not isinstance(given, str | dt.datetime):
        doubts.append(f"startsAt is {_kind(given)}, not a time, and is left out")
        return None
    try:
        at = dt.datetime.fromisoformat(given.strip()) if isinstance(given, str) else given
        if at.tzinfo is not None:
            at = at.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        doubts.append(f"startsAt {short(given)!r} is not a time, and is left out")
        return None
    zoned = at.replace(tzinfo=dt.UTC)
    present = started_at if started_at is not None and zoned <= started_at + _EARLY else now()
    if zoned > present + _EARLY or zoned < present - _OLDEST:
        where = "in the future" if zoned > present else "more than a year ago"
        doubts.append(f"startsAt {short(given)!r} is {where}, and is left out")
        return None
    if at.tzinfo is None:
        doubts.append(f"startsAt {short(given)!r} names no time zone, and is read as UTC")
    return zoned


def _kind(value: Any) -> str:
    """What a value is, in a word."""
    if value is None:
        return "nothing"
    kinds = ((bool, "yes or no"), (int | float, "a number"), (str, "a text"), (Mapping, "nested"))
    more = ((list | tuple | set, "a list"), (dt.datetime, "a time"))
    return next((word for kind, word in (*kinds, *more) if isinstance(value, kind)), f"a {type(value).__name__}")
