"""The recorder: the process that holds the credentials, looks, and keeps what it saw.

    python -m opslib.record.recorder [--until-idle]

It listens on `recorder.sock` in the runtime folder for whoever has the control token, and opens a session (a
socket of its own) for each run. A session lives as long as the connection that asked for it. There is one
recorder a home: a second one waits for the first to end; with `--until-idle` it leaves instead, and the one
that serves leaves when nobody has been connected for a moment.
"""

from __future__ import annotations

import argparse
import fcntl
import hmac
import os
import signal
import socket
import threading
import time
from typing import Any

import psycopg
import structlog

from opslib import store
from opslib.errors import RecorderError, RunbookError
from opslib.record import archive, journal, wire
from opslib.record.client import TOKEN, RecorderClient, RecorderSession, control_path, running
from opslib.record.serving import listen, shut
from opslib.record.session import Session, Subject
from opslib.settings import Settings
from opslib.store import processes

__all__ = ["Recorder", "RecorderClient", "RecorderSession", "running"]

_BEAT_S = 3.0
_IDLE_S = 0.4
_FIRST_S = 10.0
_KEPT = 4  # connections, each for a run at a time
_log = structlog.get_logger("opslib.recorder")


class Recorder:
    """Takes sessions until it is stopped.

    Parameters
    ----------
    settings : Settings
    until_idle : bool
        End by itself when nobody is connected.
    """

    def __init__(self, settings: Settings, *, until_idle: bool = False) -> None:
        self.settings = settings
        self.until_idle = until_idle
        self._token = archive.key(settings, TOKEN).hex()
        self._kept = store.Kept(settings, most=_KEPT)
        self._leases = 0
        self._used = False
        self._count = threading.Lock()
        self._stop = threading.Event()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def run(self) -> None:
        """Serve until stopped, or idle."""
        lock = os.open(self.settings.runtime / "recorder.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._alone(lock):
            return
        path = control_path(self.settings)
        path.unlink(missing_ok=True)
        self._sweep()
        listener = listen(path)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        threading.Thread(target=_import_ahead, daemon=True).start()
        try:
            self._wait()
        finally:
            path.unlink(missing_ok=True)
            shut(listener)
            self._kept.close()
            os.close(lock)

    def _alone(self, lock: int) -> bool:
        """Wait until no other recorder serves this home; False when there is no need for another."""
        while not self._stop.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self.until_idle:
                    return False
                self._stop.wait(0.1)
            else:
                return True
        return False

    def _sweep(self) -> None:
        """Remove the sockets that a killed recorder left."""
        place = self.settings.runtime / "ops"
        for path in place.glob("*.sock") if place.is_dir() else ():
            path.unlink(missing_ok=True)

    def _wait(self) -> None:
        alone_since = time.monotonic()
        while not self._stop.wait(0.1 if self.until_idle else _BEAT_S):
            with self._count:
                if self._leases:
                    alone_since = time.monotonic()
                patience = _IDLE_S if self._used else _FIRST_S
            if self.until_idle and time.monotonic() - alone_since > patience:
                return

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One control connection; its session ends with it."""
        session: Session | None = None
        with self._count:
            self._leases += 1
            self._used = True
        try:
            while (message := wire.receive(connection)) is not None:
                request = message[0]
                try:
                    self._check(request)
                    if request.get("op") == "open":
                        if session is not None:
                            session.close()
                        with self._kept:
                            session = Session(self.settings, Subject(**request["subject"]))
                        result: dict[str, Any] = {"socket": str(session.path)}
                    else:
                        with self._count:
                            result = {"pid": os.getpid(), "others": self._leases - 1, "until_idle": self.until_idle}
                except RunbookError as error:
                    failure = {"type": type(error).__name__, "message": str(error)}
                    wire.send(connection, {"ok": False, "error": failure})
                except (TypeError, KeyError) as error:
                    failure = {"type": "RecorderError", "message": f"this request cannot be understood: {error}"}
                    wire.send(connection, {"ok": False, "error": failure})
                else:
                    wire.send(connection, {"ok": True, "result": result})
        except (OSError, RecorderError) as error:
            _log.info("a control connection ended", why=str(error))
        finally:
            if session is not None:
                session.close()
            shut(connection)
            with self._count:
                self._leases -= 1

    def _check(self, request: dict[str, Any]) -> None:
        if not hmac.compare_digest(str(request.get("token", "")).encode("utf-8", "replace"), self._token.encode()):
            raise RecorderError("the control token is wrong; it is in HOME/.state/keys, for the owner alone")

    def _beat(self) -> None:
        """Say that the recorder is alive, and write what was spooled as soon as the database is back."""
        process: processes.Process | None = None
        kept = store.Kept(self.settings)
        while not self._stop.is_set():
            try:
                with kept:
                    if process is None:
                        process = processes.register(self.settings, "recorder")
                    else:
                        process.beat()
                    journal.drain(self.settings)
            except (RunbookError, psycopg.OperationalError) as error:
                _log.warning("the database is away", why=str(error))
            self._stop.wait(_BEAT_S)
        kept.close()


def _import_ahead() -> None:
    """What the first probe needs, loaded before it is asked; nothing is connected to."""
    import pandas
    import pyarrow
    import pyarrow.parquet
    import redis

    from opslib import web
    from opslib.actions import plans  # noqa: F401

    web.client().close()
    redis.Redis.from_url("redis://127.0.0.1", protocol=2).close()
    table = pyarrow.Table.from_pandas(pandas.DataFrame({"at": [pandas.Timestamp(0, tz="UTC")], "value": [0.0]}))
    pyarrow.parquet.write_table(table, pyarrow.BufferOutputStream())


def main() -> None:
    """Run the recorder of the current settings."""
    parser = argparse.ArgumentParser(description="holds the credentials, looks, and keeps what it saw")
    parser.add_argument("--until-idle", action="store_true", help="end when nobody is connected any more")
    recorder = Recorder(Settings(), until_idle=parser.parse_args().until_idle)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda _signal, _frame: recorder.stop())
    recorder.run()


if __name__ == "__main__":
    main()
