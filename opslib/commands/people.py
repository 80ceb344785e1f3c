"""`runbook people`: who may do what."""

from __future__ import annotations

from typing import Annotated

import typer

from opslib import people, store
from opslib.commands.output import err, out, print_json, print_table, printable
from opslib.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who may do what: add, list, remove.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and . _ @ -")],
    role: Annotated[str, typer.Option(help="viewer, L1, L2, L3, L4 or machine")],
    platform: Annotated[str | None, typer.Option(help="The one platform that the role is for")] = None,
) -> None:
    """Add a person and print the token, once."""
    with store.transaction(Settings()) as connection:
        token = people.add(connection, name, role, platform)
    err.print(f"{name} is {role}{f' on {platform}' if platform else ''}. The token is shown once and kept nowhere:")
    out.print(token)


@app.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False) -> None:
    """Show everybody."""
    with store.transaction(Settings()) as connection:
        rows = people.list_(connection)
    if json:
        print_json({"people": rows})
        return
    facts = [(row["name"], row["role"], row["platform"] or "all", f"{row['created_at']:%Y-%m-%d}") for row in rows]
    print_table(["name", "role", "platform", "since"], facts, empty="Nobody yet: `runbook people add NAME --role L1`.")


@app.command()
def remove(name: str) -> None:
    """Take a person's token away."""
    with store.transaction(Settings()) as connection:
        people.remove(connection, name)
    out.print(f"{printable(name)} can do nothing any more; what was decided stays on the record.")
