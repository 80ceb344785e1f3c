"""`runbook serve` on a home of its own, for as long as a benchmark takes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import nbformat

from opslib import store, web
from opslib.record import journal
from opslib.runs import leases
from opslib.settings import PROJECT, Settings

BIN = Path(sys.executable).parent
TOKEN = "bench-token"  # noqa: S105 - of a service that lives for a minute
_START_S, _REST_S, _RUN_S = 300.0, 120.0, 300.0


@contextmanager
def serving(cells: Sequence[str] | None = None, workers: int = 1) -> Iterator[Service]:
    """The service for the time of a block: with one runbook of these cells, or with the project's own."""
    folder = Path(tempfile.mkdtemp(prefix="bench-runs-"))
    service = Service(folder, cells, workers)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Service:
    """One `runbook serve`, and what is asked of it.

    Parameters
    ----------
    folder : Path
    cells : sequence of str or None
        Of the runbook `heavy`, which every alert starts on a platform that has nothing; None: the project's runbooks.
    workers : int
    """

    def __init__(self, folder: Path, cells: Sequence[str] | None, workers: int = 1) -> None:
        self.folder, self.workers = folder, workers
        self.notebook = folder / "notebooks" / "alerts" / "heavy.ipynb"
        self.params, self.notebooks = PROJECT / "params", PROJECT / "notebooks"
        if cells is not None:
            self.params, self.notebooks = folder / "params", folder / "notebooks"
            self._lay_down(cells)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")} | {
            "RUNBOOK_HOME": str(folder / "home"),
            "RUNBOOK_PARAMS": str(self.params),
            "RUNBOOK_NOTEBOOKS": str(self.notebooks),
            "RUNBOOK_INTAKE_TOKEN": TOKEN,
        }
        self.settings = Settings(home=folder / "home", params=self.params, notebooks=self.notebooks, database_url=None)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self._sender = web.client(timeout=30)  # which keeps its connection, as Alertmanager does

    def _lay_down(self, cells: Sequence[str]) -> None:
        """The runbook, a platform, and routes."""
        _notebook(self.notebook, cells)
        shutil.copytree(PROJECT / "params", self.params, ignore=shutil.ignore_patterns("platforms"))
        (self.params / "platforms").mkdir()
        (self.params / "platforms" / "bench.yaml").write_text(
            "title: Bench\nenvironment: staging\nendpoints:\n  api: http://127.0.0.1:1\n"
        )
        routes = "routes:\n  - match: {alertname: Heavy}\n    runbook: heavy\n    target: [number]\n"
        (self.params / "routes.yaml").write_text(f"{routes}default:\n  runbook: heavy\n  target: [alertname]\n")

    def start(self) -> None:
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "runbook", "serve", "--port", str(self.port), "--workers", str(self.workers)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self._wait_for_kernels(_START_S)

    def rest(self) -> None:
        """Wait until as many kernels are ready as shall be."""
        self._wait_for_kernels(_REST_S)

    def _wait_for_kernels(self, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self._ready() >= self.settings.warm_kernels:
                return
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.folder / "serve.log").read_text()[-2000:])

    def _ready(self) -> int:
        try:
            web.get(f"http://127.0.0.1:{self.port}/healthz", timeout=1).raise_for_status()
            status = leases.place(self.settings).with_name(leases.STATUS).read_text("ascii")
        except (httpx.HTTPError, OSError):
            return -1
        return int(json.loads(status)["ready"])

    def runbook(self, *words: str) -> None:
        """One `runbook` command on this home."""
        subprocess.run([BIN / "runbook", *words], env=self.environment, stdout=sys.stderr, check=True, timeout=_START_S)

    def post(self, **labels: str) -> tuple[str, datetime]:
        """Send one alert; the incident, and when it was sent."""
        now = datetime.now(UTC)
        answer = self._sender.post(
            f"http://127.0.0.1:{self.port}/api/v1/alerts",
            json={"version": "4", "status": "firing", "receiver": "bench", "alerts": [firing(now, **labels)]},
            headers={"authorization": f"Bearer {TOKEN}"},
        )
        answer.raise_for_status()
        return str(answer.json()["incidents"][0]), now

    def moments(self, incident: str) -> tuple[dict[str, datetime], datetime]:
        """When each cell had run, by its id, and when the run had ended with its verdict, as the journal says."""
        deadline = time.monotonic() + _RUN_S
        with store.connect(self.settings, autocommit=True) as connection:
            while time.monotonic() < deadline:
                entries = journal.entries(connection, incident)
                ended = next((entry for entry in entries if entry["kind"] == "run-ended"), None)
                if ended is not None:
                    if ended["body"]["state"] != "succeeded":
                        raise RuntimeError(ended["body"]["error"])
                    cells = [entry for entry in entries if entry["kind"] == "cell-ended"]
                    return {entry["body"]["cell_id"]: _at(entry) for entry in cells}, _at(ended)
                time.sleep(0.1)
        raise RuntimeError(f"the run of {incident} did not end")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self._sender.close()
        store.stop(self.settings)


def _at(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(str(entry["at"]))


def firing(now: datetime, **labels: str) -> dict[str, Any]:
    """An alert as Alertmanager sends it."""
    told = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": now.isoformat()}
    return told | {"endsAt": "0001-01-01T00:00:00Z"}


def _notebook(path: Path, sources: Sequence[str]) -> None:
    """These cells, and the parameters that every runbook has."""
    parameters = 'platform: str = "bench"\nalert: dict = {}'
    cells = [
        nbformat.v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
        *(nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)),
    ]
    metadata = {
        "kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"},
        "runbook": {"id": "T01", "title": "Heavy", "kind": "alert", "trigger": ["Heavy"]},
    }
    path.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
