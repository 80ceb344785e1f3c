"""`runbook serve` for the demo and for game days: started, asked over HTTP as a person asks it, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from opslib import web
from opslib.record.client import environment
from opslib.settings import Settings
from sandbox import processes
from sandbox.errors import SandboxError, StartFailed
from sandbox.processes import free_port

__all__ = ["RUNBOOK", "Refused", "Service"]

RUNBOOK = [str(Path(sys.executable).parent / "runbook")]
_ANSWER_S = 30.0
_READY_S = 60.0
_END_S = 40.0


class Refused(SandboxError):
    """The service refused a request; the message is its answer."""


class Service:
    """One `runbook serve` on the home of these settings.

    Parameters
    ----------
    settings : Settings
    log : Path
        Takes what it writes.

    Attributes
    ----------
    url : str
        Where it answers; empty before `start`.
    """

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, workers: int = 1, more: Mapping[str, str] | None = None, ends_with_us: bool = False) -> None:
        """Start it on its port, or on a free one where that is taken, and wait until it takes alerts.

        Parameters
        ----------
        workers : int
        more : mapping, optional
            Environment variables beside those of the settings.
        ends_with_us : bool
            Whether it ends when this process does, however that ends; call it from the main thread then.

        Raises
        ------
        StartFailed
            It ended, or takes none in time; the message names its log.
        """
        port = self.settings.port if _free(self.settings.port) else free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.settings.make_home()
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*RUNBOOK, "serve", "--port", str(port), "--workers", str(workers)],
                stdout=log,
                stderr=log,
                env={**environment(self.settings), **(more or {})},
                start_new_session=True,
                preexec_fn=processes.ending_with_this() if ends_with_us else None,
            )
        self.wait("the service", self.ready, _READY_S)

    def ready(self) -> bool:
        """Whether it takes alerts."""
        try:
            return web.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def must_run(self) -> None:
        """Make sure that it has not ended.

        Raises
        ------
        StartFailed
            It has.
        """
        if self._process is not None and self._process.poll() is not None:
            raise StartFailed(f"`runbook serve` ended with {self._process.returncode}; see {self.log}")

    def wait(self, what: str, seen: Callable[[], Any], within_s: float) -> Any:
        """Ask again until there is an answer.

        Raises
        ------
        StartFailed
            The service ended, or there is none in time.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self.must_run()
            if answer := seen():
                return answer
            time.sleep(0.1)
        raise StartFailed(f"{what}: nothing after {within_s:.0f} s; see {self.log}")

    def get(self, path: str, person: str = "demo-l1") -> Any:
        """What an address answers to one of the sandbox's people.

        Raises
        ------
        Refused
            For any answer but 2xx, and for none.
        """
        return self._ask("GET", path, self.token(person))

    def post(self, path: str, document: Mapping[str, Any], person: str = "demo-l1", token: str | None = None) -> Any:
        """Post a document, as one of the sandbox's people or with another token.

        Raises
        ------
        Refused
            For any answer but 2xx, and for none.
        """
        return self._ask("POST", path, token or self.token(person), json=dict(document))

    def _ask(self, method: str, path: str, token: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {token}"}
        try:
            answer = web.request(
                method,
                f"{self.url}{path}",
                headers=headers,
                timeout=_ANSWER_S,
                **body,
            )
        except httpx.HTTPError as error:
            raise Refused(f"{path} did not answer ({error}); see {self.log}") from error
        if not answer.is_success:
            raise Refused(f"{path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def token(self, name: str) -> str:
        """The token of one of the sandbox's people."""
        return (self.settings.state / "tokens" / name).read_text("utf-8").strip()

    @property
    def intake_token(self) -> str:
        """The token of the webhook."""
        return (self.settings.state / "intake-token").read_text("utf-8").strip()

    def stop(self) -> None:
        """End it. Harmless where it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free(port: int) -> bool:
    """Whether nobody listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.3)
        return probe.connect_ex(("127.0.0.1", port)) != 0
