"""Tables out of rows, each column of a declared kind, so that an empty table has its columns too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from opslib.probes.registry import Frame

Kind = Literal["text", "number", "whole", "flag", "time"]


def frame(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind], index: str | None = None, note: str | None = None
) -> Frame:
    """The columns of the rows that are declared, in that order; None where a row says nothing.

    Parameters
    ----------
    rows : sequence of mapping
    columns : mapping
        Kind of each column: text, number, whole, flag, or time (UTC).
    index : str, optional
        The column that is the rows' name.
    note : str, optional
        What of it could not be seen, in words.
    """
    import pyarrow as pa

    kinds = {
        "text": pa.string(),
        "number": pa.float64(),
        "whole": pa.int64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("ms", tz="UTC"),
    }
    arrays = {name: pa.array([row.get(name) for row in rows], kinds[kind]) for name, kind in columns.items()}
    return Frame(pa.table(arrays), index, note)
