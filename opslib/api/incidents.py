"""Incidents over HTTP: read, followed, acknowledged, noted, resolved, cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import psycopg
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from opslib import incidents, store
from opslib.api import security
from opslib.api.answers import Json
from opslib.errors import NotFound, RunbookError
from opslib.runs import queue
from opslib.settings import Settings
from opslib.sql import queries

POLL_S = 0.5
_KEEP_ALIVE_S = 15.0
_MOST_STREAMS = 32

State = Literal["open", "acknowledged", "mitigated", "resolved"]


class TooManyStreams(RunbookError):
    """Too many streams are open; close some, or read the incident instead."""


class Remark(BaseModel):
    """What a person says with a step."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(default="", max_length=20_000)


def router(settings: Settings) -> APIRouter:
    """The addresses of incidents."""
    api = APIRouter(prefix="/api/v1/incidents", tags=["incidents"], dependencies=[Depends(security.bearer)])
    streams = threading.BoundedSemaphore(_MOST_STREAMS)

    @api.get("", summary="Incidents, newest first")
    def list_(request: Request, state: State | None = None) -> Json:
        """The document of `runbook incidents --json`."""
        security.reader(settings, request)
        with store.transaction(settings, role="reader") as connection:
            return Json({"incidents": incidents.list_(connection, state)})

    @api.get("/{incident}", summary="Everything about one incident")
    def show(request: Request, incident: str) -> Json:
        """Its alerts, runs with verdicts, plans with decisions, and timeline."""
        security.reader(settings, request)
        with store.transaction(settings, role="reader") as connection:
            return Json(incidents.show(connection, incident))

    @api.get("/{incident}/events", summary="The journal as it grows (server-sent events)")
    def events(request: Request, incident: str, last_event_id: Annotated[int, Header(ge=0)] = 0) -> StreamingResponse:
        """One event an entry: its number as id, its kind as type. `Last-Event-ID` resumes after that entry."""
        security.reader(settings, request)
        with store.transaction(settings, role="reader") as connection:
            if connection.execute(queries("incidents").one, {"incident": incident}).fetchone() is None:
                raise NotFound(f"there is no incident {incident}")
        if not streams.acquire(blocking=False):
            raise TooManyStreams
        stream = _events(settings, request, incident, last_event_id, streams)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    @api.post("/{incident}/ack", summary="Someone is on it")
    def ack(request: Request, incident: str, remark: Remark | None = None) -> Json:
        """Acknowledge."""
        return _step(settings, request, incident, incidents.acknowledge, remark)

    @api.post("/{incident}/notes", summary="Put a remark on the record")
    def notes(request: Request, incident: str, remark: Remark) -> Json:
        """Note."""
        return _step(settings, request, incident, incidents.note, remark)

    @api.post("/{incident}/resolve", summary="It is over")
    def resolve(request: Request, incident: str, remark: Remark | None = None) -> Json:
        """Resolve; plans that nobody has begun to apply become void."""
        return _step(settings, request, incident, incidents.resolve, remark)

    @api.post("/{incident}/cancel", summary="Stop its runs")
    def cancel(request: Request, incident: str, remark: Remark | None = None) -> Json:
        """Cancel the runs that wait or run."""
        return _step(settings, request, incident, _cancel, remark)

    return api


Step = Callable[[store.Connection, str, str, str], Any]


def _step(settings: Settings, request: Request, incident: str, step: Step, remark: Remark | None) -> Json:
    """One step by a person with the authority; answers with the incident as it is then."""
    with store.transaction(settings) as connection:
        security.authenticate(connection, security.token_of(request))
        row = connection.execute(queries("incidents").one, {"incident": incident}).fetchone()
        if row is None:
            raise NotFound(f"there is no incident {incident}")
        person = security.writer(settings, connection, request, row["platform"])
        step(connection, incident, person.name, remark.text if remark else "")
    with store.transaction(settings, role="reader") as connection:
        return Json(incidents.show(connection, incident))


def _cancel(connection: store.Connection, incident: str, person: str, text: str) -> None:
    queue.cancel(connection, incident, person, text)


async def _events(
    settings: Settings, request: Request, incident: str, after: int, streams: threading.BoundedSemaphore
) -> AsyncIterator[bytes]:
    """The journal's entries after one, as they come; ends when the reader leaves or the store is away."""
    connection: store.Connection | None = None
    silent = 0.0
    try:
        yield b"retry: 1000\n\n"
        connection = await run_in_threadpool(store.connect, settings, role="reader", autocommit=True)
        while not await request.is_disconnected():
            rows = await run_in_threadpool(_lines, connection, incident, after)
            for row in rows:
                after = row["seq"]
                yield f"id: {after}\nevent: {row['kind']}\ndata: {row['line']}\n\n".encode()
            silent = 0.0 if rows else silent + POLL_S
            if silent >= _KEEP_ALIVE_S:
                silent = 0.0
                yield b": nothing new\n\n"
            await asyncio.sleep(POLL_S)
    except (RunbookError, psycopg.Error):
        yield b": the store is away; connect again\n\n"
    finally:
        streams.release()
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()


def _lines(connection: store.Connection, incident: str, after: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.execute(
        queries("incidents").journal_after, {"incident": incident, "after": after}
    ).fetchall()
    return rows
