"""Escalation: level by level, on the record, with whom to call."""

from __future__ import annotations

import pytest

from opslib import incidents, platforms, store
from opslib.errors import NotFound, UsageError
from opslib.incidents.escalation import escalate
from opslib.record import journal
from opslib.settings import Settings
from tests.incidents.test_incidents import open_one, run


def test_each_time_the_next_level(connection: store.Connection, settings: Settings) -> None:
    contacts = platforms.load(settings, "crypto").contacts
    name = open_one(connection)["id"]
    asked = [escalate(connection, name, "demo-l1", contacts, text=f"why {place}") for place in range(3)]
    assert [level for level, _ in asked] == ["L2", "L3", "L4"]
    assert asked[1][1].who == "PM and risk", "the platform's own contact goes first"
    with pytest.raises(UsageError, match="L4 has been asked for already"):
        escalate(connection, name, "demo-l1", contacts)
    level, _ = escalate(connection, name, "demo-l1", contacts, level="L3")
    assert level == "L3"
    told = [entry["body"] for entry in journal.entries(connection, name) if entry["kind"] == "escalated"]
    assert [(one["before"], one["level"]) for one in told] == [("L1", "L2"), ("L2", "L3"), ("L3", "L4"), ("L4", "L3")]
    assert told[0]["text"] == "why 0"
    assert {"who", "how", "within", "person"} <= told[0].keys()


def test_what_cannot_be_escalated(connection: store.Connection, settings: Settings) -> None:
    contacts = platforms.load(settings, "crypto").contacts
    with pytest.raises(NotFound, match="there is no incident INC-2026-999999"):
        escalate(connection, "INC-2026-999999", "demo-l1", contacts)
    name = open_one(connection)["id"]
    with pytest.raises(UsageError, match="names nobody for L2"):
        escalate(connection, name, "demo-l1", {})
    incidents.resolve(connection, name, "demo-l1")
    with pytest.raises(incidents.IncidentClosed, match="resolved already"):
        escalate(connection, name, "demo-l1", contacts)


def test_the_command_says_whom_to_call(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    from opslib import people

    people.ensure_sandbox_people(settings)
    with store.transaction(settings) as connection:
        name = open_one(connection)["id"]
    code, said, _ = run(capsys, "escalate", name, "--as", "demo-l1", "--text", "VaR stays up")
    assert code == 0
    assert f"{name} is escalated to L2" in said
    assert "Quant team" in said
    code, said, _ = run(capsys, "escalate", name, "--as", "demo-l1", "--to", "L4", "--json")
    assert code == 0
    assert '"level": "L4"' in said
    code, _, said = run(capsys, "escalate", name)
    assert code == 1
    assert "RUNBOOK_TOKEN" in said
