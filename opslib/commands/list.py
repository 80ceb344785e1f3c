"""`runbook list`."""

from __future__ import annotations

from typing import Annotated

import typer

from opslib.commands.output import err, print_json, print_table
from opslib.runs import catalogue
from opslib.settings import Settings


def list_(json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False) -> None:
    """Every runbook: id, title, kind, platforms, trigger, severity, authority."""
    good, mistakes = catalogue.survey(Settings())
    if json:
        print_json({"runbooks": [runbook.document() for runbook in good.values()]})
    else:
        rows = [
            (
                one.name,
                one.id,
                one.title,
                ", ".join(one.triggers),
                ", ".join(one.platforms) or "*",
                one.severity,
                one.authority,
                one.kind,
            )
            for one in good.values()
        ]
        heads = ["name", "id", "title", "trigger", "platforms", "severity", "authority", "kind"]
        less = ["kind", "authority", "trigger", "severity", "platforms"]
        print_table(heads, rows, less=less, empty="There are no runbooks; RUNBOOK_NOTEBOOKS names their folder.")
    for mistake in mistakes:
        err.print(f"runbook: not a runbook: {mistake}", markup=False)
    if mistakes:
        raise typer.Exit(1)
