"""Requests that nobody means: each is answered in the API's one form, with what to do, and none is a fault of ours."""

from __future__ import annotations

import pytest

from tests.api.conftest import Server
from tests.intake.bodies import alert, webhook

NOTES = "/api/v1/incidents/{incident}/notes"
BODIES = {
    "half-of-a-pair": (b'{"text": "\\ud800"}', 422, "text: "),
    "key-that-is-half-of-a-pair": (b'{"\\ud800": "\\ud800"}', 422, "body: Input should be a valid string"),
    "not-a-number": (b'{"text": NaN}', 422, "text: "),
    "infinite": (b'{"text": "x", "more": 1e999}', 422, "more: Extra inputs"),
    "endless-number": (b'{"text": ' + b"9" * 5000 + b"}", 400, "send it as UTF-8 JSON"),
    "deep": (b"[" * 100_000, 400, "send it as UTF-8 JSON"),
    "no-json": (b"{", 422, "JSON decode error"),
    "no-utf-8": (b"\xff", 400, "send it as UTF-8 JSON"),
    "a-list": (b"[]", 422, "body: "),
    "too-long": (b'{"text": "' + b"x" * 20_001 + b'"}', 422, "at most 20000 characters"),
}
ADDRESSES = {
    "nul": ("GET", "/api/v1/incidents/%00", 422, "cannot be stored (NUL"),
    "nul-followed": ("GET", "/api/v1/incidents/%00/events", 422, "cannot be stored (NUL"),
    "nul-cancelled": ("POST", "/api/v1/incidents/%00/cancel", 422, "cannot be stored (NUL"),
    "nul-plan": ("POST", "/api/v1/plans/%00/approve", 422, "does not name a plan"),
    "no-utf-8": ("GET", "/api/v1/incidents/%ff%fe", 404, "`runbook incidents` lists those there are"),
    "nowhere": ("GET", "/api/v1/nowhere", 404, "/openapi.json lists what the API has"),
    "other-method": ("TRACE", "/api/v1/alerts", 405, "does not take that method"),
    "state": ("GET", "/api/v1/incidents?state=%00", 422, "state: Input should be 'open'"),
}


@pytest.fixture
def incident(serving: Server) -> str:
    """An incident that is there."""
    answer = serving.post("/api/v1/alerts", "intake", content=webhook(alert()))
    return str(answer.json()["incidents"][0])


@pytest.mark.parametrize("kind", BODIES)
def test_body_that_nobody_means_is_refused_with_the_reason(serving: Server, incident: str, kind: str) -> None:
    content, status, told = BODIES[kind]
    headers = {"Content-Type": "application/json"}
    answer = serving.post(NOTES.format(incident=incident), "first", content=content, headers=headers)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert told in answer.json()["error"]["message"]
    assert len(answer.text) < 1000  # nothing of what was sent
    timeline = serving.get(f"/api/v1/incidents/{incident}", "first").json()["timeline"]
    assert "note" not in [entry["kind"] for entry in timeline]


@pytest.mark.parametrize("kind", ADDRESSES)
def test_address_that_nobody_means_is_refused_with_the_reason(serving: Server, kind: str) -> None:
    method, path, status, told = ADDRESSES[kind]
    with serving.client("first") as client:
        answer = client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert told in answer.json()["error"]["message"]


def test_fault_of_ours_tells_the_caller_nothing_of_the_code(serving: Server) -> None:
    def fault() -> None:
        raise ValueError("secret")

    serving.app.add_api_route("/fault", fault)
    answer = serving.get("/fault")
    assert answer.status_code == 500
    assert answer.json()["error"]["message"].startswith("the server failed, its log says why")
    assert "secret" not in answer.text
    assert serving.get("/healthz").status_code == 200
