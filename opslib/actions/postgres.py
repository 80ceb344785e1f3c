"""What the actions on a platform's PostgreSQL share: connections, names out of the catalogue, the firing check."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import psycopg
from psycopg import sql
from pydantic import Field

from opslib import postgres
from opslib.actions import firing
from opslib.actions.action import Action, Check, Context, Observation
from opslib.actions.documents import Target
from opslib.errors import ActionFailed, PlanError, ProbeError
from opslib.sql import queries

SYSTEM = "postgres"
PREVIEW_S = 30.0  # a preview may count rows that no index finds
CHANGE_S = 1800.0  # an index of a large table takes its time; it locks nobody out
LOCK_S = 30.0  # for a lock that keeps others waiting too
# A table as people write it: with or without its schema, quoted where it must be.
_PART = r'(?:"[^"\x00]+"|[a-z_][a-z0-9_$]*)'
Name = Annotated[str, Field(min_length=1, max_length=130, pattern=rf"^{_PART}(?:\.{_PART})?$")]
Column = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$")]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
Row = dict[str, Any]


def block(name: str, /, **identifiers: sql.Composable) -> sql.Composed:
    """A named block of `opslib/sql/actions_postgres.sql`, its identifiers filled in."""
    text: str = getattr(queries("actions_postgres"), name)
    return sql.SQL(text).format(**identifiers) if identifiers else sql.Composed([sql.SQL(text)])


@contextmanager
def reading(context: Context, statement_s: float = PREVIEW_S) -> Iterator[postgres.Connection]:
    """A read-only transaction, for previews, drift and checks.

    Raises
    ------
    ProbeError
        When the server cannot be asked.
    """
    where = f"postgres of {context.platform}"
    try:
        with postgres.connect(
            context.endpoint(SYSTEM),
            name=f"runbook {context.identity}",
            statement_s=statement_s,
            budget_s=statement_s + 10,
        ) as connection:
            yield connection
    except postgres.Unanswered as error:
        raise ProbeError(f"{where}: {error}", system=SYSTEM) from error
    except psycopg.Error as error:
        raise ProbeError(f"{where}: {said(error)}", system=SYSTEM) from error


@contextmanager
def changing(
    context: Context, mode: Literal["change", "autocommit"], *, statement_s: float = CHANGE_S, lock_s: float = LOCK_S
) -> Iterator[postgres.Connection]:
    """A connection that may change something; the applier's identity alone gets one.

    Raises
    ------
    ActionFailed
        When the change is refused or fails; `sent` tells whether it may have been made.
    """
    if context.identity != "applier":
        raise ActionFailed(f"the {context.identity} may not change {context.platform}", sent=False)
    where, sent = f"postgres of {context.platform}", False
    try:
        with postgres.connect(
            context.endpoint(SYSTEM),
            name="runbook applier",
            statement_s=statement_s,
            budget_s=statement_s + 60,
            lock_s=lock_s,
            mode=mode,
        ) as connection:
            sent = True
            yield connection
    except postgres.Unanswered as error:
        raise ActionFailed(f"{where}: {error}", sent=sent) from error
    except psycopg.Error as error:
        raise ActionFailed(f"{where}: {said(error)}", sent=False) from error


def said(error: psycopg.Error) -> str:
    """What the server said, in one line."""
    return " ".join((error.diag.message_primary or str(error) or type(error).__name__).split())[:500]


def one(connection: postgres.Connection, query: str, /, **values: Any) -> Row | None:
    """The first row of a named block."""
    return connection.execute(block(query), values).fetchone()


def every(connection: postgres.Connection, query: str, /, **values: Any) -> list[Row]:
    """The rows of a named block."""
    return connection.execute(block(query), values).fetchall()


def server(connection: postgres.Connection) -> Row:
    """Which database this is.

    Raises
    ------
    PlanError
        On a standby, which nothing changes.
    """
    found = one(connection, "server") or {}
    if found.get("standby"):
        raise PlanError("this server is a standby; changes are made on its primary")
    return found


def relation(connection: postgres.Connection, name: str, *kinds: str) -> Row:
    """A table (`r`, `m`, `p`) or index (`i`) out of the catalogue.

    Raises
    ------
    PlanError
        When there is none of that name and kind.
    """
    found = one(connection, "relation", name=name)
    if found is None:
        raise PlanError(f"there is no table or index {name} in this database")
    if found["kind"] not in kinds:
        what = {"r": "a table", "i": "an index", "p": "a partitioned table", "v": "a view", "m": "a materialised view"}
        wanted = " or ".join(what.get(kind, kind) for kind in kinds)
        raise PlanError(f"{name} is {what.get(found['kind'], 'something else')}, not {wanted}")
    return found


def named(row: Mapping[str, Any]) -> str:
    """`schema.name` as people read it."""
    return f"{row['schema']}.{row['name']}"


def quoted(row: Mapping[str, Any]) -> sql.Identifier:
    """`"schema"."name"` as SQL takes it."""
    return sql.Identifier(row["schema"], row["name"])


def target(connection: postgres.Connection, kind: str, found: Row, **more: Any) -> Target:
    """A table, or an index with its table, as what a plan changes: another one of the same name is another target."""
    where, table = server(connection), one(connection, "table_of", oid=found["oid"])
    return Target(
        kind=kind,
        name=f"{where['database']}.{named(found)}",
        uid=f"{where['uid']}/{found['oid']}",
        also=(f"postgres-table/{where['database']}.{named(table)}",) if table else (),
        **more,
    )


class Postgres(Action, ABC):
    """An action on the platform's PostgreSQL."""

    effect_within_s = 60.0

    def check(self, context: Context) -> Check | None:
        """The alert's own rule, evaluated again."""
        return firing.check(context)

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the server shows the change yet; its own statistics may take a second."""
        return None if self.done(context, before) else f"the server does not show it yet ({self.name})"
