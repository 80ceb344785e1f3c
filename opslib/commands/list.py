"""`runbook list`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from opslib.commands.output import err, out, print_json, printable
from opslib.runs import catalogue
from opslib.settings import Settings

_WHOLE = ("id", "name", "authority")


def list_(json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False) -> None:
    """Every runbook: id, title, kind, platforms, trigger, severity, authority."""
    good, mistakes = catalogue.survey(Settings())
    if json:
        print_json({"runbooks": [runbook.document() for runbook in good.values()]})
    else:
        rows = [
            (
                one.id,
                one.name,
                one.title,
                one.kind,
                ", ".join(one.platforms),
                ", ".join(one.triggers),
                one.severity,
                one.authority,
            )
            for one in good.values()
        ]
        heads = ["id", "name", "title", "kind", "platforms", "trigger", "severity", "authority"]
        _print(heads, rows)
    for mistake in mistakes:
        err.print(f"runbook: not a runbook: {mistake}", markup=False)
    if mistakes:
        raise typer.Exit(1)


def _print(heads: list[str], rows: Sequence[tuple[str, ...]]) -> None:
    """The table; what has to be typed is never cut."""
    if not rows:
        out.print("There are no runbooks; RUNBOOK_NOTEBOOKS names their folder.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, no_wrap=head in _WHOLE, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    out.print(table)
