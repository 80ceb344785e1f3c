"""What the schedule says. Read from `params/schedule.yaml`, validated whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationError

from opslib import platforms
from opslib.errors import ConfigurationError, UnknownRunbook, UsageError
from opslib.platforms import Mistakes, Strict
from opslib.runs import catalogue, parameters
from opslib.schedule import timetable
from opslib.schedule.timetable import Timetable
from opslib.settings import Settings

FILE = "schedule.yaml"
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,59}")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be of small letters, digits and hyphens")
    return value


def _cron(value: str) -> str:
    if wrong := timetable.problem(value):
        raise ValueError(wrong)
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder of zones is an OSError
        raise ValueError("is no time zone, such as Europe/London or UTC") from error
    return value


class Calendar(Strict):
    """Which days are business days: all but weekends and holidays.

    Attributes
    ----------
    weekend : list of str
    holidays : list of date
        Local dates.
    """

    weekend: list[Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]] = Field(
        default=["saturday", "sunday"], max_length=6
    )
    holidays: list[dt.date] = Field(default_factory=list)


class Entry(Strict):
    """One runbook that starts by the clock.

    Attributes
    ----------
    name : str
        Tells it from the others, also over a restart.
    runbook, platform : str
    parameters : dict
        Values for the runbook's parameters.
    mode : {"observe", "plan"}
    cron : str
        Minute, hour, day of the month, month, day of the week, in local time.
    time_zone : str
        Of the IANA database.
    business_days : str or None
        The calendar whose business days count; every day where it is left out.
    jitter_s : int
        A start is put off by up to so much [s], each time otherwise, the same on every machine.
    one_at_a_time : bool
        Whether a start is skipped while a run of the one before still waits or goes on.
    missed : {"once", "skip"}
        What becomes of times at which nobody was there: made up once, whatever their number, or skipped.
    """

    name: Annotated[str, AfterValidator(_name)]
    runbook: str
    platform: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    mode: Literal["observe", "plan"] = "plan"
    cron: Annotated[str, AfterValidator(_cron)]
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    business_days: str | None = None
    jitter_s: int = Field(default=0, ge=0, le=3600)
    one_at_a_time: bool = True
    missed: Literal["once", "skip"] = "once"

    def starts_at(self, due: dt.datetime) -> dt.datetime:
        """When the run of a time starts: the time and its jitter."""
        lot = int.from_bytes(hashlib.sha256(f"{self.name} {due.timestamp():.0f}".encode()).digest()[:8])
        return due + dt.timedelta(seconds=round(self.jitter_s * lot / 2**64, 3))


class ScheduleFile(Strict):
    """`params/schedule.yaml`: runbooks that start by the clock, and the calendars they go by."""

    calendars: dict[str, Calendar] = Field(default_factory=dict)
    entries: list[Entry] = Field(default_factory=list)


@dataclass(frozen=True)
class Schedule:
    """The schedule in force."""

    document: ScheduleFile

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The entries, by name, in the file's order."""
        return {entry.name: entry for entry in self.document.entries}

    def timetable(self, entry: Entry) -> Timetable:
        """The times of an entry."""
        zone = ZoneInfo(entry.time_zone)
        if entry.business_days is None:
            return Timetable(entry.cron, zone)
        calendar = self.document.calendars[entry.business_days]
        weekend = frozenset(_WEEKDAYS.index(day) for day in calendar.weekend)
        return Timetable(entry.cron, zone, weekend, frozenset(calendar.holidays))

    def ended_calendars(self, today: dt.date) -> dict[str, dt.date]:
        """The calendars in use whose last holiday is over: they need the holidays of the coming year."""
        used = {entry.business_days for entry in self.document.entries}
        last = {name: max(one.holidays) for name, one in self.document.calendars.items() if one.holidays}
        return {name: day for name, day in last.items() if name in used and day < today}


def load(settings: Settings) -> Schedule:
    """The schedule of `params/schedule.yaml`; an empty one where there is no such file.

    Raises
    ------
    ConfigurationError
        When the file does not validate, or names what does not exist: every mistake.
    """
    mistakes = Mistakes()
    document = check(settings, mistakes)
    mistakes.raise_any()
    return Schedule(document or ScheduleFile())


def check(settings: Settings, mistakes: Mistakes) -> ScheduleFile | None:
    """Validate the file, and note every mistake."""
    path = settings.params / FILE
    raw = platforms.read_yaml(path, mistakes) if path.exists() else {}
    if raw is None:
        return None
    document: ScheduleFile | None = None
    try:
        document = ScheduleFile.model_validate(raw)
    except ValidationError as error:
        mistakes.add_validation(FILE, error)
    _check_names(settings, raw, mistakes)
    if document is not None:
        _check_times(Schedule(document), mistakes)
    return document


def _check_names(settings: Settings, raw: dict[str, Any], mistakes: Mistakes) -> None:
    """Hold what entries name against what there is, also where the file does not validate."""
    calendars = raw.get("calendars")
    names: list[object] = []
    for number, entry in enumerate(_listed(raw)):
        key = f"entries.{number}"
        name, calendar = entry.get("name"), entry.get("business_days")
        if isinstance(name, str) and name in names:
            mistakes.add(FILE, f"{key}.name", f"there is another entry {name!r}")
        names.append(name)
        if isinstance(calendar, str) and calendar not in (calendars if isinstance(calendars, dict) else {}):
            mistakes.add(FILE, f"{key}.business_days", f"there is no calendar {calendar!r} under calendars")
        for which, what in _wrong_run(settings, entry):
            mistakes.add(FILE, f"{key}.{which}", what)


def _wrong_run(settings: Settings, entry: dict[str, Any]) -> list[tuple[str, str]]:
    """What keeps the run of an entry from being started: which key, and why."""
    runbook, platform, given = entry.get("runbook"), entry.get("platform"), entry.get("parameters", {})
    wrong: list[tuple[str, str]] = []
    if isinstance(platform, str) and platform not in platforms.names(settings):
        wrong.append(("platform", f"there is no platform {platform!r}"))
    if not isinstance(runbook, str):
        return wrong
    try:
        found = catalogue.find(settings, runbook)
    except UnknownRunbook:
        return [*wrong, ("runbook", f"there is no runbook {runbook!r}; `runbook list` shows those there are")]
    except ConfigurationError as error:
        return [*wrong, ("runbook", f"its notebook is broken: {'; '.join(error.facts['mistakes'])}")]
    if wrong or not isinstance(platform, str) or not isinstance(given, dict):
        return wrong
    try:
        parameters.resolve(found, platforms.load(settings, platform), given, None)
    except UsageError as error:
        return [("parameters", what) for what in error.facts.get("mistakes", [str(error)])]
    return []


def _check_times(schedule: Schedule, mistakes: Mistakes) -> None:
    """An entry that never falls due is a mistake."""
    now = dt.datetime.now(dt.UTC)
    for number, entry in enumerate(schedule.document.entries):
        known = entry.business_days is None or entry.business_days in schedule.document.calendars
        if known and next(schedule.timetable(entry).after(now), None) is None:
            mistakes.add(FILE, f"entries.{number}.cron", f"{entry.cron!r} never falls due")


def _listed(raw: dict[str, Any]) -> list[dict[str, Any]]:
    entries = raw.get("entries")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
