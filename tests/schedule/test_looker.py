"""Workers that look at the schedule through the queue's periodic tasks: each time becomes one run over all of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from opslib import store
from opslib.record import client
from opslib.schedule import looker
from opslib.settings import Settings
from tests.probes.servers import free_port
from tests.runs.support import wait_for, worker
from tests.schedule.conftest import Write
from tests.schedule.test_looking import Do, rows

__all__ = ["rows"]
EVERY_SECOND = "* * * * * *"
LOOK = (
    "import asyncio; from opslib.schedule.looker import Looker; from opslib.settings import Settings; "
    f"asyncio.run(Looker(Settings(), every={EVERY_SECOND!r}).work())"
)


@contextmanager
def process(settings: Settings, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed in the end."""
    running = subprocess.Popen(command, env=client.environment(settings), cwd="/")
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def away_for_three_minutes(rows: Do) -> None:
    """As if nobody had looked since."""
    wait_for(lambda: rows("SELECT name FROM schedule_entries"))
    rows("UPDATE schedule_entries SET seen_until = now() - interval '3 minutes'")


@pytest.mark.slow
def test_two_lookers_start_a_time_once(planned: Settings, write: Write, rows: Do) -> None:
    write({"cron": "* * * * *"}, {"name": "other", "cron": "* * * * *"})
    with ExitStack() as both:
        for _ in range(2):
            both.enter_context(process(planned, [sys.executable, "-c", LOOK]))
        away_for_three_minutes(rows)
        wait_for(lambda: len(rows("SELECT id FROM runs")) >= 2)
        time.sleep(3.0)  # several more looks of both
    decided = rows("SELECT entry, due_at FROM schedule_starts WHERE run IS NOT NULL")
    assert len(decided) == len(rows("SELECT id FROM runs"))
    assert {row["entry"] for row in decided} == {"daily", "other"}


@pytest.mark.slow
def test_a_killed_looker_leaves_the_time_to_the_next(planned: Settings, write: Write, rows: Do) -> None:
    write({"cron": "* * * * *"})
    with process(planned, [sys.executable, "-c", LOOK]):
        wait_for(lambda: rows("SELECT name FROM schedule_entries"))
    rows("UPDATE schedule_entries SET seen_until = now() - interval '3 minutes'")
    with process(planned, [sys.executable, "-c", LOOK]):
        wait_for(lambda: rows("SELECT id FROM runs"))
    assert len(rows("SELECT id FROM runs")) == len(rows("SELECT entry FROM schedule_starts WHERE run IS NOT NULL"))


def test_a_clock_that_is_set_is_noticed() -> None:
    shift = 0.0

    async def scenario() -> None:
        nonlocal shift
        noticed = asyncio.create_task(looker.clock_jump(lambda: time.time() + shift, watch_s=0.01))
        await asyncio.sleep(0.1)
        assert not noticed.done()
        shift = -3600.0
        await asyncio.wait_for(noticed, 5)

    asyncio.run(scenario())


@pytest.mark.slow
def test_two_workers_and_two_servers_over_three_minutes(
    planned: Settings, write: Write, rows: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real clock; one of the workers is killed on the way."""
    monkeypatch.setenv("RUNBOOK_WARM_KERNELS", "0")
    write({"cron": "* * * * *", "one_at_a_time": False})
    store.ensure(planned)
    with ExitStack() as all_of_them:
        for _ in range(2):
            server = [sys.executable, "-m", "opslib.server", "--port", str(free_port())]
            all_of_them.enter_context(process(planned, server))
        killed = all_of_them.enter_context(worker(planned))
        all_of_them.enter_context(worker(planned))
        started = "SELECT due_at FROM schedule_starts WHERE run IS NOT NULL ORDER BY due_at"
        wait_for(lambda: len(rows(started)) == 1, within_s=130)
        killed.kill()  # where its run was not over, that is run once more, for the same time
        wait_for(lambda: len(rows(started)) == 3, within_s=190)
    due = [row["due_at"] for row in rows(started)]
    assert [round((after - before).total_seconds()) for before, after in pairwise(due)] == [60, 60]
    assert len(rows("SELECT id FROM runs WHERE attempt = 1")) == 3
