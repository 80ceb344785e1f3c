"""Tables and indexes of PostgreSQL: sizes, bloat, vacuum, and where an index is missing."""

from __future__ import annotations

from typing import Any

from opslib.probes.postgres_predicates import asked_columns
from opslib.probes.postgres_reading import checked, frame, partly, reading, rows
from opslib.probes.postgres_statements import texts
from opslib.probes.registry import Frame, Target, probe

_TABLE = {"schema": "text", "table": "text"}


@probe("postgres.tables")
def tables(target: Target, limit: int = 50) -> Frame:
    """Tables, largest first: sizes [bytes], rows alive and dead, how often each is read from end to end or by index.

    Columns: `schema`, `table`, `rows_estimate`, `total_bytes`, `table_bytes`, `index_bytes`, `live_rows`, `dead_rows`,
    `dead_pct` [%], `sequential_scans`, `rows_read_sequentially`, `index_scans`, `inserted`, `updated`, `deleted`,
    `locked_exclusively`. The size of a table that is locked is that of its last analyze; it is not waited for.
    """
    with reading(target) as connection:
        found = rows(connection, "tables", limit=checked(target, limit))
    kinds = {
        **_TABLE,
        "rows_estimate": "whole",
        "total_bytes": "whole",
        "table_bytes": "whole",
        "index_bytes": "whole",
        "live_rows": "whole",
        "dead_rows": "whole",
        "dead_pct": "number",
        "sequential_scans": "whole",
        "rows_read_sequentially": "whole",
        "index_scans": "whole",
        "inserted": "whole",
        "updated": "whole",
        "deleted": "whole",
        "locked_exclusively": "flag",
    }
    locked = [f"{row['schema']}.{row['table']}" for row in found if row["locked_exclusively"]]
    note = f"locked exclusively, their sizes are those of the last analyze: {', '.join(locked)}" if locked else None
    return frame(found, kinds, note=note)


@probe("postgres.indexes")
def indexes(target: Target, table: str | None = None, limit: int = 100) -> Frame:
    """Indexes, largest first, of one table or of all; a build that failed leaves one that is not `valid`.

    Columns: `schema`, `table`, `index`, `bytes`, `scans`, `rows_read`, `is_unique`, `is_primary`, `valid`,
    `definition`.
    """
    with reading(target) as connection:
        found = rows(connection, "indexes", table=table, limit=checked(target, limit))
    kinds = {
        **_TABLE,
        "index": "text",
        "bytes": "whole",
        "scans": "whole",
        "rows_read": "whole",
        "is_unique": "flag",
        "is_primary": "flag",
        "valid": "flag",
        "definition": "text",
    }
    return frame(found, kinds)


@probe("postgres.bloat")
def bloat(target: Target, limit: int = 50) -> Frame:
    """Estimated bloat of tables and B-tree indexes, from the statistics of the last analyze.

    Columns: `schema`, `table`, `name`, `kind` (table, index), `bytes`, `bloat_bytes`, `bloat_pct` [%].
    Empty where the statistics may not be read (they show columns that our role may select) or a table was never
    analyzed.
    """
    with reading(target) as connection:
        found = rows(connection, "bloat", limit=checked(target, limit))
    kinds = {**_TABLE, "name": "text", "kind": "text", "bytes": "whole", "bloat_bytes": "whole", "bloat_pct": "number"}
    hidden = sorted({f"{row['schema']}.{row['table']}" for row in found if row["bloat_bytes"] is None})
    note = f"no estimate, never analyzed or not to be read by our role: {', '.join(hidden[:20])}" if hidden else None
    return frame(found, kinds, note=note)


@probe("postgres.vacuum")
def vacuum(target: Target, limit: int = 50) -> Frame:
    """Dead rows, the last vacuum and analyze of each table; whether autovacuum is on and `due`; who holds it back.

    Columns: `schema`, `table`, `live_rows`, `dead_rows`, `dead_pct` [%], `changed_since_analyze`, `last_vacuum`,
    `last_autovacuum`, `last_analyze`, `last_autoanalyze` (UTC), `autovacuum`, `due`, `running` (its phase), `xid_age`,
    `xid_age_limit` [transactions], `oldest_snapshot_pid`, `oldest_snapshot_s` [s].
    """
    with reading(target) as connection:
        found, note = rows(connection, "vacuum", limit=checked(target, limit)), partly(connection)
    kinds = {
        **_TABLE,
        "live_rows": "whole",
        "dead_rows": "whole",
        "dead_pct": "number",
        "changed_since_analyze": "whole",
        "last_vacuum": "time",
        "last_autovacuum": "time",
        "last_analyze": "time",
        "last_autoanalyze": "time",
        "autovacuum": "flag",
        "due": "flag",
        "running": "text",
        "xid_age": "whole",
        "xid_age_limit": "whole",
        "oldest_snapshot_pid": "whole",
        "oldest_snapshot_s": "number",
    }
    return frame(found, kinds, note=note)


@probe("postgres.missing_indexes")
def missing_indexes(target: Target, min_rows: int = 10_000, limit: int = 20) -> Frame:
    """Large tables that are read from end to end, with the columns that statements ask for and no index begins with.

    `columns` are named by what `source` shows of the statements on the table, most expensive first, `query` being the
    most expensive one; empty where no statement on it was seen.

    Columns: `schema`, `table`, `rows_estimate`, `bytes`, `sequential_scans`, `rows_read_sequentially`, `index_scans`,
    `rows_a_scan`, `columns`, `query`, `query_total_ms` [ms], `source`.
    """
    with reading(target) as connection:
        found = rows(connection, "scanned", min_rows=int(min_rows), limit=checked(target, limit))
        source, seen = texts(connection) if found else ("", [])
        note = partly(connection)
    for row in found:
        _explain(row, source, seen)
    kinds = {
        **_TABLE,
        "rows_estimate": "whole",
        "bytes": "whole",
        "sequential_scans": "whole",
        "rows_read_sequentially": "whole",
        "index_scans": "whole",
        "rows_a_scan": "number",
        "columns": "text",
        "query": "text",
        "query_total_ms": "number",
        "source": "text",
    }
    return frame(found, kinds, note=note)


def _explain(row: dict[str, Any], source: str, seen: list[dict[str, Any]]) -> None:
    """Add the columns that statements ask this table for without an index, and the most expensive such statement."""
    cost: dict[str, float] = {}
    worst: dict[str, Any] = {}
    for statement in seen:
        asked = asked_columns(statement["query"], row["schema"], row["table"], row["columns"])
        if not asked or any(name in row["leading"] for name in asked):
            continue
        for name in asked:
            cost[name] = cost.get(name, 0.0) + float(statement["total_ms"] or 0.0)
        worst = worst or statement
    row["columns"] = ", ".join(sorted(cost, key=lambda name: -cost[name]))
    row["query"], row["query_total_ms"] = worst.get("query"), worst.get("total_ms")
    row["source"] = source
