"""Actions that change a setting: previewed as a diff, refused where they make no sense, taken back by their inverse."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from opslib.actions.action import Action, Context
from opslib.actions.catalogue import ACTIONS, make
from opslib.actions.policy import load
from opslib.errors import ActionFailed, ParameterError, PlanError
from opslib.settings import Settings
from tests.diagnosis import simulation


class Served:
    """A stepped crypto platform behind a real HTTP server: `/api/status`, and what was posted."""

    def __init__(self) -> None:
        self.scene = simulation.scene(91)
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.url = ""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The platform on a free port of the loopback."""
    platform = Served()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

        def do_GET(self) -> None:
            told = simulation.document(platform.scene)
            if self.path == "/metrics":
                lines = [f'var_pct{{symbol="{name}"}} {facts["var_pct"]}' for name, facts in told["symbols"].items()]
                self._answer("\n".join(lines) + "\n")
            else:
                self._answer(told)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            platform.posted.append((self.path, body))
            self._answer({"status": "set"})

        def _answer(self, document: dict[str, Any] | str) -> None:
            data = (document if isinstance(document, str) else json.dumps(document)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    platform.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield platform
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def reading(served: Served) -> Iterator[Context]:
    """The platform as the recorder sees it."""
    with Context("crypto", "sandbox", "recorder", lambda _name: served.url) as context:
        yield context


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("crypto.pause-router", {}, "L1"),
    ("crypto.set-router-rules", {"rule": "trend", "threshold": 0.9, "band": 0.5}, "L2"),
    ("crypto.set-router-rules", {"min_confidence": 0.65, "switch_hysteresis": 0.06}, "L2"),
    ("crypto.market-hours", {"on": True}, "L2"),
    ("crypto.scale-models", {"instances": 5}, "L1"),
    ("crypto.stop-trading", {}, "L1"),
    ("crypto.set-scenarios", {"scenarios": 4000}, "L2"),
    ("crypto.penalise-model", {"model": "momentum", "penalty": 0.2}, "L2"),
]


@pytest.mark.parametrize(("name", "arguments", "level"), CHANGES)
def test_a_setting_is_previewed_as_a_diff_and_has_its_inverse(
    settings: Settings, reading: Context, name: str, arguments: dict[str, Any], level: str
) -> None:
    action = make(name, arguments)
    seen = action.observe(reading)
    told = action.describe(reading, seen)
    for row in told.preview["rows"]:
        assert row["value"] != row["value_after"]
    assert told.undo.kind == "inverse"
    assert told.undo.action is not None
    back: Action = make(told.undo.action, told.undo.arguments or {})
    wanted = back.wanted()  # type: ignore[attr-defined]  # every setting has it
    assert wanted == {key: seen.target.fields[key] for key in wanted}
    assert load(settings).authority(ACTIONS[name], told.undo) == level


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("crypto.resume-router", {}, "is so already; there is nothing to change"),
        ("crypto.scale-models", {"instances": 2}, "is so already"),
        ("crypto.set-router-rules", {}, "name at least one rule to set"),
        ("crypto.set-router-rules", {"rule": "nonsense", "band": 0.1}, "no pair rule nonsense; it has trend"),
        ("crypto.reset-breaker", {}, "the circuit breaker is CLOSED; only an open one is reset"),
        ("crypto.lower-position-limit", {"symbol": "BTC-USD", "limit_usd": 9e6}, "is no lower"),
        ("crypto.lower-position-limit", {"symbol": "DOGE-USD", "limit_usd": 1e5}, "there is no symbol DOGE-USD"),
        ("crypto.penalise-model", {"model": "tide", "penalty": 0.2}, "no model tide is deployed"),
    ],
)
def test_what_makes_no_sense_is_refused(reading: Context, name: str, arguments: dict[str, Any], why: str) -> None:
    action = make(name, arguments)
    with pytest.raises(PlanError, match=why):
        action.describe(reading, action.observe(reading))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("crypto.scale-models", {"instances": 0}), ("crypto.market-hours", {}), ("crypto.pause-router", {"now": True})],
)
def test_wrong_arguments_are_named(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=name):
        make(name, arguments)


def test_a_breaker_is_not_reset_while_its_cause_is_there(served: Served, reading: Context) -> None:
    scene = served.scene
    simulation.break_(scene, "circuit-breaker/latency", seed=1)
    assert simulation.until(scene, simulation.opened)
    reset = make("crypto.reset-breaker", {})
    with pytest.raises(PlanError, match="the cause is still there: latency_ms over the limit"):
        reset.describe(reading, reset.observe(reading))
    with pytest.raises(ActionFailed, match="the cause is still there after 0 s: latency_ms over the limit"):
        reset.apply(reading, "key")
    waiting = make("crypto.reset-breaker", {"wait_s": 1.0})
    assert waiting.describe(reading, waiting.observe(reading)).preview["rows"][0]["value_after"] == "HALF_OPEN"
    assert reset.check(reading).firing  # type: ignore[union-attr]
    scene.scenarios = 0
    scene.advance(40)
    seen = reset.observe(reading)
    assert reset.describe(reading, seen).preview["rows"] == [
        {"setting": "state", "value": "OPEN", "value_after": "HALF_OPEN"}
    ]
    assert seen.target.live["latency_ms"].high == 100.0
    scene.platform.reset_breaker("test", scene.now_ms)
    assert reset.done(reading, seen)


def test_only_the_applier_changes_anything(served: Served, reading: Context) -> None:
    pause = make("crypto.pause-router", {"reason": "test"})
    with pytest.raises(Exception, match="the recorder may not change crypto"):
        pause.apply(reading, "key")
    with Context("crypto", "sandbox", "applier", lambda _name: served.url) as context:
        pause.apply(context, "key")
    assert served.posted[-1] == ("/api/router/pause", {"reason": "test"})
