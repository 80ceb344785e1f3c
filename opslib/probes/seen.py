"""What a probe answers beside tables: objects, lists and texts that know their evidence and show themselves."""

from __future__ import annotations

from html import escape
from typing import Any

from opslib import figures
from opslib.tables import Table

_ROWS = 60  # shown; the rest is counted
_COLUMNS = 12
_LONGEST = 160


class Seen(dict[str, Any]):
    """A JSON object that a probe saw; `evidence` is its id on the record."""

    evidence: str = ""

    def __repr__(self) -> str:
        """Its fields, a line each."""
        return _plain(_fields(self), len(self))

    def _repr_html_(self) -> str:
        return _rich(_fields(self), len(self), self.evidence)


class SeenList(list[Any]):
    """A JSON list that a probe saw; `evidence` is its id on the record."""

    evidence: str = ""

    def __repr__(self) -> str:
        """Its entries, a line each."""
        return _plain(_entries(self), len(self))

    def _repr_html_(self) -> str:
        return _rich(_entries(self), len(self), self.evidence)


class SeenText(str):
    """A text that a probe saw; `evidence` is its id on the record."""

    evidence: str = ""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The text itself, for a display without HTML."""
        del cycle
        printer.text(_lines(self))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(_lines(self))}</pre>{_from(self.evidence)}"


def _fields(found: Seen) -> Table:
    rows = tuple((_safe(str(name)), _cell(str(name), value)) for name, value in [*found.items()][:_ROWS])
    return Table(("field", "value"), rows, (False, False))


def _entries(found: SeenList) -> Table:
    """A column a field, where all entries are objects of few fields; else the entries as they are."""
    shown = found[:_ROWS]
    names = list(dict.fromkeys(name for one in shown if isinstance(one, dict) for name in one))
    if names and len(names) <= _COLUMNS and all(isinstance(one, dict) for one in shown):
        rows = tuple(tuple(_cell(str(name), one.get(name)) for name in names) for one in shown)
        return Table(tuple(_safe(str(name)) for name in names), rows, tuple(False for _ in names))
    return Table(("entry",), tuple((_cell("", one),) for one in shown), (False,))


def _cell(name: str, value: Any) -> str:
    text = _safe(figures.figure(value) if isinstance(value, dict | list) else figures.measured(name, value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _safe(text: str) -> str:
    """A text in one line that moves no cursor and turns no writing around."""
    return "".join(one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode() for one in text)


def _lines(text: str) -> str:
    return "\n".join(map(_safe, text.splitlines()))


def _plain(table: Table, count: int) -> str:
    return f"{table!r}{_rest(count)}" if count else "nothing"


def _rich(table: Table, count: int, evidence: str) -> str:
    rest = f"<p>{escape(_rest(count).strip())}</p>" if _rest(count) else ""
    return f"{table._repr_html_() if count else '<p>nothing</p>'}{rest}{_from(evidence)}"


def _rest(count: int) -> str:
    return f"\nand {count - _ROWS:,} more" if count > _ROWS else ""


def _from(evidence: str) -> str:
    """Where it stands on the record."""
    return f"<p><small>evidence {escape(_safe(evidence))}</small></p>" if evidence else ""
