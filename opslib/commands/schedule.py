"""`runbook schedule`: what starts by the clock, and when next."""

from __future__ import annotations

import datetime as dt
from itertools import islice
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from opslib import store
from opslib.commands.output import err, out, print_json, print_table
from opslib.schedule import Entry, Schedule, load
from opslib.settings import Settings
from opslib.sql import queries


def schedule(
    count: Annotated[int, typer.Option("--next", min=1, max=100, help="How many coming times of each entry")] = 3,
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """What starts by the clock: each entry of params/schedule.yaml, its next times, and what became of the last."""
    settings = Settings()
    found = load(settings)
    now = dt.datetime.now(dt.UTC)
    last = _last(settings)
    rows = [_row(found, entry, now, count, last.get(entry.name)) for entry in found.entries.values()]
    if json:
        print_json({"entries": rows})
        return
    for name, day in found.ended_calendars(now.date()).items():
        err.print(f"runbook: calendar {name} ends on {day}; add the coming holidays", markup=False, style="yellow")
    if not rows:
        out.print("Nothing starts by the clock; params/schedule.yaml has no entries.")
        return
    print_table(["name", "runbook", "platform", "next", "last"], [_shown(row) for row in rows])


def _last(settings: Settings) -> dict[str, dict[str, Any]]:
    """What became of the last time of each entry; nothing is known while the store is away, and none is started."""
    if not store.reachable(settings):
        return {}
    with store.connect(settings, role="reader") as connection:
        return {row["entry"]: row for row in connection.execute(queries("schedule").last).fetchall()}


def _row(found: Schedule, entry: Entry, now: dt.datetime, count: int, last: dict[str, Any] | None) -> dict[str, Any]:
    """An entry as `--json` prints it."""
    zone = ZoneInfo(entry.time_zone)
    times = islice(found.timetable(entry).after(now), count)
    keys = ("due_at", "starts_at", "missed", "incident", "run", "state", "skipped")
    return {
        **entry.model_dump(),
        "next": [time.astimezone(zone).isoformat() for time in times],
        "last": None if last is None else {key: last[key] for key in keys},
    }


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    """The same as a line of the table."""
    zone = ZoneInfo(row["time_zone"])
    times = [f"{dt.datetime.fromisoformat(time).astimezone(zone):%a %Y-%m-%d %H:%M %Z}" for time in row["next"]]
    last = row["last"]
    became = "" if last is None else f"{last['incident']} {last['state']}" if last["run"] else "to start"
    if last is not None and last["skipped"]:
        became = f"skipped: {last['skipped']}"
    return row["name"], row["runbook"], row["platform"], "\n".join(times), became
