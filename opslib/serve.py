"""`runbook serve`: one process tree of server, workers, recorder, applier and signer.

Each is a process of its own. One that ends is started again, later each time it fails soon; when the
supervisor is told to stop the workers drain and all end within 35 seconds, at once when it is told again; when it is
killed the kernel ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import structlog

from opslib import people, store, web
from opslib.errors import RunbookError, UsageError
from opslib.intake import routes
from opslib.runs import priority
from opslib.settings import Settings

__all__ = ["CannotServe", "Child", "Supervisor"]

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
STEADY_S = 30.0
"""A child that lived so long starts its waits from the beginning [s]."""
READY_S = 90.0
_FIRST_PHASE_S = 32.0
_LAST_PHASE_S = 3.0
_PR_SET_PDEATHSIG = 1
_STANDARD_ERROR = 2

_libc = ctypes.CDLL(None, use_errno=True)
_log = structlog.get_logger("serve")


class CannotServe(RunbookError):
    """The server did not come up; its log above says why."""


@dataclass
class Child:
    """One process of the tree.

    Attributes
    ----------
    name : str
    command : list of str
    late : bool
        Whether it outlives the server and the workers, which need it to end well.
    steps_back : bool
        Whether the others go first on a busy machine.
    process : Popen or None
    started_at, start_at : float
        When it was started, and when it shall be again [s, monotonic].
    failures : int
        How often in a row it ended soon.
    """

    name: str
    command: list[str]
    late: bool = False
    steps_back: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from opslib.cli import main; main()", *words]


def tree(host: str, port: int, workers: int) -> list[Child]:
    """The processes of `runbook serve`."""
    return [
        Child("recorder", _module("opslib.record.recorder"), late=True),
        Child("signer", _module("opslib.record.signer"), late=True, steps_back=True),
        Child("applier", _module("opslib.actions.applier"), late=True),
        *(Child(f"worker-{number}", _command("worker"), steps_back=True) for number in range(1, workers + 1)),
        Child("server", _module("opslib.server", "--host", host, "--port", str(port))),
    ]


@dataclass
class Supervisor:
    """Keeps a tree of processes up until it is asked to stop.

    Parameters
    ----------
    settings : Settings
    host, port : str, int
        Where the server listens.
    workers : int
    say : callable
        Is given the lines that are for the person who started it.
    """

    settings: Settings
    host: str
    port: int
    workers: int = 1
    say: Callable[[str], None] = print
    stopping: threading.Event = field(default_factory=threading.Event)
    hurried: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        """Where the console is."""
        try:
            everywhere = ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            everywhere = False
        shown = "127.0.0.1" if everywhere else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    def run(self) -> None:
        """Check, start, and keep up what belongs to the tree until told to stop.

        Raises
        ------
        ConfigurationError
            When a parameter file has mistakes: all of them.
        UsageError
            When the port is taken.
        StoreError, CannotServe
            When the store or the server does not come up.
        """
        routes.check(self.settings)
        self._check_port()
        store.ensure(self.settings)
        token = people.ensure_intake_token(self.settings)
        children = tree(self.host, self.port, self.workers)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._told_to_stop())
        try:
            for child in children:
                self._start(child)
            self._wait_until_ready(children)
            self._greet(token)
            while not self.stopping.wait(0.1):
                for child in children:
                    self._tend(child)
        finally:
            self._stop(children)

    def _told_to_stop(self) -> None:
        if self.stopping.is_set():
            self.hurried.set()
        self.stopping.set()

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                where = f"{self.host}:{self.port}"
                raise UsageError(f"cannot listen on {where}: {error.strerror}; choose another --port") from error

    def _start(self, child: Child) -> None:
        parent = os.getpid()

        def prepare() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            if child.steps_back:
                priority.step_back()

        child.process = subprocess.Popen(
            child.command,
            stdin=subprocess.DEVNULL,
            stdout=_STANDARD_ERROR,
            start_new_session=True,
            preexec_fn=prepare,
        )
        child.started_at = time.monotonic()

    def _tend(self, child: Child) -> None:
        """Start a child that ended, after a wait that doubles while it keeps ending soon."""
        now = time.monotonic()
        if child.alive:
            return
        if child.process is not None:
            code = child.process.returncode
            self._end_group(child.process)
            child.process = None
            child.failures = 1 if now - child.started_at > STEADY_S else child.failures + 1
            child.start_at = now + min(FIRST_WAIT_S * 2 ** (child.failures - 1), LONGEST_WAIT_S)
            wait = round(child.start_at - now, 1)
            _log.error("process ended", process=child.name, code=code, starts_again_in_s=wait)
        elif now >= child.start_at:
            self._start(child)

    def _wait_until_ready(self, children: list[Child]) -> None:
        deadline = time.monotonic() + READY_S
        while not self.stopping.wait(0.1):
            for child in children:
                self._tend(child)
            try:
                if web.get(f"{self.address}/healthz", timeout=1.0).status_code == 200:
                    return
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise CannotServe(f"the server did not come up on {self.address} within {READY_S:.0f} s") from error

    def _greet(self, token: str | None) -> None:
        if self.stopping.is_set():
            return
        self.say(f"Console:  {self.address}")
        self.say(f"Webhook:  {self.address}/api/v1/alerts (Alertmanager), {self.address}/api/v2/alerts (Prometheus)")
        if token is not None:
            self.say(f"Its token, shown this once (also in {self.settings.state / 'intake-token'}): {token}")
        self.say("Ctrl-C stops it.")

    def _stop(self, children: list[Child]) -> None:
        """End the server and the workers, which drain, then what they need, then whatever is left."""
        for late, patience in ((False, _FIRST_PHASE_S), (True, _LAST_PHASE_S)):
            phase = [child.process for child in children if child.late == late and child.process is not None]
            for process in phase:
                process.terminate()
            self._wait_for(phase, patience)
            for process in phase:
                if process.poll() is None:
                    _log.warning("process killed: it did not end in time", pid=process.pid)
                self._end_group(process)

    def _wait_for(self, phase: list[subprocess.Popen[bytes]], patience_s: float) -> None:
        """Wait for the end of processes; when told to hurry, so are they."""
        deadline = time.monotonic() + patience_s
        hastened = False
        while any(process.poll() is None for process in phase) and time.monotonic() < deadline:
            if self.hurried.is_set() and not hastened:
                hastened = True
                for process in phase:
                    process.terminate()
            time.sleep(0.05)

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of a child's process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
