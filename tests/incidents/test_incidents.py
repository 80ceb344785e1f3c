"""Incidents: opened with numbers without gaps, changed by people, read whole; and the commands for it."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from opslib import cli, incidents, people, store
from opslib.errors import NotFound, UsageError
from opslib.record import journal
from opslib.settings import Settings

NEW = {"platform": "crypto", "runbook": "var-breach", "target": "BTC-USD", "severity": "critical", "title": "VarBreach"}


def open_one(connection: store.Connection, opened_by: str = "demo", **more: Any) -> dict[str, Any]:
    return incidents.open_incident(connection, **(NEW | {"opened_by": opened_by} | more))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_numbers_have_no_gaps_and_folders_are_by_day(connection: store.Connection) -> None:
    late = dt.datetime(2026, 12, 31, 23, 59, tzinfo=dt.UTC)
    new = [incidents.NewIncident("crypto", "triage", f"t{number}", "", "", "x") for number in range(12)]
    rows = incidents.open_all(connection, new, late)
    assert [row["id"] for row in rows] == [f"INC-2026-{number:06d}" for number in range(1, 13)]
    assert [row["target"] for row in rows] == [one.target for one in new]
    assert rows[0]["folder"] == "2026-12-31/INC-2026-000001"
    (row,) = incidents.open_all(connection, new[:1], late + dt.timedelta(minutes=1))
    assert (row["id"], row["folder"]) == ("INC-2027-000001", "2027-01-01/INC-2027-000001")


def test_a_number_is_not_lost_when_opening_fails(settings: Settings) -> None:
    with store.connect(settings) as connection:
        open_one(connection)
        connection.rollback()
    with store.transaction(settings) as connection:
        assert open_one(connection)["id"].endswith("-000001")


def test_one_open_incident_of_an_alert_but_any_number_by_hand(connection: store.Connection) -> None:
    open_one(connection, "alert")
    open_one(connection)
    open_one(connection)
    with pytest.raises(Exception, match="incidents_one_open"):
        open_one(connection, "alert")


def test_life_of_an_incident_is_on_its_journal(connection: store.Connection) -> None:
    name = open_one(connection)["id"]
    incidents.acknowledge(connection, name, "first", "mine")
    incidents.note(connection, name, "first", "looking\x00")
    incidents.resolve(connection, name, "second")
    whole = incidents.show(connection, name)
    assert [entry["kind"] for entry in whole["timeline"]] == ["incident-opened", "acknowledged", "note", "resolved"]
    assert whole["state"] == "resolved"
    assert whole["acknowledged_at"] is not None
    assert whole["timeline"][2]["body"]["text"] == "looking\ufffd"
    for step in (incidents.acknowledge, incidents.resolve):
        with pytest.raises(incidents.IncidentClosed, match="is resolved already"):
            step(connection, name, "first", "again")
    incidents.note(connection, name, "first", "afterwards")
    assert len(journal.entries(connection, name)) == 5


def test_what_is_not_there_or_empty(connection: store.Connection) -> None:
    with pytest.raises(NotFound, match="no incident INC-2026-999999"):
        incidents.show(connection, "INC-2026-999999")
    with pytest.raises(NotFound, match="no incident"):
        incidents.note(connection, "INC-2026-999999", "first", "x")
    name = open_one(connection)["id"]
    with pytest.raises(UsageError, match="the note is empty"):
        incidents.note(connection, name, "first", "  ")
    with pytest.raises(UsageError, match="20000 are the most"):
        incidents.note(connection, name, "first", "x" * 20_001)


def test_list_by_state(connection: store.Connection) -> None:
    names = [open_one(connection)["id"] for _ in range(3)]
    incidents.resolve(connection, names[0], "first")
    assert [row["id"] for row in incidents.list_(connection)] == names[::-1]
    assert [row["id"] for row in incidents.list_(connection, "resolved")] == names[:1]


def test_commands(settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with store.transaction(settings) as connection:
        name = open_one(connection, title="\x1b[31mred[bold]")["id"]
        tokens = {role: people.add(connection, role.lower(), role) for role in ("L1", "viewer")}
    code, out, _ = run(capsys, "incidents", "--json")
    assert code == 0
    (row,) = json.loads(out)["incidents"]
    assert (row["id"], row["alerts"]) == (name, [])
    assert run(capsys, "ack", name)[0] == 1
    monkeypatch.setenv("RUNBOOK_TOKEN", tokens["viewer"])
    code, _, err = run(capsys, "ack", name)
    assert code == 1
    assert "may not do that on crypto" in err
    monkeypatch.setenv("RUNBOOK_TOKEN", tokens["L1"])
    for words in (["ack", name], ["note", name, "seen"], ["resolve", name, "--text", "over"]):
        assert run(capsys, *words)[0] == 0
    code, out, _ = run(capsys, "show", name)
    assert code == 0
    assert "\x1b" not in out
    assert "red[bold]" in out
    assert "Note: seen" in out
    assert json.loads(run(capsys, "show", name, "--json")[1])["state"] == "resolved"
    assert run(capsys, "show", "INC-2026-999999")[0] == 1
    assert run(capsys, "incidents", "--state", "moon")[0] == 2
    assert json.loads(run(capsys, "alerts", "--json")[1])["accepted"] == 0


@pytest.mark.parametrize("name", ["INC\udcff", "INC-2026-000001\udce9", "\x1b[2J"])
def test_no_letter_of_a_name_ends_a_command_with_a_traceback(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with store.transaction(settings) as connection:
        monkeypatch.setenv("RUNBOOK_TOKEN", people.add(connection, "ann", "L4"))
        open_one(connection)
    plan = ("--plan", "0" * 64)
    for words in (
        ("show", name),
        ("ack", name),
        ("note", name, "x"),
        ("escalate", name),
        ("resolve", name),
        ("cancel", name),
        ("approve", name, *plan),
        ("undo", name, "--plan", name),
        ("hold", "--platform", name, "--reason", "x"),
        ("people", "remove", name),
        ("run", name, "--platform", "crypto"),
        ("run", "var-breach", "--platform", name),
        ("postmortem", name),
        ("replay", name),
        ("verify", name),
        ("rbac", name),
    ):
        code, _, told = run(capsys, *words)
        assert (words, code) == (words, code if code in (1, 2) else "1 or 2"), told
        assert told.strip() or words[0] == "verify", words
        assert "Traceback" not in told
    assert "\x1b" not in run(capsys, "people", "add", "ben", "--role", "L1", "--platform", name)[2]


@pytest.mark.parametrize("text", ["caf\udce9", "\x1b[2J\r\n", "x" * 19_000])
def test_any_words_of_a_remark_are_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    with store.transaction(settings) as connection:
        monkeypatch.setenv("RUNBOOK_TOKEN", people.add(connection, "ann", "L4"))
        name = open_one(connection)["id"]
    for words in (
        ("ack", name, "--text", text),
        ("note", name, text),
        ("escalate", name, "--text", text),
        ("resolve", name, "--text", text),
    ):
        assert run(capsys, *words)[0] == 0
    with store.connect(settings) as connection:
        told = {entry["kind"]: entry["body"] for entry in journal.entries(connection, name)}
    kept = text.replace("\udce9", "?")
    assert [told[kind]["text"] for kind in ("acknowledged", "note", "escalated", "resolved")] == [kept] * 4
