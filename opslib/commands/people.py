"""`runbook people`: who may do what."""

from __future__ import annotations

from typing import Annotated

import typer

from opslib import people, platforms, store
from opslib.commands.output import err, out, print_json, print_table, printable
from opslib.errors import UsageError
from opslib.intake.routes import UNKNOWN
from opslib.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who may do what: add, list, remove.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and . _ @ -")],
    role: Annotated[str, typer.Option(help="viewer, L1, L2, L3, L4 or machine")],
    platform: Annotated[
        str | None, typer.Option(help="The one platform that the role is for; `environment:sandbox`: all of that kind")
    ] = None,
) -> None:
    """Add a person and print the token, once."""
    settings = Settings()
    _check_platform(settings, platform)
    with store.transaction(settings) as connection:
        token = people.add(connection, name, role, platform)
    where = f" on {platform}" if platform else ""
    err.print(printable(f"{name} is {role}{where}. The token is shown once and kept nowhere:"), markup=False)
    out.print(token)


def _check_platform(settings: Settings, platform: str | None) -> None:
    """A role for a platform that is not there would be one for nothing."""
    known = [*platforms.names(settings), UNKNOWN, *(f"environment:{name}" for name in platforms.ENVIRONMENTS)]
    if platform is not None and platform not in known:
        raise UsageError(f"there is no platform {platform[:60]!r}; --platform takes one of {', '.join(known)}")


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
