"""What a sender may make the server wait for, before anybody knows who it is: the head of a request, and its body."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from opslib.api import failures

__all__ = ["BoundedBodies", "Connection"]

HEAD_S = 15.0
"""How long the head of a request may take to arrive [s]."""
BODY_S = 30.0
"""How long its body may take [s]."""
MOST = 256 * 1024
"""The largest body [bytes], but for deliveries of alerts: 20,000 characters however they are written."""
_OWN = ("/api/v1/alerts", "/api/v2/alerts")  # deliveries, which have bounds of their own


class Connection(H11Protocol):
    """A connection that is closed when the head of a request does not arrive in time.

    So it is while nothing is being served: nor may what is left of a body that nobody wanted come drop by drop.
    """

    head_s = HEAD_S
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected, and has to say what for."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """A piece of a request; where it ends the head, nothing more is waited for here."""
        self._await_head()
        super().data_received(data)
        if self._serves():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _serves(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        if self._due is None and not self._serves():
            self._due = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class BoundedBodies:
    """Reads the body of each request but deliveries, before the application does, which would read any.

    Parameters
    ----------
    app : ASGIApp
    most : int
        The largest [bytes]; a larger one is answered 413.
    within_s : float
        How long it may take to arrive [s]; then 408.
    """

    def __init__(self, app: ASGIApp, most: int = MOST, within_s: float = BODY_S) -> None:
        self._app = app
        self._most, self._within_s = most, within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        bounded = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD") and scope["path"] not in _OWN
        if not bounded or self._refused_by_console(scope):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(self._within_s):
                while more and len(body) <= self._most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
        except TimeoutError:
            told = f"the body did not arrive within {self._within_s:g} s; send it again"
            await failures.told(408, "Incomplete", told, {"Connection": "close"})(scope, receive, send)
            return
        if len(body) > self._most:
            told = f"the body is too large: {self._most} bytes are the most"
            await failures.told(413, "BodyTooLarge", told, {"Connection": "close"})(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, send)

    def _refused_by_console(self, scope: Scope) -> bool:
        """A form that announces too much: the console says so with a page, and reads nothing of it."""
        announced = dict(scope["headers"]).get(b"content-length", b"")
        return not scope["path"].startswith("/api/") and announced.isdigit() and int(announced) > self._most
