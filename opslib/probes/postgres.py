"""What PostgreSQL says of itself: the server, its settings, replication and space; named queries and free SQL."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

import psycopg
from psycopg import sql

from opslib.probes.postgres_reading import block, checked, columns, frame, free, partly, reading, rows
from opslib.probes.registry import Frame, Target, probe
from opslib.sql import queries

_NOT_TO_BE_NAMED = ("begin", "statements")


@probe("postgres.server")
def server(target: Target) -> dict[str, Any]:
    """The server: `answers`, `took_ms` [ms] with connecting, `version`, `standby`, `started_at`, `role`, `sees_all`."""
    start = time.perf_counter()
    with reading(target) as connection:
        found = rows(connection, "server")[0]
    return {"answers": True, "took_ms": round((time.perf_counter() - start) * 1000, 3), **found}


@probe("postgres.database")
def database(target: Target) -> dict[str, Any]:
    """Counters of this database since their reset: commits, rollbacks, cache hits [%], deadlocks, temporary files."""
    with reading(target) as connection:
        return rows(connection, "database")[0]


@probe("postgres.settings")
def settings(target: Target, names: Sequence[str] | None = None) -> Frame:
    """Settings: those named, else all that were changed; `pending_restart` says that a change waits for a restart.

    Index `name`; columns `setting`, `unit`, `context`, `source`, `default_value`, `pending_restart`.
    """
    with reading(target) as connection:
        wanted = None if names is None else [str(name) for name in names]
        found = rows(connection, "settings", names=wanted, limit=1000)
    missing = sorted(set(wanted or ()) - {row["name"] for row in found})
    kinds = {
        "name": "text",
        "setting": "text",
        "unit": "text",
        "context": "text",
        "source": "text",
        "default_value": "text",
        "pending_restart": "flag",
    }
    return frame(found, kinds, "name", f"not there, or not to be seen: {', '.join(missing)}" if missing else None)


@probe("postgres.replication")
def replication(target: Target) -> Frame:
    """Replicas, slots and the receiver of a standby, and how far each is behind.

    Columns: `kind` (replica, slot, receiver), `name`, `client`, `state`, `synchronous`, `active`, `behind_bytes`,
    `behind_s` [s].
    """
    with reading(target) as connection:
        found, note = rows(connection, "replication", limit=1000), partly(connection)
    kinds = {
        "kind": "text",
        "name": "text",
        "client": "text",
        "state": "text",
        "synchronous": "text",
        "active": "flag",
        "behind_bytes": "whole",
        "behind_s": "number",
    }
    return frame(found, kinds, note=note)


@probe("postgres.disk")
def disk(target: Target) -> dict[str, Any]:
    """What takes space [bytes]: `databases` by name, `wal_bytes`, what slots keep, failing archiving; `unseen`.

    SQL does not tell how full the disk is; `df` in the pod does.
    """
    with reading(target) as connection:
        databases = {row["database"]: row["bytes"] for row in rows(connection, "databases", limit=200)}
        found: dict[str, Any] = {"databases": databases, **rows(connection, "space")[0]}
        unseen = ["how full the disk is: SQL does not tell"]
        try:
            with connection.transaction():
                wal = rows(connection, "wal")[0]
            found |= {"wal_bytes": wal["bytes"], "wal_files": wal["files"]}
        except psycopg.errors.InsufficientPrivilege:
            found |= {"wal_bytes": None, "wal_files": None}
            unseen.append("the size of the WAL: the role is no member of pg_monitor")
    return {**found, "unseen": unseen}


@probe("postgres.named")
def named(target: Target, query: str, parameters: Mapping[str, Any] | None = None, limit: int = 1000) -> Frame:
    """A named query of `opslib/sql/probes_postgres.sql` with its parameters; `limit` is one of them."""
    if query in _NOT_TO_BE_NAMED or query not in vars(queries("probes_postgres")):
        there = sorted(set(vars(queries("probes_postgres"))) - set(_NOT_TO_BE_NAMED))
        raise target.error(f"there is no named query {query!r}; there are {', '.join(there)}")
    values = {"limit": checked(target, limit), **(parameters or {})}
    with reading(target) as connection:
        try:
            answer = connection.execute(block(query), values)
        except (psycopg.ProgrammingError, KeyError) as error:
            if isinstance(error, psycopg.Error) and error.sqlstate is not None:
                raise
            raise target.error(f"the query {query} needs other parameters: {error}") from error
        return free(target, answer.fetchall(), limit, columns(answer))


@probe("postgres.sql")
def sql_(
    target: Target, statement: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None, limit: int = 1000
) -> Frame:
    """One statement that reads, its parameters bound (`%(name)s` or `%s`), its first `limit` rows.

    The server refuses every change; a role that may do harm all the same (a superuser, or one that may signal
    sessions or write files) is refused here.
    """
    checked(target, limit)
    with reading(target) as connection:
        _harmless(target, connection)
        return _streamed(target, connection, sql.SQL(statement), parameters, limit)


@probe("postgres.explain")
def explain(target: Target, statement: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> Any:
    """The plan of a statement, which is not run: a list with one document, as `EXPLAIN (FORMAT JSON)` tells it."""
    with reading(target) as connection:
        _harmless(target, connection)
        found = _first_row(target, connection, statement, parameters)
    return found["QUERY PLAN"]


def _first_row(
    target: Target, connection: Any, statement: str, parameters: Mapping[str, Any] | Sequence[Any] | None
) -> dict[str, Any]:
    asked = sql.SQL("EXPLAIN (FORMAT JSON) {}").format(sql.SQL(statement))
    with _bindable(target), connection.cursor() as cursor, closing(cursor.stream(asked, parameters)) as answer:
        for row in answer:
            return dict(row)
    raise target.error("the statement has no plan")


def _harmless(target: Target, connection: Any) -> None:
    """Refuse a role whose statements could do harm in a read-only transaction."""
    identity = rows(connection, "identity")[0]
    if identity["superuser"] or identity["may_harm"]:
        raise target.error(
            f"the role {identity['role']} may do more than read, so no free SQL is run as it; "
            "give the recorder a role with SELECT and pg_monitor alone"
        )


def _streamed(
    target: Target,
    connection: Any,
    statement: sql.SQL,
    parameters: Mapping[str, Any] | Sequence[Any] | None,
    limit: int,
) -> Frame:
    """The rows of one statement, read one by one so that a huge answer is never held as a whole."""
    with _bindable(target), connection.cursor() as cursor, closing(cursor.stream(statement, parameters)) as answer:
        found = free(target, answer, limit)
    if found.table.num_rows > 0:
        return found
    kinds: dict[str, str] = {}
    with suppress(psycopg.Error), connection.transaction():  # not every statement that gives rows is a query
        asked = sql.SQL("SELECT * FROM ({}) AS asked LIMIT 0").format(statement)
        kinds = columns(connection.execute(asked, parameters, binary=True))  # so that it is one command
    return free(target, (), limit, kinds)


class _bindable:  # noqa: N801 - reads as a word in a `with`
    """Parameters that do not fit become a `ProbeError`."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if (
            isinstance(error, psycopg.Error)
            and error.sqlstate is None
            and not isinstance(error, psycopg.OperationalError)
        ):
            nothing = "produce a result" in str(error)
            why = "it gives no rows" if nothing else f"it and its parameters do not fit: {error}"
            raise self._target.error(f"the statement cannot be read: {why}") from error
