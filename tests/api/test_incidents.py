"""Incidents over HTTP: read, followed, changed by those who may."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import Server
from tests.intake.bodies import alert, labels, one, webhook


@pytest.fixture
def incident(serving: Server) -> str:
    """An incident that an alert opened."""
    answer = serving.post("/api/v1/alerts", "intake", content=webhook(alert()))
    name: str = answer.json()["incidents"][0]
    return name


def test_list_and_show(serving: Server, incident: str) -> None:
    (row,) = serving.get("/api/v1/incidents", "looker").json()["incidents"]
    assert (row["id"], row["state"], row["severity"], row["platform"], row["runbook"]) == (
        incident, "open", "critical", "crypto", "var-breach")  # fmt: skip
    assert row["alerts"][0]["labels"] == labels()
    assert set(row["alerts"][0]) >= {"fingerprint", "starts_at", "labels"}
    assert serving.get("/api/v1/incidents?state=resolved", "looker").json() == {"incidents": []}
    assert serving.get("/api/v1/incidents?state=moon", "looker").status_code == 422
    whole = serving.get(f"/api/v1/incidents/{incident}", "looker").json()
    assert [run["state"] for run in whole["runs"]] == ["waiting"]
    assert [entry["kind"] for entry in whole["timeline"]] == ["incident-opened", "alert-accepted", "run-queued"]
    assert serving.get("/api/v1/incidents/INC-2026-999999", "looker").status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/incidents", "/api/v1/incidents/INC-2026-000001", "/api/v1/ledger"])
def test_reading_needs_a_persons_token(serving: Server, path: str) -> None:
    assert serving.get(path).status_code == 401
    assert serving.get(path, "intake").status_code == 403


@pytest.mark.parametrize("step", ["ack", "notes", "resolve", "cancel"])
@pytest.mark.parametrize(("name", "status"), [(None, 401), ("intake", 403), ("looker", 403), ("elsewhere", 403)])
def test_steps_need_authority_on_the_platform(
    serving: Server, incident: str, step: str, name: str | None, status: int
) -> None:
    answer = serving.post(f"/api/v1/incidents/{incident}/{step}", name, json={"text": "x"})
    assert answer.status_code == status
    assert one(serving.settings, "SELECT journal_seq FROM incidents") == 3


def test_acknowledge_note_cancel_resolve(serving: Server, incident: str) -> None:
    path = f"/api/v1/incidents/{incident}"
    assert serving.post(f"{path}/ack", "first").json()["state"] == "acknowledged"
    assert serving.post(f"{path}/notes", "first", json={"text": " "}).status_code == 422
    hostile = "<b>\x00{{ x }}"
    assert serving.post(f"{path}/notes", "first", json={"text": hostile}).status_code == 200
    assert (
        serving.post(f"{path}/cancel", "first", json={"text": "not needed"}).json()["runs"][0]["state"] == "cancelled"
    )
    assert serving.post(f"{path}/resolve", "second", json={"text": "done"}).json()["state"] == "resolved"
    assert serving.post(f"{path}/ack", "first").status_code == 409
    timeline = serving.get(path, "looker").json()["timeline"]
    told = {entry["kind"]: entry for entry in timeline}
    assert told["note"]["body"] == {"person": "first", "text": "<b>\ufffd{{ x }}"}
    assert told["resolved"]["body"] == {"person": "second", "text": "done", "still_firing": 1}
    assert serving.post("/api/v1/incidents/INC-2026-999999/ack", "first").status_code == 404


def test_events_follow_the_journal_and_resume(serving: Server, incident: str) -> None:
    path = f"/api/v1/incidents/{incident}/events"
    with serving.client("looker") as client:
        with client.stream("GET", path) as stream:
            lines = stream.iter_lines()
            first = [next(line for line in lines if line.startswith("id: ")) for _ in range(3)]
            assert first == ["id: 1", "id: 2", "id: 3"]
            serving.post(f"/api/v1/incidents/{incident}/ack", "first")
            assert next(line for line in lines if line.startswith("id: ")) == "id: 4"
            assert next(lines) == "event: acknowledged"
            assert json.loads(next(lines).removeprefix("data: "))["seq"] == 4
        with client.stream("GET", path, headers={"Last-Event-ID": "3"}) as stream:
            assert next(line for line in stream.iter_lines() if line.startswith("id: ")) == "id: 4"
    assert serving.get(path).status_code == 401
    assert serving.get("/api/v1/incidents/INC-2026-999999/events", "looker").status_code == 404


def test_plans_are_decided_with_ones_own_token(serving: Server) -> None:
    for step in ("approve", "reject", "apply", "undo"):
        assert serving.post(f"/api/v1/plans/{'0' * 64}/{step}").status_code == 401
        assert serving.post(f"/api/v1/plans/{'0' * 64}/{step}", "first").status_code in (404, 409)
        broken = {"break_glass": True, "reason": "nobody answers"}
        answer = serving.post(f"/api/v1/plans/{'0' * 64}/{step}", "first", json=broken)
        assert answer.status_code == (404 if step == "approve" else 422), "the other steps know no broken glass"
