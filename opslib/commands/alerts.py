"""`runbook alerts`: the ledger."""

from __future__ import annotations

from typing import Annotated

import typer

from opslib import intake, store
from opslib.commands.output import out, print_json, print_table
from opslib.incidents import wording
from opslib.settings import Settings


def alerts(json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False) -> None:
    """Show every accepted alert: its run, that it waits, its suppression and reason, or its recorded loss."""
    with store.transaction(Settings(), role="reader") as connection:
        document = intake.ledger(connection)
    if json:
        print_json(document)
        return
    rows = [
        (
            row["labels"].get("alertname", "(no name)"),
            row["labels"].get("platform", ""),
            wording.clock(row["starts_at"]),
            row["outcome"],
            row["incident"] or "",
            row["reason"],
        )
        for row in document["alerts"]
    ]
    heads = ["alert", "platform", "since UTC", "outcome", "incident", "why"]
    print_table(heads, rows, empty="No alert has been accepted yet.")
    counts = ", ".join(f"{document[name]} {name}" for name in intake.OUTCOMES)
    repeats = f"{document['repeats']} repeat{'' if document['repeats'] == 1 else 's'}"
    out.print(f"{document['accepted']} accepted: {counts}; {repeats}.", markup=False)
