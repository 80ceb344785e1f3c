"""Connections to loopback ports of the host, passed on into the cluster's network.

A listening socket belongs to the network in which it was made; the host makes it, and hands it over to a process
that lives in the cluster's network and connects there.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Address", "Target", "serve"]

Address = tuple[str, int]
Target = Callable[[], Coroutine[Any, Any, Address]]
"""Says where connections go at this moment; raises LookupError where nowhere."""

_CHUNK = 65536
_CONNECT_S = 5.0


async def serve(listener: socket.socket, target: Target) -> asyncio.Server:
    """Pass every connection that `listener` accepts on to where `target` says at that moment."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host, port = await target()
            async with asyncio.timeout(_CONNECT_S):
                far_reader, far_writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError, LookupError):
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        for side in (writer, far_writer):
            side.close()
            with contextlib.suppress(OSError):
                await side.wait_closed()

    return await asyncio.start_server(pass_on, sock=listener, backlog=512)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy one direction until its end, and pass the end on."""
    try:
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except OSError:
        sink.transport.abort()
