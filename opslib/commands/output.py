"""How commands speak: one JSON document on standard output, words for people there too, progress and errors beside."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opslib.canonical import plain

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def in_letters_of_the_terminal() -> None:
    """Let what standard output cannot write, where it is not UTF-8, be shown as `?` instead of being a failure."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not _is_utf_8():
        sys.stdout.reconfigure(errors="replace")


def _is_utf_8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8")


def print_json(document: Any) -> None:
    """Print exactly one JSON document."""
    sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=not _is_utf_8()) + "\n")


def print_table(
    columns: Iterable[str], rows: Iterable[Iterable[object]], *, less: Iterable[str] = (), empty: str = "Nothing."
) -> None:
    """Print rows under their headings; text from outside is shown as text.

    A row is one line where nobody sets a width: in a pipe or a file. On a terminal that is too narrow the columns of
    `less` are left out, the first one first, until the rest fits; what then does not fit is folded.
    """
    heads = list(columns)
    lines = [[printable(cell) for cell in row] for row in rows]
    if not lines:
        out.print(empty)
        return
    widths = [
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(heads, *lines, strict=True)
    ]
    shown = list(range(len(heads)))
    for head in less:
        if out.is_terminal and _width(widths, shown) > out.width:
            shown.remove(heads.index(head))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place in shown:
        table.add_column(heads[place], overflow="fold", no_wrap=place == 0)  # the first one is what is copied
    for line in lines:
        table.add_row(*(escape(line[place]) for place in shown))
    console = out if out.is_terminal else Console(highlight=False, width=_width(widths, shown))
    console.print(table)


def _width(widths: Sequence[int], shown: Iterable[int]) -> int:
    """How wide the shown columns are beside each other."""
    return sum(widths[place] + 2 for place in shown)


def say(text: str, *, indent: int = 0, style: str = "") -> None:
    """Print a sentence: on a terminal wrapped between words, elsewhere in one line."""
    if not text:
        return
    margin = " " * indent
    lines = printable(text).split("\n")
    if out.is_terminal:
        width = max(20, min(out.width, 120) - indent)
        lines = [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]
    for line in lines:
        out.print(f"{margin}{line}", style=style or None, markup=False)


def printable(value: object) -> str:
    """`value` as text without control characters, so that nothing from outside drives the terminal."""
    text = "" if value is None else str(value)
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)
