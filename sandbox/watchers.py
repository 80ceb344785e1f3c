"""Prometheus and Alertmanager of a platform on the cluster: in a process of their own on this machine, found again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from opslib.settings import PROJECT
from sandbox import processes, state
from sandbox.errors import StartFailed

__all__ = ["begin", "end", "end_children", "given", "tell"]

_READY_S = 40.0
_CHILD_S = 10.0
_GIVEN, _LAUNCHED, _WATCHERS = "watch.json", "launch.json", "watchers.json"


def begin(module: str, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Start `python -m MODULE FOLDER`, detached, and wait until it tells where they answer.

    Parameters
    ----------
    module : str
    folder : Path
        Of the platform.
    facts : dict
        What the process finds by `given`.

    Returns
    -------
    dict
        `prometheus`, `alertmanager`, `pid`, `start`.

    Raises
    ------
    StartFailed
        With the end of its log.
    """
    state.save(folder / _GIVEN, facts)
    log = folder / "monitoring.out"
    with log.open("ab") as sink:
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    state.save(folder / _LAUNCHED, {"pid": child.pid, "start": processes.started(child.pid)})
    deadline = time.monotonic() + _READY_S
    path = folder / _WATCHERS
    while not path.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-8:])
            raise StartFailed(f"Prometheus and Alertmanager did not become ready; the end of {log} says:\n{tail}")
        time.sleep(0.1)
    child.returncode = 0  # it outlives this process; whether it runs is told by pid and start time
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def given(folder: Path) -> dict[str, Any]:
    """What the process that `begin` started was given."""
    facts: dict[str, Any] = json.loads((folder / _GIVEN).read_bytes())
    return facts


def tell(folder: Path, prometheus: str, alertmanager: str) -> None:
    """Let `begin` know where they answer."""
    found = {"prometheus": prometheus, "alertmanager": alertmanager}
    state.save(folder / _WATCHERS, {**found, "pid": os.getpid(), "start": processes.started(os.getpid())})


def end(folder: Path) -> bool:
    """End what was begun for a platform; return whether it ran."""
    known: list[tuple[int, str]] = []
    for name in (_LAUNCHED, _WATCHERS):
        try:
            launched = json.loads((folder / name).read_bytes())
            known.append((int(launched["pid"]), str(launched["start"])))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue  # none was started, or its start was cut off
    ran = any(processes.alive(pid, start) for pid, start in known)
    processes.stop(known)
    return ran


def end_children(children: Iterable[subprocess.Popen[bytes]]) -> None:
    """End processes of this one, and wait until they are gone."""
    running = list(children)
    for child in running:
        child.terminate()
    for child in running:
        try:
            child.wait(timeout=_CHILD_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
