"""A small real HTTP server with the endpoints of the crypto platform that actions use, and faults of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SmallPlatform:
    """State of the platform; VaR and positions follow the Kelly fraction at once.

    Attributes
    ----------
    var_at_one : dict
        VaR per symbol at a Kelly fraction of 1 [% of NAV].
    posts : list
        Every change that was made: path, body, idempotency key.
    before_posts : list
        Kelly fraction and number of changes before each of them.
    refuse : int
        Answer every change with this status, 0 for none; nothing is done.
    blind : bool
        Answer no question; changes are made.
    hang_up : bool
        Do the change, then break the connection without an answer.
    lag_s : float
        How long VaR stays where it was after a change of Kelly.
    takes_s : float
        How long a change takes [s], so that another one at the same time can be seen.
    in_flight, most_in_flight : int
        Changes that are being asked for now, and the most that ever were at once.
    gauges : dict
        More gauges of `/metrics`, without labels.
    orders : list of dict, optional
        The working orders of `/api/orders`; None: there is no such page.
    ineffective : bool
        Take the Kelly fraction but let VaR stay where it is.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.var_at_one = {"BTC-USD": 9.2, "ETH-USD": 4.0}
        self.kelly = 0.25
        self.trading = True
        self.breaker = "CLOSED"
        self.changes: list[dict[str, str]] = []
        self.volatility_updated_at = "2026-01-01T00:00:00.000+00:00"
        self.posts: list[tuple[str, dict[str, Any], str]] = []
        self.before_posts: list[tuple[float, int]] = []
        self.refuse = 0
        self.hang_up = False
        self.blind = False
        self.takes_s = 0.0
        self.in_flight = self.most_in_flight = 0
        self.counting = threading.Lock()
        self.gauges: dict[str, float] = {}
        self.orders: list[dict[str, str]] | None = None
        self.ineffective = False
        self.lag_s = 0.0
        self.earlier = (0.25, 0.0)
        self.url = ""

    @property
    def var(self) -> dict[str, float]:
        """VaR per symbol [% of NAV]."""
        before, changed = self.earlier
        kelly = before if self.ineffective or time.monotonic() - changed < self.lag_s else self.kelly
        return {symbol: value * kelly for symbol, value in self.var_at_one.items()}

    @contextmanager
    def calm(self) -> Iterator[None]:
        """VaR is low for a moment."""
        before = self.var_at_one
        self.var_at_one = dict.fromkeys(before, 0.1)
        try:
            yield
        finally:
            self.var_at_one = before

    def set_kelly(self, value: float) -> None:
        """As anybody may, from outside."""
        self.earlier = (self.kelly, time.monotonic())
        self.kelly = value
        self.changes.append({"at": f"2026-01-01T00:00:{len(self.changes):02d}.000", "key": "kelly_fraction"})

    def status(self) -> dict[str, Any]:
        """The document of `/api/status`."""
        return {
            "sandbox_id": "small",
            "kelly_fraction": self.kelly,
            "trading": self.trading,
            "nav_usd": 1e7,
            "circuit_breaker": {"state": self.breaker},
            "symbols": {
                name: {"volatility_updated_at": self.volatility_updated_at, "var_pct": value}
                for name, value in self.var.items()
            },
            "config_changes": self.changes,
        }

    def metrics(self) -> str:
        """The page of `/metrics`."""
        lines = [f'var_pct{{symbol="{symbol}"}} {value}' for symbol, value in self.var.items()]
        lines += [f'position_size_usd{{symbol="{symbol}"}} {self.kelly * 4e6}' for symbol in self.var_at_one]
        lines += [f"{name} {value}" for name, value in self.gauges.items()]
        return "\n".join(lines) + "\n"

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more change in flight."""
        with self.counting:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(self.takes_s)
        try:
            yield
        finally:
            with self.counting:
                self.in_flight -= 1

    def change(self, path: str, body: dict[str, Any]) -> None:
        """What a POST does."""
        if path in ("/api/stop-trading", "/api/start-trading"):
            self.trading = path == "/api/start-trading"
        elif path == "/api/risk/refresh-volatility":
            self.volatility_updated_at = "2026-01-02T00:00:00.000+00:00"
        elif path == "/api/orders/cancel":
            self.orders = [one for one in self.orders or [] if one["order"] not in body["orders"]]
        else:
            self.set_kelly(float(body["kelly_fraction"]))


def _handler(platform: SmallPlatform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each body waits 40 ms for the acknowledgement of its head

        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

        def do_GET(self) -> None:
            with platform.lock:
                if platform.blind:
                    self._answer(503, "{}")
                elif self.path == "/api/status":
                    self._answer(200, json.dumps(platform.status()))
                elif self.path == "/metrics":
                    self._answer(200, platform.metrics())
                elif self.path == "/api/orders" and platform.orders is not None:
                    self._answer(200, json.dumps(platform.orders))
                else:
                    self._answer(404, "{}")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            with platform.counted(), platform.lock:
                if platform.refuse:
                    self._answer(platform.refuse, '{"error": "refused"}')
                    return
                platform.before_posts.append((platform.kelly, len(platform.changes)))
                platform.posts.append((self.path, body, self.headers.get("Idempotency-Key", "")))
                platform.change(self.path, body)
                if platform.hang_up:
                    self.close_connection = True
                    return
                self._answer(200, '{"status": "done"}')

        def _answer(self, code: int, text: str) -> None:
            data = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


@contextmanager
def serving() -> Iterator[SmallPlatform]:
    """A platform that serves on a free port of the loopback."""
    platform = SmallPlatform()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(platform))
    server.daemon_threads = True
    platform.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield platform
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
