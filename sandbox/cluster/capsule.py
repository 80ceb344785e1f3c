"""The namespaces of a cluster, seen from the host: begun, found again, ended without a trace."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from opslib.settings import PROJECT, Settings
from sandbox import processes
from sandbox.cluster import layout
from sandbox.cluster.build import Built
from sandbox.errors import StartFailed

__all__ = ["begin", "clear", "first_process", "group"]

_FILES = Path(__file__).parent / "files"
_GONE_S = 20.0


def group(settings: Settings) -> str:
    """Name of the cluster's control groups: one a home, so that clusters of several homes live side by side."""
    return "runbook-" + hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]


def begin(
    settings: Settings, state: Path, built: Built, listener: socket.socket, controlled: socket.socket
) -> tuple[int, str]:
    """Start the outermost process, detached; return its pid and start time."""
    name = group(settings)
    addresses = " ".join(node.address for node in layout.NODES)
    handed = (listener.fileno(), controlled.fileno())
    command = [str(_FILES / "keeper.sh"), name, str(_FILES / "capsule.sh"), name, addresses]
    command += [sys.executable, "-m", "sandbox.cluster.supervisor", str(state), *map(str, handed)]
    environment = {
        **built.environment,
        "HOME": "/root",
        "LC_ALL": "C",
        "GROUP": name,
        "STATE": str(state),
        "PYTHONPATH": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (state / "logs" / "capsule.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            pass_fds=handed,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this process; whether it runs is told by pid and start time
    return process.pid, processes.started(process.pid) or ""


def first_process(keeper: int) -> int:
    """Pid, on the host, of the first process inside: through it one enters the namespaces.

    Raises
    ------
    StartFailed
        Where it has ended.
    """
    pid = keeper
    for _ in range(2):  # keeper, unshare, first process
        children = Path(f"/proc/{pid}/task/{pid}/children")
        try:
            pid = int(children.read_text().split()[0])
        except (OSError, IndexError) as problem:
            raise StartFailed("the cluster has ended: run `runbook sandbox up derivatives`") from problem
    return pid


def clear(settings: Settings) -> bool:
    """End every process of the cluster of this home, and remove its control groups; return whether there was anything.

    Needs no record of it: the outer processes are known by their command line, the others by their control groups.
    """
    outer = _outer(group(settings))
    for pid, start in outer:
        if processes.alive(pid, start):
            os.kill(pid, signal.SIGKILL)
    processes.stop(outer, grace_s=_GONE_S)
    if os.geteuid() != 0:
        return bool(outer)
    swept = subprocess.run(
        ["unshare", "--mount", str(_FILES / "sweep.sh"), group(settings)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    if swept.returncode != 0:
        raise StartFailed(f"control groups of the cluster could not be removed: {swept.stderr.strip()}")
    return bool(outer) or "swept" in swept.stdout


def _outer(name: str) -> list[tuple[int, str]]:
    """The processes around the namespaces of that name: keeper, unshare, and the first process inside."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        start = processes.started(int(folder.name))
        around = any(
            word.endswith(b"/capsule.sh") and after == name.encode() for word, after in itertools.pairwise(words)
        )
        if around and start is not None:
            found.append((int(folder.name), start))
    return found
