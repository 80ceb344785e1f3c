"""Errors as answers: a status that says whether to try again, and a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
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
_WORDS = {
    400: ("UsageError", "the body cannot be read as JSON; send it as UTF-8 JSON, not nested deep"),
    404: ("NotFound", "there is no such address; the console is at /, and /openapi.json lists what the API has"),
    405: ("UsageError", "this address does not take that method; /openapi.json lists what the API takes"),
}


def answer(error: Exception) -> JSONResponse:
    """The answer to a request that failed with `error`."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    message = "the database is away; try again" if status == 503 else printable(str(error))
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status, {})
    return JSONResponse({"error": {"type": type(error).__name__, "message": message}}, status, headers)


async def _handle(_request: Request, error: Exception) -> JSONResponse:
    return answer(error)


async def _unstorable(_request: Request, error: Exception) -> JSONResponse:
    return told(422, "UsageError", unstorable(error))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return told(422, "UsageError", invalid(error))


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    """A request to no address, with a method that it does not take, or with a body that is no JSON."""
    assert isinstance(error, HTTPException)
    kind, message = _WORDS.get(error.status_code, ("Refused", str(error.detail)))
    return told(error.status_code, kind, message, error.headers)


async def _failed(_request: Request, _error: Exception) -> JSONResponse:
    """A fault of ours, whose trace is in the server's log and nowhere else."""
    return told(500, "Fault", "the server failed, its log says why; look what came of this before you send it again")


def told(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The one form of an answer to a request that failed: what kind of failure, and what to do."""
    return JSONResponse({"error": {"type": kind, "message": message}}, status, headers)


def invalid(error: RequestValidationError) -> str:
    """What is wrong with a request, part by part, without what was sent: that may be no text at all."""
    return printable("; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()))


def unstorable(error: Exception) -> str:
    """What is wrong with words or numbers that the store does not take."""
    return f"it holds letters or numbers that cannot be stored: {printable(str(error).splitlines()[0])}"


def printable(text: str) -> str:
    """A text that can be sent: lone halves of surrogate pairs replaced."""
    return text.encode("utf-8", "replace").decode()


def install(app: FastAPI) -> None:
    """Answer every request that fails in one form: `{"error": {"type", "message"}}`, with what to do."""
    handlers: dict[type[Exception], ExceptionHandler] = {
        RunbookError: _handle,
        psycopg.OperationalError: _handle,
        psycopg.DataError: _unstorable,
        RequestValidationError: _invalid,
        HTTPException: _refused,
        Exception: _failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
