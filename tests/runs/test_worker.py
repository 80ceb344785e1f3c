"""The worker: runs from the queue, and what becomes of them when processes are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from opslib import store
from opslib.runs import ending, following, reaper
from opslib.runs import worker as work
from opslib.settings import Settings
from opslib.sql import queries
from tests.runs.support import entries, processes_of, queued, statuses, wait_for, worker

pytestmark = pytest.mark.slow


def state(settings: Settings, run: int) -> str:
    return str(following.read(settings, run)["state"])


def ended(settings: Settings, run: int) -> dict[str, Any]:
    found: dict[str, Any] = wait_for(lambda: _closed(settings, run))
    return found


def _closed(settings: Settings, run: int) -> dict[str, Any] | None:
    row = following.read(settings, run)
    with store.connect(settings) as connection:
        closed = connection.execute(queries("runs").closed, {"incident": row["incident"], "run": run}).fetchone()
    return row if closed and closed["closed"] else None


def replacement(settings: Settings, run: int) -> int | None:
    with store.connect(settings) as connection:
        row = connection.execute(queries("runs").retry, {"run": run}).fetchone()
    return None if row is None else int(row["id"])


def cell_runs(settings: Settings, incident: str) -> bool:
    return any(entry["kind"] == "output" for entry in entries(settings, incident))


def test_worker_takes_runs_and_ends_on_sigterm(runs: Settings) -> None:
    with worker(runs) as process:
        _, number = queued(runs, "healthy")
        row = ended(runs, number)
        assert row["state"] == "succeeded"
        assert work.alive(runs)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not work.alive(runs)


def test_killed_worker_loses_its_run_and_the_run_is_run_again_once(runs: Settings) -> None:
    incident, number = queued(runs, "sleeps")
    with worker(runs) as process:
        wait_for(lambda: cell_runs(runs, incident))
        process.kill()
        process.wait()
        row = ended(runs, number)
    assert row["state"] == "lost"
    assert list(statuses(runs, row).values())[-2:] == ["interrupted", "not-run"]
    again = replacement(runs, number)
    assert again is not None
    with store.transaction(runs) as connection:
        assert connection.execute("SELECT attempt FROM runs WHERE id = %s", (again,)).fetchone() == {"attempt": 2}
    with worker(runs) as process:
        wait_for(lambda: state(runs, again) == "running")
        process.kill()
        process.wait()
        assert ended(runs, again)["state"] == "lost"
    assert replacement(runs, again) is None


def test_killed_run_is_lost_and_nothing_of_it_stays(runs: Settings, notebook: Callable[..., str]) -> None:
    cell = "import time\n\nprint('begun', flush=True)\ntime.sleep(600)"
    incident, number = queued(runs, notebook("prints-and-sleeps", cell))
    with worker(runs):
        wait_for(lambda: cell_runs(runs, incident))
        runner = int(following.read(runs, number)["worker"].split("/")[1])
        os.kill(runner, signal.SIGKILL)
        row = ended(runs, number)
        assert row["state"] == "lost"
        assert "is gone" in row["error"]
        sleeping = nbformat.read(runs.home / row["record"], as_version=4).cells[-1]
        assert sleeping.metadata.runbook.status == "interrupted"
        assert "begun" in "".join(output.text for output in sleeping.outputs)  # at the latest from the journal
        wait_for(lambda: not processes_of(f"--parent {runner}"))
        again = wait_for(lambda: replacement(runs, number))
        wait_for(lambda: state(runs, again) == "running")


def test_reaper_believes_the_journal_before_the_row(runs: Settings) -> None:
    """The store was away when the run ended: its journal came through the spool, its row still says running."""
    incident, number = queued(runs, "healthy")
    with store.transaction(runs) as connection:
        connection.execute(queries("runs").claim, {"run": number, "worker": "elsewhere/1/1"})
        connection.execute("UPDATE runs SET heartbeat_at = now() - interval '1 minute' WHERE id = %s", (number,))
    from opslib.record import journal

    journal.record(runs, incident, "run-ended", {"run": number, "state": "succeeded", "error": None}, actor="worker")
    assert reaper.reap(runs) == []
    assert state(runs, number) == "succeeded"
    assert replacement(runs, number) is None


def test_waiting_run_whose_job_was_taken_by_a_dead_worker_is_queued_again(runs: Settings) -> None:
    _, number = queued(runs, "healthy")
    with store.transaction(runs) as connection:
        connection.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE args ->> 'run' = %s", (str(number),))
        connection.execute("UPDATE runs SET queued_at = now() - interval '1 minute' WHERE id = %s", (number,))
    reaper.reap(runs)
    with store.transaction(runs) as connection:
        jobs = connection.execute(
            "SELECT status::text FROM procrastinate_jobs WHERE args ->> 'run' = %s ORDER BY id", (str(number),)
        ).fetchall()
    assert [job["status"] for job in jobs] == ["failed", "todo"]


def test_waiting_run_of_an_alert_whose_job_is_gone_is_queued_again(runs: Settings) -> None:
    _, number = queued(runs, "healthy")
    with store.transaction(runs) as connection:
        connection.execute("DELETE FROM procrastinate_jobs WHERE args ->> 'run' = %s", (str(number),))
        connection.execute(
            "UPDATE runs SET queued_at = now() - interval '1 minute', requested_by = 'alert' WHERE id = %s", (number,)
        )
    reaper.reap(runs)
    reaper.reap(runs)
    with store.transaction(runs) as connection:
        jobs = connection.execute(
            "SELECT status::text FROM procrastinate_jobs WHERE args ->> 'run' = %s", (str(number),)
        ).fetchall()
    assert [job["status"] for job in jobs] == ["todo"]


def test_record_that_nobody_closed_is_closed(runs: Settings) -> None:
    """The run's process was killed after the end was in the journal, before the record was closed."""
    incident, number = queued(runs, "sleeps")
    with worker(runs) as process:
        wait_for(lambda: cell_runs(runs, incident))
        runner = int(following.read(runs, number)["worker"].split("/")[1])
        ending.end(runs, number, "failed", "told by the test", actor="worker")
        os.kill(runner, signal.SIGKILL)
        process.kill()
        process.wait()
    row = following.read(runs, number)
    page = (runs.home / row["record"]).with_suffix(".html")
    assert not page.exists()
    with store.transaction(runs) as connection:
        connection.execute("UPDATE runs SET ended_at = now() - interval '1 minute' WHERE id = %s", (number,))
    reaper.reap(runs)
    assert page.exists()
    assert list(statuses(runs, row).values())[-2:] == ["interrupted", "not-run"]
    assert [entry["kind"] for entry in entries(runs, incident)].count("run-ended") == 1


def test_scratch_folder_that_nobody_has_is_removed(runs: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runs.runtime / "kernel-left"
    (folder / "work").mkdir(parents=True)
    reaper.reap(runs)
    assert folder.exists()
    monkeypatch.setattr(reaper, "ABANDONED_S", 0.0)
    reaper.reap(runs)
    assert not folder.exists()
