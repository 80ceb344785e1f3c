"""`runbook serve`: intake, console and workers in one process tree."""

from __future__ import annotations

import sys
from typing import Annotated

import structlog
import typer

from opslib.commands.output import out
from opslib.serve import Supervisor
from opslib.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen; RUNBOOK_HOST, else 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="RUNBOOK_PORT, else 8600")] = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="How many workers to start here")] = 1,
) -> None:
    """Take alerts, show the console and run the runbooks, until Ctrl-C."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = Settings()
    supervisor = Supervisor(
        settings,
        host or settings.host,
        port or settings.port,
        workers,
        say=lambda line: out.print(line, markup=False),
    )
    supervisor.run()
