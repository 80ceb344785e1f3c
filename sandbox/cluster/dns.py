"""Names of services for the pods: a small server that answers from the API server's own list."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import cast

from sandbox.cluster.api import Api, ApiRefused

__all__ = ["Names", "start"]

_KEPT_S = 2.0
_ADDRESS, _ANY, _INTERNET = 1, 255, 1
_NO_ERROR, _NO_SUCH_NAME, _FAILED = 0, 3, 2
_SUFFIX = ".svc.cluster.local"


class Names:
    """Addresses of services, and of the pods behind headless ones, by name.

    Parameters
    ----------
    api : Api
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._read = float("-inf")
        self._known: dict[str, list[str]] = {}

    def find(self, name: str) -> list[str] | None:
        """Addresses of a name as it is asked for; None where there is no such name.

        Raises
        ------
        ApiRefused
        """
        if time.monotonic() - self._read > _KEPT_S:
            self._known = self._list()
            self._read = time.monotonic()
        return self._known.get(name.lower().removesuffix("."))

    def _list(self) -> dict[str, list[str]]:
        known: dict[str, list[str]] = {}
        headless = set()
        for service in self._api.get("/api/v1/services")["items"]:
            name = f"{service['metadata']['name']}.{service['metadata']['namespace']}{_SUFFIX}"
            address = service["spec"].get("clusterIP")
            if address == "None":
                headless.add(name)
            known[name] = [address] if address and address != "None" else []
        for endpoints in self._api.get("/api/v1/endpoints")["items"] if headless else []:
            name = f"{endpoints['metadata']['name']}.{endpoints['metadata']['namespace']}{_SUFFIX}"
            if name not in headless:
                continue
            for subset in endpoints.get("subsets", []):
                for one in subset.get("addresses", []):
                    known[name].append(one["ip"])
                    if "hostname" in one:
                        known[f"{one['hostname']}.{name}"] = [one["ip"]]
        return known


class _Server(asyncio.DatagramProtocol):
    def __init__(self, names: Names) -> None:
        self._names = names
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.ensure_future(self._reply(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, query: bytes, address: tuple[str, int]) -> None:
        answer = await asyncio.to_thread(reply, query, self._names)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, address)


async def start(names: Names, address: str) -> None:
    """Answer at an address, port 53, while the loop runs."""
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Server(names), local_addr=(address, 53))


def reply(query: bytes, names: Names) -> bytes | None:
    """The answer to one query; None where it cannot be read."""
    try:
        number, flags, questions = struct.unpack_from("!HHH", query)
        name, end = _name(query, 12)
        kind, _ = struct.unpack_from("!HH", query, end)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    if questions != 1 or flags & 0x8000:
        return None
    try:
        found = names.find(name)
        code = _NO_ERROR if found is not None else _NO_SUCH_NAME
    except ApiRefused:
        found, code = None, _FAILED
    addresses = (found or []) if kind in (_ADDRESS, _ANY) else []
    head = struct.pack("!HHHHHH", number, 0x8580 | (flags & 0x0100) | code, 1, len(addresses), 0, 0)
    records = [
        b"\xc0\x0c" + struct.pack("!HHIH", _ADDRESS, _INTERNET, int(_KEPT_S), 4) + socket.inet_aton(one)
        for one in addresses
    ]
    return head + query[12 : end + 4] + b"".join(records)


def _name(query: bytes, start: int) -> tuple[str, int]:
    """The name at a place of the query, and the place after it."""
    labels = []
    while length := query[start]:
        labels.append(query[start + 1 : start + 1 + length].decode("ascii"))
        start += 1 + length
    return ".".join(labels), start + 1
