"""The way from pods to Prometheus on this machine: a socket in the platform's folder, and a port of the same number."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.crypto.control import within_reach

__all__ = ["lead_in", "lead_out"]

_PIECE = 65_536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def lead_out(path: Path, address: str) -> None:
    """On the machine: what connects to the socket reaches an address, until this process ends."""
    parts = urlsplit(address)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with within_reach(path) as name:
        listener.bind(name)
    path.chmod(0o600)
    listener.listen(64)
    _serve(listener, lambda: asyncio.open_connection(parts.hostname, parts.port))


def lead_in(address: str, path: Path) -> None:
    """In a pod: what connects to that address reaches the socket, until this process ends."""

    async def join() -> Streams:
        with within_reach(path) as name:
            return await asyncio.open_unix_connection(name)

    _serve(socket.create_server(("127.0.0.1", urlsplit(address).port or 0)), join)


def _serve(listener: socket.socket, join: Callable[[], Awaitable[Streams]]) -> None:
    """Pass every connection on, in a thread of its own."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await join()
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))

    async def serve() -> None:
        server = await (
            asyncio.start_unix_server(pass_on, sock=listener)
            if listener.family == socket.AF_UNIX
            else asyncio.start_server(pass_on, sock=listener)
        )
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), name="passage", daemon=True).start()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()
