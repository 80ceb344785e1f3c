"""What the tests of runs share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest

from opslib import incidents, store
from opslib.errors import StoreError
from opslib.record import client, journal
from opslib.runs import following, leases, queue, run
from opslib.settings import Settings


def wait_for(condition: Callable[[], Any], within_s: float = 180.0) -> Any:
    """Wait until something is so; a generous bound, only against hanging for ever.

    A machine that is so busy that the store does not answer in time is asked again.
    """
    until = time.monotonic() + within_s
    while True:
        with suppress(StoreError):
            if found := condition():
                return found
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.05)


def sockets(pid: int) -> int:
    """How many sockets a process holds; a descriptor that is closed while they are counted is none."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return sum(link.startswith("socket:") for link in links)


def execute(settings: Settings, name: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """A run by hand, here; its row."""
    _, number = run.start(settings, name, "test", given or {}, None, "plan", "ann")
    run.execute(settings, number, inline=True)
    return following.read(settings, number)


def entries(settings: Settings, incident: str) -> list[dict[str, Any]]:
    """The journal of an incident."""
    with store.connect(settings) as connection:
        return journal.entries(connection, incident)


def statuses(settings: Settings, row: dict[str, Any]) -> dict[str, str]:
    """The state of each code cell, by cell id."""
    node = nbformat.read(settings.home / row["record"], as_version=4)
    nbformat.validate(node)
    return {cell.id: cell.metadata.runbook.status for cell in node.cells if cell.cell_type == "code"}


def queued(
    settings: Settings, name: str, requested: dict[str, Any] | None = None, severity: str = "critical"
) -> tuple[str, int]:
    """An incident with a run and its job, as intake makes them."""
    with store.transaction(settings) as connection:
        row = incidents.open_incident(
            connection,
            platform="test",
            runbook=name,
            target=os.urandom(4).hex(),
            severity=severity,
            title="T",
            opened_by="alert",
        )
        number = queue.create_run(
            connection,
            row["id"],
            runbook=name,
            platform="test",
            mode="plan",
            requested=requested or {},
            alert={"labels": {}},
            requested_by="alert",
        )
        queue.defer(connection, number, severity=severity)
    return row["id"], number


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, ended with SIGTERM if it still lives."""
    command = "import sys; from opslib.runs import worker; from opslib.settings import Settings; "
    command += "sys.exit(worker.main(Settings()))"
    process = subprocess.Popen([sys.executable, "-c", command], env=client.environment(settings), cwd="/")
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def nursery(settings: Settings, count: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A nursery of this home, once it answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_WARM_KERNELS", str(count))
        process = leases.start(settings)
    assert process is not None
    try:
        wait_for(
            lambda: _of_kernels(settings).get("nursery") == process.pid, 400
        )  # what an earlier one said may be there
        yield process
    finally:
        process.terminate()
        process.wait(60)


def warm(settings: Settings) -> int:
    """How many kernels of the nursery are ready."""
    return _of_kernels(settings).get("ready", 0)


def _of_kernels(settings: Settings) -> dict[str, int]:
    """What a nursery says of its kernels; nothing before it does."""
    try:
        return dict(json.loads((settings.runtime / "kernels.json").read_text("ascii")))
    except (FileNotFoundError, ValueError):
        return {}


def processes_of(text: str) -> list[int]:
    """The living processes whose command line holds a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text in (entry / "cmdline").read_text("utf-8", "replace").replace("\0", " "):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
