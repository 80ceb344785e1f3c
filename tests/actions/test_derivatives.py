"""Stopping and starting auto-trading and hedging, on a small real server with the service's own interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from opslib.actions.action import Action, Context, Description, Identity, Observation
from opslib.actions.catalogue import make
from opslib.actions.documents import Undo
from opslib.actions.drift import changes
from opslib.actions.policy import load
from opslib.errors import ActionFailed, PlanError, ProbeError
from opslib.settings import PROJECT, Settings

STOP, START = "derivatives.stop-auto-trading", "derivatives.start-auto-trading"
UNHEDGE, HEDGE = "derivatives.stop-hedging", "derivatives.start-hedging"


class Switch:
    """`/auto-trading` and `/auto-hedger` of the service, and the book that it tells of."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {"enabled": True, "reason": "", "since": None}
        self.hedger: dict[str, Any] = {"enabled": True, "reason": "", "since": None}
        self.book: dict[str, float] | None = {"net_delta_usd": -12_345.6, "vega_usd_per_point": 7_890.4}
        self.url = ""


@pytest.fixture
def service() -> Iterator[Switch]:
    switch = Switch()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/stats/engines":
                self.answer({} if switch.book is None else {"book": switch.book})
            else:
                self.answer(switch.hedger if self.path == "/auto-hedger" else switch.told)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            told = {"enabled": self.path.endswith("/start"), "since": "2026-11-28T12:00:00Z", **asked}
            if self.path in ("/auto-hedger/stop", "/auto-hedger/start"):
                switch.hedger = told
            else:
                assert self.path in ("/auto-trading/stop", "/auto-trading/start")
                switch.told = told
            self.answer(told)

        def answer(self, told: dict[str, Any]) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    switch.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield switch
    server.shutdown()
    server.server_close()
    thread.join()


def context(service: Switch, identity: Identity = "recorder") -> Context:
    return Context("derivatives", "sandbox", identity, lambda _: service.url)


def preview(service: Switch, name: str) -> tuple[Action, Observation, Description]:
    action = make(name, {"reason": "large loss"})
    with context(service) as reading:
        seen = action.observe(reading)
        return action, seen, action.describe(reading, seen)


def test_new_risk_is_stopped_and_allowed_again(service: Switch) -> None:
    action, seen, told = preview(service, STOP)
    assert told.summary == "Stop the auto-trading of derivatives"
    assert told.residual_risk.endswith("Open now: delta -12,346 USD, vega +7,890 USD per point")
    assert (seen.facts["trading"], service.told["enabled"]) == (True, True)
    with context(service, "applier") as applier:
        before = action.check(applier)
        assert before is not None
        assert before.firing
        assert action.effect(applier, seen) == "auto-trading is on"
        action.apply(applier, "key-0")
        after = action.check(applier)
        assert after is not None
        assert not after.firing
        assert action.done(applier, seen)
        assert action.effect(applier, seen) is None
    assert service.told["reason"] == "large loss"
    assert told.undo.action == START
    with pytest.raises(PlanError, match="stopped already since 2026-11-28T12:00:00Z"):
        preview(service, STOP)
    back, seen, told = preview(service, START)
    with context(service, "applier") as applier:
        back.apply(applier, "key-1")
        assert back.done(applier, seen)
    assert service.told["enabled"] is True
    assert told.undo.action == STOP


def test_a_switch_that_somebody_turned_is_drift(service: Switch) -> None:
    action, seen, _ = preview(service, STOP)
    service.told = {"enabled": False, "reason": "by hand", "since": "2026-11-28T13:00:00Z"}
    with context(service) as reading:
        assert changes(seen.target, action.observe(reading).target)


def test_the_recorder_changes_nothing_and_a_strange_answer_is_said(service: Switch) -> None:
    action, _, _ = preview(service, STOP)
    with context(service) as reading, pytest.raises(ActionFailed, match="the recorder may not change derivatives"):
        action.apply(reading, "key-0")
    assert service.told["enabled"] is True
    service.told = {"on": 1}
    with pytest.raises(ProbeError, match="does not tell whether auto-trading is enabled"):
        preview(service, STOP)


def test_stopping_is_for_the_on_call_and_starting_is_not() -> None:
    rules = load(Settings(params=PROJECT / "params"))
    stop, start = type(make(STOP, {})), type(make(START, {}))
    assert stop.stops_new_risk
    assert stop.may_stand()
    assert not start.may_stand()
    undo = Undo(kind="inverse", reason="", action=START)
    assert rules.authority(stop, undo) == "L1"
    assert rules.authority(start, undo) == "L3"


def test_hedging_is_stopped_and_started_again_and_says_what_stays_open(service: Switch) -> None:
    action, seen, told = preview(service, UNHEDGE)
    assert told.summary == "Stop the auto-hedger of derivatives"
    assert "delta -12,346 USD, vega +7,890 USD per point" in told.residual_risk
    assert (seen.facts["hedging"], "trading" in seen.facts) == (True, False)
    with context(service, "applier") as applier:
        before = action.check(applier)
        assert before is not None
        assert before.firing
        action.apply(applier, "key-0")
        assert action.done(applier, seen)
        assert action.effect(applier, seen) is None
        after = action.check(applier)
        assert after is not None
        assert not after.firing
    assert (service.hedger["enabled"], service.hedger["reason"]) == (False, "large loss")
    with pytest.raises(PlanError, match="auto-hedger of derivatives is stopped already since 2026-11-28T12:00:00Z"):
        preview(service, UNHEDGE)
    assert told.undo.action == HEDGE
    service.book = None
    back, seen, told = preview(service, HEDGE)
    assert "the platform does not tell its delta and vega" in told.residual_risk
    assert told.undo.action == UNHEDGE
    with context(service, "applier") as applier:
        back.apply(applier, "key-1")
        assert back.done(applier, seen)
    assert service.hedger["enabled"] is True


@pytest.mark.parametrize(("name", "moved", "left"), [(STOP, "told", "hedger"), (UNHEDGE, "hedger", "told")])
def test_each_switch_leaves_the_other_alone(service: Switch, name: str, moved: str, left: str) -> None:
    action, _, _ = preview(service, name)
    with context(service, "applier") as applier:
        action.apply(applier, "key-0")
    assert getattr(service, moved)["enabled"] is False
    assert getattr(service, left) == {"enabled": True, "reason": "", "since": None}


def test_hedging_is_neither_new_risk_nor_for_the_on_call() -> None:
    rules = load(Settings(params=PROJECT / "params"))
    for name, back in ((UNHEDGE, HEDGE), (HEDGE, UNHEDGE)):
        action = type(make(name, {}))
        assert not action.stops_new_risk
        assert not action.risk_reducing
        assert not action.may_stand()
        assert rules.authority(action, Undo(kind="inverse", reason="", action=back)) == "L3"
