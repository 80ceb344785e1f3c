"""The memory of the described card: really accounted for, by every program that uses it.

A program opens the card and allocates. What it holds lies in a file of its own, `clients/ID.json`, which it keeps
locked while it lives; when it ends, however it ends, the kernel drops the lock, and with it what was held: as a driver
does.

    {"pod": "derivatives-api-7d9f-x2x7q", "pid": 1, "program": "python", "used_mib": 1234, "busy": 0.37, "at": 17643.1}

`busy` is the share of the last second in which it computed on the card; `at` the time at which it was written [s].
Only the standard library is used, so that any pod can.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sandbox.gpu.description import FOLDER

__all__ = ["Card", "CardLost", "OutOfCardMemory", "clients", "describe"]

_PERIOD_S = 1.0


class OutOfCardMemory(MemoryError):
    """The card has not that much memory left."""


class CardLost(OSError):
    """There is no card here, or no longer."""


class Card:
    """The card of this node, as one program uses it.

    Parameters
    ----------
    folder : Path
        Where the node has it.

    Raises
    ------
    CardLost
        Where there is none.
    """

    def __init__(self, folder: Path = Path(FOLDER)) -> None:
        self._folder = folder
        self.described = _usable(folder)
        self._used_mib = 0.0
        self._busy_s = 0.0
        self._busy = 0.0
        self._since = time.monotonic()
        self._threads = threading.Lock()
        self._path = folder / "clients" / f"{uuid.uuid4().hex}.json"
        with self._alone():
            self._file: TextIO = self._path.open("w", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._write()

    @property
    def total_mib(self) -> float:
        """Memory of the card [MiB]."""
        return float(self.described["memory_mib"])

    @property
    def used_mib(self) -> float:
        """Memory that this program holds [MiB]."""
        return self._used_mib

    def free_mib(self) -> float:
        """Memory that nobody holds [MiB]."""
        held = sum(one["used_mib"] for one in clients(self._folder))
        return float(self.total_mib - self.described["reserved_mib"] - held)

    def allocate(self, mib: float) -> None:
        """Take memory [MiB].

        Raises
        ------
        OutOfCardMemory
            Nothing is taken then.
        CardLost
        """
        with self._alone():
            self.described = _usable(self._folder)
            _remove_dead(self._folder)
            free = self.free_mib()
            if mib > free:
                raise OutOfCardMemory(
                    f"CUDA out of memory. Tried to allocate {mib:.2f} MiB (GPU 0; {self.total_mib:.2f} MiB total "
                    f"capacity; {self._used_mib:.2f} MiB already allocated; {free:.2f} MiB free)"
                )
            self._used_mib += mib
            self._write()

    def free(self, mib: float) -> None:
        """Give memory back [MiB], at most what is held."""
        self._used_mib = max(0.0, self._used_mib - mib)
        self._write()

    @contextlib.contextmanager
    def computing(self, mib: float = 0.0) -> Iterator[None]:
        """Hold memory [MiB] while computing, and count the time as use of the card."""
        self.allocate(mib)
        began = time.monotonic()
        try:
            yield
        finally:
            with self._threads:
                self._busy_s += time.monotonic() - began
            self.free(mib)

    def close(self) -> None:
        """Give everything back."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self) -> None:
        with self._threads:
            now = time.monotonic()
            if now - self._since >= _PERIOD_S:
                self._busy = min(1.0, self._busy_s / (now - self._since))
                self._busy_s, self._since = 0.0, now
            document = {
                "pod": socket.gethostname(),
                "pid": os.getpid(),
                "program": Path(sys.executable).name,
                "used_mib": round(self._used_mib, 3),
                "busy": round(self._busy, 4),
                "at": time.time(),
            }
            text = json.dumps(document)
            self._file.seek(0)
            self._file.write(text.ljust(400))
            self._file.flush()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other programs from taking memory meanwhile."""
        with (self._folder / "clients" / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def describe(folder: Path) -> dict[str, Any]:
    """What the node says of its card.

    Raises
    ------
    CardLost
        It has none.
    """
    try:
        described: dict[str, Any] = json.loads((folder / "card.json").read_bytes())
    except (OSError, ValueError) as problem:
        raise CardLost(f"no CUDA-capable device is detected ({problem})") from problem
    return described


def clients(folder: Path) -> list[dict[str, Any]]:
    """What every living program holds; those that have ended are passed over."""
    found = []
    for path in sorted((folder / "clients").glob("*.json")):
        with contextlib.suppress(FileNotFoundError, ValueError), path.open("r", encoding="utf-8") as source:
            if _locked(source):
                found.append(json.loads(source.read()))
    return found


def _usable(folder: Path) -> dict[str, Any]:
    described = describe(folder)
    if described.get("lost"):
        raise CardLost("the device has fallen off the bus")
    return described


def _remove_dead(folder: Path) -> None:
    for path in (folder / "clients").glob("*.json"):
        with contextlib.suppress(FileNotFoundError, PermissionError), path.open("r", encoding="utf-8") as source:
            if not _locked(source):
                path.unlink()


def _locked(source: TextIO) -> bool:
    """Whether a living program keeps this file locked."""
    try:
        fcntl.flock(source, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
