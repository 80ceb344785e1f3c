"""A large table whose index is gone: a slow statement that no index answers, since more rows are read than before."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis import grown_tables, service_pods
from opslib.diagnosis.causes import Reason, evidence_of, reason

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

NO_READS = "how many rows were read before"
_READ = {
    "rows read over time": (
        'sum(rate(pg_stat_database_tup_returned{platform="$platform", datname!~"template.*|postgres"}[$window]))'
    )
}
_MOST_TABLES = 3
_FEW = 1.0  # rows a second: of a past that read none, a ratio is of this
_SLOW_MS, _VERY_SLOW_MS = grown_tables.SLOW_MS, 60.0
_AS_BEFORE, _FAR_MORE = math.log(3.0), math.log(6.0)  # times the rows of before


def look(
    ops: Ops,
    grown: pd.DataFrame | None,
    statements: pd.DataFrame | None,
    *,
    platform: str,
    window_s: float,
    stretch: tuple[float, float],
    levels_s: tuple[float, float, float],
) -> service_pods.Facts | None:
    """The large table with the slow statement that no index answers, and how many rows were read before and now.

    Parameters
    ----------
    ops : Ops
    grown : DataFrame or None
        Of `grown_tables.tables`.
    statements : DataFrame or None
        What ran in the last seconds: `query`, `mean_ms`, and `total_ms` where it is known.
    platform : str
    window_s : float
        Over which rates are taken [s].
    stretch : (float, float)
        How far back is looked [min], and the time between two points [s].
    levels_s : (float, float, float)
        Over how long now is taken, how long ago before ended, and how long it was [s].

    Returns
    -------
    Facts or None
        `table`, empty where no statement is slow on a large one; `unanswered`, whether one of its slow statements
        lacks an index; its `query`, `mean_ms`, the table's `rows`, `bytes` and how much it has grown at `least`, and
        rows read each second, `before` and `now`. None where that could not be seen.
    """
    if grown is None or statements is None:
        return None
    slow = _slow(grown, statements)
    marks = [mark for fact in (grown, statements) for mark in evidence_of(fact)]
    facts: dict[str, Any] = {"table": "", "unanswered": False, "before": math.nan, "now": math.nan}
    for table, queries in list(slow.items())[:_MOST_TABLES]:
        indexes = ops.look(f"the indexes of {table}", ops.postgres.indexes, table)
        if indexes is None:
            return None
        marks += evidence_of(indexes)
        whole = indexes["valid"] if "valid" in indexes else [True] * len(indexes)
        there = [str(one) for one, valid in zip(indexes["definition"], whole, strict=True) if one and valid]
        left = [one for one in queries if not grown_tables.leads(one[0], there)]
        if not facts["table"] or left:
            query, taken = (left or queries)[0]
            facts |= {"table": table, "unanswered": bool(left), "query": query, "mean_ms": taken}
            facts |= {name: float(grown.at[table, name]) for name in ("rows", "bytes", "least")}
        if left:
            (read,) = service_pods.over_time(ops, _READ, platform, window_s, stretch, watched=True)
            marks += evidence_of(read)
            facts["before"], facts["now"] = _levels(read, *levels_s)
            break
    return service_pods.Facts(list(dict.fromkeys(marks)), **facts)


def _slow(grown: pd.DataFrame, statements: pd.DataFrame) -> dict[str, list[tuple[str, float]]]:
    """The slow statements that read a large table, by table, where most time goes first: text and mean time [ms]."""
    weight = "total_ms" if "total_ms" in statements else "mean_ms"
    ranked = statements[statements["mean_ms"] >= _SLOW_MS].sort_values(weight, ascending=False)
    large = [str(name) for name in grown.index[grown["rows"] >= grown_tables.LARGE]]
    found: dict[str, list[tuple[str, float]]] = {}
    for query, taken in zip(ranked["query"].fillna(""), ranked["mean_ms"], strict=True):
        text = grown_tables.plain(query)
        if not text.upper().startswith(("SELECT", "WITH")):
            continue
        for name in large:
            if re.search(rf"\b{re.escape(name)}\b", text):
                found.setdefault(name, []).append((text, float(taken)))
    return found


def _levels(read: pd.DataFrame | None, now_s: float, before_s: float, span_s: float) -> tuple[float, float]:
    """The mean of a series before and now."""
    import pandas as pd

    if read is None or not len(read) or not len(read.columns):
        return math.nan, math.nan
    values = read.iloc[:, 0].dropna()
    if not len(values):
        return math.nan, math.nan
    end = values.index[-1]
    then = values[values.index <= end - pd.Timedelta(seconds=before_s)]
    then = then[then.index > end - pd.Timedelta(seconds=before_s + span_s)]
    return float(then.mean()), float(values[values.index > end - pd.Timedelta(seconds=now_s)].mean())


def missing_index(lost: Mapping[str, Any], risen: pd.DataFrame) -> list[Reason]:
    """A statement lacks its index since a short time: what it reads from end to end was not read before."""
    table = lost["table"]
    if not table:
        return [Reason("no statement on a large table is slow", -3.0)]
    if not lost["unanswered"]:
        return [Reason(f"an index of {table} begins with what its slow statement asks for", -3.0)]
    if lost["least"] >= grown_tables.GROWN:
        return [Reason(f"{table} has {lost['least']:.1f} times the rows of before, with an index or without", -3.0)]
    text = f"no index of {table} ({lost['rows']:,.0f} rows) begins with what its slow statement asks for"
    reasons = [Reason(text, 1.5)]
    text = f"the statement takes {lost['mean_ms']:.0f} ms"
    taken = reason(text, lost["mean_ms"], threshold=_SLOW_MS, decisive=_VERY_SLOW_MS)
    reasons.append(Reason(text, min(1.5, taken.weight)))
    before, now = max(lost["before"], _FEW), lost["now"]
    ratio = now / before if lost["before"] == lost["before"] else math.nan
    text = f"{now:,.0f} rows are read each second, {ratio:,.0f} times as many as before"
    more = reason(text, math.log(max(ratio, 1e-3)), threshold=_AS_BEFORE, decisive=_FAR_MORE, missing=NO_READS)
    reasons.append(Reason(text, min(2.0, more.weight), more.missing))
    requests = float(risen.at["requests_ms", "ratio"])
    text = f"whole requests take {requests:.1f} times as long as before"
    longer = reason(text, requests, threshold=1.3, decisive=2.5, missing="how long requests took before")
    return [*reasons, Reason(text, min(1.0, longer.weight), longer.missing)]


def index_for(ops: Ops, lost: Mapping[str, Any] | None, database: Mapping[str, str]) -> dict[str, Any]:
    """Table and columns of the index that the slow statement lacks; empty where there is no such one.

    None is proposed where the statement reads other tables too, or where the database's volume has not room enough
    for certain.

    Parameters
    ----------
    ops : Ops
    lost : mapping or None
        Of `look`.
    database : mapping
        `workload` and `folder` of the database's volume; empty where no index is to be built.
    """
    if lost is None or not lost["unanswered"] or not database or re.search(r"\bJOIN\b", lost["query"], re.IGNORECASE):
        return {}
    table = lost["table"]
    columns = ops.look("the table's columns", ops.postgres.named, "columns_of", table=table)
    if columns is None or not grown_tables.has_room(ops, lost["bytes"], database):
        return {}
    wanted = narrowing(lost["query"], list(columns["column"]))
    return {"table": table, "columns": wanted} if wanted else {}


def narrowing(query: str, columns: Sequence[str]) -> list[str]:
    """The columns that an index needs, in its order: those set equal, then one that is bounded or ordered by."""
    where = re.search(r"\bWHERE\b(.*?)(?:\b(?:GROUP|ORDER|LIMIT)\b|$)", query, re.IGNORECASE)
    order = re.search(r"\bORDER\s+BY\b(.*?)(?:\b(?:LIMIT|OFFSET|FOR)\b|$)", query, re.IGNORECASE)
    inside, after = (found[1] if found else "" for found in (where, order))
    if re.search(r"\bOR\b", inside, re.IGNORECASE):
        return []  # one index does not answer either
    equal = [name for name in columns if re.search(rf'(?<![\w(]){re.escape(name)}\b"?\s*(=|IN\b)', inside, re.I)]
    bounded = [
        name for name in columns if re.search(rf'(?<![\w(]){re.escape(name)}\b"?\s*([<>]|BETWEEN\b)', inside, re.I)
    ]
    ordered = [name for name in columns if re.search(rf"(?<![\w(]){re.escape(name)}\b", after, re.I)]
    rest = [name for name in [*bounded, *ordered] if name not in equal]
    return [*equal, *rest[:1]]
