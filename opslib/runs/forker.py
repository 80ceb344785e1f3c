"""The process that a worker has its runs forked from, with all that a run needs loaded.

`python -m opslib.runs.forker PARENT`. A line of JSON on its standard input, a run's number, gives that run a process;
two lines come back, when it has begun (`pid`) and when it has ended (`exit`). One process is made ahead, and connects
to the store while nothing is to be done; the next one a moment after it was taken. All end with the worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import NamedTuple, NoReturn

import psycopg
import structlog
from setproctitle import setproctitle

from opslib import store
from opslib.errors import StoreError
from opslib.runs import descendants, preload
from opslib.runs.parked import let_go
from opslib.settings import Settings

_AHEAD_S = 1.0  # after a run has begun: until then it has the machine
_AGAIN_S = 5.0


class _Made(NamedTuple):
    """A process that waits to be told its run."""

    pid: int
    pipe: int

    def tell(self, run: int) -> None:
        """Its run's number; one that has died meanwhile ends as a run that was killed does."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.pipe, str(run).encode())
        os.close(self.pipe)


class Forker:
    """Forks a process for each run that is asked for."""

    def __init__(self) -> None:
        self._runs: dict[int, int] = {}
        self._ahead: _Made | None = None
        self._next = time.monotonic()
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
            heard = poll.poll(self._patience_ms())
            for descriptor, _ in heard:
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
            if not heard and self._ahead is None:
                self._ahead = self._made()

    def _patience_ms(self) -> int | None:
        """How long nothing is to be done but to wait; None: until something comes."""
        return None if self._ahead is not None else max(0, round(1000 * (self._next - time.monotonic())))

    def _begin(self, run: int) -> None:
        made, self._ahead = self._ahead or self._made(), None
        self._next = time.monotonic() + _AHEAD_S
        self._runs[made.pid] = run
        made.tell(run)
        self._tell({"run": run, "pid": made.pid})

    @staticmethod
    def _made() -> _Made:
        parent = os.getpid()
        heard, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(heard, parent)
        os.close(heard)
        return _Made(pid, told)

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
                elif self._ahead is not None and pid == self._ahead.pid:
                    os.close(self._ahead.pipe)
                    self._ahead, self._next = None, time.monotonic() + _AGAIN_S

    @staticmethod
    def _tell(facts: dict[str, int]) -> None:
        os.write(1, json.dumps(facts).encode() + b"\n")


def _become(heard: int, parent: int) -> NoReturn:
    """The process of a run, which the pipe tells."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        let_go(heard)
        where = f"--parent {parent} in {os.environ.get('RUNBOOK_HOME', '')}"
        setproctitle(f"python -m opslib.runs.forker ahead {where}")
        from opslib.runs.run import serve

        def asked() -> int | None:
            number = os.read(heard, 64)
            if number:
                setproctitle(f"python -m opslib.runs.run {int(number)} {where}")
            return int(number) if number else None

        status = serve(asked, parent)
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
