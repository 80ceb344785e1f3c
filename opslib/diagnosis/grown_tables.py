"""Tables that grew, the slow statements on them, and the index that would answer one of these alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import evidence_of

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

GROWN = 1.5  # a table with fewer times the rows of before has not grown so much that what reads it is slower
LARGE = 10_000  # rows; what reads fewer is not slow for their number
SLOW_MS = 15.0  # a statement that takes less does not make a request slow
HEADINGS = {
    "rows": "",
    "least": "times the rows of before, at least",
    "ratio": "at most",
    "mean_ms": "slowest statement [ms]",
    "query": "that statement",
}
_MOST_GROWN = 20.0  # times, beyond which a table grew from next to nothing
_MOST_COLUMNS = 8
_ROOM = 1.5  # times the table's size, that has to be free before an index is built
_DATABASES = 'platform="$platform", datname!~"template.*|postgres"'
INSERTED = {"inserted rows over time": f"sum(pg_stat_database_tup_inserted{{{_DATABASES}}})"}


def tables(
    inserted: pd.DataFrame | None, now: pd.DataFrame | None, statements: pd.DataFrame | None
) -> pd.DataFrame | None:
    """The tables with the slowest statement on each.

    Columns: `rows`, `bytes`, `least` and `ratio` (to before, at least and at most), `mean_ms`, `query`.

    Parameters
    ----------
    inserted : DataFrame or None
        Rows that were inserted since the server's counters began, over time, all tables together.
    now, statements : DataFrame or None
        `table`, `live_rows`, `inserted` and `table_bytes`; `query` and `mean_ms` of what ran in the last seconds.

    Notes
    -----
    Over time only the rows of all tables together are counted. Of these a table took no more than were ever inserted
    into it, and no less than the others cannot have taken. Of a table of few rows, whose number makes nothing slow,
    neither is told.
    """
    import pandas as pd

    if inserted is None or now is None or statements is None:
        return None
    counted = inserted.iloc[:, 0].dropna() if len(inserted.columns) else pd.Series(dtype=float)
    new = max(float(counted.iloc[-1] - counted.iloc[0]), 0.0) if len(counted) else math.nan
    ever = now["inserted"].astype(float).fillna(0.0)
    elsewhere = max(float(counted.iloc[-1]) - float(ever.sum()), 0.0) if len(counted) else math.nan
    most = ever.where(ever < new, new)
    least = (new - (float(most.sum()) - most) - min(new, elsewhere)).clip(lower=0.0)
    texts = statements["query"].fillna("").map(plain)
    found: dict[str, dict[str, Any]] = {}
    for place, row in enumerate(now.itertuples()):
        reads = texts.str.contains(rf"\b{re.escape(str(row.table))}\b", regex=True)
        on = statements[reads & texts.str.upper().str.startswith(("SELECT", "WITH"))].sort_values("mean_ms")
        live = float(row.live_rows)
        found[str(row.table)] = {
            "rows": live,
            "bytes": float(getattr(row, "table_bytes", math.nan)),
            "least": _times(live, float(least.iloc[place])),
            "ratio": _times(live, float(most.iloc[place])),
            "mean_ms": float(on["mean_ms"].iloc[-1]) if len(on) else math.nan,
            "query": texts[on.index[-1]][:400] if len(on) else "",
        }
    columns = ["rows", "bytes", "least", "ratio", "mean_ms", "query"]
    table = pd.DataFrame.from_dict(found, orient="index", columns=columns).sort_values("rows", ascending=False)
    table.attrs["evidence"] = [mark for fact in (inserted, now, statements) for mark in evidence_of(fact)]
    return table


def _times(live: float, new: float) -> float:
    """How many times the rows of before there are, when so many are new."""
    if math.isnan(new) or not live >= LARGE:  # of few rows it says nothing
        return math.nan
    return live / max(live - new, live / _MOST_GROWN)


def plain(query: str) -> str:
    """A statement on one line, without comments."""
    return " ".join(re.sub(r"--[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL).split())


def culprit(grown: pd.DataFrame) -> str:
    """The large table that may have grown and has the slowest statement; the largest where none has any."""
    large = grown[(grown["ratio"] >= GROWN) & (grown["rows"] >= LARGE)]
    slow = large.sort_values("mean_ms", ascending=False, na_position="last")
    return str((slow if len(slow) else grown).index[0])


def answered(ops: Ops, grown: pd.DataFrame | None) -> bool | None:
    """Whether an index answers the slow statement of the table that may have grown; None where that is not seen.

    Where none does, the statement reads the table from end to end, and is slow however many rows are new.
    """
    if grown is None or not len(grown):
        return True
    first = grown.loc[culprit(grown)]
    if not (first["ratio"] >= GROWN and first["rows"] >= LARGE and first["mean_ms"] >= SLOW_MS):
        return True  # nothing to be answered
    indexes = ops.look("the indexes of the table", ops.postgres.indexes, culprit(grown))
    return None if indexes is None else leads(str(first["query"]), list(indexes["definition"].dropna()))


def leads(query: str, definitions: Sequence[str]) -> bool:
    """Whether an index begins with a column that a statement is narrowed by; true where it is narrowed by none."""
    narrowed = re.search(r"\b(?:WHERE|ON)\b(.*?)(?:\b(?:GROUP|ORDER|LIMIT)\b|$)", query, re.IGNORECASE)
    if narrowed is None:
        return True
    words = {word.lower() for word in re.findall(r"\w+", narrowed[1])}
    firsts = [re.search(r"\bUSING\s+\w+\s*\(([^,]*)", definition) for definition in definitions]
    return any({word.lower() for word in re.findall(r"\w+", found[1])} & words for found in firsts if found)


def index_for(ops: Ops, grown: pd.DataFrame | None, database: Mapping[str, str]) -> dict[str, Any] | None:
    """The index that would answer the slow statement of the table that grew without reading the table.

    It begins with the columns of an index that the statement uses, and goes on with the others that it names. None
    where the statement is not known, reads other tables too, or needs every column; and where the database's volume
    has not room enough for certain, for a full volume is worse than a slow statement.

    Parameters
    ----------
    ops : Ops
    grown : DataFrame or None
        Of `tables`.
    database : mapping
        `workload` and `folder` of the database's volume; empty where no index is to be built.
    """
    if grown is None or not len(grown) or not database:
        return None
    table = culprit(grown)
    query, size = str(grown.at[table, "query"]), float(grown.at[table, "bytes"])
    if not query or re.search(r"\bJOIN\b|SELECT\s+\*", query, re.IGNORECASE):
        return None
    columns = ops.look("the table's columns", ops.postgres.named, "columns_of", table=table)
    indexes = ops.look("the table's indexes", ops.postgres.indexes, table)
    if columns is None or indexes is None or not has_room(ops, size, database):
        return None
    return covering(table, query, list(columns["column"]), list(indexes["definition"]))


def has_room(ops: Ops, size: float, database: Mapping[str, str]) -> bool:
    """Whether the database's volume has room for an index of a table of that size [bytes], for certain."""
    disk = ops.look(
        "the room on its volume", ops.kubernetes.run, "df", workload=database["workload"], folder=database["folder"]
    )
    if disk is None:
        return False
    free = free_bytes(str(disk["output"]))
    if not free > _ROOM * size:
        print(f"No index is proposed: {free / 1e6:,.0f} MB are free beside a table of {size / 1e6:,.0f} MB.")
        return False
    return True


def free_bytes(text: str) -> float:
    """What `df -kP` says is free [bytes]; nan where it says nothing."""
    found = re.findall(r"^\S+\s+\d+\s+\d+\s+(\d+)\s+\d+%", text, re.MULTILINE)
    return 1024.0 * float(found[-1]) if found else math.nan


def covering(table: str, query: str, columns: Sequence[str], definitions: Sequence[str]) -> dict[str, Any] | None:
    """Table and columns of an index that covers a statement; see `index_for`."""
    words = set(re.findall(r"\w+", query.lower()))
    used = [name for name in columns if name.lower() in words]
    for definition in definitions:
        inside = re.search(r"\(([^()]*)\)\s*$", definition)
        leading = [part.strip().strip('"') for part in inside[1].split(",")] if inside else []
        if leading and all(name in used for name in leading):
            wanted = [*leading, *(name for name in used if name not in leading)]
            if len(leading) < len(wanted) <= _MOST_COLUMNS:
                return {"table": table, "columns": wanted}
    return None
