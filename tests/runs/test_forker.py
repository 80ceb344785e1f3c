"""The forker: a process for each run, one of them made ahead, whatever becomes of that one meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from opslib import store
from opslib.record.client import environment
from opslib.runs import descendants, following
from opslib.settings import Settings
from tests.runs.support import queued, sockets, wait_for

pytestmark = pytest.mark.slow


class Asked:
    """A forker that this process asks as a worker does."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def heard(self, what: str) -> dict[str, Any]:
        """The next line of that kind."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            facts: dict[str, Any] = json.loads(line)
            if what in facts:
                return facts
        raise AssertionError(f"the forker ended without saying {what}")

    def begin(self, run: int) -> int:
        """Have a run begun; its process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"run": run}).encode() + b"\n")
        self.process.stdin.flush()
        return int(self.heard("pid")["pid"])

    def ahead(self) -> int | None:
        """The process that waits, once it has its connections."""
        for pid in descendants.below(self.process.pid):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"opslib.runs.forker ahead" in words and sockets(pid) >= 2:
                    return pid
        return None


def lives(pid: int) -> bool:
    return descendants.birth(pid) is not None


@contextmanager
def forker(settings: Settings) -> Iterator[Asked]:
    words = [sys.executable, "-m", "opslib.runs.forker", str(os.getpid())]
    with subprocess.Popen(words, env=environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        asked = Asked(process)
        asked.heard("ready")
        yield asked


def test_a_run_gets_the_process_that_was_made_ahead_and_the_next_one_another(runs: Settings) -> None:
    with forker(runs) as asked:
        for _ in range(2):
            waiting = wait_for(asked.ahead)
            _, run = queued(runs, "healthy")
            assert asked.begin(run) == waiting
            assert asked.heard("exit") == {"run": run, "exit": 0}
            assert following.read(runs, run)["state"] == "succeeded"
    assert not lives(waiting)


def test_runs_that_come_at_once_each_have_a_process(runs: Settings) -> None:
    numbers = [queued(runs, name)[1] for name in ("healthy", "raises", "healthy")]
    with forker(runs) as asked:
        pids = {asked.begin(run) for run in numbers}
        ended = {asked.heard("exit")["run"] for _ in numbers}
    assert (len(pids), ended) == (3, set(numbers))
    assert {following.read(runs, run)["state"] for run in numbers} <= {"succeeded", "failed"}


def test_one_that_dies_while_it_waits_takes_no_run_with_it(runs: Settings) -> None:
    with forker(runs) as asked:
        first = wait_for(asked.ahead)
        os.kill(first, signal.SIGKILL)
        _, run = queued(runs, "healthy")
        wait_for(lambda: not lives(first))
        assert asked.begin(run) != first
        assert asked.heard("exit") == {"run": run, "exit": 0}
    assert following.read(runs, run)["state"] == "succeeded"


def test_a_connection_that_ended_while_it_waited_is_replaced(runs: Settings) -> None:
    with forker(runs) as asked:
        waiting = wait_for(asked.ahead)
        with psycopg.connect(store.url(runs, "owner"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'runbook' AND pid <> pg_backend_pid()"
            )
        _, run = queued(runs, "healthy")
        assert asked.begin(run) == waiting
        assert asked.heard("exit") == {"run": run, "exit": 0}
    assert following.read(runs, run)["state"] == "succeeded"


def test_those_that_wait_end_with_the_forker(runs: Settings) -> None:
    with forker(runs) as asked:
        waiting = wait_for(asked.ahead)
        asked.process.send_signal(signal.SIGKILL)
        wait_for(lambda: not lives(waiting))
