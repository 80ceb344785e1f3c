"""Rounds of random kills under load: whatever dies, the ledger adds up, no run is run twice, no record is altered."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from opslib import intake, store
from opslib.errors import StoreError
from opslib.record import client
from opslib.record.verify import verify
from opslib.runs import descendants
from opslib.settings import Settings
from tests.intake.bodies import webhook
from tests.runs import conftest
from tests.runs.support import nursery, wait_for

pytestmark = pytest.mark.slow

SEED, WORKERS = 20260104, 2
PAUSE_S = (0.1, 0.9)
AWAY = (StoreError, psycopg.OperationalError)
WORK = "import time\nprint('looks')\ntime.sleep(0.3)\nprint('seen')"
COMMANDS = {
    "worker": ["-c", "from opslib.cli import main; main()", "worker"],
    "recorder": ["-m", "opslib.record.recorder"],
    "signer": ["-m", "opslib.record.signer"],
}


class Service:
    """Recorder, signer and workers of one home, each started again when it is gone."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.chance = random.Random(seed)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.sent: list[dict[str, Any]] = []
        self.accepted = 0
        self.killed: dict[str, int] = {}

    def tend(self) -> None:
        for name in ["recorder", "signer", *(f"worker {number}" for number in range(WORKERS))]:
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                command = [sys.executable, *COMMANDS[name.split()[0]]]
                self.processes[name] = subprocess.Popen(
                    command, env=client.environment(self.settings), cwd="/", start_new_session=True
                )

    def deliver(self) -> None:
        """One to three new alerts and a repeat, sent until they are taken, as Alertmanager does."""
        new = [self.alert(len(self.sent) + number) for number in range(self.chance.randint(1, 3))]
        repeats = self.chance.sample(self.sent, min(1, len(self.sent)))
        body = webhook(*new, *repeats)

        def taken() -> bool:
            with contextlib.suppress(*AWAY):
                intake.accept(self.settings, body, sender="intake", endpoint="v1")
                return True
            return False

        wait_for(taken)
        self.sent += new
        self.accepted += len(new)

    def alert(self, number: int) -> dict[str, Any]:
        severity = self.chance.choice(["critical", "warning", "info"])
        labels = {"alertname": "Works", "platform": "test", "severity": severity, "number": str(number)}
        return {
            "status": "firing",
            "labels": labels,
            "startsAt": "2026-01-05T12:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
        }

    def strike(self) -> None:
        """SIGKILL to something at random, of a kind of which there is one."""
        kinds: list[tuple[int, str, Callable[[], list[int]]]] = [
            (10, "run", lambda: self.of("opslib.runs.run")),
            (10, "kernel", lambda: self.kernels()),
            (4, "worker", lambda: [self.processes[f"worker {self.chance.randrange(WORKERS)}"].pid]),
            (3, "forker", lambda: self.of("opslib.runs.forker")),
            (3, "recorder", lambda: [self.processes["recorder"].pid]),
            (3, "signer", lambda: [self.processes["signer"].pid]),
            (2, "PostgreSQL", lambda: [self.postmaster()]),
        ]
        while True:
            one = self.chance.choices(kinds, [weight for weight, _, _ in kinds])[0]
            if found := one[2]():
                descendants.kill([self.chance.choice(found)])
                self.killed[one[1]] = self.killed.get(one[1], 0) + 1
                return
            kinds.remove(one)

    def of(self, module: str) -> list[int]:
        """The processes of this home's workers that run a module."""
        tree = [below for process in self.processes.values() for below in descendants.below(process.pid)]
        named = set(descendants.named(module))
        return [number for number in tree if number in named]

    def kernels(self) -> list[int]:
        """Guards of kernels that were taken, and the kernels."""
        mine = set(descendants.named(f"{self.settings.runtime}/kernel-")) - set(descendants.named("--parked"))
        return sorted({*mine, *(below for guard in mine for below in descendants.below(guard))})

    def postmaster(self) -> int:
        return int((self.settings.state / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])

    def check(self) -> None:
        """What holds at any moment."""

        def look() -> tuple[dict[str, int], list[str]] | None:
            with contextlib.suppress(*AWAY), store.transaction(self.settings) as connection:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                return intake.totals(connection), intake.mistakes(connection)
            return None

        totals, mistakes = wait_for(look)
        assert totals["accepted"] == self.accepted
        assert sum(totals[name] for name in intake.OUTCOMES) == self.accepted
        assert mistakes == []

    def logged(self) -> list[str]:
        """The seals in the log so far; none while the store is away."""
        with contextlib.suppress(*AWAY), store.transaction(self.settings) as connection:
            return [str(row["line"]) for row in connection.execute("SELECT line FROM log_leaves ORDER BY index")]
        return []

    def settled(self) -> bool:
        self.tend()
        with contextlib.suppress(*AWAY), store.transaction(self.settings) as connection:
            row = connection.execute(
                "SELECT count(*) AS left FROM runs JOIN incidents ON incidents.id = runs.incident "
                "WHERE runs.state IN ('waiting', 'running') OR journal_seq > sealed_seq"
            ).fetchone()
            return row is not None and row["left"] == 0
        return False

    def end(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            process.wait(60)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    settings = conftest._settings(tmp_path)
    settings.params.joinpath("routes.yaml").write_text(
        "routes: []\ndefault:\n  runbook: works\n  target: [alertname, number]\n"
    )
    conftest.write_runbook(settings.notebooks / "alerts" / "works.ipynb", WORK)
    for name, value in {"WARM_KERNELS": "1", "DRAIN_S": "0", "COOLDOWN_S": "0", "STORM_DEPTH": "1000"}.items():
        monkeypatch.setenv(f"RUNBOOK_{name}", value)
    for name in ("home", "params", "notebooks"):
        monkeypatch.setenv(f"RUNBOOK_{name.upper()}", str(getattr(settings, name)))
    store.ensure(settings)
    service = Service(Settings(), SEED)
    with nursery(settings):
        service.tend()
        yield service
        service.end()
    store.stop(settings)


@pytest.mark.parametrize("rounds", [6, pytest.param(50, marks=pytest.mark.soak)])
def test_rounds_of_random_kills(service: Service, rounds: int) -> None:
    logged: list[str] = []
    service.deliver()
    wait_for(service.settled, 600)  # all is up
    for _ in range(rounds):
        service.deliver()
        time.sleep(service.chance.uniform(*PAUSE_S))
        service.strike()
        service.check()
        service.tend()
        logged = service.logged() or logged
    wait_for(service.settled, 600)
    service.check()
    print(f"killed: {service.killed}")
    assert sum(service.killed.values()) == rounds
    with store.transaction(service.settings) as connection:
        totals = intake.totals(connection)
        runs = connection.execute("SELECT id, state, retry_of, incident FROM runs ORDER BY id").fetchall()
        told = connection.execute(
            "SELECT line::jsonb ->> 'kind' AS kind, (line::jsonb -> 'body' ->> 'run')::bigint AS run, count(*) "
            "FROM journal WHERE line::jsonb ->> 'kind' IN ('run-started', 'run-ended') GROUP BY 1, 2"
        ).fetchall()
    assert totals["waiting"] == 0
    assert all(row["count"] == 1 for row in told)  # begun once at most, ended once
    assert {row["run"] for row in told if row["kind"] == "run-ended"} == {run["id"] for run in runs}
    states = {run["id"]: run["state"] for run in runs}
    assert all(states[run["retry_of"]] == "lost" for run in runs if run["retry_of"])  # only what was lost is run again
    replaced = {run["retry_of"] for run in runs}
    for incident in {run["incident"] for run in runs}:
        last = [run for run in runs if run["incident"] == incident and run["id"] not in replaced]
        assert len(last) == 1
    report = verify(service.settings.home)
    assert report.ok, report.document()
    assert service.logged()[: len(logged)] == logged  # what was sealed stays so
