"""What the host asks of a cluster, over a Unix socket: listening sockets are handed over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.cluster import relay
from sandbox.cluster.api import Api, ApiRefused
from sandbox.errors import ControlRefused

__all__ = ["Expose", "Relayed", "ask", "fixed", "serve"]

Expose = Callable[[list[Any], socket.socket], None]
"""Lets what connects to a listening socket reach a service; raises LookupError where there is none."""

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


def serve(listening: socket.socket, expose: Expose) -> None:
    """Answer requests, one after the other, for ever; each service is exposed once."""
    ports: dict[str, int] = {}
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(_ANSWER_S)
            try:
                answer = _handle(connection, ports, expose)
            except (OSError, ValueError, KeyError, LookupError) as problem:
                answer = {"refused": str(problem.args[0] if problem.args else problem)}
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")


def _handle(connection: socket.socket, ports: dict[str, int], expose: Expose) -> dict[str, Any]:
    line, handed, _, _ = socket.recv_fds(connection, _AT_MOST, 1)
    listeners = [socket.socket(fileno=number) for number in handed]
    to = json.loads(line)["to"]
    key = json.dumps(to)
    if key in ports or not listeners:
        for listener in listeners:
            listener.close()
        return {"port": ports.get(key)}
    try:
        expose(to, listeners[0])
    except BaseException:
        listeners[0].close()
        raise
    ports[key] = listeners[0].getsockname()[1]
    return {"port": ports[key]}


class Relayed:
    """Exposes services from inside the cluster's own network.

    Parameters
    ----------
    api : Api
    loop : AbstractEventLoop
        Runs in another thread.
    """

    def __init__(self, api: Api, loop: asyncio.AbstractEventLoop) -> None:
        self._api = api
        self._loop = loop

    def __call__(self, to: list[Any], listener: socket.socket) -> None:
        """Serve a listening socket: `[namespace, service, port]` or `[host, port]`.

        Raises
        ------
        LookupError
            There is no such service.
        """
        target = fixed(str(to[0]), int(to[1])) if len(to) == 2 else self._service(str(to[0]), str(to[1]), int(to[2]))
        asyncio.run_coroutine_threadsafe(target(), self._loop).result(_ANSWER_S)
        listener.setblocking(False)
        asyncio.run_coroutine_threadsafe(relay.serve(listener, target), self._loop).result(_ANSWER_S)

    def _service(self, namespace: str, service: str, port: int) -> relay.Target:
        """Where a service is, looked up again every few seconds."""
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


def fixed(host: str, port: int) -> relay.Target:
    """A target that is always the same."""

    async def target() -> relay.Address:
        return host, port

    return target


def _line(client: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) < _AT_MOST:
        chunk = client.recv(_AT_MOST)
        if not chunk:
            raise ValueError("the connection ended early")
        received += chunk
    return received
