"""From an alert's POST to its first cell and to its end, beside papermill's own command on the same notebook."""

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
from statistics import median, quantiles

import httpx
import nbformat

from bench.timing import Row, report
from opslib import store
from opslib.record import journal
from opslib.runs import descendants, leases, nursery
from opslib.settings import PROJECT, Settings

ROUNDS = 12
AT_ONCE = 12
BIN = Path(sys.executable).parent
CELLS = (
    "import pandas as pd, matplotlib.pyplot as plt, numba, numpy as np, kubernetes, psycopg, redis",
    "frame = pd.DataFrame({'x': np.arange(1000), 'y': np.arange(1000) ** 2})\nframe.describe()",
    "frame.plot(x='x', y='y')\nplt.show()",
    "total = frame['y'].sum()\nprint(total)",
    "print('done')",
)


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


class Service:
    """`runbook serve` on a home of its own, with one runbook of these cells."""

    def __init__(self, folder: Path, cells: Sequence[str] = CELLS, workers: int = 1) -> None:
        self.folder, self.workers = folder, workers
        self.notebook = folder / "notebooks" / "alerts" / "heavy.ipynb"
        _notebook(self.notebook, cells)
        shutil.copytree(PROJECT / "params", folder / "params", ignore=shutil.ignore_patterns("platforms"))
        (folder / "params" / "platforms").mkdir()
        (folder / "params" / "platforms" / "bench.yaml").write_text(
            "title: Bench\nenvironment: staging\nendpoints:\n  api: http://127.0.0.1:1\n"
        )
        routes = "routes:\n  - match: {alertname: Heavy}\n    runbook: heavy\n    target: [number]\n"
        (folder / "params" / "routes.yaml").write_text(f"{routes}default:\n  runbook: heavy\n  target: [alertname]\n")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")} | {
            "RUNBOOK_HOME": str(folder / "home"),
            "RUNBOOK_PARAMS": str(folder / "params"),
            "RUNBOOK_NOTEBOOKS": str(folder / "notebooks"),
            "RUNBOOK_INTAKE_TOKEN": "bench-token",
        }
        self.settings = Settings(
            home=folder / "home", params=folder / "params", notebooks=folder / "notebooks", database_url=None
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.sent = 0

    def start(self) -> None:
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "runbook", "serve", "--port", str(self.port), "--workers", str(self.workers)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            if self._ready() >= self.settings.warm_kernels:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.folder / "serve.log").read_text()[-2000:])

    def _ready(self) -> int:
        try:
            httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=1, trust_env=False).raise_for_status()
            status = leases.place(self.settings).with_name(nursery.STATUS).read_text("ascii")
        except (httpx.HTTPError, OSError):
            return -1
        return int(json.loads(status)["ready"])

    def rest(self) -> None:
        """Wait until as many kernels are ready as shall be."""
        while self._ready() < self.settings.warm_kernels:
            time.sleep(0.05)

    def post(self) -> tuple[str, datetime]:
        """Send an alert; the incident, and when it was sent."""
        self.sent += 1
        labels = {"alertname": "Heavy", "platform": "bench", "severity": "critical", "number": str(self.sent)}
        now = datetime.now(UTC)
        alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": now.isoformat(), "endsAt": ""}
        alert["endsAt"] = "0001-01-01T00:00:00Z"
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/api/v1/alerts",
            json={"version": "4", "status": "firing", "receiver": "bench", "alerts": [alert]},
            headers={"authorization": "Bearer bench-token"},
            timeout=30,
            trust_env=False,
        )
        answer.raise_for_status()
        return str(answer.json()["incidents"][0]), now

    def times(self, incident: str, sent: datetime) -> tuple[float, float]:
        """From the POST until the first cell had run, and until the run had ended [ms]."""
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            with store.connect(self.settings) as connection:
                entries = journal.entries(connection, incident)
            ended = [entry for entry in entries if entry["kind"] == "run-ended"]
            if ended:
                if ended[0]["body"]["state"] != "succeeded":
                    raise RuntimeError(ended[0]["body"]["error"])
                first = next(entry for entry in entries if entry["kind"] == "cell-ended")
                return tuple(
                    1000 * (datetime.fromisoformat(str(entry["at"])) - sent).total_seconds()
                    for entry in (first, ended[0])
                )  # type: ignore[return-value]
            time.sleep(0.02)
        raise RuntimeError(f"the run of {incident} did not end")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        store.stop(self.settings)


@contextmanager
def serving(cells: Sequence[str] = CELLS, workers: int = 1) -> Iterator[Service]:
    """The service for the time of a block."""
    folder = Path(tempfile.mkdtemp(prefix="bench-runs-"))
    service = Service(folder, cells, workers)
    try:
        service.start()
        yield service
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def papermill(service: Service, number: int) -> subprocess.Popen[bytes]:
    """Papermill's own command on the same notebook, begun."""
    out = service.folder / f"out-{number}.ipynb"
    words = [BIN / "papermill", service.notebook, out, "--no-progress-bar", "--log-level", "ERROR"]
    return subprocess.Popen(words, cwd=service.folder, env=service.environment, stderr=subprocess.DEVNULL)


def _pss_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _cpu_s(processes: list[int]) -> float:
    """What they have used so far, and those of their children that have ended [s]."""
    ticks = 0
    for process in processes:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _row(case: str, ours: float, peer: float, peer_name: str, unit: str, ratio: float, note: str = "") -> Row:
    return Row(case, ours, peer, peer_name, unit, ratio, None, note)


def rows() -> list[Row]:
    """Latency, throughput, memory and idleness."""
    with serving() as service:
        firsts, ends, peers = [], [], []
        for number in range(ROUNDS):
            service.rest()
            first, end = service.times(*service.post())
            begun = time.perf_counter()
            papermill(service, number).wait()
            peers.append(1000 * (time.perf_counter() - begun))
            firsts.append(first)
            ends.append(end)
        service.rest()
        begun = time.perf_counter()
        for incident, sent in [service.post() for _ in range(AT_ONCE)]:
            service.times(incident, sent)
        ours = 60 * AT_ONCE / (time.perf_counter() - begun)
        begun = time.perf_counter()
        for pair in range(2):
            for process in [papermill(service, 100 + 2 * pair + one) for one in range(2)]:
                process.wait()
        theirs = 60 * 4 / (time.perf_counter() - begun)
        service.rest()
        time.sleep(2)
        parked = descendants.named("--parked")
        own = [one for one in parked if one in descendants.named(str(service.settings.runtime))]
        kernels = [(guard, *descendants.below(guard)) for guard in own]
        memory = median([sum(map(_pss_mb, pair)) for pair in kernels]) if kernels else float("nan")
        assert service.process is not None
        tree = [service.process.pid, *descendants.below(service.process.pid)]
        before = _cpu_s(tree)
        time.sleep(10)
        idle = 100 * (_cpu_s(tree) - before) / 10
    tenth = quantiles(firsts, n=20)[-1]
    command = "papermill's command, whole"
    whole = median(peers)
    return [
        _row(
            "POST to first cell done", median(firsts), whole, command, "ms", whole / median(firsts), f"p95 {tenth:.0f}"
        ),
        _row("POST to the run's end, five heavy cells", median(ends), whole, command, "ms", whole / median(ends)),
        _row("notebooks a minute", ours, theirs, "papermill's command, two at a time", "1/min", ours / theirs),
        _row("memory of a warm kernel (PSS)", memory, 60.0, "bound", "MB", 60.0 / memory),
        _row("idle service, of one core", idle, 3.0, "bound", "%", 3.0 / max(idle, 0.01)),
    ]


if __name__ == "__main__":
    report("runs", rows)
