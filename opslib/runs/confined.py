"""A notebook's kernel, confined: `python -m opslib.runs.confined -f CONNECTION_FILE --parent PID`.

Two processes. The first waits, and when the kernel ends, or its own parent does, kills whatever the kernel started, so
that no process outlives the run. The second gives up what a notebook has no business with, then becomes the kernel:
it reads Python and its libraries, writes its scratch folder and a cache of its own, makes its sockets, connects to
nothing, signals and looks into no process outside, and has no capability left even as root. What it may see of the
platforms it asks of the recorder: the first process connects to the one socket that it was given, and hands the open
connection over.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import opslib
from opslib.record import wire
from opslib.runs import caches, descendants, landlock, seccomp

_NEW_NETWORK = 0x40000000
_DROP_FROM_BOUNDING_SET = 24
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
_OPEN_FILES = 4096
_FILE_BYTES = 2**30
# What a Python process reads of the system, beside its own installation.
_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt/conda/lib",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/timezone",
    "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/fonts", "/etc/mime.types", "/etc/ssl/openssl.cnf",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version",
    "/proc/filesystems", "/proc/sys/kernel", "/proc/sys/vm", "/proc/driver/nvidia", "/proc/devices",
    "/sys/devices/system", "/sys/fs/cgroup", "/sys/bus/pci", "/sys/devices/pci0000:00",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def readable() -> list[Path]:
    """What the kernel may read: the system's libraries, Python, its packages, and the project's two packages.

    The project's folder is not among it, since the records and their keys may lie there.
    """
    project = Path(opslib.__file__).resolve().parent.parent
    packages = [project / name for name in ("opslib", "engine")]
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent.parent)}
    entries = {entry for entry in sys.path if entry and Path(entry).name in ("site-packages", "dist-packages")}
    return [Path(path) for path in (*_SYSTEM, *sorted(prefixes), *sorted(entries))] + packages


def main(arguments: list[str]) -> int:
    """Start the kernel, wait for its end, and leave nothing of it."""
    connection_file, parent = Path(arguments[1]), int(arguments[3])
    descendants.end_with_parent(signal.SIGTERM, parent)
    guard()
    kernel, door = fork(lambda guard, door: become_kernel(connection_file, guard, door))
    serve_door(door, os.environ.get(wire.SOCKET))
    return wait_for(kernel)


def guard() -> None:
    """Make this process the one that watches a kernel, and that ends all of it when it is told to end."""
    descendants.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)


def fork(become: Callable[[int, socket.socket], NoReturn]) -> tuple[int, socket.socket]:
    """Fork the process that becomes the kernel; its number, and the door at which it knocks.

    Parameters
    ----------
    become : callable
        Called in the new process with the number of this one and the inner side of the door.
    """
    door, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    kernel = os.fork()
    if kernel == 0:
        try:
            door.close()
            become(parent, inside)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(1)
    inside.close()
    return kernel, door


def serve_door(door: socket.socket, place: str | None) -> None:
    """Answer the door from now on, in a thread: with a connection to the recorder's socket at `place`."""
    threading.Thread(target=_connect_for, args=(door, place), daemon=True).start()


def wait_for(kernel: int) -> int:
    """Wait until the kernel has ended, and end what it left; its exit status, above 128 a signal's number."""
    while True:
        ended, status = os.wait()
        if ended == kernel:
            break
    descendants.end_below(os.getpid())
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _terminate(number: int, _frame: object) -> None:
    """Kill everything below, then end; the kernel gets no say."""
    descendants.end_below(os.getpid())
    os._exit(128 + number)


def _connect_for(door: socket.socket, place: str | None) -> None:
    """Hand a connection to the recorder through the door each time that somebody knocks; to nothing else, ever."""
    while door.recv(1):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                if place is None:
                    raise FileNotFoundError
                connection.connect(place)
                socket.send_fds(door, [wire.HERE], [connection.fileno()])
            except BrokenPipeError:
                return
            except OSError:
                door.send(wire.GONE)


def become_kernel(
    connection_file: Path, guard: int, door: socket.socket, ready: Callable[[Any], None] = lambda _: None
) -> NoReturn:
    """Confine this process and run the kernel in it.

    Parameters
    ----------
    connection_file : Path
    guard : int
        The process that watches; the kernel ends with it.
    door : socket
        Its side of the door.
    ready : callable
        Called with the kernel's application when its sockets are there.
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["JPY_PARENT_PID"] = str(guard)
        if wire.SOCKET in os.environ:
            os.environ[wire.SOCKET] = f"{wire.DOOR}{door.fileno()}"
        _import_packages()
        own_caches = caches.fill()
        _limit()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.unshare(_NEW_NETWORK)  # where it may: no network at all; Unix sockets of the file system still work
        _drop_capabilities(libc)
        devices = [Path("/dev") / name for name in _DEVICES] + sorted(Path("/dev").glob("nvidia*"))
        sockets = Path(json.loads(connection_file.read_text("ascii"))["ip"]).parent
        landlock.restrict([*readable(), connection_file], [Path.home(), *own_caches], devices, [sockets])
        seccomp.restrict()
        descendants.end_with_parent(signal.SIGKILL, guard)
        from opslib.runs.kernel_app import KernelApp

        kernel: Any = KernelApp.made(connection_file, guard)
        ready(kernel)
        kernel.start()
    finally:
        failure = sys.exc_info()[1]
        failed = failure is not None and not isinstance(failure, SystemExit)
        if failed:
            traceback.print_exc(file=sys.__stderr__)  # the kernel may have its own in `sys.stderr`, which nobody reads
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if failed else 0)


def _import_packages() -> None:
    """Import the packages of the project while their folder can still be listed; their modules come when asked for."""
    if importlib.util.find_spec("engine") is not None:
        importlib.import_module("engine")


def _limit() -> None:
    """Bounds of memory, open files, file size; no core dumps, which would hold what the kernel saw."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_DATA: max(memory * 3 // 4, 2 * 2**30),
    }
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up every capability, also those that a later program could gain."""
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
