"""Start and end the crypto platform; find it again after a crash."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis

from opslib import web
from opslib.settings import PROJECT, Settings
from sandbox import history, processes, state
from sandbox.crypto import front, monitoring
from sandbox.crypto.deployed import lifecycle as on_cluster
from sandbox.crypto.publisher import MARKER
from sandbox.errors import NotOurs, NotUp, StartFailed
from sandbox.progress import Progress, quiet
from sandbox.state import State

__all__ = ["DEFAULT_WEBHOOK", "down", "platform_status", "until_it_answers", "up", "verify"]

DEFAULT_WEBHOOK = "http://127.0.0.1:8600/api/v1/alerts"
START_S = 40.0


def up(
    settings: Settings,
    *,
    monitored: bool | None = None,
    webhook: str = DEFAULT_WEBHOOK,
    deployed: bool = False,
    progress: Progress = quiet,
) -> State:
    """Start the crypto platform, or find the one that runs.

    Parameters
    ----------
    settings : Settings
        Its home holds the platform.
    monitored : bool, optional
        With Prometheus and Alertmanager; by default where their binaries are.
    webhook : str
        Where Alertmanager posts, with the token in `HOME/.state/intake-token`.
    deployed : bool
        As Deployments of the sandbox's own Kubernetes, in place of processes; one that is deployed stays so.
    progress : callable
        Takes a line for the person who waits.

    Returns
    -------
    State
        Also in the file `sandbox.state.file(settings)`.

    Raises
    ------
    StartFailed
        With the end of the log.
    """
    wanted = monitoring.available() is not None if monitored is None else monitored
    with _alone(settings):
        found = state.load(state.file(settings))
        if found is not None and found.whole and _answers(found):
            as_wanted = monitored is None or (found.endpoints.prometheus is not None) == wanted
            as_wanted = as_wanted and (found.endpoints.kubernetes_admin is not None or not deployed)
            if as_wanted and found.webhook in (None, webhook):
                progress(f"crypto already runs at {found.endpoints.api}")
                return found
        if deployed:
            on_cluster.check(settings)
        _clear(settings, progress)
        progress("starting redis-server and the crypto platform" + (" with Prometheus, Alertmanager" if wanted else ""))
        if wanted and history.promtool() is None:
            progress(history.LACKING)
        nginx = front.available()
        if nginx is None:
            progress(front.LACKING)
        posting = webhook if wanted else None
        if deployed:
            started = on_cluster.up(settings, webhook=posting, nginx=nginx, progress=progress)
        else:
            started = _launch(settings, posting, nginx)
        progress(f"crypto runs at {started.endpoints.api}")
        return started


def down(settings: Settings, *, progress: Progress = quiet) -> bool:
    """End the platform and remove what it kept; return whether anything ran. Harmless when nothing does."""
    with _alone(settings):
        ran = _clear(settings, progress)
    progress("crypto ended" if ran else "crypto was not running")
    return ran


def verify(found: State) -> None:
    """Make sure that what answers is the platform that `up` started, by the marker in Redis and by the API.

    Raises
    ------
    NotUp
        A server does not answer.
    NotOurs
        A marker is missing or another's.
    """
    try:
        with redis.Redis.from_url(
            found.endpoints.redis_admin, decode_responses=True, socket_timeout=3.0, socket_connect_timeout=1.0
        ) as client:
            marker = client.get(MARKER)
        shown = platform_status(found).get("sandbox_id")
    except redis.RedisError as problem:
        raise NotUp(f"Redis of the sandbox does not answer ({problem}): run `runbook sandbox up crypto`") from problem
    if marker != found.sandbox_id or shown != found.sandbox_id:
        raise NotOurs()


def until_it_answers(found: State) -> None:
    """Wait for a platform whose parts may just have been started.

    Raises
    ------
    NotUp, NotOurs
        It does not answer in time.
    """
    deadline = time.monotonic() + START_S
    while True:
        try:
            verify(found)
            return
        except (NotUp, NotOurs):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def platform_status(found: State) -> dict[str, Any]:
    """The document of `/api/status`.

    Raises
    ------
    NotUp
        The API does not answer.
    """
    try:
        answer = web.get(f"{found.endpoints.api}/api/status", timeout=5.0)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as problem:
        raise NotUp(f"the platform does not answer ({problem}): run `runbook sandbox up crypto`") from problem
    return document


def _answers(found: State) -> bool:
    try:
        verify(found)
    except (NotUp, NotOurs):
        return False
    return True


def _launch(settings: Settings, webhook: str | None, nginx: str | None = None) -> State:
    """Start the service, detached, and wait until its state file says that everything answers."""
    path = state.file(settings)
    logs = path.with_suffix("") / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = logs / "service.out"
    command = [sys.executable, "-m", "sandbox.crypto.service", "--state", str(path)]
    command += ["--control", str(settings.runtime / "crypto-control.sock")]
    if nginx is not None:
        command += ["--nginx", nginx]
    if webhook is not None:
        command += ["--webhook", webhook, "--token-file", str(settings.state / "intake-token")]
    pid = os.posix_spawn(
        sys.executable,
        command,
        _environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    start = processes.started(pid) or ""
    state.save(_launch_file(settings), {"pid": pid, "start": start})
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        found = state.load(path)
        if found is not None and found.pids.get("service") == pid:
            return found
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            break
        time.sleep(0.05)
    processes.stop([(pid, start)])
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
    raise StartFailed(
        f"the crypto platform did not become ready within {START_S:.0f} s; the end of {log} says:\n{tail}"
    )


def _clear(settings: Settings, progress: Progress) -> bool:
    """End whatever is left of a platform and remove its files; return whether anything ran."""
    path = state.file(settings)
    if on_cluster.clear(settings, progress=progress):
        path.unlink(missing_ok=True)
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        return True
    known: list[tuple[int, str]] = []
    try:
        launched = json.loads(_launch_file(settings).read_bytes())
        known.append((int(launched["pid"]), str(launched["start"])))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # nothing was launched, or the launch was cut off before there was a process to end
    found = state.load(path)
    if found is not None:
        known += [process for process in found.processes if process not in known]
    known += [process for process in front.left(path.with_suffix("").resolve()) if process not in known]
    ran = any(processes.alive(pid, start) for pid, start in known)
    processes.stop(known)
    for leftover in (path, _launch_file(settings), settings.runtime / "crypto-control.sock"):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    return ran


def _launch_file(settings: Settings) -> Path:
    return state.file(settings).with_suffix(".launch")


def _environment() -> dict[str, str]:
    """Environment of the service: no setting and no token of ours, one thread a library."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    }
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **single, "PYTHONPATH": str(PROJECT)}


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep a second `up` or `down` of the same home waiting; the kernel releases the lock of a dead process."""
    with (state.folder(settings) / "crypto.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
