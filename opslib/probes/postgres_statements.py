"""Slow statements of PostgreSQL: out of `pg_stat_statements` where it is there, else those that run now."""

from __future__ import annotations

import time
from typing import Any, Literal

import psycopg
from psycopg import sql

from opslib import postgres
from opslib.probes.postgres_reading import block, checked, frame, partly, reading, rows
from opslib.probes.registry import Frame, Target, probe

STATEMENTS, ACTIVITY = "pg_stat_statements", "pg_stat_activity"
_LONGEST_S = 5.0
_LOOK_S = 0.1
_ORDERS = ("total_ms", "mean_ms", "max_ms", "calls")
_ADDS_UP = ("calls", "total_ms", "rows", "blocks_hit", "blocks_read", "temp_blocks")


@probe("postgres.slow_queries")
def slow_queries(
    target: Target,
    limit: int = 20,
    by: Literal["total_ms", "mean_ms", "max_ms", "calls"] = "total_ms",
    over_s: float = 0.0,
) -> Frame:
    """The statements that take most time, `source` saying where that is known from.

    From `pg_stat_statements`: since its last reset, or, with `over_s` above zero, within that stretch from now [s, at
    most 5]. What runs then and does not end, or is cancelled, is not counted there: it is seen in `pg_stat_activity`, a
    row for each such statement, with how long it ran at least. Where the first is not there: the statements that run
    now, from the second.

    Columns: `query`, `calls`, `total_ms`, `mean_ms`, `max_ms` [ms], `share_pct` of all statements' time [%], `rows`,
    `blocks_hit`, `blocks_read`, `temp_blocks`, `database`, `user`, `query_id`, `source`.
    """
    checked(target, limit)
    if by not in _ORDERS:
        raise target.error(f"statements are ordered by {', '.join(_ORDERS)}")
    if not 0 <= over_s <= _LONGEST_S:
        raise target.error(f"over_s must be from 0 to {_LONGEST_S:g} s")
    with reading(target) as connection:
        source, found, why = _statements(connection, over_s)
        note = "; ".join(filter(None, (why, partly(connection)))) or None
    altogether = sum(row["total_ms"] or 0.0 for row in found)
    for row in found:
        row |= {
            "source": row.get("source", source),
            "share_pct": 100 * (row["total_ms"] or 0.0) / altogether if altogether else None,
        }
    found.sort(key=lambda row: -(row.get(by) or 0.0))
    kinds = {
        "query": "text",
        "calls": "whole",
        "total_ms": "number",
        "mean_ms": "number",
        "max_ms": "number",
        "share_pct": "number",
        "rows": "whole",
        "blocks_hit": "whole",
        "blocks_read": "whole",
        "temp_blocks": "whole",
        "database": "text",
        "user": "text",
        "query_id": "text",
        "source": "text",
    }
    return frame(found[:limit], kinds, note=note)


def texts(connection: postgres.Connection) -> tuple[str, list[dict[str, Any]]]:
    """Where statements are known from, and the statements, those that took most time first."""
    source, found, _ = _statements(connection, 0.0)
    return source, sorted((row for row in found if row["query"]), key=lambda row: -(row["total_ms"] or 0.0))


def _statements(connection: postgres.Connection, over_s: float) -> tuple[str, list[dict[str, Any]], str | None]:
    """The source, the statements, and why it is the second-best source."""
    schema = rows(connection, "extension", name=STATEMENTS)
    why = f"{STATEMENTS} is not created in this database"
    if schema:
        function = sql.Identifier(schema[0]["schema"], STATEMENTS)
        try:
            with connection.transaction():
                return STATEMENTS, _counted(connection, function, over_s), None
        except psycopg.errors.ObjectNotInPrerequisiteState:
            why = f"{STATEMENTS} is not loaded (shared_preload_libraries)"
        except psycopg.errors.InsufficientPrivilege:
            why = f"{STATEMENTS} may not be read by our role"
    running = rows(connection, "running", limit=500)
    for row in running:
        row["mean_ms"] = row["max_ms"] = row["total_ms"]
    return ACTIVITY, running, f"{why}; these are the statements that run now"


def _counted(connection: postgres.Connection, function: sql.Identifier, over_s: float) -> list[dict[str, Any]]:
    """What was counted, since the reset or within a stretch from now; the probes' own statements left out."""
    statement = block("statements", function=function)
    before, uncounted = {}, []
    if over_s > 0:
        before = {row["key"]: row for row in connection.execute(statement, {"text": False})}
        uncounted = _watched(connection, over_s)
    found = []
    for row in connection.execute(statement, {"text": True}):
        earlier = before.get(row["key"])
        if over_s > 0 and earlier is not None:
            row |= {name: row[name] - earlier[name] for name in _ADDS_UP}
            row["mean_ms"] = row["total_ms"] / row["calls"] if row["calls"] else None
        if row["calls"] and STATEMENTS not in (row["query"] or ""):
            found.append(row)
    counted = {row[name] for row in found for name in ("query_id", "query")}
    return found + [row for row in uncounted if not counted.intersection((row["query_id"], row["query"]))]


def _watched(connection: postgres.Connection, over_s: float) -> list[dict[str, Any]]:
    """The statements that run within a stretch from now, each as long as its executions were seen to run."""
    until = time.monotonic() + over_s
    executions: dict[str, dict[str, Any]] = {}
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(_LOOK_S, left))
        rows(connection, "forget_snapshot")
        executions |= {row["key"]: row for row in rows(connection, "watched")}
    found: dict[str, dict[str, Any]] = {}
    for one in executions.values():
        row = found.setdefault(
            one["query_id"] or one["query"], {**one, "source": ACTIVITY, "calls": 0, "total_ms": 0.0}
        )
        row |= {"calls": row["calls"] + 1, "total_ms": row["total_ms"] + one["ms"]}
        row |= {"mean_ms": row["total_ms"] / row["calls"], "max_ms": max(one["ms"], row.get("max_ms", 0.0))}
    return list(found.values())
