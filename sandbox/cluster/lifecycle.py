"""Start and end the cluster of a home; find it again after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opslib.settings import PROJECT, Settings
from sandbox import processes, state
from sandbox.cluster import capsule, configuration, images
from sandbox.cluster.build import Built, build
from sandbox.cluster.cluster import Cluster
from sandbox.cluster.requirements import missing
from sandbox.errors import CannotRun, StartFailed
from sandbox.progress import Progress, quiet

__all__ = ["down", "find", "up"]

_START_S = 240.0
_CONTEXT = "sandbox"
_OF_NODES = ("/dev", "/proc", "/run", "/sys", "/var/log")


def up(
    settings: Settings,
    *,
    progress: Progress = quiet,
    kubeconfig: Path | None = None,
    context: str | None = None,
) -> Cluster:
    """Start the cluster of this home, or find the one that runs.

    Parameters
    ----------
    settings : Settings
        Its home holds the cluster.
    progress : callable
        Takes a line for the person who waits.
    kubeconfig : Path, optional
        Use the cluster of this file instead; both it and `context` must be given then.
    context : str, optional

    Raises
    ------
    CannotRun
        What this machine lacks.
    BuildFailed
        Kubernetes could not be built.
    StartFailed
        With the ends of the logs; or another cluster is in use.
    """
    with _alone(settings):
        found = find(settings)
        if found is not None:
            if kubeconfig is not None and (found.kubeconfig, found.context) != (kubeconfig.absolute(), context):
                raise StartFailed(
                    f"the cluster {found.context} of {found.kubeconfig} is in use: run `runbook sandbox down` first"
                )
            progress(f"the cluster {found.sandbox_id} already runs")
            return found
        if kubeconfig is None:
            lacking = missing()
            if any(_folder(settings).resolve().is_relative_to(own) for own in _OF_NODES):
                lacking.append(
                    f"{settings.home} lies where nodes have folders of their own; set RUNBOOK_HOME to another"
                )
            if lacking:
                raise CannotRun(
                    "this machine cannot run a Kubernetes of the sandbox: "
                    + "; ".join(lacking)
                    + ". Use a cluster of yours with --kubeconfig and --context; the platform `crypto` needs none",
                    missing=lacking,
                )
        built = build(progress) if kubeconfig is None else None
        _clear(settings)
        began = time.monotonic()
        _folder(settings).mkdir(mode=0o700, parents=True)
        (_folder(settings) / "logs").mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as controlled:
            controlled.bind(str(_control(settings)))
            controlled.listen(16)
            if built is not None:
                progress("starting Kubernetes, two nodes")
                cluster, start = _begin(settings, built, controlled)
            else:
                cluster, start = _adopt(settings, kubeconfig or Path(), context or "", controlled, progress)
        state.save(_file(settings), {**cluster.document(), "start": start})
        progress(f"the cluster is ready after {time.monotonic() - began:.0f} s")
        return cluster


def down(settings: Settings, *, progress: Progress = quiet) -> bool:
    """End the cluster and remove what it kept; return whether anything was there. Harmless where nothing is."""
    with _alone(settings):
        ran = _clear(settings)
    progress("the cluster ended" if ran else "no cluster was running")
    return ran


def find(settings: Settings) -> Cluster | None:
    """The cluster of this home that is ready, or None."""
    known = _known(settings)
    if known is None:
        return None
    cluster, start = known
    return cluster if processes.alive(cluster.keeper, start) and cluster.kubeconfig.is_file() else None


def _begin(settings: Settings, built: Built, controlled: socket.socket) -> tuple[Cluster, str]:
    """Start a cluster in namespaces of its own, wait for it, and return it with its start time."""
    folder = _folder(settings)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        server = f"https://127.0.0.1:{listener.getsockname()[1]}"
        kubeconfig = configuration.write(folder, built, server, _CONTEXT)
        pid, start = capsule.begin(settings, folder, built, listener, controlled)
    _wait(settings, folder, pid, start)
    return _cluster(settings, kubeconfig, _CONTEXT, pid, built.folder), start


def _adopt(
    settings: Settings, kubeconfig: Path, context: str, controlled: socket.socket, progress: Progress
) -> tuple[Cluster, str]:
    """Use a cluster of the user's own: see that it answers, and start what exposes its services."""
    from sandbox.cluster import objects  # the client is loaded only by what needs it

    objects.check(kubeconfig, context)
    path = kubeconfig.absolute()
    folder = _folder(settings)
    for name in ("images", "users"):
        (folder / name).mkdir(mode=0o700)
    objects.only(path, context, folder / "users" / "admin")
    images.host_image(folder / "images" / "host.tar", [images.HOST])
    progress(
        f"its nodes need the image {folder / 'images' / 'host.tar'} and the folders of this machine that pods mount"
    )
    command = [sys.executable, "-m", "sandbox.cluster.forward", str(path), context, str(controlled.fileno())]
    with (folder / "logs" / "forward.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            pass_fds=[controlled.fileno()],
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this process; whether it runs is told by pid and start time
    return _cluster(settings, path, context, process.pid, None), processes.started(process.pid) or ""


def _cluster(settings: Settings, kubeconfig: Path, context: str, keeper: int, built: Path | None) -> Cluster:
    return Cluster(
        kubeconfig=kubeconfig,
        context=context,
        sandbox_id=secrets.token_hex(8),
        folder=_folder(settings),
        control=_control(settings),
        keeper=keeper,
        built=built,
    )


def _wait(settings: Settings, folder: Path, pid: int, start: str) -> None:
    deadline = time.monotonic() + _START_S
    while not (folder / "ready").exists():
        if time.monotonic() > deadline or not processes.alive(pid, start):
            what = "ended" if time.monotonic() < deadline else f"was not ready within {_START_S:.0f} s"
            capsule.clear(settings)
            raise StartFailed(f"the cluster {what}; its logs are in {folder / 'logs'}, and end:\n{_tails(folder)}")
        time.sleep(0.05)


def _known(settings: Settings) -> tuple[Cluster, str] | None:
    """The cluster of the state file, running or not, with the start time of its keeper."""
    try:
        document = json.loads(_file(settings).read_bytes())
        return Cluster.from_document(document), str(document["start"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # none was started, or its start was cut off


def _tails(folder: Path) -> str:
    lines = []
    for log in sorted([*(folder / "logs").glob("*.log"), *(folder / "nodes").glob("*/*.log")]):
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        lines += [f"{log.stem}: {line[:300]}" for line in last]
    return "\n".join(lines)


def _clear(settings: Settings) -> bool:
    """End whatever is left of a cluster and remove its files; return whether something ran.

    Of a cluster of the user's own only the sandbox's namespaces are removed.
    """
    known = _known(settings)
    ran = known is not None
    if known is not None and known[0].own:
        from sandbox.cluster import objects  # the client is loaded only by what needs it

        cluster, start = known
        objects.remove(cluster.kubeconfig, cluster.context, cluster.sandbox_id)
        processes.stop([(cluster.keeper, start)])
    ran = capsule.clear(settings) or ran
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
