"""Whatever letters a request is made of: they are kept as far as they can be, or refused in words."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import Server
from tests.intake.bodies import alert, one, webhook

NUL, HALF, TERMINAL, BACKWARDS = "a\x00b", "half \ud800 a pair", "\x1b[2J\r\n", "\u202egnihton"
WORDS = pytest.mark.parametrize("words", [NUL, HALF, TERMINAL, BACKWARDS], ids=["nul", "half", "terminal", "backwards"])
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def incident(serving: Server) -> str:
    """An incident that an alert opened, with a run that waits."""
    answer = serving.post("/api/v1/alerts", "intake", content=webhook(alert()))
    name: str = answer.json()["incidents"][0]
    return name


@WORDS
def test_remarks_on_an_incident(serving: Server, incident: str, words: str) -> None:
    body = json.dumps({"text": words})
    expected = 422 if words == HALF else 200  # what is no Unicode is not guessed at
    for step in ("ack", "notes", "cancel", "resolve"):
        path = f"/api/v1/incidents/{incident}/{step}"
        answer = serving.post(path, "second", content=body, headers=JSON)
        assert (step, answer.status_code) == (step, expected), answer.text
        assert answer.json()
    if expected == 200:
        kept = words.replace("\x00", "\ufffd")
        assert one(serving.settings, "SELECT error FROM runs") == f"second cancelled it before it began. {kept}"
        told = {entry["kind"]: entry["body"] for entry in serving.get(path[:-8], "looker").json()["timeline"]}
        assert [told[kind]["text"] for kind in ("acknowledged", "note", "resolved")] == [kept] * 3
        assert told["cancel-requested"]["reason"] == kept


def test_a_secret_in_the_reason_of_a_cancel_is_kept_nowhere(serving: Server, incident: str) -> None:
    secret = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
    assert serving.post(f"/api/v1/incidents/{incident}/cancel", "second", json={"text": secret}).status_code == 200
    told = str(one(serving.settings, "SELECT error FROM runs"))
    assert told.startswith("second cancelled it before it began.")
    assert "eyJ" not in told


@WORDS
def test_reasons_of_decisions(serving: Server, words: str) -> None:
    for step in ("approve", "reject", "apply", "undo"):
        body = json.dumps({"reason": words})
        answer = serving.post(f"/api/v1/plans/{'0' * 64}/{step}", "second", content=body, headers=JSON)
        assert answer.status_code == (422 if words == HALF else 404), answer.text
        assert answer.json()


@pytest.mark.parametrize("name", ["INC%00", "%00", "INC-2026-000001%00", "%ED%A0%80", "%E2%80%AE"])
def test_names_in_an_address(serving: Server, incident: str, name: str) -> None:
    answers = [serving.get(f"/api/v1/incidents/{name}{more}", "looker") for more in ("", "/events")]
    steps = ("ack", "notes", "cancel", "resolve")
    answers += [serving.post(f"/api/v1/incidents/{name}/{step}", "second", json={"text": "x"}) for step in steps]
    answers += [serving.post(f"/api/v1/plans/{name}/{step}", "second") for step in ("approve", "reject", "apply")]
    for answer in answers:
        assert answer.status_code in (404, 422), (answer.request.url, answer.text)
        assert answer.json()["error"]["message"]
    assert one(serving.settings, "SELECT state FROM incidents") == "open"
