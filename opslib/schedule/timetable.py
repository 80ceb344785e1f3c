"""When a cron expression falls due in a time zone, on business days only where that is wanted.

The expression is read in local time. A local time that the clock jumps over falls due when the jump is over; one that
occurs twice falls due the first time only.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import croniter

_FIELD = r"[0-9A-Za-z*/,\-]+"
EXPRESSION = re.compile(rf"{_FIELD}(?: {_FIELD}){{4}}")
_RANDOM = re.compile(r"(?<![A-Za-z])[HhRr](?![A-Za-z])")  # croniter's own: a field that it draws by lot
_FOLD = dt.timedelta(hours=3)  # more than any clock is set back
_YEARS = 8  # 29 February, over a year that is no leap year
_DAYS = 366 * _YEARS
_MIDNIGHT = dt.time()
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Timetable:
    """The times of one entry.

    Parameters
    ----------
    cron : str
        Minute, hour, day of the month, month, day of the week. Where both kinds of day are given, either is enough.
    zone : ZoneInfo
    weekend : frozenset of int
        Days of the week without a time, Monday 0; empty where every day counts.
    holidays : frozenset of date
        Local dates without a time.
    """

    cron: str
    zone: ZoneInfo
    weekend: frozenset[int] = field(default_factory=frozenset)
    holidays: frozenset[dt.date] = field(default_factory=frozenset)

    def after(self, instant: dt.datetime) -> Iterator[dt.datetime]:
        """Its times after an instant, the earliest first, in UTC; ends where there is none for years."""
        last = instant
        for local in self._local(instant.astimezone(self.zone).replace(tzinfo=None) - _FOLD, forward=True):
            found = instant_of(local, self.zone)
            if found > last:
                last = found
                yield found

    def before(self, instant: dt.datetime) -> Iterator[dt.datetime]:
        """Its times up to an instant and at it, the latest first, in UTC."""
        last = None
        for local in self._local(instant.astimezone(self.zone).replace(tzinfo=None) + _FOLD, forward=False):
            found = instant_of(local, self.zone)
            if found <= instant and found != last:
                last = found
                yield found

    def _local(self, start: dt.datetime, *, forward: bool) -> Iterator[dt.datetime]:
        """Its local times from a local time on, in one direction."""
        times = self._times(start)
        idle = 0
        while idle < _DAYS:
            try:
                local: dt.datetime = (times.get_next if forward else times.get_prev)(dt.datetime)
            except croniter.CroniterBadDateError:
                return
            if local.weekday() not in self.weekend and local.date() not in self.holidays:
                idle = 0
                yield local
                continue
            idle += 1  # the rest of the day is left out
            midnight = dt.datetime.combine(local.date(), _MIDNIGHT)
            times = self._times(midnight + _DAY - dt.timedelta(seconds=1) if forward else midnight)

    def _times(self, start: dt.datetime) -> croniter.croniter:
        return croniter.croniter(self.cron, start, max_years_between_matches=_YEARS)


def problem(cron: str) -> str | None:
    """What is wrong with an expression, as the end of a sentence; None where nothing is."""
    if not EXPRESSION.fullmatch(cron) or _RANDOM.search(cron):
        return "must have five fields with one space between: minute, hour, day of the month, month, day of the week"
    try:
        croniter.croniter(cron)
    except croniter.CroniterError as error:
        return f"is no cron expression: {error}"
    return None


def instant_of(local: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The instant of a local time, in UTC: the first of two, or where the clock jumps over it the end of the jump."""
    instant = local.replace(tzinfo=zone).astimezone(dt.UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    low = int(local.replace(tzinfo=zone, fold=1).timestamp())
    high = int(instant.timestamp())
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return dt.datetime.fromtimestamp(high, dt.UTC)


def _offset(timestamp: int, zone: ZoneInfo) -> dt.timedelta | None:
    return dt.datetime.fromtimestamp(timestamp, zone).utcoffset()
