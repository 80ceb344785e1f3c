"""The process that a worker has its runs forked from, with all that a run needs loaded.

`python -m opslib.runs.forker PARENT`. A line of JSON on its standard input, a run's number, makes a process for that
run; two lines come back, when it has begun (`pid`) and when it has ended (`exit`). It ends with its worker, and so do
the runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import NoReturn

import psycopg
import structlog
from setproctitle import setproctitle

from opslib import store
from opslib.errors import StoreError
from opslib.runs import descendants, preload
from opslib.runs.parked import let_go
from opslib.settings import Settings


class Forker:
    """Forks a process for each run that is asked for."""

    def __init__(self) -> None:
        self._runs: dict[int, int] = {}
        self._woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def work(self) -> int:
        """Serve until the worker closes its side."""
        poll, begun = select.poll(), b""
        for descriptor in (0, self._woken):
            poll.register(descriptor, select.POLLIN)
        self._tell({"ready": os.getpid()})
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(descriptor, 4096)
                    self._bury()
                    continue
                piece = os.read(0, 65536)
                if not piece:
                    return 0
                *lines, begun = (begun + piece).split(b"\n")
                for line in lines:
                    self._begin(int(json.loads(line)["run"]))

    def _begin(self, run: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(run, parent)
        self._runs[pid] = run
        self._tell({"run": run, "pid": pid})

    def _bury(self) -> None:
        """Tell of those that have ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                run = self._runs.pop(pid, None)
                if run is not None:
                    self._tell({"run": run, "exit": os.waitstatus_to_exitcode(status)})

    @staticmethod
    def _tell(facts: dict[str, int]) -> None:
        os.write(1, json.dumps(facts).encode() + b"\n")


def _become(run: int, parent: int) -> NoReturn:
    """The process of one run."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        let_go()
        setproctitle(f"python -m opslib.runs.run {run} --parent {parent} in {os.environ.get('RUNBOOK_HOME', '')}")
        from opslib.runs.run import main

        status = main([str(run), "--parent", str(parent)])
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(arguments: list[str]) -> int:
    """Load, then serve."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descendants.end_with_parent(signal.SIGTERM, int(arguments[0]))
    preload.run()
    with contextlib.suppress(StoreError, psycopg.Error):  # then a run need not look whether its schema is there
        store.ensure(Settings())
    return Forker().work()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
