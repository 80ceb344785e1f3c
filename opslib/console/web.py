"""Pages, headers and the guards of every request."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Coroutine
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import jinja2
import psycopg
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from opslib.api import failures
from opslib.canonical import digest
from opslib.errors import NotAllowed, NotFound, RunbookError, StoreError, UsageError
from opslib.incidents import wording

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
)
# A notebook's page runs nothing, sends nothing, loads nothing, and may be framed by the console alone.
NOTEBOOK_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'; "
    "form-action 'none'; base-uri 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # `no-referrer` would hide from us where a form comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_STATUS: tuple[tuple[type[RunbookError], int], ...] = (
    (NotFound, 404),
    (NotAllowed, 403),
    (UsageError, 422),
    (StoreError, 503),
)
_REFUSED = (RunbookError, HTTPException, RequestValidationError, psycopg.DataError, psycopg.OperationalError)
_LARGEST_FORM = 64 * 1024
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class SignInNeeded(RunbookError):
    """Sign in first."""


class ForgedForm(RunbookError):
    """This form did not come from a page of this console; go back, reload the page and try again."""


@cache
def static(name: str) -> tuple[bytes, str]:
    """A file of `static/` and its media type.

    Raises
    ------
    NotFound
        When there is none of that name.
    """
    folder = files(__package__).joinpath("static")
    if name not in {item.name for item in folder.iterdir()} or name.rsplit(".", 1)[-1] not in _TYPES:
        raise NotFound("there is no such file")
    return folder.joinpath(name).read_bytes(), _TYPES[name.rsplit(".", 1)[-1]]


def _address(name: str) -> str:
    """The address of a file of `static/`; it changes with the content, so that browsers may keep it."""
    return f"/static/{name}?v={digest(static(name)[0])[:12]}"


@cache
def templates() -> jinja2.Environment:
    """The pages' templates; everything put into them is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("opslib.console"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= wording.FILTERS
    environment.globals |= {"asset": _address, "now": lambda: dt.datetime.now(dt.UTC)}
    return environment


def page(template: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A template as a response."""
    return HTMLResponse(templates().get_template(template).render(context), status)


def to(path: str) -> RedirectResponse:
    """Go on to another page (after a form)."""
    return RedirectResponse(path, 303)


def check_origin(request: Request) -> None:
    """Refuse a form that another site sent.

    Raises
    ------
    ForgedForm
        When the browser says that it comes from elsewhere.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ForgedForm
    origin = request.headers.get("origin")
    try:
        theirs = None if origin is None else urlsplit(origin).netloc
    except ValueError as error:  # half of an address
        raise ForgedForm from error
    if theirs is not None and theirs != request.headers.get("host", ""):
        raise ForgedForm


def _refusal(request: Request, error: Exception) -> Response:
    """An error as a page, with what to do next."""
    nobody: dict[str, Any] = {"person": None, "holds": []}
    if isinstance(error, SignInNeeded):
        return to("/sign-in") if request.method == "GET" else page("sign_in_again.html", nobody, 401)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, ForgedForm):
        status = 403
    title, text = "Refused", str(error)
    if isinstance(error, HTTPException):
        status, text = error.status_code, str(error.detail)
    elif isinstance(error, RequestValidationError):
        status, text = 422, failures.invalid(error)
    elif isinstance(error, psycopg.DataError):
        status, text = 422, failures.unstorable(error)
    elif isinstance(error, psycopg.OperationalError):
        status, text = 503, "The database is away; reload the page in a moment."
    if status == 404:
        title = "Not found"
    elif status >= 500:
        title = "Not now"
    return page("error.html", nobody | {"title": title, "text": text}, status)


def _check_size(request: Request) -> None:
    """Refuse a form too large to be one, before it is read."""
    if request.method == "POST":
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _LARGEST_FORM:
            raise HTTPException(413, "this form is too large; at most 64 KiB can be sent")


class ConsoleRoute(APIRoute):
    """A route whose errors are pages and whose every answer carries the security headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with both around it."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                _check_size(request)
                response = await handler(request)
            except _REFUSED as error:
                # Rendering may read templates from disk: not on the event loop.
                response = await run_in_threadpool(_refusal, request, error)
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            response.headers.setdefault("Content-Security-Policy", PAGE_POLICY)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handle


def pretty(data: bytes) -> str:
    """JSON laid out for reading; other text as it is."""
    text = data.decode("utf-8", "replace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
