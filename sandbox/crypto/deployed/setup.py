"""What one running platform on the cluster is made of, kept in its folder for `heal`, `down` and its own pods."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sandbox.crypto.redis_server import Passwords
from sandbox.state import save

__all__ = ["CONTROL", "NAMESPACE", "PORTS", "STATE", "Setup"]

NAMESPACE = "crypto"
STATE = "state.json"
CONTROL = "control.sock"
PORTS = ("api", "web", "redis", "redis-replica", "path")
_FILE = "deployed.json"


@dataclass(frozen=True, slots=True)
class Setup:
    """The facts that manifests and pods need.

    Attributes
    ----------
    folder : Path
        The platform's own on this machine; the pods `strategist` and `web` see it at the same path.
    sandbox_id : str
    passwords : Passwords
        Of both instances of Redis.
    ports : dict
        By name: `api`, `web`, `redis`, `redis-replica`, and `path`, where a slow path to Redis begins.
    kubernetes_admin : str
        Address of the namespace, for its administrator.
    prometheus, alertmanager, webhook : str or None
        On this machine; where Alertmanager posts.
    nginx : str or None
        The program, where it is installed.
    pids, starts : dict
        Process id and start time of what runs on this machine, by name.
    """

    folder: Path
    sandbox_id: str
    passwords: Passwords
    ports: dict[str, int]
    kubernetes_admin: str
    prometheus: str | None
    alertmanager: str | None
    webhook: str | None
    nginx: str | None
    pids: dict[str, int]
    starts: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Setup | None:
        """The platform whose facts lie in a folder, or None."""
        try:
            document = json.loads((folder / _FILE).read_bytes())
            return cls(**{**document, "folder": folder, "passwords": Passwords(**document["passwords"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def watched(self, found: dict[str, Any]) -> Setup:
        """The same, with what `sandbox.watchers.begin` started."""
        return replace(
            self,
            prometheus=found["prometheus"],
            alertmanager=found["alertmanager"],
            pids={**self.pids, "monitoring": found["pid"]},
            starts={**self.starts, "monitoring": found["start"]},
        )

    def save(self) -> None:
        """Keep the facts, for the owner alone."""
        save(self.folder / _FILE, {**asdict(self), "folder": str(self.folder)})

    @property
    def api(self) -> str:
        """Address of the platform."""
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def passage(self) -> Path:
        """The socket through which pods reach Prometheus."""
        return self.folder / "prometheus.sock"
