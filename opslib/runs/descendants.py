"""The processes below one process, and their end."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
_SET_PARENT_DEATH_SIGNAL = 1


def adopt_orphans() -> None:
    """Orphaned processes below this one become its children, not those of process 1: none can slip away."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(number: int, parent: int) -> None:
    """Have the kernel send signal `number` to this process when its parent ends; at once if it has.

    Parameters
    ----------
    number : int
        The signal.
    parent : int
        The process that has to be the parent.
    """
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def below(process: int) -> list[int]:
    """Every living process below `process`.

    A zombie is not counted, but looked below: its other threads may still live, and its children with them.
    """
    living: set[int] = set()
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        facts = _facts(int(entry.name))
        if facts is not None:
            parents.setdefault(int(facts[1]), []).append(int(entry.name))
            if facts[0] not in ("Z", "X"):
                living.add(int(entry.name))
    found: list[int] = []
    waiting = [process]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return [one for one in found if one in living]


def kill(processes: list[int]) -> None:
    """SIGKILL each; those that have ended are passed over."""
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def end_below(process: int, within_s: float = 5.0) -> list[int]:
    """Kill everything below `process` until nothing is left; what is left after `within_s` [s] is returned."""
    deadline = time.monotonic() + within_s
    while (left := below(process)) and time.monotonic() < deadline:
        kill(left)
        time.sleep(0.01)
    return left


def named(text: str) -> list[int]:
    """The processes that have a text in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in command:
            found.append(int(entry.name))
    return found


def birth(process: int) -> int | None:
    """When `process` started, in clock ticks since boot: with its number this names it for good. None: it is gone."""
    facts = _facts(process)
    return None if facts is None or facts[0] in ("Z", "X") else int(facts[19])


def me() -> str:
    """This process, named so that another one that sees the same processes can tell whether it still lives."""
    return f"{_here()}/{os.getpid()}/{birth(os.getpid())}"


def seen_gone(name: str) -> bool | None:
    """Whether a process of that name has ended; None where this one cannot see it.

    A name without what follows `@`, as it was written once, is taken for one of this host where the host's name is.
    """
    host, process, born = (name + "//").split("/")[:3]
    here = _here()
    if host not in (here, here.partition("@")[0]) or not process.isdecimal():
        return None
    return str(birth(int(process))) != born


def spoken(name: str) -> str:
    """Host and number of the process of that name, for a sentence."""
    host, process, _ = (name + "//").split("/")[:3]
    return f"{host.partition('@')[0]}/{process}"


def _here() -> str:
    """This host's name, and by which boot of which kernel and which process namespace it counts its processes.

    Two containers may have one name and count on their own, and so may one name before and after a reboot.
    """
    boot = counted = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
    with suppress(OSError):
        counted = str(Path("/proc/self/ns/pid").stat().st_ino)
    return f"{socket.gethostname()}@{boot}.{counted}"


def _facts(process: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command's name; None where there is no such process."""
    try:
        text = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return text.rpartition(")")[2].split()
