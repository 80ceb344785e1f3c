"""When entries fall due: against a reference that walks the clock minute by minute, and where the clock is changed."""

from __future__ import annotations

import datetime as dt
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opslib.schedule import timetable
from opslib.schedule.timetable import Timetable

BERLIN, NEW_YORK, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")
MINUTE = dt.timedelta(minutes=1)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def times(cron: str, zone: ZoneInfo, start: str, count: int) -> list[str]:
    found = islice(Timetable(cron, zone).after(utc(start)), count)
    return [f"{time:%m-%d %H:%M}" for time in found]


def test_a_local_time_that_does_not_exist_falls_due_when_the_jump_is_over() -> None:
    assert times("30 2 * * *", BERLIN, "2026-03-27 12:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert times("*/15 2 * * *", BERLIN, "2026-03-28 12:00", 2) == ["03-29 01:00", "03-30 00:00"]  # not four times
    assert times("0 * * * *", BERLIN, "2026-03-28 23:30", 3) == ["03-29 00:00", "03-29 01:00", "03-29 02:00"]


def test_a_local_time_that_occurs_twice_falls_due_once() -> None:
    assert times("30 2 * * *", BERLIN, "2026-10-24 12:00", 2) == ["10-25 00:30", "10-26 01:30"]
    assert times("0 * * * *", BERLIN, "2026-10-24 23:30", 3) == ["10-25 00:00", "10-25 02:00", "10-25 03:00"]
    assert times("30 2 * * *", BERLIN, "2026-10-25 00:45", 1) == ["10-26 01:30"]  # between the two


def test_a_jump_of_half_an_hour() -> None:
    assert times("15 2 * * *", LORD_HOWE, "2026-10-02 20:00", 2) == ["10-03 15:30", "10-04 15:15"]


def test_midnight_that_does_not_exist() -> None:
    assert times("0 0 * * *", ZoneInfo("Africa/Cairo"), "2026-04-23 12:00", 2) == ["04-23 22:00", "04-24 21:00"]


def test_business_days() -> None:
    table = Timetable("30 7 * * *", NEW_YORK, frozenset({5, 6}), frozenset({dt.date(2026, 11, 26)}))
    found = [f"{time.astimezone(NEW_YORK):%a %d}" for time in islice(table.after(utc("2026-11-25 00:00")), 4)]
    assert found == ["Wed 25", "Fri 27", "Mon 30", "Tue 01"]
    back = [f"{time.astimezone(NEW_YORK):%a %d}" for time in islice(table.before(utc("2026-11-30 20:00")), 3)]
    assert back == ["Mon 30", "Fri 27", "Wed 25"]


def test_a_business_day_is_the_local_one() -> None:
    table = Timetable("0 20 * * *", NEW_YORK, frozenset({5, 6}))
    assert next(table.after(utc("2026-11-27 12:00"))) == utc("2026-11-28 01:00")  # Saturday in UTC, Friday in New York


def test_what_never_falls_due_ends() -> None:
    assert list(Timetable("0 0 30 2 *", BERLIN).after(utc("2026-01-01"))) == []
    assert list(Timetable("0 0 * * 6", BERLIN, frozenset({5, 6})).after(utc("2026-01-01"))) == []
    assert list(Timetable("* * * * 6", BERLIN, frozenset({5, 6})).before(utc("2026-01-01"))) == []
    assert next(Timetable("0 0 29 2 *", BERLIN).after(utc("2096-03-01"))) == utc("2104-02-28 23:00")


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "61 * * * *",
        "H * * * *",
        "R * * * *",
        "R(0-5) * * * *",
        "* * * * *\n",
        "*  * * * *",
    ],
)
def test_what_is_no_expression(cron: str) -> None:
    assert timetable.problem(cron)


@pytest.mark.parametrize("cron", ["0 7 * * mon-fri", "*/5 8-18 1,15 jan,MAR *", "0 0 * * 7"])
def test_what_is_one(cron: str) -> None:
    assert timetable.problem(cron) is None


def matches(local: dt.datetime, minutes: set[int], hours: set[int]) -> bool:
    return local.minute in minutes and local.hour in hours


def walked(
    minutes: set[int], hours: set[int], zone: ZoneInfo, first: dt.datetime, last: dt.datetime
) -> list[dt.datetime]:
    """Every due time after `first` up to `last`, by looking at each minute and at what the clock jumps over."""
    found = []
    now = first + MINUTE
    while now <= last:
        local = now.astimezone(zone)
        earlier = (now - MINUTE).astimezone(zone).replace(tzinfo=None)
        gap = local.replace(tzinfo=None) - earlier - MINUTE
        skipped = (earlier + (step + 1) * MINUTE for step in range(max(0, int(gap / MINUTE))))
        if (matches(local, minutes, hours) and not local.fold) or any(matches(one, minutes, hours) for one in skipped):
            found.append(now)
        now += MINUTE
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(0, 59), min_size=1, max_size=4),
    st.sets(st.integers(0, 4), min_size=1, max_size=3),
    st.sampled_from(
        [(BERLIN, "2026-03-28 20:00"), (BERLIN, "2026-10-24 20:00"), (NEW_YORK, "2026-03-08 00:00"),
         (NEW_YORK, "2026-11-01 00:00"), (LORD_HOWE, "2026-10-03 10:00"), (LORD_HOWE, "2026-04-04 10:00")]
    ),
    st.integers(0, 600),
)  # fmt: skip
def test_as_a_walk_over_every_minute(
    minutes: set[int], hours: set[int], place: tuple[ZoneInfo, str], shift: int
) -> None:
    zone, start = place
    first = utc(start) + shift * MINUTE
    last = first + dt.timedelta(hours=18)
    table = Timetable(f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *", zone)
    wanted = walked(minutes, hours, zone, first, last)
    assert list(takewhile(lambda time: time <= last, table.after(first))) == wanted
    assert list(takewhile(lambda time: time > first, table.before(last))) == wanted[::-1]
