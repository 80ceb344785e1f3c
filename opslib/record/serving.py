"""Answering a notebook's `ops` over a Unix socket of the run's own, with a name that cannot be guessed."""

from __future__ import annotations

import secrets
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from opslib.errors import RecorderError, RunbookError
from opslib.record import wire

Answer = tuple[Any, bytes]
Operation = Callable[[dict[str, Any]], Answer]
_log = structlog.get_logger("opslib.recorder")


class Served(ABC):
    """What answers one run: the recorder's session, or an archive that is replayed.

    Parameters
    ----------
    place : Path
        The folder of the socket; made for the owner alone.
    run : int
        For the log.

    Attributes
    ----------
    path : Path
        The socket; whoever knows its name may ask, and gets results alone.
    """

    def __init__(self, place: Path, run: int) -> None:
        self._run = run
        self._open: set[socket.socket] = set()
        place.mkdir(mode=0o700, exist_ok=True)
        self.path = place / f"{secrets.token_hex(16)}.sock"
        self._listener = listen(self.path)
        threading.Thread(target=self._accept, name=f"session {run}", daemon=True).start()

    @abstractmethod
    def operation(self, name: str) -> Operation | None:
        """What answers requests of that name; None: nothing does."""

    @abstractmethod
    def redacted(self, text: str) -> str:
        """A text without secrets."""

    def close(self) -> None:
        """Serve no longer."""
        self.path.unlink(missing_ok=True)
        for connection in (self._listener, *self._open):
            shut(connection)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (message := wire.receive(connection)) is not None:
                wire.send(connection, *self._answer(message[0]))
        except (OSError, RecorderError) as error:
            if connection.fileno() != -1:  # else it was ended here, with its run
                _log.info("a connection ended", run=self._run, why=str(error))
        finally:
            self._open.discard(connection)
            shut(connection)

    def _answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        name = request.get("id")
        try:
            operation = self.operation(str(request.get("op")))
            if operation is None:
                raise RecorderError(f"there is no operation {request.get('op')!r}")
            result, arrow = operation(request)
        except RunbookError as error:
            facts = {"evidence": error.facts["evidence"]} if "evidence" in error.facts else {}
            failure = {"type": type(error).__name__, "message": self.redacted(str(error)), **facts}
            return {"id": name, "ok": False, "error": failure}, b""
        except Exception as error:
            _log.exception("an operation failed", run=self._run, op=request.get("op"))
            failure = {"type": "RecorderError", "message": self.redacted(f"{type(error).__name__}: {error}")}
            return {"id": name, "ok": False, "error": failure}, b""
        return {"id": name, "ok": True, "result": result}, arrow


def listen(path: Path) -> socket.socket:
    """A listening socket for the owner alone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)  # its folder is the owner's alone already
    listener.listen(16)
    return listener


def shut(connection: socket.socket) -> None:
    """Close a socket, also under a thread that waits on it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        connection.close()
