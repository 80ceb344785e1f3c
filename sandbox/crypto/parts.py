"""What the platform consists of beside its service, as processes of this machine that the service owns."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import processes
from sandbox.crypto import monitoring, redis_server
from sandbox.crypto.desk import RiskDesk
from sandbox.crypto.front import Front
from sandbox.crypto.parameters import FloatArray
from sandbox.crypto.store import Jobs, Store
from sandbox.state import Endpoints

__all__ = ["Parts", "local"]


@dataclass(slots=True)
class Parts:
    """The surroundings of the service.

    Attributes
    ----------
    sandbox_id : str
    listener : socket
        Where the API is to answer.
    store : Store
    prometheus, alertmanager, web, kubernetes_admin : str or None
        Their addresses, of what there is.
    pids, starts : dict
        Process id and start time of each process, by name.
    webhook : str or None
        Where Alertmanager posts.
    front : Front, optional
        nginx, where it is a process of the service.
    desk : callable
        Makes the risk desk.
    """

    sandbox_id: str
    listener: socket.socket
    store: Store
    prometheus: str | None
    alertmanager: str | None
    web: str | None
    pids: dict[str, int]
    starts: dict[str, str]
    webhook: str | None
    kubernetes_admin: str | None = None
    front: Front | None = None
    desk: Callable[[FloatArray, int], RiskDesk] = field(default=RiskDesk)

    @property
    def address(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def endpoints(self, folder: Path) -> Endpoints:
        """Where everything of the platform in a folder answers at this moment."""
        return Endpoints(
            api=self.address,
            web=self.web,
            **self.store.endpoints(),
            dashboards=f"{self.address}/grafana",
            files=(folder / "conf").as_uri(),
            kubernetes_admin=self.kubernetes_admin,
            prometheus=self.prometheus,
            alertmanager=self.alertmanager,
        )


def local(
    folder: Path,
    logs: Path,
    children: dict[str, subprocess.Popen[bytes]],
    *,
    nginx: str | None,
    webhook: str | None,
    token_file: Path | None,
) -> Parts:
    """Start every server as a child of this process.

    Parameters
    ----------
    folder, logs : Path
        Of the platform.
    children : dict
        Takes each process as soon as it is started.
    nginx : str, optional
        The program; without it there is no HTTPS.
    webhook : str, optional
        Where Alertmanager posts; without it there is neither it nor Prometheus.
    token_file : Path, optional
        Bearer token that Alertmanager sends.

    Raises
    ------
    StartFailed
    """
    passwords = redis_server.Passwords.fresh()
    primary = redis_server.start(folder, logs, passwords)
    children["redis"] = primary.process
    replica = redis_server.start(folder, logs, passwords, name="redis-replica", replica_of=primary.port)
    children["redis-replica"] = replica.process
    store = Store({"primary": primary, "replica": replica}, Jobs(folder, logs / "redis-users.log"))
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    front = None
    if nginx:
        front = Front(folder, logs / "nginx.log", address)
        front.start(nginx, children)
    watchers = monitoring.Servers(None, None)
    if webhook:
        watchers = monitoring.start(folder, logs, address, webhook, token_file, children)
    pids = {"service": os.getpid(), **{name: child.pid for name, child in children.items()}}
    return Parts(
        sandbox_id=f"sandbox-{secrets.token_hex(8)}",
        listener=listener,
        store=store,
        prometheus=watchers.prometheus,
        alertmanager=watchers.alertmanager,
        web=None if front is None else front.address,
        pids=pids,
        starts={name: processes.started(pid) or "" for name, pid in pids.items()},
        webhook=webhook,
        front=front,
    )
