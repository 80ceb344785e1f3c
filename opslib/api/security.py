"""Who calls: bearer tokens and roles."""

from __future__ import annotations

from fastapi import Request
from fastapi.security import HTTPBearer

from opslib import people, platforms, store
from opslib.errors import NotAllowed
from opslib.people import Person
from opslib.settings import Settings

bearer = HTTPBearer(auto_error=False, description="The token that `runbook people add` printed.")


class Unauthorized(NotAllowed):
    """Send a token that is known: `Authorization: Bearer ...`."""


def token_of(request: Request) -> str:
    """The bearer token of a request.

    Raises
    ------
    Unauthorized
        When it carries none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized
    return token.strip()


def authenticate(connection: store.Connection, token: str) -> Person:
    """Whose token it is; the store holds digests only, so nothing is compared character by character.

    Raises
    ------
    Unauthorized
        When it is nobody's.
    """
    try:
        return people.authenticate(connection, token)
    except NotAllowed as error:
        raise Unauthorized("this token is nobody's") from error


def machine(connection: store.Connection, token: str) -> Person:
    """The machine that delivers alerts.

    Raises
    ------
    Unauthorized, NotAllowed
        When the token is nobody's, or a person's.
    """
    person = authenticate(connection, token)
    if person.role != "machine":
        raise NotAllowed(f"{person.name} ({person.role}) may not deliver alerts; use the token of a machine")
    return person


def reader(settings: Settings, request: Request) -> Person:
    """A person who may look: viewer, or L1 to L4.

    Raises
    ------
    Unauthorized, NotAllowed
        When the token is nobody's, or a machine's.
    """
    token = token_of(request)
    with store.transaction(settings) as connection:
        person = authenticate(connection, token)
    if person.role == "machine":
        raise NotAllowed(f"{person.name} is a machine and may only deliver alerts")
    return person


def writer(settings: Settings, connection: store.Connection, request: Request, platform: str) -> Person:
    """A person who may change incidents of a platform: L1 or above there.

    Raises
    ------
    Unauthorized, NotAllowed
        When the token is nobody's, or the role does not reach.
    """
    person = authenticate(connection, token_of(request))
    environment = platforms.load(settings, platform).environment
    if not person.may(1, platform, environment):
        raise NotAllowed(f"{person.name} ({person.role}) may not do that on {platform}; ask someone of L1 or above")
    return person
