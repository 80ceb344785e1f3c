"""The console's addresses."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from opslib import people, store
from opslib.console import files, forms, pages, stream
from opslib.console.desk import SESSION_COOKIE, SIGN_IN_COOKIE, Desk, keep
from opslib.console.sessions import TooManyAttempts
from opslib.console.web import ConsoleRoute, ForgedForm, check_origin, page, static, to
from opslib.errors import NotAllowed
from opslib.settings import Settings


def router(settings: Settings) -> APIRouter:
    """The console as a router: pages, forms, stream, files and what they need."""
    desk = Desk(settings)
    root = APIRouter(route_class=ConsoleRoute, include_in_schema=False)
    _sign_in(root, desk)
    for part in (pages, forms, stream, files):
        part.mount(root, desk)

    @root.get("/static/{name}")
    def asset(name: str) -> Response:
        """A file that pages need; its address changes with its content."""
        data, media_type = static(name)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(data, media_type=media_type, headers=headers)

    return root


def _sign_in(root: APIRouter, desk: Desk) -> None:
    """Signing in and out."""

    def form(request: Request, problem: str = "", status: int = 200) -> Response:
        browser = request.cookies.get(SIGN_IN_COOKIE) or secrets.token_urlsafe(24)
        key = desk.sessions.sign_in_key(browser)
        context: dict[str, Any] = {"problem": problem, "form_key": key, "person": None, "holds": []}
        response = page("sign_in.html", context, status)
        keep(response, request, SIGN_IN_COOKIE, browser)
        return response

    @root.get("/sign-in")
    def sign_in_page(request: Request) -> Response:
        """The form that asks for one's token."""
        if desk.sessions.find(request.cookies.get(SESSION_COOKIE)):
            return to("/")
        return form(request)

    @root.post("/sign-in")
    def sign_in(
        request: Request, token: Annotated[str, Form(max_length=512)], form_key: Annotated[str, Form(max_length=128)]
    ) -> Response:
        """Begin a session for the token's owner."""
        check_origin(request)
        expected = desk.sessions.sign_in_key(request.cookies.get(SIGN_IN_COOKIE, ""))
        if not secrets.compare_digest(expected.encode(), form_key.encode("utf-8", "replace")):
            raise ForgedForm
        address = request.client.host if request.client else "unknown"
        try:
            desk.brake.check(address)
            with store.transaction(desk.settings) as connection:
                person = people.authenticate(connection, token.strip())
            if person.role == "machine":
                raise NotAllowed("this is a machine's token; sign in with a person's")
        except TooManyAttempts as error:
            response = form(request, str(error), 429)
            response.headers["Retry-After"] = "60"
            return response
        except NotAllowed as error:
            desk.brake.wrong(address)
            return form(request, str(error), 403)
        identifier, _ = desk.sessions.open(person)
        response = to("/")
        keep(response, request, SESSION_COOKIE, identifier)
        response.delete_cookie(SIGN_IN_COOKIE, path="/")
        return response

    @root.post("/sign-out")
    def sign_out(request: Request, form_key: Annotated[str, Form(max_length=128)]) -> Response:
        """End the session."""
        desk.form(request, form_key)
        desk.sessions.close(request.cookies.get(SESSION_COOKIE))
        response = to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, path="/")
        return response
