"""Errors as answers: a status that says whether to try again, and a sentence that says what to do."""

from __future__ import annotations

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ExceptionHandler

from opslib.api.security import Unauthorized
from opslib.errors import NotAllowed, NotFound, PlanError, RunbookError, StoreError, UsageError
from opslib.incidents import IncidentClosed

_STATUS: list[tuple[type[Exception], int]] = [
    (Unauthorized, 401),
    (NotAllowed, 403),
    (NotFound, 404),
    (IncidentClosed, 409),
    (PlanError, 409),
    (UsageError, 422),
    (StoreError, 503),
    (psycopg.OperationalError, 503),
    (RunbookError, 500),
]


def answer(error: Exception) -> JSONResponse:
    """The answer to a request that failed with `error`."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    message = "the database is away; try again" if status == 503 else str(error)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status, {})
    return JSONResponse({"error": {"type": type(error).__name__, "message": message}}, status, headers)


async def _handle(_request: Request, error: Exception) -> JSONResponse:
    return answer(error)


def install(app: FastAPI) -> None:
    """Answer the errors of opslib and of the database in this way."""
    handler: ExceptionHandler = _handle
    app.add_exception_handler(RunbookError, handler)
    app.add_exception_handler(psycopg.OperationalError, handler)
