"""How the PostgreSQL probes read: one read-only transaction a call, and answers as tables within a size."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from opslib import postgres
from opslib.errors import ProbeError
from opslib.probes.registry import LARGEST, READ_S, ROWS, Frame, Target
from opslib.sql import queries

if TYPE_CHECKING:
    import pyarrow as pa

BUDGET_S = 10.0
OWN_ONLY = (
    "other sessions' states and statements are not shown: the role {role} is no member of pg_read_all_stats "
    "(GRANT pg_monitor TO {role})"
)

# By the number that PostgreSQL gives a type; of any other there is text.
_KINDS = {16: "flag", 20: "whole", 21: "whole", 23: "whole"} | dict.fromkeys((700, 701, 1186, 1700), "number")
_KINDS |= dict.fromkeys((1114, 1184), "time")


@contextmanager
def reading(target: Target, statement_s: float | None = None) -> Iterator[postgres.Connection]:
    """A read-only transaction; what PostgreSQL refuses becomes a `ProbeError` that says what could not be seen."""
    try:
        with postgres.connect(
            target.url,
            name=postgres.application(target.incident),
            statement_s=READ_S if statement_s is None else statement_s,
            budget_s=BUDGET_S,
        ) as connection:
            yield connection
    except postgres.Unanswered as error:
        raise target.error(str(error)) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise target.error(f"our read-only identity may not see that ({_said(error)})") from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise target.error(f"only reading is allowed here ({_said(error)})") from error
    except psycopg.Error as error:
        raise target.error(_said(error)) from error


def _said(error: psycopg.Error) -> str:
    """What the server said, in one line."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split())[:500]


def block(name: str, **identifiers: sql.Composable) -> sql.Composed:
    """A named block of `opslib/sql/probes_postgres.sql`."""
    text: str | None = getattr(queries("probes_postgres"), name, None)
    if text is None:
        there = ", ".join(sorted(vars(queries("probes_postgres"))))
        raise ProbeError(f"there is no query {name!r}; there are {there}", system="postgres")
    return sql.SQL(text).format(**identifiers) if identifiers else sql.Composed([sql.SQL(text)])


def rows(connection: postgres.Connection, query: str, /, **values: Any) -> list[dict[str, Any]]:
    """The rows of a named block."""
    return connection.execute(block(query), values).fetchall()


def partly(connection: postgres.Connection) -> str | None:
    """A sentence on what the role may not see, or None where it sees all."""
    identity = rows(connection, "identity")[0]
    return None if identity["sees_all"] else OWN_ONLY.format(role=identity["role"])


def checked(target: Target, limit: int) -> int:
    """A number of rows that may be asked for."""
    if not 0 < limit <= ROWS:
        raise target.error(f"ask for 1 to {ROWS:,} rows")
    return limit


def frame(
    found: Sequence[Mapping[str, Any]], types: Mapping[str, str], index: str | None = None, note: str | None = None
) -> Frame:
    """A table of rows.

    Parameters
    ----------
    found : sequence of mapping
    types : mapping
        The columns in their order; `text`, `whole`, `number`, `flag` or `time` (UTC).
    index, note : str, optional
    """
    import pyarrow as pa

    return Frame(
        pa.table(
            {
                name: pa.array([_cell(row.get(name), kind) for row in found], _arrow(kind))
                for name, kind in types.items()
            }
        ),
        index,
        note,
    )


def _arrow(kind: str) -> pa.DataType:
    import pyarrow as pa

    return {
        "text": pa.string(),
        "whole": pa.int64(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }[kind]


def _cell(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "text":
        return value if isinstance(value, str) else str(value)
    if kind == "number":
        return float(value)
    return value


def columns(cursor: Any) -> dict[str, str]:
    """The kind of each column that a statement gives, for an answer without rows, which has columns all the same."""
    return {column.name: _KINDS.get(column.type_code, "text") for column in cursor.description or ()}


def free(
    target: Target, found: Iterable[Mapping[str, Any]], limit: int, otherwise: Mapping[str, str] | None = None
) -> Frame:
    """A table of whatever rows a statement gives: the first `limit`, and whether there are more, within the cap.

    Where there are none it has the columns `otherwise`.
    """
    taken: list[Mapping[str, Any]] = []
    size, more = 0, False
    for row in found:
        if len(taken) == limit:
            more = True
            break
        size += sum(len(value) if isinstance(value, str | bytes) else 16 for value in row.values())
        if size > LARGEST:
            raise target.error(f"the answer is more than {LARGEST:,} bytes; ask for less")
        taken.append(row)
    kinds = {name: _kind([row[name] for row in taken]) for name in taken[0]} if taken else otherwise or {}
    told = [{name: _shown(value, kinds[name]) for name, value in row.items()} for row in taken]
    return frame(told, kinds, note=f"the first {limit:,} rows; there are more" if more else None)


def _kind(values: Sequence[Any]) -> str:
    """The one kind that fits every value."""
    there = [value for value in values if value is not None]
    if not there:
        return "text"
    if all(isinstance(value, bool) for value in there):
        return "flag"
    if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 for value in there):
        return "whole"
    if all(
        isinstance(value, int | float | decimal.Decimal | dt.timedelta) and not isinstance(value, bool)
        for value in there
    ):
        return "number"
    if all(isinstance(value, dt.datetime) for value in there):
        return "time"
    return "text"


def _shown(value: Any, kind: str) -> Any:
    """A value as its kind holds it: intervals in seconds, documents and arrays as JSON, bytes in hexadecimal."""
    if value is None:
        return None
    if kind == "number":
        return value.total_seconds() if isinstance(value, dt.timedelta) else float(value)
    if kind == "time":
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if kind == "text":
        if isinstance(value, bytes | memoryview):
            return bytes(value).hex()
        if isinstance(value, dict | list):
            return json.dumps(value, default=str)
        return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)
    return value
