"""Start and end the cluster of a home; find it again after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opslib.settings import Settings
from sandbox import processes, state
from sandbox.cluster import capsule, configuration
from sandbox.cluster.build import build
from sandbox.cluster.cluster import Cluster
from sandbox.cluster.requirements import missing
from sandbox.errors import CannotRun, StartFailed

__all__ = ["Progress", "down", "find", "up"]

Progress = Callable[[str], None]

_START_S = 240.0
_CONTEXT = "sandbox"


def _quiet(message: str) -> None:
    """Show no progress."""


def up(settings: Settings, *, progress: Progress = _quiet) -> Cluster:
    """Start the cluster of this home, or find the one that runs.

    Parameters
    ----------
    settings : Settings
        Its home holds the cluster.
    progress : callable
        Takes a line for the person who waits.

    Raises
    ------
    CannotRun
        What this machine lacks.
    BuildFailed
        Kubernetes could not be built.
    StartFailed
        With the ends of the logs.
    """
    with _alone(settings):
        found = find(settings)
        if found is not None:
            progress(f"the cluster {found.sandbox_id} already runs")
            return found
        lacking = missing()
        if lacking:
            raise CannotRun(
                "this machine cannot run a Kubernetes of the sandbox: "
                + "; ".join(lacking)
                + ". Use a cluster of yours with --kubeconfig and --context; the platform `crypto` needs none",
                missing=lacking,
            )
        built = build(progress)
        _clear(settings)
        progress("starting Kubernetes, two nodes")
        began = time.monotonic()
        folder = _folder(settings)
        folder.mkdir(mode=0o700, parents=True)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener, socket.socket(socket.AF_UNIX) as control:
            control_path = _control(settings)
            control.bind(str(control_path))
            control.listen(16)
            port = listener.getsockname()[1]
            kubeconfig = configuration.write(folder, built, f"https://127.0.0.1:{port}", _CONTEXT)
            pid, start = capsule.begin(settings, folder, built, listener, control)
        _wait(settings, folder, pid, start)
        cluster = Cluster(
            kubeconfig=kubeconfig,
            context=_CONTEXT,
            sandbox_id=secrets.token_hex(8),
            control=control_path,
            keeper=pid,
            built=built.folder,
        )
        state.save(_file(settings), {**cluster.document(), "start": start})
        progress(f"the cluster is ready after {time.monotonic() - began:.0f} s")
        return cluster


def down(settings: Settings, *, progress: Progress = _quiet) -> bool:
    """End the cluster and remove what it kept; return whether anything was there. Harmless where nothing is."""
    with _alone(settings):
        ran = _clear(settings)
    progress("the cluster ended" if ran else "no cluster was running")
    return ran


def find(settings: Settings) -> Cluster | None:
    """The cluster of this home that is ready, or None."""
    try:
        document = json.loads(_file(settings).read_bytes())
        cluster = Cluster.from_document(document)
        alive = cluster.keeper is None or processes.alive(cluster.keeper, document["start"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # none was started, or its start was cut off
    return cluster if alive and cluster.kubeconfig.is_file() else None


def _wait(settings: Settings, folder: Path, pid: int, start: str) -> None:
    deadline = time.monotonic() + _START_S
    while not (folder / "ready").exists():
        if time.monotonic() > deadline or not processes.alive(pid, start):
            what = "ended" if time.monotonic() < deadline else f"was not ready within {_START_S:.0f} s"
            capsule.clear(settings)
            raise StartFailed(f"the cluster {what}; its logs are in {folder / 'logs'}, and end:\n{_tails(folder)}")
        time.sleep(0.05)


def _tails(folder: Path) -> str:
    lines = []
    for log in sorted([*(folder / "logs").glob("*.log"), *(folder / "nodes").glob("*/*.log")]):
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        lines += [f"{log.stem}: {line[:300]}" for line in last]
    return "\n".join(lines)


def _clear(settings: Settings) -> bool:
    """End whatever is left of a cluster and remove its files; return whether something ran."""
    ran = capsule.clear(settings)
    _file(settings).unlink(missing_ok=True)
    _control(settings).unlink(missing_ok=True)
    if _folder(settings).exists():
        shutil.rmtree(_folder(settings))
    return ran


def _folder(settings: Settings) -> Path:
    return settings.state / "sandbox" / "cluster"


def _file(settings: Settings) -> Path:
    return settings.state / "sandbox" / "cluster.json"


def _control(settings: Settings) -> Path:
    return settings.runtime / "cluster.sock"


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep a second `up` or `down` of the same home waiting; the kernel releases the lock of a dead process."""
    descriptor = os.open(state.folder(settings) / "cluster.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
