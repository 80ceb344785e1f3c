"""A small HTTP/1.1 server: a pod has 8 % of a core, so a request may cost no more than it must."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Answer", "Request", "document", "serve"]

_LARGEST_HEAD = 16 * 1024
_LARGEST_BODY = 4 * 1024 * 1024
_IDLE_S = 60.0
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Payload Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Request(NamedTuple):
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    kind: str = "application/json"


Handler = Callable[[Request], Awaitable[Answer]]


def document(value: object, status: int = 200) -> Answer:
    """An answer in JSON; times as text."""
    return Answer(status, json.dumps(value, default=str, separators=(",", ":")).encode())


async def serve(handler: Handler, host: str, port: int) -> asyncio.Server:
    """Listen, and answer each request by the handler."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await _exchange(reader, writer, handler):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # the client left or fell silent
        finally:
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=_LARGEST_HEAD, backlog=512)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> bool:
    """Answer one request; whether the connection stays open."""
    async with asyncio.timeout(_IDLE_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    try:
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        await _write(writer, document({"error": "bad request"}, 400), keep=False)
        return False
    if not 0 <= length <= _LARGEST_BODY or "transfer-encoding" in headers:
        await _write(writer, document({"error": f"send at most {_LARGEST_BODY} bytes, with their length"}, 413), False)
        return False
    async with asyncio.timeout(_IDLE_S):
        body = await reader.readexactly(length) if length else b""
    parts = urlsplit(target)
    keep = headers.get("connection", "").lower() != "close"
    answer = await handler(Request(method, parts.path, dict(parse_qsl(parts.query)), body))
    await _write(writer, answer, keep)
    return keep


async def _write(writer: asyncio.StreamWriter, answer: Answer, keep: bool) -> None:
    reason = _REASONS.get(answer.status, "Error")
    head = (
        f"HTTP/1.1 {answer.status} {reason}\r\ncontent-type: {answer.kind}\r\ncontent-length: {len(answer.body)}\r\n"
        f"connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + answer.body)
    await writer.drain()
