"""`runbook worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from opslib.runs import worker as work
from opslib.settings import Settings


def worker(
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="How many runs at once; one slot more is kept for critical ones")
    ] = work.CONCURRENCY,
) -> None:
    """One more worker, on this or another machine; SIGTERM or Ctrl-C lets its runs end, twice hands them back."""
    raise typer.Exit(work.main(Settings(), concurrency=concurrency))
