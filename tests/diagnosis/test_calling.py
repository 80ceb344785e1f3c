"""Who is called at which time, and when the next update is due, by the clock of the run."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import nbformat
import pytest

from opslib import platforms
from opslib.diagnosis import calling
from opslib.runs import catalogue
from opslib.settings import PROJECT, Settings
from tests.diagnosis.told import context

NOW = dt.datetime(2026, 11, 28, 23, 58, 30, tzinfo=dt.UTC)
CONTACTS = {
    "L1": {"who": "On-call engineer", "how": "pager", "within": "5 minutes"},
    "L3": {"who": "PM and risk", "how": "Phone: [your numbers]", "within": "30 minutes"},
}
SETTINGS = Settings(params=PROJECT / "params", notebooks=PROJECT / "notebooks")
PLAYBOOKS = {name: one for name, one in catalogue.runbooks(SETTINGS).items() if one.kind == "alert"}


def told(opened_min_ago: float | None = None, *, cause: str | None = None, **facts: Any) -> list[str]:
    """The lines that a message gets."""
    if opened_min_ago is not None:
        facts["opened_at"] = (NOW - dt.timedelta(minutes=opened_min_ago)).isoformat()
    where = context(runbook="var-breach", contacts=CONTACTS, **facts)
    calls = calling.path(where, cause, NOW)
    return [*calling.lines(calls, NOW), calling.update(where, calls, NOW)]


def test_a_level_is_called_so_long_after_the_incident_was_opened() -> None:
    lines = told(1.0, paths={"var-breach": {"L3": 2, "L4": 5}}, updates={"critical": 15}, severity="critical")
    assert lines[:3] == [
        "- has it now: L1, On-call engineer, pager, answers within 5 minutes",
        "- 23:59 UTC, in 1 min: L3, PM and risk, Phone: [your numbers] (not filled in yet), answers within 30 minutes",
        "- 2026-11-29 00:02 UTC, in 4 min: L4, nobody is named",
    ]
    due = "Next update due at 23:59 UTC, in 1 min (when L3 is called; severity critical: every 15 min at the latest)."
    assert lines[3:] == [due]


def test_a_level_whose_time_has_come_is_called_now() -> None:
    lines = told(10.0, paths={"var-breach": {"L3": 2}}, updates={"P1": 15}, severity="p1")
    assert lines[1].startswith("- now (due 23:50 UTC): L3, PM and risk")
    assert lines[-1] == "Next update due at 2026-11-29 00:13 UTC, in 15 min (severity p1: every 15 min)."


@pytest.mark.parametrize(
    ("cause", "level"), [("stale-volatility", "L2"), ("single-symbol", "L4"), (None, "L4"), ("none-of-these", "L4")]
)
def test_a_cause_may_have_a_path_of_its_own(cause: str | None, level: str) -> None:
    paths = {"default": {"L3": 1}, "var-breach": {"L4": 1}, "var-breach/stale-volatility": {"L2": 1}}
    where = context(runbook="var-breach", paths=paths)
    assert [one.level for one in calling.path(where, cause, NOW)] == ["L1", level]


def test_a_severity_without_an_interval_is_taken_for_the_gravest() -> None:
    (*_, line) = told(updates={"P0": 5, "P2": 60}, severity="banana")
    assert "in 5 min (severity banana, of which params/contacts.yaml knows no interval: every 5 min)" in line


def test_a_record_of_old_tells_neither() -> None:
    (*_, line) = told()
    assert "in 15 min (severity not told, of which" in line


@pytest.mark.parametrize("platform", ["crypto", "derivatives"])
def test_every_level_of_a_path_can_be_called(platform: str) -> None:
    loaded = platforms.load(SETTINGS, platform)
    assert {level for path in loaded.paths.values() for level in path} <= set(loaded.contacts)


def test_paths_are_those_of_playbooks_and_their_severities_have_an_interval() -> None:
    loaded = platforms.load(SETTINGS, "crypto")
    assert {name.partition("/")[0] for name in loaded.paths} == {*PLAYBOOKS, "default"} - {"triage"}
    assert {one.severity for one in PLAYBOOKS.values() if one.severity} <= set(loaded.updates)


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_what_a_playbook_says_of_levels_is_what_its_path_says(name: str) -> None:
    cells = nbformat.read(PLAYBOOKS[name].path, as_version=4).cells
    words = " ".join(cell.source for cell in cells if cell.id in ("title", "next"))
    paths = platforms.load(SETTINGS, "crypto").paths
    own = [path for key, path in paths.items() if key.partition("/")[0] == name]
    for level, minutes in [pair for path in own for pair in path.items()]:
        assert level in words
        hours = {60: r"1 h|one hour|the hour|first hour|1 hour"}
        assert re.search(rf"\b{minutes:g} (min|to)|{hours.get(int(minutes), '(?!)')}", words), (level, minutes)
