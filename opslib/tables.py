"""Tables for reading: headings with units, figures with the digits that count, and a dash for what there is not."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Collection, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from opslib import figures

if TYPE_CHECKING:
    import pandas as pd

# What the probes of Kubernetes tell, as a reader needs it: columns and their headings.
REVISIONS = {"revision": "", "current": "runs", "created": "made", "change_cause": "release", "changes": "changed"}
PODS = {"status": "", "ready": "", "restarts": "", "last_reason": "ended last by", "last_exit_code": "exit code",
        "node": "", "message": "says"}  # fmt: skip
CONTAINERS = {"container": "", "state": "", "reason": "", "restarts": "", "last_reason": "ended last by",
              "last_exit_code": "exit code", "last_finished": "ended at"}  # fmt: skip
_NOTHING = "–"
_EMPTY = "none"
_LONGEST = 160
_DECIMAL = re.compile(r"-?[0-9,]+(\.[0-9]+)?")
_DIGITS = 3  # that count in a figure
_WHOLE = 24  # characters of a cell that stay in one line


class Table:
    """A table as a notebook shows it. Made by `shown`.

    Attributes
    ----------
    headings : tuple of str
    rows : tuple of tuple of str
    numeric : tuple of bool
        Whether a column holds figures, which stand to the right.
    """

    def __init__(self, headings: tuple[str, ...], rows: tuple[tuple[str, ...], ...], numeric: tuple[bool, ...]) -> None:
        self.headings, self.rows, self.numeric = headings, rows, numeric

    def __repr__(self) -> str:
        """The table as text, a line each."""
        lines = [self.headings, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.headings))]
        sides = [str.rjust if number else str.ljust for number in self.numeric]
        laid = (zip(line, sides, widths, strict=True) for line in lines)
        text = "\n".join("  ".join(side(cell, width) for cell, side, width in line).rstrip() for line in laid)

        return text if self.rows else f"{text}\n({_EMPTY})"

    def _repr_html_(self) -> str:
        styles = [f"style='text-align:{'right' if number else 'left'}'" for number in self.numeric]
        head = "".join(f"<th {style}>{escape(cell)}</th>" for cell, style in zip(self.headings, styles, strict=True))
        body = f"<tr><td style='text-align:left' colspan='{len(self.headings)}'>{_EMPTY}</td></tr>"
        if self.rows:
            body = "".join(f"<tr>{''.join(map(_html, row, self.numeric))}</tr>" for row in self.rows)
        return f"<table class='dataframe'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html(text: str, number: bool) -> str:
    """A cell; a short one is never broken, so that a name or a figure stays whole."""
    whole = ";white-space:nowrap" if len(text) <= _WHOLE else ""
    return f"<td style='text-align:{'right' if number else 'left'}{whole}'>{escape(text)}</td>"


def shown(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    *,
    index: str | None = None,
    shares: Collection[str] = (),
) -> Table:
    """A frame for reading.

    Parameters
    ----------
    frame : DataFrame
    columns : mapping, optional
        The columns that are shown, in their order, with their headings; a heading that is empty is made of the
        column's name, its unit in brackets. None: all columns. Those that the frame lacks are left out.
    shares : collection of str
        Columns that hold shares of one; they are shown in per cent, which their headings say.
    index : str, optional
        The heading of the index; None: its own name. An index that only counts is not shown.

    Returns
    -------
    Table
    """
    from pandas.api.types import is_numeric_dtype

    names = [name for name in (frame.columns if columns is None else columns) if name in frame.columns]
    headings = [(columns or {}).get(name) or figures.heading(str(name)) for name in names]
    headings = [f"{text} [%]" if name in shares else text for name, text in zip(names, headings, strict=True)]
    cells = [_column(100.0 * frame[name] if name in shares else frame[name]) for name in names]
    numeric = [_counts(frame[name], is_numeric_dtype(frame[name].dtype)) for name in names]
    if not _only_counts(frame.index):
        headings.insert(0, str(frame.index.name or "") if index is None else index)
        cells.insert(0, _column(frame.index.to_series()))
        numeric.insert(0, False)
    return Table(tuple(headings), tuple(zip(*cells, strict=True)), tuple(numeric))


def _only_counts(index: Any) -> bool:
    """Whether an index says nothing but which row it is."""
    return index.name is None and index.inferred_type == "integer"


def _counts(values: Any, number: bool) -> bool:
    """Whether a column holds figures; one of objects where all that there are do."""
    known = [value for value in values if _there(value)]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in known) if known else number


def _column(values: Any) -> list[str]:
    """The cells of a column; times without their date where all have the same."""
    moments = [value for value in values if isinstance(value, dt.datetime) and _there(value)]
    dates = {moment.date() for moment in moments}
    form = "%H:%M:%S" if len(dates) < 2 else "%Y-%m-%d %H:%M"
    cells = [_cell(value, form) for value in values]
    return _aligned(cells) if any(isinstance(value, float) for value in values) else cells


def _aligned(cells: list[str]) -> list[str]:
    """Figures with as many decimals as their column's most, where none gets more digits than count."""
    figured = {cell for cell in cells if _DECIMAL.fullmatch(cell)}
    most = max((len(cell.partition(".")[2]) for cell in figured), default=0)
    filled = {cell: f"{cell}{'' if '.' in cell else '.'}".ljust(len(cell.partition(".")[0]) + 1 + most, "0")
              for cell in figured}  # fmt: skip
    fitting = most and all(len(text.replace(".", "").strip("-").lstrip("0")) <= _DIGITS for text in filled.values())
    return [filled.get(cell, cell) for cell in cells] if fitting else cells


def _cell(value: Any, form: str) -> str:
    if not _there(value):
        return _NOTHING
    if isinstance(value, dt.datetime):
        return value.strftime(form)
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and plain.is_integer() and abs(plain) < 1e6:
        plain = int(plain)  # a column of counts in which something is missing
    text = figures.figure(plain) or _NOTHING
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _there(value: Any) -> bool:
    """Whether there is a value: neither None, nor no number, nor no time, nor beyond all numbers."""
    if value is None or value != value:
        return False
    return not (isinstance(value, float) and math.isinf(value))
