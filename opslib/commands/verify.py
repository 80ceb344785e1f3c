"""`runbook verify`: whether the records are as they were sealed, and all of them there."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from opslib.commands.output import out, print_json, print_table, printable
from opslib.record import remote
from opslib.record.verify import Report
from opslib.record.verify import verify as check
from opslib.settings import Settings


def verify(
    incident: Annotated[str | None, typer.Argument(help="INC-YYYY-NNNNNN; all of them where it is left out")] = None,
    trust: Annotated[
        Path | None, typer.Option(help="A public key kept elsewhere, to trust instead of log/signer.pub")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="An earlier checkpoint kept elsewhere: shows that nothing was cut")
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="The records in RUNBOOK_ARCHIVE instead of those of this home")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document")] = False,
) -> None:
    """Verify the records and their log, offline: exit code 0 when all is intact, else 1 and what is wrong where."""
    settings = Settings()
    with ExitStack() as held:
        home = settings.home
        if archive:
            home = Path(held.enter_context(TemporaryDirectory(prefix="runbook-verify-")))
            remote.copy(settings, home)
        report = check(home, incident, trust=trust, checkpoint=checkpoint)
    if json:
        print_json(report.document())
    else:
        _print(report, str(settings.archive) if archive else str(settings.home))
    raise typer.Exit(0 if report.ok else 1)


def _print(report: Report, home: str) -> None:
    """The report for a person: what is wrong first, then one line that sums it up."""
    rows = [
        (item.state, item.incident, item.seals, item.files, item.entries)
        for item in report.incidents
        if item.state != "intact" or len(report.incidents) <= 20
    ]
    if rows:
        print_table(["state", "incident", "seals", "files", "journal entries"], rows)
    for problem in [*report.log, *(problem for item in report.incidents for problem in item.problems)]:
        where = f" ({problem.where})" if problem.where else ""
        out.print(printable(f"{problem.file}{where}: {problem.reason}"), markup=False)
    states = Counter(item.state for item in report.incidents)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no records"
    verdict = "verified" if report.ok else "NOT verified"
    log = "the log is whole" if not report.log else f"{len(report.log)} problems with the log or the home"
    out.print(printable(f"{verdict}: {told}; {log} ({home})"), markup=False)
