"""The nursery: a process with the libraries loaded that keeps kernels ready, and hands each to one run.

`python -m opslib.runs.nursery --parent PID`. It begins by giving up its environment, which may hold secrets, since its
forks inherit its memory. Whoever connects says what the kernel is for and gets one of its own for the time of the
connection. Kernels for a card are started plainly, since CUDA does not survive a fork. The guard of each tells how it
ended, so that a file beside the socket says how many are ready, are in use, and have died.

When the code that it has loaded changes, it begins anew: no kernel runs code older than its notebook.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import opslib
from opslib.runs import caches, descendants, kernels, leases, parked, preload

_REQUEST = 64 * 1024
_REFILL_S = 0.25  # after a kernel was taken: its run goes first
_LOOK_S = 1.0
_WORST = 5  # kernels in a row that died before they were ready
_PAUSE_S = 10.0


@dataclass
class Cot:
    """A kernel that is being made, is ready, or is in use.

    Attributes
    ----------
    control : socket
        To its guard.
    folder : Path
    forked : bool
    ready : bool
    process : Popen or None
        The guard, where it was started plainly.
    """

    control: socket.socket
    folder: Path
    forked: bool
    ready: bool = False
    process: subprocess.Popen[bytes] | None = None


@dataclass
class Taker:
    """Who waits for a kernel.

    Attributes
    ----------
    connection : socket
    ops : str or None
        The recorder's socket for the kernel.
    forked : bool
        Whether a fork will do; for a card it will not.
    """

    connection: socket.socket
    ops: str | None
    forked: bool


class Nursery:
    """Keeps kernels ready and hands them out.

    Parameters
    ----------
    place : Path
        Of its socket, in the folder where the kernels' folders will be.
    fonts : Path
        Where the list of fonts is kept.
    count : int
        How many kernels are kept ready.
    taken : list of int
        The descriptors that lead to guards of kernels in use, from before the code was loaded anew.
    """

    def __init__(self, place: Path, fonts: Path, count: int, taken: list[int]) -> None:
        self._place, self._fonts = place, fonts
        self._wanted = {True: count, False: 0}
        self._cots: dict[int, Cot] = {}
        self._taken: dict[int, socket.socket] = {}
        self._waiting: dict[int, Taker] = {}
        self._poll = select.poll()
        for descriptor in taken:
            self._taken[descriptor] = socket.socket(fileno=descriptor)
            os.set_inheritable(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._code = _code()
        self._looked = time.monotonic()
        self._refill_at = 0.0
        self._died = 0
        self._count = {"taken": 0, "died": 0, "died_in_use": 0}
        self._told = ""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def work(self) -> NoReturn:
        """Serve until killed."""
        self._place.unlink(missing_ok=True)
        self._listener.bind(str(self._place))
        self._place.chmod(0o600)
        self._listener.listen(64)
        self._poll.register(self._listener, select.POLLIN)
        while True:
            self._refill()
            self._tell()
            for descriptor, _ in self._poll.poll(self._patience_ms()):
                if descriptor == self._listener.fileno():
                    self._answer()
                elif descriptor in self._cots:
                    self._hear(self._cots[descriptor])
                elif descriptor in self._taken:
                    self._bury(descriptor)
                elif descriptor in self._waiting and _hung_up(self._waiting[descriptor].connection):
                    self._dismiss(descriptor)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    continue

    def _tell(self) -> None:
        """Say in a file beside the socket how many are ready, are in use, were taken, and died before or after."""
        now = {"ready": sum(cot.ready for cot in self._cots.values()), "in_use": len(self._taken)}
        status = json.dumps({"nursery": os.getpid(), **now, **self._count})
        if status != self._told:
            part = self._place.with_name(f".{leases.STATUS}.part")
            part.write_text(status, "ascii")
            part.replace(self._place.with_name(leases.STATUS))
            self._told = status

    def _patience_ms(self) -> int | None:
        """How long nothing needs to be done by itself; for ever while all that is wanted is there."""
        if not any(self._due(forked) for forked in (True, False)):
            return None
        return max(0, round(1000 * (self._refill_at - time.monotonic())))

    def _lacking(self, forked: bool) -> int:
        there = sum(cot.forked == forked for cot in self._cots.values())
        return self._wanted[forked] + self._asking(forked) - there

    def _asking(self, forked: bool) -> int:
        return sum(taker.forked == forked for taker in self._waiting.values())

    def _due(self, forked: bool) -> bool:
        """Whether one is lacking that may be made now: one for each who waits, else one after the other.

        What is made ahead is not to take the processors from runs and from the service, which are at work meanwhile.
        """
        making = sum(cot.forked == forked and not cot.ready for cot in self._cots.values())
        return self._lacking(forked) > 0 and making < max(1, self._asking(forked))

    def _refill(self) -> None:
        """Make one of the kernels that are lacking: at once for somebody who waits, else a moment later."""
        for forked in (True, False):
            if self._due(forked) and (self._waiting or time.monotonic() >= self._refill_at):
                self._make(forked)

    def _make(self, forked: bool) -> None:
        folder = kernels.new_folder(self._place.parent)
        environment = kernels.kernel_environment(self._fonts, folder, None, forked=forked)
        control, guards = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        cot = Cot(control, folder, forked)
        if forked:
            if os.fork() == 0:
                parked.park(folder, environment, guards, forked=True)
        else:
            command = [sys.executable, "-m", "opslib.runs.parked", str(folder), str(guards.fileno())]
            cot.process = subprocess.Popen(command, env=environment, pass_fds=[guards.fileno()], cwd=folder / "work")
        guards.close()
        self._cots[control.fileno()] = cot
        self._poll.register(control, select.POLLIN)

    def _answer(self) -> None:
        """Somebody wants a kernel."""
        connection, _ = self._listener.accept()
        connection.settimeout(1.0)
        try:
            _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            asked = json.loads(connection.recv(_REQUEST) or b"{}")
            if user != os.getuid() or not asked:
                connection.close()
                return
            forked = not asked.get("card")
            self._waiting[connection.fileno()] = Taker(connection, asked.get("ops"), forked)
        except (OSError, ValueError, AttributeError) as error:
            _log("warning", "a request was refused", why=str(error))
            connection.close()
            return
        connection.setblocking(False)
        self._poll.register(connection, select.POLLRDHUP)
        if not forked:
            self._wanted[False] = 1
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            if _code() != self._code:
                self._begin_anew()
        self._hand_out()

    def _hear(self, cot: Cot) -> None:
        """A guard says that its kernel is ready, or is gone."""
        try:
            told = cot.control.recv(64 * 1024)
        except OSError:
            told = b""
        if told == parked.READY:
            cot.ready, self._died = True, 0
            self._hand_out()
            return
        self._forget(cot)
        cot.control.close()
        shutil.rmtree(cot.folder, ignore_errors=True)
        self._died += 1
        self._count["died"] += 1
        _log("warning", "a kernel died before it was taken", last_words=told.decode("utf-8", "replace")[-2000:])
        self._refill_at = time.monotonic() + _REFILL_S
        if self._died >= _WORST:
            _log("error", "kernels die before they are ready", in_a_row=self._died, again_in_s=_PAUSE_S)
            self._refill_at = time.monotonic() + _PAUSE_S
            for descriptor in list(self._waiting):
                self._dismiss(descriptor, "the nursery's kernels die before they are ready; its log says why")

    def _hand_out(self) -> None:
        """Give those who wait the kernels that are ready."""
        for descriptor, taker in list(self._waiting.items()):
            if _hung_up(taker.connection):
                self._dismiss(descriptor)
                continue
            cot = next((one for one in self._cots.values() if one.ready and one.forked == taker.forked), None)
            if cot is None:
                continue
            del self._cots[cot.control.fileno()]
            self._taken[cot.control.fileno()] = cot.control
            self._count["taken"] += 1
            with contextlib.suppress(OSError):
                socket.send_fds(cot.control, [json.dumps({"ops": taker.ops}).encode()], [descriptor])
            self._dismiss(descriptor)
            self._refill_at = time.monotonic() + _REFILL_S

    def _dismiss(self, descriptor: int, why: str = "") -> None:
        """Somebody waits no longer: he has a kernel, has gone, or is told why there is none."""
        taker = self._waiting.pop(descriptor)
        self._poll.unregister(descriptor)
        with taker.connection, contextlib.suppress(OSError):
            if why:
                taker.connection.send(json.dumps({"none": why}).encode())

    def _bury(self, descriptor: int) -> None:
        """A kernel that was in use is gone; a guard without a word was killed itself."""
        self._poll.unregister(descriptor)
        with self._taken.pop(descriptor) as control:
            try:
                told = control.recv(64 * 1024)
            except OSError:
                told = b""
        if told != parked.GONE:
            self._count["died_in_use"] += 1
            _log("warning", "a kernel died while it was in use", told=told.decode("utf-8", "replace")[-2000:])

    def _forget(self, cot: Cot) -> None:
        self._poll.unregister(cot.control)
        del self._cots[cot.control.fileno()]

    def _begin_anew(self) -> NoReturn:
        """Load the code as it is now, in the same process; who waits goes without."""
        _log("info", "the code has changed; loading it anew")
        for descriptor in self._taken:
            os.set_inheritable(descriptor, True)
        bare = sys.argv[1 : sys.argv.index("--taken") if "--taken" in sys.argv else None]
        words = [sys.executable, "-m", "opslib.runs.nursery", *bare, "--taken", *map(str, self._taken)]
        os.execv(sys.executable, words)  # noqa: S606


def _hung_up(connection: socket.socket) -> bool:
    """Whether the other side is gone."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _code() -> list[tuple[str, int, int]]:
    """What tells the loaded code from a later one: every file's time and size."""
    project = Path(opslib.__file__).resolve().parent.parent
    files = [(file, file.stat()) for package in ("opslib", "engine") for file in (project / package).rglob("*.py")]
    return sorted((str(file), status.st_mtime_ns, status.st_size) for file, status in files)


def _log(level: str, event: str, **facts: object) -> None:
    """A line of the log; what writes it is loaded with the first one, since each kernel would have it."""
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    getattr(structlog.get_logger("nursery"), level)(event, **facts)


def main(arguments: list[str]) -> int:
    """Give up the environment, load, then serve; ends at once where another nursery serves the place."""
    parser = argparse.ArgumentParser(prog="python -m opslib.runs.nursery", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="the process with which it ends")
    parser.add_argument("--bare", nargs=3, help="socket, notebooks, count; in the environment that it keeps")
    parser.add_argument("--taken", nargs="*", type=int, default=[], help="descriptors to the guards of kernels in use")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descendants.end_with_parent(signal.SIGTERM, asked.parent)
    if asked.bare is None:
        _give_up_environment(asked.parent)
    place, notebooks, count = Path(asked.bare[0]), Path(asked.bare[1]), int(asked.bare[2])
    lock = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the kind that can be looked at without being taken
    except OSError:
        return 0
    place.with_name(leases.STATUS).unlink(missing_ok=True)
    preload.kernel(notebooks)
    return Nursery(place, Path(os.environ["MPLCONFIGDIR"]), count, asked.taken).work()


def _give_up_environment(parent: int) -> NoReturn:
    """Become this program once more, with nothing in the environment but what a kernel may know."""
    from opslib.settings import Settings

    settings = Settings()
    settings.make_home()
    fonts, compiled = settings.state / "fonts", caches.compiled(settings.state / "numba")
    for folder in (fonts, compiled):
        folder.mkdir(mode=0o700, exist_ok=True)
    environment = kernels.bare_environment()
    environment |= {"HOME": "/", "MPLCONFIGDIR": str(fonts), "NUMBA_CACHE_DIR": str(compiled)}
    environment["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # a thread of pyarrow's, which pandas loads
    bare = ["--bare", str(leases.place(settings)), str(settings.notebooks), str(settings.warm_kernels), "--taken"]
    command = [sys.executable, "-m", "opslib.runs.nursery", "--parent", str(parent), *bare]
    os.execve(sys.executable, command, environment)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
