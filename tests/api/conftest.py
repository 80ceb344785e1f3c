"""A real server on a free port, people with tokens, and a client."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from opslib import people, store, web
from opslib.server import configuration, create_app
from opslib.settings import Settings

PEOPLE = {"intake": "machine", "looker": "viewer", "first": "L1", "second": "L2"}


@dataclass
class Server:
    """A server that runs, and the tokens of the people it knows."""

    settings: Settings
    address: str
    tokens: dict[str, str]
    app: FastAPI

    def client(self, name: str | None = None) -> httpx.Client:
        """A client with somebody's token."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}"} if name else {}
        return web.client(base_url=self.address, headers=headers, timeout=30)

    def post(self, path: str, name: str | None = None, **request: object) -> httpx.Response:
        """A request with somebody's token."""
        with self.client(name) as client:
            return client.post(path, **request)  # type: ignore[arg-type]

    def get(self, path: str, name: str | None = None) -> httpx.Response:
        """A request with somebody's token."""
        with self.client(name) as client:
            return client.get(path)


@contextmanager
def listening(config: uvicorn.Config) -> Iterator[int]:
    """What a configuration serves, on a port of its own, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=[[listener]])
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    listener.close()


@contextmanager
def serve(settings: Settings, tokens: dict[str, str]) -> Iterator[Server]:
    """The application of a home, on a port of its own."""
    app = create_app(settings)
    config = configuration(app)
    config.timeout_graceful_shutdown = 1
    with listening(config) as port:
        yield Server(settings, f"http://127.0.0.1:{port}", tokens, app)


@pytest.fixture
def serving(settings: Settings) -> Iterator[Server]:
    """The application of this test's store, and people of every role."""
    with store.transaction(settings) as connection:
        tokens = {name: people.add(connection, name, role) for name, role in PEOPLE.items()}
        tokens["elsewhere"] = people.add(connection, "elsewhere", "L4", "derivatives")
    with serve(settings, tokens) as server:
        yield server
