"""Workers that are told to end: runs may end, what takes too long goes back to the queue, nothing new begins."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from opslib import store
from opslib.record import client
from opslib.runs import following
from opslib.runs import worker as work
from opslib.settings import Settings
from opslib.sql import queries
from tests.runs import conftest
from tests.runs.support import entries, queued, statuses, wait_for, worker

pytestmark = pytest.mark.slow


def begun(settings: Settings, incident: str) -> bool:
    return any(entry["kind"] == "output" for entry in entries(settings, incident))


def state(settings: Settings, run: int) -> str:
    return str(following.read(settings, run)["state"])


def attempts(settings: Settings, incident: str) -> list[tuple[str, int]]:
    with store.connect(settings) as connection:
        rows = connection.execute("SELECT state, attempt FROM runs WHERE incident = %s ORDER BY id", (incident,))
        return [(row["state"], row["attempt"]) for row in rows]


def test_a_run_that_ends_in_time_ends_and_no_other_begins(
    runs: Settings, notebook: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "20")
    name = notebook("naps-a-while", "import time\nprint('begun')\ntime.sleep(2)\nprint('rested')")
    incident, number = queued(runs, name)
    with worker(runs) as process:
        wait_for(lambda: begun(runs, incident))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not work.alive(runs))  # told at once: nobody waits for a worker that takes nothing
        _, later = queued(runs, name)
        assert process.wait(60) == 0
    row = following.read(runs, number)
    assert (row["state"], row["error"]) == ("succeeded", None)
    assert set(statuses(runs, row).values()) == {"succeeded"}
    assert state(runs, later) == "waiting"


def test_a_run_that_takes_longer_goes_back_to_the_queue_and_that_is_no_failed_attempt(
    runs: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "0.5")
    incident, number = queued(runs, "sleeps")
    for before in range(2):
        with worker(runs) as process:
            wait_for(lambda told=before: [one["kind"] for one in entries(runs, incident)].count("cell-started") > told)
            wait_for(lambda: "running" in [one for one, _ in attempts(runs, incident)])
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert attempts(runs, incident) == [("lost", 1), ("lost", 1), ("waiting", 1)]
    assert "handed the run back to the queue" in following.read(runs, number)["error"]


def test_told_twice_it_hands_back_at_once(runs: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "20")
    incident, _ = queued(runs, "sleeps")
    with worker(runs) as process:
        wait_for(lambda: begun(runs, incident))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not work.alive(runs))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert attempts(runs, incident) == [("lost", 1), ("waiting", 1)]


def test_a_run_whose_worker_is_killed_was_an_attempt(runs: Settings) -> None:
    incident, number = queued(runs, "sleeps")
    with worker(runs) as process:
        wait_for(lambda: begun(runs, incident))
        process.kill()
        process.wait()
        wait_for(lambda: len(attempts(runs, incident)) == 2)
    assert attempts(runs, incident) == [("lost", 1), ("waiting", 2)]
    assert "the worker ended (SIGTERM) while it ran" in following.read(runs, number)["error"]


def test_a_run_whose_process_stands_still_is_killed_in_time_and_handed_back(
    runs: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "0")  # of the 18 s that it has by default
    incident, number = queued(runs, "sleeps")
    with worker(runs) as process:
        wait_for(lambda: begun(runs, incident))
        os.kill(int(following.read(runs, number)["worker"].split("/")[1]), signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert attempts(runs, incident) == [("lost", 1), ("waiting", 1)]
    assert "killed it, and handed the run back" in following.read(runs, number)["error"]


def test_ctrl_c_is_for_the_worker_and_not_for_the_run(runs: Settings, notebook: Callable[..., str]) -> None:
    name = notebook("naps-on", "import time\nprint('begun')\ntime.sleep(1)")
    incident, number = queued(runs, name)
    with worker(runs):
        wait_for(lambda: begun(runs, incident))
        os.kill(int(following.read(runs, number)["worker"].split("/")[1]), signal.SIGINT)
        wait_for(lambda: state(runs, number) not in ("waiting", "running"))
    assert state(runs, number) == "succeeded"


@pytest.mark.slow
def test_serve_drains_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = conftest._settings(tmp_path)
    conftest.write_runbook(
        settings.notebooks / "alerts" / "rests.ipynb", "import time\nprint('begun')\ntime.sleep(3)\nprint('rested')"
    )
    routes = "routes: []\ndefault: {runbook: rests, target: [alertname]}\n"
    (settings.params / "routes.yaml").write_text(routes, "utf-8")
    store.ensure(settings)
    incident, number = queued(settings, "rests")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-c", "from opslib.cli import main; main()", "serve", "--port", str(port)]
    log = (tmp_path / "serve.log").open("wb")
    try:
        with subprocess.Popen(command, env=client.environment(settings), stdout=log, stderr=log) as process:
            wait_for(lambda: begun(settings, incident) or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "serve.log").read_text("utf-8")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        row = following.read(settings, number)
        assert (row["state"], row["error"]) == ("succeeded", None)
        with store.connect(settings) as connection:
            told = connection.execute(queries("runs").closed, {"incident": incident, "run": number}).fetchone()
        assert told == {"closed": True}
    finally:
        log.close()
        store.stop(settings)
