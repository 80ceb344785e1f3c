"""What the host asks of a running cluster, over a Unix socket: listening sockets handed over, volumes mounted."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from sandbox.cluster import relay
from sandbox.cluster.api import Api, ApiRefused
from sandbox.errors import ControlRefused

__all__ = ["Target", "ask", "start"]

Target = Callable[[], Coroutine[Any, Any, relay.Address]]

_AT_MOST = 65536
_ANSWER_S = 15.0
_KEPT_S = 5.0


def ask(path: Path, request: dict[str, Any], listener: socket.socket | None = None) -> dict[str, Any]:
    """Send one request from the host and return the answer.

    Raises
    ------
    ControlRefused
        With the reason, or that nobody answers.
    """
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_ANSWER_S)
            client.connect(str(path))
            handed = [] if listener is None else [listener.fileno()]
            socket.send_fds(client, [json.dumps(request).encode() + b"\n"], handed)
            answer: dict[str, Any] = json.loads(_line(client))
    except (OSError, ValueError) as problem:
        raise ControlRefused(
            f"the cluster does not answer ({problem}); run `runbook sandbox up derivatives`"
        ) from problem
    if "refused" in answer:
        raise ControlRefused(answer["refused"])
    return answer


def start(listening: socket.socket, api: Api, loop: asyncio.AbstractEventLoop) -> None:
    """Answer requests in a thread of its own, one after the other."""
    exposed = _Exposed(api, loop)

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(_ANSWER_S)
                try:
                    answer = exposed.handle(connection)
                except (OSError, ValueError, KeyError, LookupError, ApiRefused) as problem:
                    answer = {"refused": f"{type(problem).__name__}: {problem}"}
                try:
                    connection.sendall(json.dumps(answer).encode() + b"\n")
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()


class _Exposed:
    """Ports of the host that lead to services of the cluster."""

    def __init__(self, api: Api, loop: asyncio.AbstractEventLoop) -> None:
        self._api = api
        self._loop = loop
        self._ports: dict[str, int] = {}

    def handle(self, connection: socket.socket) -> dict[str, Any]:
        """Answer one request."""
        line, handed, _, _ = socket.recv_fds(connection, _AT_MOST, 1)
        listeners = [socket.socket(fileno=number) for number in handed]
        request = json.loads(line)
        key = json.dumps(request["to"])
        if key in self._ports or not listeners:
            for listener in listeners:
                listener.close()
            return {"port": self._ports.get(key)}
        target = self._target(request["to"])
        asyncio.run_coroutine_threadsafe(target(), self._loop).result(_ANSWER_S)
        listeners[0].setblocking(False)
        serving = relay.serve(listeners[0], target)
        asyncio.run_coroutine_threadsafe(serving, self._loop).result(_ANSWER_S)
        self._ports[key] = listeners[0].getsockname()[1]
        return {"port": self._ports[key]}

    def _target(self, to: list[Any]) -> Target:
        """Where connections go: `[host, port]`, or `[namespace, service, port]`, looked up again every few seconds."""
        if len(to) == 2:
            return self._fixed((str(to[0]), int(to[1])))
        namespace, service, port = str(to[0]), str(to[1]), int(to[2])
        kept: tuple[float, relay.Address] = (float("-inf"), ("", 0))

        async def target() -> relay.Address:
            nonlocal kept
            if time.monotonic() - kept[0] > _KEPT_S:
                path = f"/api/v1/namespaces/{namespace}/services/{service}"
                try:
                    found = await asyncio.to_thread(self._api.get, path)
                except ApiRefused as problem:
                    raise LookupError(f"no service {service} in {namespace}") from problem
                kept = (time.monotonic(), (found["spec"]["clusterIP"], port))
            return kept[1]

        return target

    @staticmethod
    def _fixed(address: relay.Address) -> Target:
        async def target() -> relay.Address:
            return address

        return target


def _line(client: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) < _AT_MOST:
        chunk = client.recv(_AT_MOST)
        if not chunk:
            raise ValueError("the connection ended early")
        received += chunk
    return received
