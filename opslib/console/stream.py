"""Live pages: server-sent events that say that something changed, so that the browser asks for it again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable

import psycopg
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from opslib import store
from opslib.console import views
from opslib.console.desk import SESSION_COOKIE, Desk
from opslib.errors import RunbookError
from opslib.sql import queries

POLL_S = 0.4
_KEEP_ALIVE_S = 15.0
_LONGEST_S = 900.0
_MOST_STREAMS = 64


class TooManyStreams(RunbookError):
    """Too many pages are open; close some, or reload this one by hand."""


def mount(root: APIRouter, desk: Desk) -> None:
    """Add the streams to the console."""
    places = threading.BoundedSemaphore(_MOST_STREAMS)

    def answer(request: Request, pulse: Callable[[store.Connection], str]) -> Response:
        with desk.visit(request) as visit:
            pulse(visit.connection)
        events = _events(request, desk, places, pulse)
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @root.get("/stream")
    def list_stream(request: Request) -> Response:
        """Changes of the list."""
        return answer(request, _list_pulse)

    @root.get("/incidents/{incident}/stream")
    def incident_stream(request: Request, incident: str) -> Response:
        """Changes of one incident."""
        return answer(request, lambda connection: _incident_pulse(connection, desk, incident))


def _list_pulse(connection: store.Connection) -> str:
    row = connection.execute(queries("console").pulse).fetchone()
    return str(row["pulse"]) if row else ""


def _incident_pulse(connection: store.Connection, desk: Desk, incident: str) -> str:
    """A value that changes whenever the page would."""
    views.find(connection, incident)
    row = connection.execute(queries("console").incident_pulse, {"incident": incident}).fetchone() or {}
    folder = desk.settings.home / str(row.pop("folder"))
    written = sorted(
        f"{path.name}:{path.stat().st_mtime_ns}" for path in folder.glob("[0-9]*-*.*") if not path.is_symlink()
    )
    return "|".join([*map(str, row.values()), *written])


async def _events(
    request: Request, desk: Desk, places: threading.BoundedSemaphore, pulse: Callable[[store.Connection], str]
) -> AsyncIterator[str]:
    """An event at once, and one for each change, until the page is closed, the session ends or 15 minutes pass.

    The browser connects again by itself.
    """
    if not places.acquire(blocking=False):
        yield "retry: 30000\n\n"
        return
    connection: store.Connection | None = None
    last, told, began = None, time.monotonic(), time.monotonic()
    try:
        yield "retry: 1000\n\n"
        connection = await run_in_threadpool(store.connect, desk.settings, role="reader", autocommit=True)
        while time.monotonic() < began + _LONGEST_S and desk.sessions.find(request.cookies.get(SESSION_COOKIE)):
            if await request.is_disconnected():
                return
            now = await run_in_threadpool(pulse, connection)
            if now != last:
                last, told = now, time.monotonic()
                yield f"event: changed\ndata: {abs(hash(now)):x}\n\n"
            elif time.monotonic() > told + _KEEP_ALIVE_S:
                told = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(POLL_S)
    except asyncio.CancelledError:
        # The server ends: so does this answer, in good order. The browser connects again.
        return
    except (RunbookError, psycopg.Error, OSError):
        # The database is away: the browser asks again in a second.
        yield ": the store is away\n\n"
    finally:
        places.release()
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()
