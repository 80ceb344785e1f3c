"""Accepting: all or nothing, whatever stands in the body, however many and at once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from opslib import incidents, intake, store
from opslib.canonical import digest
from opslib.intake import bulk
from opslib.record import journal
from opslib.runs import queue
from opslib.settings import Settings
from tests.intake.bodies import NOON, alert, counts, labels, ledger, one, send, send_v2, webhook

HOSTILE = [
    {"alertname": "'; DROP TABLE alerts; --", "platform": "crypto"},
    {"alertname": 'quote " brace { } $(reboot) `id`', "platform": "crypto", "line\nbreak": "a\r\nb"},
    {"alertname": "../../../../etc/passwd", "platform": "../crypto", "symbol": "../../x"},
    {"alertname": "nul\x00nul", "sur\ud800rogate": "\udfff", "platform": "crypto"},
    {"alertname": "VarBreach", "platform": "crypto", "symbol": "../../../tmp/owned"},
    {"alertname": "VarBreach", "platform": "crypto", "symbol": "{{ 7 * 7 }} {0.__class__} %s %(x)s"},
    {"alertname": "long", "platform": "crypto", "value": "x" * 1_000_000},
    {"__import__('os').system('id')": "1", "import os": "2", "class": "3", "alertname": "names", "platform": "crypto"},
    {"alertname": "<script>alert(1)</script>", "platform": "crypto"},
    {},
]


def test_hostile_labels_are_stored_as_data(settings: Settings) -> None:
    receipt = send(settings, *({"labels": each, "status": "firing"} for each in HOSTILE))
    assert (receipt.accepted, receipt.unreadable) == (len(HOSTILE), 0)
    assert counts(settings) == (len(HOSTILE), 0)
    assert one(settings, "SELECT count(*) FROM alerts WHERE run IS NULL OR incident IS NULL") == 0
    folders = {path.name for path in settings.home.iterdir()}
    assert folders <= {".state"}
    with store.transaction(settings) as connection:
        rows = incidents.list_(connection)
        assert {row["runbook"] for row in rows} == {"var-breach", "triage"}
        for row in rows:
            whole = incidents.show(connection, row["id"])
            assert Path(whole["folder"]).name == row["id"]
            assert whole["title"].isprintable()
    assert send(settings, *({"labels": each, "status": "firing"} for each in HOSTILE)).repeats == len(HOSTILE)


def test_alert_without_labels_or_platform_goes_to_triage(settings: Settings) -> None:
    send(settings, {"labels": {}}, {"labels": {"alertname": "Elsewhere", "platform": "moon"}})
    with store.transaction(settings) as connection:
        rows = incidents.list_(connection)
    assert {(row["platform"], row["runbook"]) for row in rows} == {("unknown", "triage")}
    assert ledger(settings)["waiting"] == 2


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"null", b'{"alerts": 3}', b"[" * 100_000, b'{"alerts": [1, 2]}'])
def test_body_that_cannot_be_understood_is_kept_and_looked_at(settings: Settings, body: bytes) -> None:
    receipts = [intake.accept(settings, body, sender="intake at x", endpoint="v1") for _ in range(2)]
    assert all(receipt.unreadable and receipt.problem for receipt in receipts)
    assert receipts[0].incidents == receipts[1].incidents
    assert one(settings, "SELECT count(*) FROM incidents WHERE runbook = 'triage' AND platform = 'unknown'") == 1
    assert one(settings, "SELECT count(*) FROM runs") == 1
    assert one(settings, "SELECT count(*) FROM intake_bodies") == 2
    with store.transaction(settings) as connection:
        row = connection.execute("SELECT body, sha256, size FROM intake_bodies LIMIT 1").fetchone()
        assert row == {"body": body, "sha256": digest(body), "size": len(body)}
        kinds = [entry["kind"] for entry in journal.entries(connection, receipts[0].incidents[0])]
    assert kinds == ["incident-opened", "intake-problem", "run-queued"]
    assert counts(settings) == (0, 0)


def test_platform_of_a_broken_body_is_used_where_it_can_be_read(settings: Settings) -> None:
    intake.accept(settings, b'{"commonLabels": {"platform": "crypto"}, "alerts": [', sender="x", endpoint="v1")
    assert one(settings, "SELECT platform FROM incidents") == "crypto"


def test_kept_bodies_hold_no_secret(settings: Settings) -> None:
    body = b'{"alerts": [{"annotations": {"password": "hunter2hunter2"'
    intake.accept(settings, body, sender="x", endpoint="v1")
    kept = one(settings, "SELECT body FROM intake_bodies")
    assert b"hunter2" not in kept
    send(settings, alert(annotations={"summary": "redis://u:hunter2hunter2@host"}))
    assert "hunter2" not in one(settings, "SELECT payload::text || annotations::text FROM alerts")
    assert "hunter2" not in one(settings, "SELECT alert::text FROM runs WHERE runbook = 'var-breach'")
    assert "hunter2" not in one(settings, "SELECT string_agg(line, '') FROM journal")


def test_good_alerts_beside_a_bad_one_are_accepted(settings: Settings) -> None:
    receipt = send(settings, alert("A"), 17, alert("B"))
    assert (receipt.accepted, receipt.unreadable) == (2, 1)
    assert "number 2: an alert must be an object" in receipt.problem
    assert one(settings, "SELECT count(*) FROM incidents WHERE runbook = 'triage'") == 1
    assert one(settings, "SELECT count(*) FROM incidents WHERE runbook = 'var-breach'") == 2


def test_alerts_that_the_sender_cut_off_are_said(settings: Settings) -> None:
    for _ in range(3):
        receipt = send(settings, alert(), truncatedAlerts=41)
        assert receipt.truncated == 41
    with store.transaction(settings) as connection:
        triage = incidents.list_(connection)
        (incident,) = [row["id"] for row in triage if row["runbook"] == "triage"]
        entries = [entry for entry in journal.entries(connection, incident) if entry["kind"] == "intake-problem"]
    assert len(entries) == 1
    assert "41 alerts were cut off" in entries[0]["body"]["problem"]
    assert one(settings, "SELECT count(*) FROM intake_bodies") == 3


def test_nothing_is_stored_when_anything_fails(settings: Settings) -> None:
    with store.connect(settings, autocommit=True) as connection:
        connection.execute("INSERT INTO incident_numbers VALUES (2026, 0)")
        connection.execute(
            "INSERT INTO incidents (id, platform, runbook, opened_by, folder) "
            "VALUES ('INC-2026-000002', '', '', 'x', '')"
        )
    with pytest.raises(Exception, match="incidents_pkey"):
        send(settings, alert("A"), alert("B"))
    assert one(settings, "SELECT count(*) FROM alerts") == 0
    assert one(settings, "SELECT count(*) FROM runs") == 0
    assert one(settings, "SELECT count(*) FROM procrastinate_jobs") == 0
    assert one(settings, "SELECT count(*) FROM journal") == 0


def test_many_senders_at_once_make_one_incident_and_one_run(settings: Settings) -> None:
    bodies = [webhook(*(alert(f"S{(start + step) % 7}") for step in range(7))) for start in range(7)]
    failures: list[Exception] = []

    def deliver(body: bytes) -> None:
        try:
            for _ in range(3):
                intake.accept(settings, body, sender="x", endpoint="v1")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=deliver, args=[body]) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counts(settings) == (7, 7 * 7 * 3 - 7)
    assert one(settings, "SELECT count(*) FROM incidents") == 7
    assert one(settings, "SELECT count(*) FROM runs") == 7


@pytest.mark.slow
def test_five_thousand_alerts_in_one_body(settings: Settings) -> None:
    body = webhook(*(alert(f"S{number}") for number in range(5000)))
    began = time.monotonic()
    receipt = intake.accept(settings, body, sender="x", endpoint="v1", now=NOON, timeout_s=60)
    print(f"5,000 alerts with an incident each: {time.monotonic() - began:.1f} s")
    assert receipt.accepted == 5000
    assert one(settings, "SELECT count(*) FROM runs WHERE state = 'waiting'") == 5000
    assert one(settings, "SELECT count(*) FROM procrastinate_jobs") == 5000
    again = intake.accept(settings, body, sender="x", endpoint="v1", now=NOON, timeout_s=60)
    assert (again.accepted, again.repeats) == (0, 5000)


def test_lines_written_in_bulk_are_those_of_the_journal(settings: Settings, connection: store.Connection) -> None:
    facts: dict[str, Any] = {
        "platform": "crypto",
        "runbook": "var-breach",
        "severity": "",
        "title": "",
        "opened_by": "x",
    }
    ones = [incidents.open_incident(connection, target=name, **facts)["id"] for name in ("one", "other")]
    run = {"runbook": "var-breach", "platform": "crypto", "alert": {"a": "\ud800"}}
    number = queue.create_run(connection, ones[0], mode="plan", requested={}, requested_by="alert", **run)
    queue.defer(connection, number, severity="critical")
    journal.append(connection, ones[0], "note", {"text": "password=hunter2hunter2"}, actor="x")
    new = bulk.NewRun(ones[1], "var-breach", "crypto", {"a": "\ud800"}, "critical")
    started = bulk.start_runs(connection, [new], requested_by="alert")
    entries = [started[ones[1]][1], ("x", "note", {"text": "password=hunter2hunter2"})]
    bulk.append(settings, connection, {ones[1]: entries})
    journal.append(connection, ones[1], "note", {}, actor="x")
    lines = [journal.entries(connection, incident) for incident in ones]
    for name in ("kind", "actor", "seq"):
        assert [entry[name] for entry in lines[0]] == [entry[name] for entry in lines[1][:3]]
    assert lines[0][2]["body"] == lines[1][2]["body"]
    assert {**lines[0][1]["body"], "run": 0} == {**lines[1][1]["body"], "run": 0}
    rows = connection.execute("SELECT line, sha256 FROM journal WHERE incident = %s ORDER BY seq", [ones[1]]).fetchall()
    previous = ""
    for row in rows:
        assert json.loads(row["line"])["prev"] == previous
        assert row["sha256"] == digest(row["line"].encode())
        previous = row["sha256"]
    head = connection.execute("SELECT journal_head, journal_seq FROM incidents WHERE id = %s", [ones[1]]).fetchone()
    assert head == {"journal_head": previous, "journal_seq": 4}
    made = connection.execute("SELECT * FROM runs ORDER BY id").fetchall()
    same = [{k: v for k, v in row.items() if k not in ("id", "incident")} for row in made]
    assert same[0] == same[1]


def test_repeats_are_told_in_the_journal_once_and_then_every_tenth(settings: Settings) -> None:
    for _ in range(25):
        send(settings, alert())
    with store.transaction(settings) as connection:
        (incident,) = [row["id"] for row in incidents.list_(connection)]
        told = [entry["body"] for entry in journal.entries(connection, incident) if entry["kind"] == "alert-repeated"]
    assert [body["alerts"][0]["repeats"] for body in told] == [1, 10, 20]


def test_severity_of_an_incident_is_that_of_its_worst_alert(settings: Settings) -> None:
    send(settings, alert() | {"labels": labels(severity="warning", pod="a")})
    assert one(settings, "SELECT severity FROM incidents") == "warning"
    send(settings, alert() | {"labels": labels(severity="P0", pod="b")})
    send(settings, alert() | {"labels": labels(severity="info", pod="c")})
    assert one(settings, "SELECT severity FROM incidents") == "P0"


def test_alert_of_both_endpoints_is_one_episode(settings: Settings) -> None:
    send(settings, alert())
    assert send_v2(settings, {"labels": labels(), "startsAt": "2026-01-05T12:00:00Z"}).repeats == 1
