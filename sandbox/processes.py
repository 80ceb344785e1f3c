"""Processes of the sandbox: found again by pid and start time, ended without a trace."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

__all__ = ["alive", "ending_with_this", "free_port", "spawn", "started", "stop", "which"]

_PR_SET_PDEATHSIG = 1


def started(pid: int) -> str | None:
    """What tells this process from a later one with the same pid: its start time, or None when there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def alive(pid: int, start: str) -> bool:
    """Whether the process that had this pid and start time still runs."""
    return started(pid) == start


def stop(processes: Sequence[tuple[int, str]], grace_s: float = 5.0) -> None:
    """End processes: first by SIGTERM, after `grace_s` by SIGKILL; returns when all are gone.

    Parameters
    ----------
    processes : sequence of (pid, start)
        A pid that belongs to another process by now is left alone.
    """
    for wave in (signal.SIGTERM, signal.SIGKILL):
        for pid, start in processes:
            if alive(pid, start):
                os.kill(pid, wave)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            _reap(pid for pid, _ in processes)
            if not any(alive(pid, start) for pid, start in processes):
                return
            time.sleep(0.02)


def ending_with_this() -> Callable[[], None]:
    """What a child calls before it becomes its program, so that the kernel ends it when this process ends (Linux).

    Start the child from a thread that lives as long: the kernel watches the thread that started it.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None

    def end_with_parent() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    return end_with_parent


def spawn(
    command: Sequence[str], log: Path, folder: Path, environment: dict[str, str], *, piped: bool = False
) -> subprocess.Popen[bytes]:
    """Start a child that is ended by the kernel when this process ends, however it ends (`ending_with_this`).

    Where it is `piped`, its standard input and output are ours; its errors go to the log always.
    """
    with log.open("ab") as sink:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else sink,
            stderr=sink,
            cwd=folder,
            env=environment,
            preexec_fn=ending_with_this(),
        )


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _reap(pids: Iterable[int]) -> None:
    """Collect those that are our own children, so that they do not stay as zombies."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def which(name: str) -> str | None:
    """Path of a server's or tool's program, also where PATH is short; None where there is none."""
    return shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/local/bin:/usr/sbin")
