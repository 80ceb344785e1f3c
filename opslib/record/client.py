"""Asking the recorder for a session, and having one for the time of a block."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from opslib import errors
from opslib.canonical import plain
from opslib.errors import RecorderError, RunbookError
from opslib.record import archive, wire
from opslib.settings import Settings

CONTROL = "recorder.sock"
TOKEN = "recorder-control"  # noqa: S105 - the name of a file
_OPEN_S = 20.0
_START_S = 20.0
_left: list[subprocess.Popen[bytes]] = []  # recorders that others use still; each ends with the last of them


def control_path(settings: Settings) -> Path:
    """The socket on which a recorder takes sessions."""
    return settings.runtime / CONTROL


class RecorderSession:
    """A session with the recorder; it ends with `close`, or with this process.

    Attributes
    ----------
    socket_path : str
        For `RUNBOOK_OPS_SOCKET` of the run's kernel.
    """

    def __init__(self, connection: socket.socket, socket_path: str) -> None:
        self._connection = connection
        self.socket_path = socket_path

    def close(self) -> None:
        """End the session; what the notebook asks from now on is refused."""
        self._connection.close()

    def __enter__(self) -> RecorderSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RecorderClient:
    """Asks the recorder of a home.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def session(
        self,
        *,
        incident: str,
        run: int,
        platform: str,
        runbook: str,
        mode: str,
        parameters: dict[str, Any] | None = None,
        alert: dict[str, Any] | None = None,
        replays: int | None = None,
    ) -> RecorderSession:
        """A session for one run; `replays` names an earlier one whose evidence answers first.

        Raises
        ------
        RecorderError
            When no recorder answers.
        ConfigurationError, NotFound, StoreError
            When the platform does not validate, there is no such incident, or the database is away.
        """
        subject: dict[str, Any] = {
            "incident": incident,
            "run": run,
            "platform": platform,
            "runbook": runbook,
            "mode": mode,
        }
        subject["replays"] = replays
        connection = self._connect()
        try:
            result = self._ask(
                connection, "open", subject={**subject, "parameters": plain(parameters or {}), "alert": plain(alert)}
            )
        except BaseException:
            connection.close()
            raise
        return RecorderSession(connection, result["socket"])

    def alive(self) -> bool:
        """Whether a recorder answers."""
        try:
            with self._connect() as connection:
                self._ask(connection, "lease")
        except RecorderError:
            return False
        return True

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_OPEN_S)
        try:
            connection.connect(str(control_path(self.settings)))
        except OSError as error:
            connection.close()
            raise RecorderError from error
        return connection

    def _ask(self, connection: socket.socket, operation: str, **facts: Any) -> dict[str, Any]:
        token = archive.key(self.settings, TOKEN).hex()
        try:
            wire.send(connection, {"op": operation, "token": token, **facts})
            message = wire.receive(connection)
        except OSError as error:
            raise RecorderError(f"the recorder does not answer: {error}") from error
        if message is None:
            raise RecorderError("the recorder ended before it answered; try again")
        reply = message[0]
        if not reply.get("ok"):
            raise failure(reply.get("error") or {})
        result: dict[str, Any] = reply["result"]
        return result

    def lease(self) -> socket.socket:
        """A connection that keeps a recorder with `--until-idle` alive.

        Raises
        ------
        RecorderError
            When no recorder answers.
        """
        connection = self._connect()
        try:
            self._ask(connection, "lease")
        except BaseException:
            connection.close()
            raise
        return connection

    def others(self, lease: socket.socket) -> int:
        """How many connections besides `lease` the recorder has."""
        return int(self._ask(lease, "lease")["others"])


def failure(error: dict[str, Any]) -> RunbookError:
    """The exception that a reply tells of."""
    kind = getattr(errors, str(error.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, RunbookError)):
        kind = RecorderError
    facts = {"evidence": error["evidence"]} if "evidence" in error else {}
    return kind(str(error.get("message") or "") or None, **facts)


@contextmanager
def running(settings: Settings) -> Iterator[RecorderClient]:
    """A recorder for the time of the block: the one that runs, else one that ends with its last user.

    Raises
    ------
    RecorderError
        When none runs and none can be started.
    """
    client = RecorderClient(settings)
    child: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + _START_S
    while True:
        try:
            lease = client.lease()
            break
        except RecorderError as error:
            if time.monotonic() > deadline:
                raise RecorderError(f"no recorder could be started: {error}") from error
        if child is None or child.poll() is not None:
            child = _start(settings)
        time.sleep(0.03)
    try:
        yield client
    finally:
        others = _others(client, lease, wait=child is not None)
        lease.close()
        if child is not None:
            if others:
                _left.append(child)
            else:
                _end(child)


def _others(client: RecorderClient, lease: socket.socket, *, wait: bool) -> int:
    """How many use the recorder besides us; with `wait`, after those that are just leaving have left."""
    deadline = time.monotonic() + (1.0 if wait else 0.0)
    try:
        while (others := client.others(lease)) and time.monotonic() < deadline:
            time.sleep(0.02)
    except RecorderError:
        return 0
    return others


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a process of ours finds the same home, parameters and database."""
    own = {
        "RUNBOOK_HOME": str(settings.home),
        "RUNBOOK_PARAMS": str(settings.params),
        "RUNBOOK_NOTEBOOKS": str(settings.notebooks),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    if settings.database_url is not None:
        own["RUNBOOK_DATABASE_URL"] = settings.database_url.get_secret_value()
    return {**os.environ, **own}


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    settings.make_home()
    with (settings.state / "recorder.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "opslib.record.recorder", "--until-idle"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(settings),
            cwd="/",
            start_new_session=True,
        )


def _end(child: subprocess.Popen[bytes]) -> None:
    """Wait for a recorder that nobody uses any more, which ends by itself; else make it."""
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
