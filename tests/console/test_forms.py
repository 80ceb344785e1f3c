"""The forms: who may decide, what is forged, and that the record says what was done."""

from __future__ import annotations

from typing import Any

import pytest

from opslib import store
from opslib.actions import approval
from opslib.people import Person
from opslib.record import journal


def state(desk: Any, scene: Any) -> str:
    """The plan's state."""
    with store.connect(desk.settings, role="reader") as connection:
        row = connection.execute("SELECT state FROM plans WHERE hash = %s", [scene.plan]).fetchone()
    assert row is not None
    return str(row["state"])


def kinds(desk: Any, scene: Any) -> list[str]:
    """The kinds of the journal's entries."""
    with store.connect(desk.settings, role="reader") as connection:
        return [entry["kind"] for entry in journal.entries(connection, scene.incident)]


def decide(desk: Any, scene: Any, name: str, decision: str, **fields: str) -> Any:
    """Press a button as that person."""
    visitor = desk.signed_in(name)
    key = desk.form_key(visitor.get(f"/incidents/{scene.incident}"))
    data = {"form_key": key} | fields
    return visitor.post(f"/incidents/{scene.incident}/plans/{scene.plan}/{decision}", data=data)


def test_approving_is_journalled(desk: Any, scene: Any) -> None:
    answer = decide(desk, scene, "lena", "approve")
    assert f"Plan {scene.plan[:12]} is approved" in desk.visible(answer)
    assert state(desk, scene) == "approved"
    assert "Approved by lena (L1)" in desk.visible(answer)
    assert "plan-decided" in kinds(desk, scene)


def test_a_broken_glass_is_shown_on_the_page(desk: Any, scene: Any) -> None:
    person = Person("lena", "L1")
    approval.approve(desk.settings, scene.plan, person, "nobody <answers>", break_glass=True)
    page = desk.signed_in("vera").get(f"/incidents/{scene.incident}")
    assert "The glass was broken" not in desk.visible(page), "nothing had to be passed over"
    with store.transaction(desk.settings) as connection:
        connection.execute("UPDATE decisions SET break_glass = true WHERE plan = %s", [scene.plan])
    page = desk.signed_in("vera").get(f"/incidents/{scene.incident}")
    assert "The glass was broken. Approved by lena (L1)" in desk.visible(page)
    assert "nobody <answers>" in desk.visible(page)


def test_approve_and_apply_asks_the_applier(desk: Any, scene: Any) -> None:
    answer = decide(desk, scene, "lena", "approve-and-apply")
    assert "is being applied" in desk.visible(answer)
    assert "Apply asked for by lena" in desk.visible(answer)


def test_rejecting_keeps_the_reason(desk: Any, scene: Any) -> None:
    answer = decide(desk, scene, "lena", "reject", reason="the desk is <flat>")
    assert state(desk, scene) == "rejected"
    assert "the desk is <flat>" in desk.visible(answer)


@pytest.mark.parametrize(("name", "why"), [("vera", "is a viewer"), ("away", "is L1 on equities")])
@pytest.mark.parametrize("decision", ["approve", "approve-and-apply", "reject", "apply", "undo"])
def test_wrong_role_cannot_decide(desk: Any, scene: Any, name: str, why: str, decision: str) -> None:
    answer = decide(desk, scene, name, decision, reason="because")
    assert "Refused:" in desk.visible(answer)
    assert state(desk, scene) == "proposed"


@pytest.mark.parametrize(("name", "why"), [("vera", "vera is a viewer"), ("away", "away is L1 on equities")])
def test_page_says_who_may_decide(desk: Any, scene: Any, name: str, why: str) -> None:
    page = desk.signed_in(name).get(f"/incidents/{scene.incident}")
    text = desk.visible(page)
    assert f"You may not approve this: {why}" in text
    assert "Who could: lena (L1), luis (L2)" in text
    assert "Approve" not in [button.get_text(strip=True) for button in desk.parsed(page).find_all("button")]


def test_forged_forms_change_nothing(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("lena")
    path = f"/incidents/{scene.incident}/plans/{scene.plan}/approve"
    key = desk.form_key(visitor.get("/"))
    other = desk.form_key(desk.signed_in("lena").get("/"))
    forged: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"form_key": "wrong"}, {}),
        ({"form_key": other}, {}),
        ({"form_key": key}, {"Origin": "https://elsewhere.example"}),
        ({"form_key": key}, {"Origin": "null"}),
        ({"form_key": key}, {"Origin": "http://[::1"}),
        ({"form_key": key}, {"Sec-Fetch-Site": "cross-site"}),
        ({"form_key": key}, {"Sec-Fetch-Site": "same-site"}),
    ]
    for data, headers in forged:
        answer = visitor.post(path, data=data, headers=headers)
        assert answer.status_code == 403
        assert "did not come from a page of this console" in desk.visible(answer)
    assert visitor.post(path, data={}).status_code == 422
    assert desk.visitor().post(path, data={"form_key": key}).status_code == 401
    assert state(desk, scene) == "proposed"
    assert visitor.get(path).status_code in (404, 405)


def test_plan_of_another_incident_is_not_found(desk: Any, scenes: Any, scene: Any) -> None:
    other = scenes.make(labels={"alertname": "VarBreach"}, target="ETH-USD")
    visitor = desk.signed_in("lena")
    key = desk.form_key(visitor.get("/"))
    answer = visitor.post(f"/incidents/{other.incident}/plans/{scene.plan}/approve", data={"form_key": key})
    assert answer.status_code == 404
    assert state(desk, scene) == "proposed"


def test_acknowledge_note_and_resolve(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("lena")
    key = desk.form_key(visitor.get("/"))
    path = f"/incidents/{scene.incident}"
    assert "it is yours" in desk.visible(visitor.post(f"{path}/acknowledge", data={"form_key": key}))
    assert "Note: looked at it" in desk.visible(
        visitor.post(f"{path}/note", data={"form_key": key, "text": "looked at it"})
    )
    assert "the note is empty" in desk.visible(visitor.post(f"{path}/note", data={"form_key": key, "text": " "}))
    assert "is resolved" in desk.visible(visitor.post(f"{path}/resolve", data={"form_key": key, "text": "reduced"}))
    assert {"acknowledged", "note", "resolved"} <= set(kinds(desk, scene))
    assert "Refused:" in desk.visible(visitor.post(f"{path}/acknowledge", data={"form_key": key}))
    viewer = desk.signed_in("vera")
    denied = viewer.post(f"{path}/note", data={"form_key": desk.form_key(viewer.get("/")), "text": "mine"})
    assert "vera (viewer) may look" in desk.visible(denied)


def test_huge_forms_are_refused_before_they_are_read(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("lena")
    answer = visitor.post(f"/incidents/{scene.incident}/note", data={"form_key": "x", "text": "x" * 100_000})
    assert answer.status_code == 413


@pytest.mark.parametrize("words", ["a\x00b", "\x1b[2J\r\n", "\u202egnihton"], ids=["nul", "terminal", "backwards"])
def test_any_words_are_taken(desk: Any, scene: Any, words: str) -> None:
    visitor = desk.signed_in("lena")
    key = desk.form_key(visitor.get(f"/incidents/{scene.incident}"))
    path = f"/incidents/{scene.incident}"
    for step, more in (("note", {"text": words}), (f"plans/{scene.plan}/approve", {"reason": words})):
        answer = visitor.post(f"{path}/{step}", data={"form_key": key} | more)
        assert (step, answer.status_code) == (step, 200)
    assert state(desk, scene) == "approved"
    assert {"note", "plan-decided"} <= set(kinds(desk, scene))


def test_no_letter_of_an_address_is_an_error_of_the_server(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("lena")
    key = desk.form_key(visitor.get(f"/incidents/{scene.incident}"))
    for name in ("%00", "INC%00", "%ED%A0%80", "%FF"):
        for path in (f"/incidents/{name}", f"/incidents/{scene.incident}/files/{name}", f"/static/{name}"):
            assert visitor.get(path).status_code in (404, 422), path
        answer = visitor.post(f"/incidents/{name}/note", data={"form_key": key, "text": "x"})
        assert answer.status_code in (404, 422), name
