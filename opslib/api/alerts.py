"""Intake over HTTP: Alertmanager's webhook, Alertmanager's own API shape, and the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import psycopg
import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from opslib import intake, store
from opslib.api import failures, security
from opslib.api.answers import Json
from opslib.api.counts import Counts
from opslib.errors import RunbookError, StoreError
from opslib.intake.acceptance import Receipt
from opslib.intake.models import Endpoint
from opslib.settings import Settings

LARGEST = 4 * 1024 * 1024
"""The largest body [bytes]."""
READ_OUT = 64 * 1024 * 1024
"""How much of a larger one is read and thrown away, so that its sender hears the answer [bytes]."""
ARRIVE_S = 30.0
"""How long a body may take to arrive [s]."""
SOON_S = 1.7
"""How long the database may take over a small body [s]: with it away, the sender hears so within 2 s."""
LATE_S = 9.0
"""When the sender of the largest body is told to come again [s]; senders wait 10 s."""
FINISH_S = 60.0
"""How much longer work on a large body may go on: what it stores, the sender's next try finds [s]."""
_ALERTS_A_SECOND = 500
_LARGE = 100
_LEAST_S = 0.2
_AT_ONCE = 8
"""How many connections stay open between deliveries."""

T = TypeVar("T")
_log = structlog.get_logger("intake")


def router(settings: Settings, counts: Counts) -> APIRouter:
    """The addresses of intake."""
    kept = store.Kept(settings, most=_AT_ONCE)

    @contextlib.asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(kept.close)

    api = APIRouter(tags=["alerts"], lifespan=lifespan)
    secured = [Depends(security.bearer)]

    @api.post("/api/v1/alerts", dependencies=secured, summary="Alertmanager's webhook, version 4")
    async def webhook(request: Request) -> JSONResponse:
        """Answers 2xx once every alert of the body is durable; 503 while the database is away."""
        with kept:
            return await _deliver(settings, counts, request, "v1")

    @api.post("/api/v2/alerts", dependencies=secured, summary="Alerts as Prometheus sends them")
    async def alerts(request: Request) -> JSONResponse:
        """Answers 2xx once every alert of the body is durable; 503 while the database is away."""
        with kept:
            return await _deliver(settings, counts, request, "v2")

    @api.get("/api/v1/ledger", dependencies=secured, summary="Every accepted alert, and what became of it")
    def ledger(request: Request) -> Json:
        """The ledger: `run + waiting + suppressed + lost = accepted`."""
        security.reader(settings, request)
        with store.transaction(settings, role="reader") as connection:
            return Json(intake.ledger(connection))

    return api


async def _deliver(settings: Settings, counts: Counts, request: Request, endpoint: Endpoint) -> JSONResponse:
    """One delivery, from the token to the receipt."""
    try:
        token = security.token_of(request)
        began = time.monotonic()
        sender = await _in_time(SOON_S, lambda opened: _sender(settings, request, token, opened))
        spent = time.monotonic() - began
        body, size = await _body(request)
        if body is None:
            lost = await _in_time(SOON_S, lambda _: intake.lost(settings, sender=sender, endpoint=endpoint, size=size))
            counts.delivery("too-large")
            _log.error("body lost", sender=sender, size=size, incident=lost)
            message = f"the body has {size} bytes, {LARGEST} are the most; the loss is recorded in {lost}"
            return JSONResponse({"error": {"type": "BodyTooLarge", "message": message}}, 413, {"Connection": "close"})
        alerts = body.count(b'"labels"')
        limit = max(_LEAST_S, min(SOON_S + alerts / _ALERTS_A_SECOND, LATE_S) - spent)
        more = FINISH_S if alerts > _LARGE else 0.0
        receipt = await _in_time(
            limit, lambda opened: _accept(settings, body, sender, endpoint, limit + more, opened), more
        )
    except (ClientDisconnect, TimeoutError):
        counts.delivery("incomplete")
        message = f"the body did not arrive within {ARRIVE_S:.0f} s"
        return JSONResponse({"error": {"type": "Incomplete", "message": message}}, 408, {"Connection": "close"})
    except (RunbookError, psycopg.OperationalError) as error:
        answer = failures.answer(error)
        counts.delivery("away" if answer.status_code == 503 else "refused")
        if answer.status_code >= 500:
            _log.warning("delivery failed", endpoint=endpoint, error=str(error))
        return answer
    counts.delivery("kept" if receipt.unreadable else "taken")
    _log.info("delivery", sender=sender, endpoint=endpoint, accepted=receipt.accepted, repeats=receipt.repeats,
              resolved=receipt.resolved, incidents=len(receipt.incidents), problem=receipt.problem or None)  # fmt: skip
    return JSONResponse(_told(receipt), 202 if receipt.unreadable else 200)


def _told(receipt: Receipt) -> dict[str, object]:
    facts = {name: value for name, value in vars(receipt).items() if name != "incidents"}
    return {**facts, "incidents": receipt.incidents[:100]}


def _sender(settings: Settings, request: Request, token: str, opened: Callable[[store.Connection], None]) -> str:
    """Who delivers: the machine's name and its address."""
    with store.transaction(settings, timeout_s=1.5) as connection:
        opened(connection)
        person = security.machine(connection, token)
    return f"{person.name} at {request.client.host if request.client else 'unknown'}"


def _accept(
    settings: Settings,
    body: bytes,
    sender: str,
    endpoint: Endpoint,
    limit: float,
    opened: Callable[[store.Connection], None],
) -> Receipt:
    return intake.accept(settings, body, sender=sender, endpoint=endpoint, timeout_s=limit, opened=opened)


async def _body(request: Request) -> tuple[bytes | None, int]:
    """The body and its size; None where it is too large: then it is read out without being kept.

    Raises
    ------
    ClientDisconnect, TimeoutError
        When it does not arrive.
    """
    kept, size = bytearray(), 0
    announced = request.headers.get("content-length", "")
    async with asyncio.timeout(ARRIVE_S):
        async for chunk in request.stream():
            size += len(chunk)
            if size <= LARGEST:
                kept += chunk
            else:
                kept.clear()
                if size > READ_OUT:
                    break
    if size <= LARGEST:
        return bytes(kept), size
    return None, max(size, int(announced) if announced.isascii() and announced.isdigit() else 0)


async def _in_time(limit: float, work: Callable[[Callable[[store.Connection], None]], T], more: float = 0.0) -> T:
    """What `work` returns, done in a thread. Its connection is cut when it is still at it `more` [s] after `limit` [s].

    Raises
    ------
    StoreError
        When it takes longer than `limit`.
    """
    connections: list[store.Connection] = []
    thread = asyncio.ensure_future(run_in_threadpool(work, connections.append))
    done, _ = await asyncio.wait({thread}, timeout=limit)
    if done:
        return thread.result()

    def cut() -> None:
        if not thread.done():
            for connection in connections:
                _cut(connection)

    thread.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    asyncio.get_running_loop().call_later(more, cut)
    raise StoreError("the database did not answer in time")


def _cut(connection: store.Connection) -> None:
    """Shut a connection's socket down, which ends whatever waits for it."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
