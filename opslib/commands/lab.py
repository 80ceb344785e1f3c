"""`runbook lab`: JupyterLab with the runbooks."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from opslib.commands.output import err, out
from opslib.settings import Settings


def lab(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The first free one from 8888 on")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser")] = False,
    as_: Annotated[str | None, typer.Option("--as", help="Who you are; RUNBOOK_TOKEN must agree with it")] = None,
    investigate: Annotated[
        str | None, typer.Option(metavar="INC", help="Open an archived notebook; it answers from its evidence at first")
    ] = None,
    run: Annotated[int | None, typer.Option(min=1, help="With --investigate: which run of the incident")] = None,
) -> None:
    """JupyterLab with working copies of the runbooks, until Ctrl-C. Each kernel is a run on the record."""
    from opslib import store
    from opslib.jupyter import copies, interactive
    from opslib.jupyter.lab import ready

    settings = Settings()
    store.ensure(settings)
    lost = interactive.end_forgotten(settings)
    if lost:
        err.print(f"{lost} run(s) of an earlier JupyterLab ended without saying so; they are on the record as lost.")
    notebook = copies.investigate(settings, investigate, run) if investigate is not None else None
    lab = ready(settings, port=port, browser=not no_browser, as_=as_, notebook=notebook)
    out.print(f"JupyterLab: {lab.url}", markup=False)
    out.print(f"Working copies: {lab.folder}", markup=False)
    sys.stdout.flush()
    os.execve(lab.command[0], lab.command, lab.environment)  # noqa: S606 - our own command, no shell
