"""Two servers and four workers on one database, which goes away meanwhile: nothing is lost, nothing done twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from opslib import intake, people, store, web
from opslib.record import client
from opslib.record.verify import verify
from opslib.runs import descendants
from opslib.settings import Settings
from tests.acceptance.conftest import free_port
from tests.runs import conftest
from tests.runs.support import entries, wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.soak]

AWAY_S = 60.0
TOKEN = "token-of-the-test"


class Site:
    """Servers, workers and what they need, each a process of its own on one database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ports = [free_port(), free_port()]
        modules = [["opslib.server", "--port", str(port)] for port in self.ports]
        modules += [["opslib.record.recorder"], ["opslib.record.signer"]]
        commands = [["-m", *words] for words in modules]
        commands += [["-c", "from opslib.cli import main; main()", "worker"]] * 4
        self.processes = [
            subprocess.Popen([sys.executable, *words], env=client.environment(settings), cwd="/") for words in commands
        ]

    def post(self, server: int, *numbers: int) -> int:
        """The status with which one of the servers answers these alerts; 0: not at all."""
        alerts = [alert(number) for number in numbers]
        body = {"version": "4", "status": "firing", "receiver": "test", "alerts": alerts}
        address = f"http://127.0.0.1:{self.ports[server]}/api/v1/alerts"
        headers = {"authorization": f"Bearer {TOKEN}"}
        with contextlib.suppress(httpx.TransportError):
            return web.post(address, json=body, headers=headers, timeout=30).status_code
        return 0

    def both(self, *numbers: int) -> None:
        """Deliver to both servers at once, as a pair of Alertmanagers does; again until each has taken it."""

        def deliver(server: int) -> None:
            wait_for(lambda: self.post(server, *numbers) == 200)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(deliver, range(2)))

    def metrics(self, server: int) -> dict[str, float]:
        address = f"http://127.0.0.1:{self.ports[server]}/metrics"
        lines = web.get(address, timeout=30).text.splitlines()
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("runbook_alerts")
        }

    def totals(self) -> dict[str, int]:
        with store.transaction(self.settings) as connection:
            assert intake.mistakes(connection) == []
            return intake.totals(connection)

    def settled(self) -> bool:
        with store.transaction(self.settings) as connection:
            row = connection.execute(
                "SELECT count(*) AS n FROM runs JOIN incidents ON incidents.id = runs.incident "
                "WHERE runs.state IN ('waiting', 'running') OR journal_seq > sealed_seq"
            ).fetchone()
        return row is not None and row["n"] == 0

    @contextlib.contextmanager
    def database_away(self) -> Iterator[None]:
        """PostgreSQL is killed, and comes back at the end of the block."""
        place = str(self.settings.home)
        (supervisor,) = (
            number for number in descendants.named("opslib.store.supervisor") if number in descendants.named(place)
        )
        pid = self.settings.state / "postgres" / "data" / "postmaster.pid"
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(int(pid.read_text().splitlines()[0]), signal.SIGKILL)
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)


def alert(number: int) -> dict[str, Any]:
    labels = {"alertname": "Works", "platform": "test", "severity": "warning", "number": str(number)}
    return {"status": "firing", "labels": labels, "startsAt": "2026-01-05T12:00:00Z", "endsAt": "0001-01-01T00:00:00Z"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    settings = conftest._settings(tmp_path)
    (settings.params / "routes.yaml").write_text("default:\n  runbook: works\n  target: [alertname, number]\n")
    work = "import time\nprint('begun')\ntime.sleep(8 if alert['labels']['number'] == '1000' else 0.2)\nprint('done')"
    conftest.write_runbook(settings.notebooks / "alerts" / "works.ipynb", work)
    monkeypatch.setenv("RUNBOOK_INTAKE_TOKEN", TOKEN)
    monkeypatch.setenv("RUNBOOK_WARM_KERNELS", "1")
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "0")
    store.ensure(settings)
    people.ensure_intake_token(settings.model_copy(update={"intake_token": SecretStr(TOKEN)}))
    site = Site(settings)
    yield site
    site.end()
    store.stop(settings)


def test_two_servers_four_workers_and_a_database_that_goes_away(site: Site) -> None:
    for start in range(0, 12, 3):
        site.both(*range(start, start + 3))
    assert (site.totals()["accepted"], site.totals()["repeats"] >= 12) == (12, True)
    site.both(1000)  # its run goes on while the database is away
    long = wait_for(lambda: going(site.settings))
    with site.database_away():
        began = time.monotonic()
        wait_for(lambda: site.post(0, 12) not in (200, 0))
        assert site.post(1, 12) == 503
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
    site.both(12, 13)
    wait_for(site.settled, 600)
    totals = site.totals()
    assert totals == {
        "accepted": 15,
        "repeats": totals["repeats"],
        "run": 15,
        "waiting": 0,
        "suppressed": 0,
        "lost": 0,
    }
    with store.transaction(site.settings) as connection:
        runs = connection.execute("SELECT incident, state, attempt FROM runs ORDER BY id").fetchall()
    assert [(run["state"], run["attempt"]) for run in runs] == [("succeeded", 1)] * 15
    kinds = [one["kind"] for one in entries(site.settings, long)]
    assert (kinds.count("run-started"), kinds.count("run-ended")) == (1, 1)
    assert "done" in str([one["body"].get("text") for one in entries(site.settings, long)])
    assert site.metrics(0) == site.metrics(1)
    assert verify(site.settings.home).ok


def going(settings: Settings) -> str | None:
    """The incident of the long run, once it has begun."""
    with store.transaction(settings) as connection:
        row = connection.execute("SELECT id FROM incidents WHERE target LIKE '%1000%'").fetchone()
    if row is None:
        return None
    begun = any(one["kind"] == "output" for one in entries(settings, row["id"]))
    return str(row["id"]) if begun else None
