"""Who may do what: people, their roles, and tokens that are shown once and kept as digests."""

from __future__ import annotations

import getpass
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib import store
from opslib.canonical import digest
from opslib.errors import NotAllowed, NotFound, UsageError
from opslib.settings import Settings
from opslib.sql import queries

ROLES = ("viewer", "L1", "L2", "L3", "L4", "machine")
LEVEL = {"viewer": 0, "machine": 0, "L1": 1, "L2": 2, "L3": 3, "L4": 4}
INTAKE = "intake"
# Who else acts on the record: no person may be taken for one of them.
RESERVED = ("alert", "applier", "jupyter", "operator", "policy", "recorder", "server", "signer", "spool", "worker")
UNPROVEN = " (no token)"  # after the name of a machine's user, which proves nobody's identity; no person's name has it
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")


@dataclass(frozen=True)
class Person:
    """Someone with a token.

    Attributes
    ----------
    name, role : str
    platform : str or None
        The one platform that the role is for; `environment:sandbox`: every platform of that environment; None: all.
    """

    name: str
    role: str
    platform: str | None = None

    @property
    def level(self) -> int:
        """0 for viewers and machines, 1 to 4 for L1 to L4."""
        return LEVEL[self.role]

    def may(self, level: int, platform: str, environment: str) -> bool:
        """Whether the authority reaches `level` on a platform of that environment."""
        return self.level >= level and self.platform in (None, platform, f"environment:{environment}")


def _digest(token: str) -> str:
    return digest(token.encode("utf-8", "replace"))


def add(
    connection: store.Connection,
    name: str,
    role: str,
    platform: str | None = None,
    *,
    token: str | None = None,
    replace: bool = False,
) -> str:
    """Add a person and return the token, which is kept nowhere.

    Parameters
    ----------
    connection : Connection
    name : str
        Small letters, digits and `. _ @ -`.
    role : {"viewer", "L1", "L2", "L3", "L4", "machine"}
    platform : str, optional
        The one platform that the role is for.
    token : str, optional
        A token to use instead of a new one.
    replace : bool
        Give a new role and token to a person who is there.

    Raises
    ------
    UsageError
        For a bad name or role, or a name that is taken.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name: use small letters, digits and . _ @ -")
    if name in RESERVED or name.startswith("applier-"):
        raise UsageError(f"{name!r} is a name of the service's own; take another")
    if role not in ROLES:
        raise UsageError(f"{role!r} is no role: use one of {', '.join(ROLES)}")
    token = token or f"rb_{secrets.token_urlsafe(32)}"
    facts = {"name": name, "role": role, "platform": platform, "token_sha256": _digest(token), "replace": replace}
    if connection.execute(queries("people").add, facts).fetchone() is None:
        raise UsageError(f"{name} is there already; `runbook people remove {name}` first")
    return token


def list_(connection: store.Connection) -> list[dict[str, Any]]:
    """Everybody who may do something: name, role, platform, created_at."""
    return connection.execute(queries("people").all).fetchall()


def remove(connection: store.Connection, name: str) -> None:
    """Take a person's token away; what they decided stays on the record.

    Raises
    ------
    NotFound
        When there is nobody of that name.
    """
    if connection.execute(queries("people").remove, {"name": name}).fetchone() is None:
        raise NotFound(f"there is nobody called {name}; `runbook people list` shows who is there")


def authenticate(connection: store.Connection, token: str) -> Person:
    """Whose token this is.

    Raises
    ------
    NotAllowed
        When it is nobody's.
    """
    row = connection.execute(queries("people").by_token, {"token_sha256": _digest(token)}).fetchone()
    if row is None:
        raise NotAllowed("this token is nobody's; `runbook people add NAME --role ROLE` makes one")
    return Person(row["name"], row["role"], row["platform"])


def tokens(settings: Settings) -> Path:
    """The folder of the sandbox people's tokens; the owner's alone."""
    return settings.state / "tokens"


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def ensure_sandbox_people(settings: Settings) -> None:
    """Make `demo-l1` to `demo-l4` and leave their tokens in files; on a production platform they can do nothing."""
    with store.transaction(settings) as connection:
        there = {row["name"] for row in list_(connection)}
        for role in ("L1", "L2", "L3", "L4"):
            name = f"demo-{role.lower()}"
            file = tokens(settings) / name
            if name not in there or not file.exists():
                write_secret(file, add(connection, name, role, "environment:sandbox", replace=True))


def ensure_intake_token(settings: Settings) -> str | None:
    """Make sure that the webhook has a token; returns it when it was made now, to be shown once.

    `RUNBOOK_INTAKE_TOKEN` is taken where it is set. Otherwise one is made and left in `HOME/.state/intake-token`.
    """
    file = settings.state / "intake-token"
    with store.transaction(settings) as connection:
        if settings.intake_token is not None:
            token = settings.intake_token.get_secret_value()
            add(connection, INTAKE, "machine", token=token, replace=True)
            write_secret(file, token)
            return None
        known = any(row["name"] == INTAKE for row in list_(connection))
        if known and file.exists():
            return None
        token = add(connection, INTAKE, "machine", replace=True)
        write_secret(file, token)
        return token


def current(settings: Settings, as_: str | None = None) -> Person:
    """Who runs this command.

    `RUNBOOK_TOKEN` says who one is; `as_` must agree with it. Without it, `as_` may name one of the
    sandbox's people, whose token is read from its file.

    Raises
    ------
    NotAllowed
        When nobody can be made out, or `as_` is someone else.
    """
    token = settings.token.get_secret_value() if settings.token else None
    if token is None and as_ is not None and re.fullmatch(r"demo-l[1-4]", as_):
        file = tokens(settings) / as_
        token = file.read_text("utf-8").strip() if file.exists() else None
    if token is None:
        raise NotAllowed("set RUNBOOK_TOKEN to your token (in the sandbox: --as demo-l1)")
    with store.transaction(settings) as connection:
        person = authenticate(connection, token)
    if as_ is not None and as_ != person.name:
        raise NotAllowed(f"RUNBOOK_TOKEN is {person.name}'s, not {as_}'s")
    return person


def operator(settings: Settings) -> str:
    """A name for what is done by hand without authority: the token's owner, else the user of this machine."""
    if settings.token is not None:
        return current(settings).name
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    return (user or "operator") + UNPROVEN


def anybody(initiator: str) -> bool:
    """Whether a run's initiator may have been any of the people: started by hand without a token, or in JupyterLab."""
    return initiator.endswith(UNPROVEN) or initiator == "jupyter"
