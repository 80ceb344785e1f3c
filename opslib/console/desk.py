"""What every route of the console shares: the settings, who is signed in, and the store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import Request, Response

from opslib import store
from opslib.console.sessions import LIFETIME_S, Session, Sessions, SignInBrake
from opslib.console.web import ForgedForm, SignInNeeded, check_origin
from opslib.people import Person
from opslib.settings import Settings
from opslib.sql import queries

SESSION_COOKIE = "runbook_session"
SIGN_IN_COOKIE = "runbook_sign_in"


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is signed in; `connection` may only read."""

    session: Session
    connection: store.Connection

    @property
    def person(self) -> Person:
        """Who it is, as they are now."""
        return self.session.person


@dataclass
class Desk:
    """The console of one server."""

    settings: Settings
    sessions: Sessions = field(default_factory=Sessions)
    brake: SignInBrake = field(default_factory=SignInBrake)

    @contextmanager
    def visit(self, request: Request) -> Iterator[Visit]:
        """Somebody who is signed in, and a connection that reads.

        Raises
        ------
        SignInNeeded
            When nobody is, or the person's token was taken away.
        StoreError
            When the database cannot be reached.
        """
        cookie = request.cookies.get(SESSION_COOKIE)
        session = self.sessions.find(cookie)
        if session is None:
            raise SignInNeeded
        connection = store.connect(self.settings)
        try:
            connection.read_only = True
            with connection:
                self._look_up(session, cookie, connection)
                yield Visit(session, connection)
        finally:
            connection.close()

    def form(self, request: Request, form_key: str) -> Session:
        """Whoever sent a form, after it was found to be ours.

        Raises
        ------
        SignInNeeded
            When nobody is signed in.
        ForgedForm
            When the form does not come from a page of this session.
        """
        check_origin(request)
        with self.visit(request) as visit:
            session = visit.session
        if not secrets.compare_digest(session.form_key.encode(), form_key.encode("utf-8", "replace")):
            raise ForgedForm
        return session

    def _look_up(self, session: Session, cookie: str | None, connection: store.Connection) -> None:
        """The person as they are now: a role may have changed, a token may be gone."""
        row = connection.execute(queries("console").person, {"name": session.person.name}).fetchone()
        if row is None:
            self.sessions.close(cookie)
            raise SignInNeeded
        session.person = Person(row["name"], row["role"], row["platform"])


def keep(response: Response, request: Request, name: str, value: str) -> None:
    """Set a cookie that no script reads and no other site sends."""
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=int(LIFETIME_S), httponly=True, samesite="strict", secure=secure, path="/")
