"""The state file of a sandbox platform: who it is, where it answers, which processes it has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from opslib.settings import Settings
from sandbox import processes
from sandbox.errors import NotUp

__all__ = ["Endpoints", "State", "cluster_mark", "file", "folder", "load", "on_cluster", "require", "save"]


class Endpoints(BaseModel):
    """Where a platform answers; a server that does not run is None."""

    model_config = ConfigDict(extra="forbid")

    api: str
    web: str | None = None
    redis: str
    redis_admin: str
    redis_replica: str | None = None
    redis_replica_admin: str | None = None
    dashboards: str | None = None
    postgres: str | None = None
    postgres_admin: str | None = None
    kubernetes: str | None = None
    kubernetes_admin: str | None = None
    kubernetes_preview: str | None = None
    files: str | None = None
    prometheus: str | None = None
    alertmanager: str | None = None


class State(BaseModel):
    """What `up` leaves behind.

    Attributes
    ----------
    platform, sandbox_id, environment : str
    pids, starts : dict
        Process id and start time of each server, by name.
    endpoints : Endpoints
        `redis` is the read-only identity, `redis_admin` the full one; so with every other pair. `web` is the API over
        HTTPS, `files` the folder that probes may read.
    control : str
        Socket through which faults change the platform, where it has one; its folder is the owner's alone.
    webhook : str or None
        Where Alertmanager posts.
    started_at : str
    """

    model_config = ConfigDict(extra="forbid")

    platform: str
    sandbox_id: str
    environment: str = "sandbox"
    pids: dict[str, int]
    starts: dict[str, str]
    endpoints: Endpoints
    control: str = ""
    webhook: str | None = None
    started_at: str

    @property
    def processes(self) -> list[tuple[int, str]]:
        """Pid and start time of every server, the service first."""
        names = sorted(self.pids, key=lambda name: name != "service")
        return [(self.pids[name], self.starts[name]) for name in names]

    @property
    def whole(self) -> bool:
        """Whether every server still runs."""
        return all(processes.alive(pid, start) for pid, start in self.processes)


def folder(settings: Settings) -> Path:
    """Folder of all sandbox platforms, made for the owner alone."""
    settings.make_home()
    path = settings.state / "sandbox"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def file(settings: Settings, platform: str = "crypto") -> Path:
    """State file of a platform."""
    return settings.state / "sandbox" / f"{platform}.json"


def load(path: Path) -> State | None:
    """Read a state file; None where there is none, or it is of no use."""
    try:
        return State.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def cluster_mark(settings: Settings, platform: str) -> Path:
    """The file that is there from before a platform is put on this home's cluster until after it has left."""
    return settings.state / "sandbox" / f"{platform}.on-cluster"


def on_cluster(settings: Settings, *, besides: str) -> bool:
    """Whether another platform is on this home's cluster."""
    folder = settings.state / "sandbox"
    return any(found != cluster_mark(settings, besides) for found in folder.glob("*.on-cluster"))


def require(settings: Settings, platform: str = "crypto") -> State:
    """Read a state file.

    Raises
    ------
    NotUp
        Where the platform does not run.
    """
    found = load(file(settings, platform))
    if found is None or not found.whole:
        raise NotUp(f"the sandbox platform {platform} does not run. Start it with `runbook sandbox up {platform}`.")
    return found


def save(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file atomically, readable by the owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        json.dump(document, sink, indent=1)
    temporary.replace(path)
