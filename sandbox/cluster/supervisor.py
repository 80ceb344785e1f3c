"""Inside a cluster's namespaces: starts its servers, keeps them running, and says when all are ready.

    python -m sandbox.cluster.supervisor STATE LISTENER CONTROL

STATE is the cluster's folder, LISTENER the descriptor of the host's listening socket for the API server,
CONTROL that of the socket on which more of them are handed over. It ends when not all is ready in time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster import control, dns, layout, metrics, relay
from sandbox.cluster.api import Api, ApiRefused

__all__ = ["main"]

_FILES = Path(__file__).parent / "files"
_AGAIN_S = 1.0
_ANNOUNCE_S = 5.0
_POLL_S = 0.1
_READY_S = 180.0


class Supervisor:
    """The servers of one cluster.

    Parameters
    ----------
    state : Path
        The cluster's folder.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._api = Api.as_("admin", state / "keys", layout.API)
        self._kept: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket, controlled: socket.socket) -> None:
        """Start everything; returns only by an error."""
        await relay.serve(listener, control.fixed("127.0.0.1", 6443))
        commands = layout.commands(self._state)
        for name in ("etcd", "api"):
            self._keep(name, commands.pop(name))
        for node in layout.NODES:
            self._keep(node.name, [str(_FILES / "node.sh"), node.name])
        await self._until("the API server", self._answers)
        for name, command in commands.items():
            self._keep(name, command)
        (self._state / "api-ready").touch()
        self._serve_metrics()
        await dns.start(dns.Names(self._api), layout.DNS)
        expose = control.Relayed(self._api, asyncio.get_running_loop())
        threading.Thread(target=control.serve, args=(controlled, expose), daemon=True).start()
        await asyncio.to_thread(self._set_up)
        await self._until("nodes, accounts and resource metrics", self._complete)
        (self._state / "ready").touch()
        while True:
            await asyncio.sleep(_ANNOUNCE_S)
            await asyncio.to_thread(self._announce_devices)

    def _keep(self, name: str, command: list[str]) -> None:
        """Run a server, and run it again whenever it ends."""

        async def again() -> None:
            with (self._state / "logs" / f"{name}.log").open("ab") as log:
                while True:
                    process = await asyncio.create_subprocess_exec(
                        *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
                    )
                    await process.wait()
                    await asyncio.sleep(_AGAIN_S)

        task = asyncio.ensure_future(again())
        self._kept.add(task)

    async def _until(self, what: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_S
        while not await asyncio.to_thread(holds):
            if time.monotonic() > deadline:
                sys.exit(f"{what}: not ready within {_READY_S:.0f} s")
            await asyncio.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            return self._api.text("/readyz") == "ok"
        except ApiRefused:
            return False

    def _complete(self) -> bool:
        """Whether every node takes pods and has its devices, accounts are made, and resource metrics are served."""
        try:
            self._announce_devices()
            nodes = {node["metadata"]["name"]: node for node in self._api.get("/api/v1/nodes")["items"]}
            self._api.get("/api/v1/namespaces/default/serviceaccounts/default")
            self._api.get("/apis/metrics.k8s.io/v1beta1")
        except ApiRefused:
            return False
        return all(node.name in nodes and _is_ready(nodes[node.name], node) for node in layout.NODES)

    def _announce_devices(self) -> None:
        """Tell the API server of extended resources, again where a kubelet began anew and forgot them."""
        for node in layout.NODES:
            for kind, number in node.capacity.items():
                with contextlib.suppress(ApiRefused):
                    status = self._api.get(f"/api/v1/nodes/{node.name}")["status"]
                    if status.get("capacity", {}).get(kind) != str(number):
                        pointer = f"/status/capacity/{kind.replace('/', '~1')}"
                        change = {"op": "add", "path": pointer, "value": str(number)}
                        self._api.patch(f"/api/v1/nodes/{node.name}/status", [change])

    def _serve_metrics(self) -> None:
        server = metrics.server(self._api, self._state / "keys", layout.METRICS_PORT)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def _set_up(self) -> None:
        """Create what every cluster has: resource metrics and the roles to read them."""
        for document in yaml.safe_load_all((_FILES / "metrics.yaml").read_text(encoding="utf-8")):
            if document["kind"] == "APIService":
                authority = (self._state / "keys" / "ca.crt").read_bytes()
                document["spec"]["caBundle"] = base64.b64encode(authority).decode()
            self._api.create(_PLACES[document["kind"]], document)


def _is_ready(seen: dict[str, Any], node: layout.Node) -> bool:
    """Whether it says so, has its devices, and keeps no pod away for having been unready a moment ago."""
    return (
        any(one["type"] == "Ready" and one["status"] == "True" for one in seen["status"]["conditions"])
        and all(seen["status"]["allocatable"].get(kind) == str(number) for kind, number in node.capacity.items())
        and not any(one["key"].startswith("node.kubernetes.io/") for one in seen["spec"].get("taints", []))
    )


_PLACES = {
    "Service": "/api/v1/namespaces/kube-system/services",
    "APIService": "/apis/apiregistration.k8s.io/v1/apiservices",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
}


def main() -> None:
    """Run until an error ends it."""
    state, listener, controlled = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    os.umask(0o077)
    with socket.socket(fileno=listener) as api, socket.socket(fileno=controlled) as commands:
        api.setblocking(False)
        asyncio.run(Supervisor(state).run(api, commands))


if __name__ == "__main__":
    main()
