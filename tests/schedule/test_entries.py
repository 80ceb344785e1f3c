"""The schedule's file: every mistake at once, the published schema, the file that is shipped, the command."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import jsonschema
import pytest
import yaml

from opslib import cli, schedule
from opslib.canonical import plain
from opslib.commands import doctor
from opslib.errors import ConfigurationError
from opslib.intake import routes
from opslib.schedule import ScheduleFile
from opslib.settings import PROJECT, Settings
from tests.schedule.conftest import Write

SEVEN = dt.datetime(2026, 3, 2, 7, tzinfo=dt.UTC)


def mistakes(settings: Settings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        schedule.load(settings)
    return str(caught.value)


def test_every_mistake_is_named_at_once(planned: Settings, write: Write) -> None:
    write(
        {"runbook": "no-such", "cron": "61 * * * *"},
        {"platform": "moon", "time_zone": "Mars/Olympus"},
        {"name": "Bad name", "business_days": "lse", "jitter_s": -1},
        {"name": "deep", "parameters": {"depth": 10, "width": 1}, "missed": "thrice", "extra": 1},
        calendars={"nyse": {"holidays": ["tomorrow"], "weekend": ["caturday"]}},
    )
    text = mistakes(planned)
    for part in (
        "schedule.yaml: entries.0.runbook: there is no runbook 'no-such'",
        "schedule.yaml: entries.0.cron: value error, is no cron expression",
        "schedule.yaml: entries.1.name: there is another entry 'daily'",
        "schedule.yaml: entries.1.platform: there is no platform 'moon'",
        "schedule.yaml: entries.1.time_zone: value error, is no time zone",
        "schedule.yaml: entries.2.name: value error, must be of small letters",
        "schedule.yaml: entries.2.business_days: there is no calendar 'lse'",
        "schedule.yaml: entries.2.jitter_s",
        "schedule.yaml: entries.3.parameters: depth: must be at most 9",
        "schedule.yaml: entries.3.parameters: width: look has no such parameter",
        "schedule.yaml: entries.3.missed",
        "schedule.yaml: entries.3.extra",
        "schedule.yaml: calendars.nyse.holidays.0",
        "schedule.yaml: calendars.nyse.weekend.0",
    ):
        assert part in text
    with pytest.raises(ConfigurationError, match="there is no runbook 'no-such'"):
        routes.check(planned)  # as `runbook serve` does before it starts
    found = {check.name: check for check in doctor.examine(planned)}
    assert found["schedule"].state == "broken"
    assert "entries.3.parameters: depth" in found["schedule"].detail


@pytest.mark.parametrize(
    "text", ["", "- 1", "entries: 7", "entries: [7]", "entries: [{}]", "calendars: 1", "entries: [", "\x00", "{1: 2}"]
)
def test_hostile_files_are_mistakes(planned: Settings, text: str) -> None:
    (planned.params / "schedule.yaml").write_text(text, "utf-8")
    assert "schedule.yaml" in mistakes(planned)


@pytest.mark.parametrize("zone", ["", "Europe", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\x00"])
def test_hostile_time_zones_are_mistakes(planned: Settings, write: Write, zone: str) -> None:
    write({"time_zone": zone})
    assert "entries.0.time_zone" in mistakes(planned)


def test_what_never_falls_due_is_a_mistake(planned: Settings, write: Write) -> None:
    write({"cron": "0 7 * * sat", "business_days": "desk"}, calendars={"desk": {}})
    assert "entries.0.cron: '0 7 * * sat' never falls due" in mistakes(planned)


def test_no_file_is_an_empty_schedule(planned: Settings) -> None:
    assert schedule.load(planned).entries == {}


def test_jitter_is_within_its_bound_and_the_same_everywhere(planned: Settings, write: Write) -> None:
    write({"jitter_s": 600})
    entry = schedule.load(planned).entries["daily"]
    times = [SEVEN + dt.timedelta(days=day) for day in range(200)]
    offsets = [(entry.starts_at(time) - time).total_seconds() for time in times]
    assert offsets == [(entry.starts_at(time) - time).total_seconds() for time in times]
    assert 0 <= min(offsets) < 60
    assert 540 < max(offsets) <= 600
    assert 250 < sum(offsets) / len(offsets) < 350


def test_the_published_schema_is_that_of_the_model() -> None:
    published: dict[str, Any] = json.loads((PROJECT / "docs" / "schemas" / "schedule.json").read_text("utf-8"))
    assert {key: value for key, value in published.items() if key != "$schema"} == ScheduleFile.model_json_schema()
    shipped = yaml.safe_load((PROJECT / "params" / "schedule.yaml").read_text("utf-8"))
    jsonschema.validate(plain(shipped), published)


def test_the_example_of_the_shipped_file_is_in_order(planned: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(PROJECT / "notebooks"))
    text = (PROJECT / "params" / "schedule.yaml").read_text("utf-8")
    example = [line[1:] for line in text.splitlines() if line.startswith("#  ")]
    monkeypatch.setenv("RUNBOOK_PARAMS", str(PROJECT / "params"))
    assert schedule.load(Settings()).entries == {}
    monkeypatch.setenv("RUNBOOK_PARAMS", str(planned.params))
    (planned.params / "platforms" / "crypto.yaml").write_text(
        (PROJECT / "params" / "platforms" / "crypto.yaml").read_text("utf-8")
    )
    written = text.replace("entries: []", "\n".join(["entries:", *example]))
    (planned.params / "schedule.yaml").write_text(written, "utf-8")
    assert list(schedule.load(Settings()).entries) == ["morning-var"]


def test_a_calendar_that_has_ended_is_told(planned: Settings, write: Write) -> None:
    days = {"calendars": {"desk": {"holidays": [dt.date(2020, 12, 25)]}}}
    write({}, **days)
    assert schedule.load(planned).ended_calendars(SEVEN.date()) == {}  # nobody goes by it
    write({"business_days": "desk"}, **days)
    assert schedule.load(planned).ended_calendars(SEVEN.date()) == {"desk": dt.date(2020, 12, 25)}
    found = {check.name: check for check in doctor.examine(planned)}
    assert found["schedule"].state == "missing"
    assert "desk ends on 2020-12-25" in found["schedule"].detail


def command(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["schedule", *words])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_command_lists_the_next_times(planned: Settings, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing starts by the clock" in command(capsys)
    write({"time_zone": "Asia/Tokyo"}, {"name": "weekly", "cron": "0 7 * * 1"})
    first, second = json.loads(command(capsys, "--json", "--next", "2"))["entries"]
    assert [entry["name"] for entry in (first, second)] == ["daily", "weekly"]
    assert first["last"] is None
    times = [dt.datetime.fromisoformat(time) for time in first["next"]]
    assert [f"{time:%H:%M %z}" for time in times] == ["07:00 +0900"] * 2
    assert times[1] - times[0] == dt.timedelta(days=1)
    assert "07:00 JST" in command(capsys)
