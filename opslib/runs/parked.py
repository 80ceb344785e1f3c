"""A kernel that was made ahead: it waits, confined and ready, until somebody takes it; then it serves that one alone.

Two processes, as of `opslib.runs.confined`: the guard, which is told for whom the kernel is, and the kernel. While it
waits the guard ends with the nursery; from then on, with the connection of whoever took it. It removes the folder, and
tells the nursery, which counts, how the kernel ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from opslib.record import wire
from opslib.runs import confined, descendants, priority

READY, END, INTERRUPT = b"ready", b"end", b"interrupt"
GONE = b"ended"
"""To the nursery: a kernel that was taken has ended as it was told to, or of itself without a failure."""
ENDED = 128 + signal.SIGKILL
_MESSAGE = 64 * 1024
_LAST_WORDS = 4096


def park(folder: Path, environment: dict[str, str], nursery: socket.socket, *, forked: bool) -> NoReturn:
    """Make this process the guard of a new kernel, and wait.

    Parameters
    ----------
    folder : Path
        The kernel's own, with its connection file.
    environment : dict
        All of the kernel's environment.
    nursery : socket
        Told `READY`; gives the connection of who takes the kernel, and the recorder's socket; told how it ended.
    forked : bool
        Whether this process is a fork of one with the libraries loaded.
    """
    status = 1
    try:
        _settle(folder, environment, keep=nursery.fileno())
        status = _live(folder, nursery, forked=forked)
    except Exception:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # it died before it was taken: the nursery's log shall say why
            nursery.send((folder / "kernel.log").read_bytes()[-_LAST_WORDS:] or b"no word")
        _remove(folder)
        os._exit(status)


def _settle(folder: Path, environment: dict[str, str], *, keep: int) -> None:
    """Leave everything of the nursery behind: its descriptors, its environment, its session."""
    os.setsid()
    priority.share(priority.AHEAD)
    # before the environment goes, next to which the name lies; it tells the reaper that the folder is in use
    setproctitle(f"{_title(folder)} --parked")
    log = os.open(folder / "kernel.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    let_go(keep)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder / "work")
    confined.guard()


def _title(folder: Path) -> str:
    return f"python -m opslib.runs.confined -f {folder / 'connection.json'}"


def let_go(*keep: int) -> None:
    """Give up what every descriptor above 2 leads to, but for these.

    The numbers stay taken: objects of the parent may still close theirs, which must not be anything new by then.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor not in (*keep, nothing):
            with contextlib.suppress(OSError):
                os.fstat(descriptor)
                os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _live(folder: Path, nursery: socket.socket, *, forked: bool) -> int:
    """The life of a kernel: made, taken, ended; its exit status."""
    heard, told = os.pipe()
    os.environ[wire.SOCKET] = "not yet"  # the door is there from the start; who answers it is told when it is taken

    def become(guard: int, door: socket.socket) -> NoReturn:
        nursery.close()
        os.close(heard)

        def ready(kernel: Any) -> None:
            _freshen(kernel)
            os.write(told, READY)
            os.close(told)

        confined.become_kernel(folder / "connection.json", guard, door, ready)

    kernel, door = confined.fork(become)
    os.close(told)
    if os.read(heard, len(READY)) != READY:
        return confined.wait_for(kernel)
    os.close(heard)
    priority.share(priority.RUNS, tries=3)
    nursery.send(READY)
    watch = os.pidfd_open(kernel)
    readable, _, _ = select.select([nursery.fileno(), watch], [], [])
    os.close(watch)
    if nursery.fileno() not in readable:
        return confined.wait_for(kernel)
    message, descriptors, _, _ = socket.recv_fds(nursery, _MESSAGE, 1)
    if not descriptors:  # the nursery is gone
        descendants.end_below(os.getpid())
        return 0
    taker = socket.socket(fileno=descriptors[0])
    taker.setblocking(True)  # the nursery had set a time-out, which both share
    setproctitle(_title(folder))
    confined.serve_door(door, json.loads(message)["ops"])
    with contextlib.suppress(OSError):  # a taker that is gone already is noticed by who obeys it
        taker.send(json.dumps({"guard": os.getpid(), "folder": str(folder), "forked": forked}).encode())
    asked = threading.Event()
    threading.Thread(target=_obey, args=(taker, nursery, folder, asked), daemon=True).start()
    status = confined.wait_for(kernel)
    _remove(folder)
    # before the taker, which may end this process as soon as it knows
    _tell(nursery, GONE if asked.is_set() or not status else json.dumps({"exit": status}).encode())
    _tell(taker, json.dumps({"exit": status}).encode())
    return status


def _tell(whom: socket.socket, what: bytes) -> None:
    """A message to somebody who may be gone, or who does not listen."""
    with contextlib.suppress(OSError):
        whom.send(what, socket.MSG_DONTWAIT)


def _obey(taker: socket.socket, nursery: socket.socket, folder: Path, asked_to_end: threading.Event) -> None:
    """What the taker asks; when it asks for the end, or is gone, all of the kernel ends."""
    while True:
        try:
            asked = taker.recv(64)
        except OSError:
            asked = b""
        if asked == INTERRUPT:
            os.killpg(os.getpid(), signal.SIGINT)
            continue
        asked_to_end.set()
        descendants.end_below(os.getpid())
        _remove(folder)
        _tell(nursery, GONE)
        _tell(taker, json.dumps({"exit": ENDED}).encode())
        os._exit(ENDED)


def _freshen(kernel: Any) -> None:
    """What a fork must not share with its siblings, or has lost: random numbers, caches, plots."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    if "numba" in sys.modules:
        caching: Any = importlib.import_module("numba.core.caching")
        config: Any = importlib.import_module("numba.core.config")
        config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
        # functions that the parent has loaded would be kept where it keeps them, where a kernel may not write
        caching.IndexDataCacheFile.save = lambda *_: None
    if "matplotlib" in sys.modules:
        kernel.shell.enable_matplotlib("inline")


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str]) -> None:
    """Park a kernel in a process that was plainly started: `python -m opslib.runs.parked FOLDER DESCRIPTOR`."""
    from opslib.runs import preload

    preload.kernel()
    park(Path(arguments[0]), dict(os.environ), socket.socket(fileno=int(arguments[1])), forked=False)


if __name__ == "__main__":
    main(sys.argv[1:])
