"""Taking a warm kernel from the nursery, the nursery's start, and what it counts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opslib.runs import parked

if TYPE_CHECKING:  # the nursery has no use for settings, and each kernel would have them
    from opslib.settings import Settings

PLACE = "kernels.sock"
STATUS = "kernels.json"
_LOCK = "hhqqi"  # `struct flock`: type, whence, start, length, process
_CONNECT_S = 1.0
_TAKE_S, _START_S = 5.0, 60.0  # a fork, and a process that loads everything first


class NoWarmKernel(Exception):
    """The nursery has none; a kernel is started plainly. The message says why."""


class Guard:
    """The guard of a kernel that was taken: the part of `subprocess.Popen` that a kernel needs.

    Attributes
    ----------
    pid : int
        The guard's process, which leads the kernel's group.
    forked : bool
        Whether the kernel is a fork; one for a card is not.
    returncode : int or None
    stdin, stdout, stderr : None
    """

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int, *, forked: bool) -> None:
        self._connection = connection
        self.pid, self.forked = pid, forked
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, or None while the kernel lives."""
        return self._hear(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises
        ------
        subprocess.TimeoutExpired
        """
        code = self._hear(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """SIGINT interrupts; any other signal ends the kernel and all that it started."""
        self._tell(parked.INTERRUPT if number == signal.SIGINT else parked.END)

    def interrupt(self) -> None:
        """SIGINT to the kernel and what it started."""
        self._tell(parked.INTERRUPT)

    def terminate(self) -> None:
        """End the kernel and all that it started."""
        self._tell(parked.END)

    def kill(self) -> None:
        """The same; its guard does it whatever the kernel does."""
        self._tell(parked.END)

    def _tell(self, word: bytes) -> None:
        if self.returncode is None:
            with contextlib.suppress(OSError):
                self._connection.send(word)

    def _hear(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout_s)
            try:
                message = self._connection.recv(4096)
            except (BlockingIOError, TimeoutError):
                return None
            except OSError:
                message = b""
            self.returncode = int(json.loads(message)["exit"]) if message else parked.ENDED
            self._connection.close()
        return self.returncode


def place(settings: Settings) -> Path:
    """The nursery's socket."""
    return settings.runtime / PLACE


def take(settings: Settings, ops_socket: str | None, *, card: bool = False) -> tuple[Guard, Path]:
    """A warm kernel for the time until its guard is told to end, or this process ends.

    Parameters
    ----------
    settings : Settings
    ops_socket : str or None
        The recorder's socket for the run.
    card : bool
        Whether the kernel is to use a card.

    Returns
    -------
    guard, folder : Guard, Path

    Raises
    ------
    NoWarmKernel
        When nobody has one; says why.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(place(settings)))
        connection.settimeout(_START_S if card else _TAKE_S)
        connection.send(json.dumps({"ops": ops_socket, "card": card}).encode())
        message = connection.recv(64 * 1024)
    except OSError as error:
        connection.close()
        missing = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        raise NoWarmKernel("no nursery runs" if missing else f"the nursery: {error}") from error
    if not message:
        connection.close()
        raise NoWarmKernel("the nursery has none")
    facts: dict[str, Any] = json.loads(message)
    if "none" in facts:
        connection.close()
        raise NoWarmKernel(facts["none"])
    return Guard(connection, facts["guard"], forked=facts["forked"]), Path(facts["folder"])


def start(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Start a nursery for this home unless one serves it, or is about to; it ends with this process."""
    from opslib.record.client import environment

    if _served(settings):
        return None
    settings.make_home()
    with (settings.state / "nursery.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "opslib.runs.nursery", "--parent", str(os.getpid())],
            env=environment(settings),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def lock(settings: Settings) -> Path:
    """The file that a nursery holds a lock on from its start."""
    return place(settings).with_suffix(".lock")


def _served(settings: Settings) -> bool:
    """Whether a nursery serves this home, or loads what it needs."""
    try:
        descriptor = os.open(lock(settings), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # only a look: a nursery that starts meanwhile must not find the lock taken
        found = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(descriptor)
    return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)


def counted(settings: Settings) -> dict[str, int] | None:
    """What the nursery of this home counts; none is ready while there is no nursery. None: no kernels are kept warm."""
    if not settings.warm_kernels:
        return None
    if _served(settings):
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(place(settings).with_name(STATUS).read_text("ascii"))
            return {str(name): int(value) for name, value in facts.items()}
    return {"ready": 0}
