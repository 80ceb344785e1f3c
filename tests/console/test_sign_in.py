"""Signing in and out: tokens, cookies, the brake, and people who are no longer there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from opslib import people, store
from opslib.console.sessions import Sessions, SignInBrake, TooManyAttempts
from opslib.people import Person
from opslib.settings import Settings


def test_nobody_sees_anything_without_signing_in(desk: Any, scene: Any) -> None:
    visitor = desk.visitor()
    incident = f"/incidents/{scene.incident}"
    for path in ("/", incident, f"{incident}/stream", f"{incident}/runs/1/notebook.html", f"{incident}/evidence/E001"):
        answer = visitor.get(path)
        assert answer.url.path == "/sign-in"
        assert scene.incident not in answer.text


def test_session_cookie_is_out_of_reach(desk: Any) -> None:
    visitor = desk.visitor()
    page = visitor.get("/sign-in")
    data = {"token": desk.tokens["vera"], "form_key": desk.form_key(page)}
    answer = visitor.post("/sign-in", data=data, follow_redirects=False)
    cookie = next(value for name, value in answer.headers.multi_items() if value.startswith("runbook_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert desk.tokens["vera"] not in cookie
    assert desk.tokens["vera"] not in visitor.get("/").text


def test_wrong_and_machine_tokens_are_refused(desk: Any) -> None:
    wrong = desk.sign_in(desk.visitor(), "rb_wrong")
    assert wrong.status_code == 403
    assert "nobody's" in desk.visible(wrong)
    machine = desk.sign_in(desk.visitor(), desk.tokens["robot"])
    assert machine.status_code == 403
    assert "machine's token" in desk.visible(machine)


def test_sign_in_form_of_another_browser_is_refused(desk: Any) -> None:
    key = desk.form_key(desk.visitor().get("/sign-in"))
    visitor = desk.visitor()
    visitor.get("/sign-in")
    answer = visitor.post("/sign-in", data={"token": desk.tokens["vera"], "form_key": key})
    assert answer.status_code == 403
    assert "did not come from a page of this console" in desk.visible(answer)


def test_guessing_is_braked(desk: Any) -> None:
    visitor = desk.visitor()
    for _ in range(10):
        assert desk.sign_in(visitor, "rb_guess").status_code == 403
    answer = desk.sign_in(visitor, desk.tokens["vera"])
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"


def test_signing_out_ends_the_session(desk: Any) -> None:
    visitor = desk.signed_in("vera")
    cookie = dict(visitor.cookies)
    visitor.post("/sign-out", data={"form_key": desk.form_key(visitor.get("/"))})
    visitor.cookies.update(cookie)
    assert visitor.get("/").url.path == "/sign-in"


def test_removed_person_is_signed_out_and_a_new_role_counts_at_once(desk: Any, scene: Any) -> None:
    visitor = desk.signed_in("vera")
    assert "may look" in desk.visible(visitor.get(f"/incidents/{scene.incident}"))
    with store.transaction(desk.settings) as connection:
        people.add(connection, "vera", "L1", replace=True)
    assert "may look" not in desk.visible(visitor.get(f"/incidents/{scene.incident}"))
    with store.transaction(desk.settings) as connection:
        people.remove(connection, "vera")
    assert visitor.get("/").url.path == "/sign-in"


def test_database_away_is_said(serve: Callable[[Settings], Any], tmp_path: Path) -> None:
    desk = serve(Settings(home=tmp_path, database_url=SecretStr("postgresql://somebody:secret@127.0.0.1:9/nothing")))
    answer = desk.sign_in(desk.visitor(), "rb_any")
    assert answer.status_code == 503
    assert "127.0.0.1:9/nothing cannot be reached" in desk.visible(answer)
    assert "secret" not in answer.text


def test_sessions_end() -> None:
    sessions = Sessions()
    cookie, session = sessions.open(Person("vera", "viewer"))
    assert sessions.find(cookie) is session
    session.expires = 0
    assert sessions.find(cookie) is None
    assert sessions.find(None) is None


def test_brake_lets_others_through() -> None:
    brake = SignInBrake(most=2)
    brake.wrong("a")
    brake.wrong("a")
    brake.check("b")
    with pytest.raises(TooManyAttempts, match="wait a minute"):
        brake.check("a")
