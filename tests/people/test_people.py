"""Tokens are shown once, kept as digests, and say who one is."""

from __future__ import annotations

import stat

import pytest

from opslib import people, store
from opslib.errors import NotAllowed, NotFound, UsageError
from opslib.settings import Settings


def test_a_token_opens_until_it_is_removed(connection: store.Connection) -> None:
    token = people.add(connection, "ana", "L2", "crypto")
    assert people.authenticate(connection, token) == people.Person("ana", "L2", "crypto")
    people.remove(connection, "ana")
    with pytest.raises(NotAllowed, match="nobody's"):
        people.authenticate(connection, token)


def test_no_token_is_stored(connection: store.Connection) -> None:
    token = people.add(connection, "ana", "L1")
    row = connection.execute("SELECT people::text AS all FROM people").fetchone()
    assert row is not None
    assert token not in row["all"]


@pytest.mark.parametrize("name", ["", "Ana", "a b", "../ana", "a" * 64, "ana\n", "\x00"])
def test_a_bad_name_is_refused(connection: store.Connection, name: str) -> None:
    with pytest.raises(UsageError, match="is no name"):
        people.add(connection, name, "L1")


def test_a_bad_role_is_refused(connection: store.Connection) -> None:
    with pytest.raises(UsageError, match="use one of viewer, L1"):
        people.add(connection, "ana", "root")


def test_a_name_is_added_once(connection: store.Connection) -> None:
    people.add(connection, "ana", "L1")
    with pytest.raises(UsageError, match="ana is there already"):
        people.add(connection, "ana", "L4")


def test_nobody_cannot_be_removed(connection: store.Connection) -> None:
    with pytest.raises(NotFound, match="nobody called bob"):
        people.remove(connection, "bob")


@pytest.mark.parametrize(
    ("role", "scope", "allowed"),
    [
        ("L1", None, True),
        ("L1", "crypto", True),
        ("L1", "derivatives", False),
        ("L1", "environment:sandbox", True),
        ("L1", "environment:production", False),
        ("viewer", None, False),
        ("machine", None, False),
    ],
)
def test_authority_is_a_level_on_a_platform(role: str, scope: str | None, allowed: bool) -> None:
    assert people.Person("x", role, scope).may(1, "crypto", "sandbox") is allowed


def test_the_sandbox_people_are_made_once_and_are_nobody_in_production(settings: Settings) -> None:
    people.ensure_sandbox_people(settings)
    file = people.tokens(settings) / "demo-l1"
    token = file.read_text()
    people.ensure_sandbox_people(settings)
    assert file.read_text() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    person = people.current(settings, "demo-l1")
    assert person.may(1, "crypto", "sandbox")
    assert not person.may(1, "crypto", "production")


def test_as_must_agree_with_the_token(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.transaction(settings) as connection:
        token = people.add(connection, "ana", "L1")
    monkeypatch.setenv("RUNBOOK_TOKEN", token)
    with pytest.raises(NotAllowed, match="ana's, not demo-l4's"):
        people.current(Settings(), "demo-l4")


def test_without_a_token_one_is_nobody(settings: Settings) -> None:
    with pytest.raises(NotAllowed, match="set RUNBOOK_TOKEN"):
        people.current(settings)


def test_the_intake_token_is_shown_once(settings: Settings) -> None:
    token = people.ensure_intake_token(settings)
    assert token is not None
    assert people.ensure_intake_token(settings) is None
    with store.transaction(settings) as connection:
        assert people.authenticate(connection, token).role == "machine"


def test_a_given_intake_token_is_taken(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_INTAKE_TOKEN", "given-by-hand")
    assert people.ensure_intake_token(Settings()) is None
    with store.transaction(settings) as connection:
        assert people.authenticate(connection, "given-by-hand").name == "intake"
