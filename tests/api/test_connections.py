"""Senders that nobody knows yet: they can make the server neither wait for ever nor keep what is too large."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from opslib.api.connections import MOST, BoundedBodies, Connection
from opslib.server import configuration
from tests.api.conftest import Server, listening
from tests.intake.bodies import alert, webhook

HEAD = "POST /api/v1/size HTTP/1.1\r\nHost: x\r\n"


class Hasty(Connection):
    """One that waits less long."""

    head_s = 0.3


async def size(request: Request) -> JSONResponse:
    """How large a body was."""
    return JSONResponse(len(await request.body()))


@pytest.fixture(params=[30.0])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server that tells how large a body was, and waits less long than ours for heads (for bodies: its parameter)."""
    app = Starlette(routes=[Route("/api/v1/size", size, methods=["POST"])])
    bounded = BoundedBodies(app, most=1000, within_s=request.param)
    with listening(uvicorn.Config(bounded, http=Hasty, log_level="warning")) as port:
        yield port


def heard(port: int, *pieces: str) -> str:
    """What a sender hears until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        for piece in pieces:
            line.sendall(piece.encode())
        answer = b""
        while part := line.recv(65536):
            answer += part
    return answer.decode()


def drop_by_drop(line: socket.socket) -> None:
    """Send on, for ten seconds at most."""
    for _ in range(200):
        line.sendall(b"x")
        time.sleep(0.05)


def test_the_server_bounds_what_it_waits_for(serving: Server) -> None:
    assert configuration(serving.app).http is Connection
    assert BoundedBodies in [one.cls for one in serving.app.user_middleware]


@pytest.mark.parametrize("begun", ["", "POST", HEAD, HEAD + "Content-Length: 2\r\nX"])
def test_a_head_that_never_ends_closes_the_connection(port: int, begun: str) -> None:
    assert heard(port, begun) == ""


def test_the_head_of_a_next_request_that_never_ends_closes_the_connection(port: int) -> None:
    answer = heard(port, HEAD + "Content-Length: 2\r\n\r\n{}", HEAD)
    assert answer.startswith("HTTP/1.1 200")
    assert answer.count("HTTP/1.1") == 1


@pytest.mark.parametrize("path", ["/api/v1/size", "/nowhere"])
def test_a_body_that_nobody_wants_does_not_keep_the_connection_drop_by_drop(port: int, path: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode())
        assert line.recv(65536).startswith(b"HTTP/1.1 40")
        with pytest.raises(OSError, match=r"reset|Broken pipe|aborted"):
            drop_by_drop(line)


@pytest.mark.parametrize("port", [0.5], indirect=True)
def test_a_body_that_never_ends_is_answered(port: int) -> None:
    answer = heard(port, HEAD + "Content-Length: 10\r\n\r\n{")
    assert answer.startswith("HTTP/1.1 408")
    assert "the body did not arrive within 0.5 s; send it again" in answer


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_taken_up_to_its_bound(port: int, chunked: bool) -> None:
    for size, status in ((1000, 200), (1001, 413), (10_000_000, 413)):
        content = iter([b"x" * size]) if chunked else b"x" * size
        try:
            answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/size", content=content, timeout=30)
        except httpx.TransportError:  # refused and closed while it was still being sent
            assert size > 1000
            continue
        assert answer.status_code == status
        assert answer.json() == size if status == 200 else "1000 bytes are the most" in answer.text


def test_without_a_token_no_large_body_is_kept(serving: Server) -> None:
    answer = serving.post("/api/v1/incidents/INC-2026-000001/notes", content=b"x" * (MOST + 1))
    assert answer.status_code == 413
    assert f"{MOST} bytes are the most" in answer.json()["error"]["message"]


def test_the_longest_note_is_taken_however_it_is_written(serving: Server) -> None:
    incident = serving.post("/api/v1/alerts", "intake", content=webhook(alert())).json()["incidents"][0]
    content = json.dumps({"text": "\N{FIRE}" * 20_000}).encode("ascii")
    headers = {"Content-Type": "application/json"}
    answer = serving.post(f"/api/v1/incidents/{incident}/notes", "first", content=content, headers=headers)
    assert answer.status_code == 200


def test_a_connection_that_waits_for_an_answer_is_not_cut(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall((HEAD + "Content-Length: 2\r\n\r\n{").encode())
        time.sleep(Hasty.head_s + 0.1)  # longer than a head may take
        line.sendall(b"}")
        assert line.recv(65536).startswith(b"HTTP/1.1 200")
