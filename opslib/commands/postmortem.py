"""`runbook postmortem`: what a record tells of an incident, laid out for a review."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from opslib.commands.output import out, printable
from opslib.errors import UsageError
from opslib.incidents import postmortem as review
from opslib.record import archive, archived
from opslib.settings import Settings


def postmortem(
    incident: Annotated[str, typer.Argument(help="INC-YYYY-NNNNNN", metavar="INC")],
    template: Annotated[
        review.Template, typer.Option(help="The layout: of seed 000, 001, 003 or 004", metavar="SEED")
    ] = "000",
    file: Annotated[Path | None, typer.Option("--out", help="A new file to write; standard output else")] = None,
) -> None:
    """Write the post-mortem of an incident from its record, in Markdown; what was altered is refused."""
    settings = Settings()
    report = archived.checked(settings.home, incident)
    entries = archived.journal_of(settings.home / report.folder)
    text = printable(review.render(review.gather(entries, report.state), template))
    if file is None:
        sys.stdout.write(text)
        return
    if file.exists():
        raise UsageError(f"{file} is there already; name a new file, so that nothing a person wrote is lost")
    archive.write_atomic(file.absolute(), text.encode())
    out.print(f"Written to {file}; fill in what is left open.", markup=False)
