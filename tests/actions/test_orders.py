"""Working orders of a platform: cancelled by name, with authority, and nothing else is stopped by it."""

from __future__ import annotations

from typing import Any

import pytest

from opslib import store
from opslib.actions import applier, approval, holds, plans
from opslib.actions.catalogue import make
from opslib.actions.documents import Plan
from opslib.errors import NotAllowed, ParameterError, PlanError, ProbeError
from opslib.record import redaction
from tests.actions.world import World, shown_at_once

ORDERS = [
    {"order": "A-1", "symbol": "BTC-USD", "side": "sell", "of": "hedger"},
    {"order": "A-2", "symbol": "ETH-USD", "note": "for Bearer abcdefghijklmnopqrstuvwxyz0123456789"},
    {"order": "B-1", "symbol": "BTC-USD"},
]


@pytest.fixture
def desk(world: World) -> World:
    """A platform with three working orders, whose alert fires."""
    world.platform.orders = list(ORDERS)
    world.fire()
    return world


def propose(desk: World, *orders: str, action: str = "orders.cancel-working", **more: Any) -> Plan:
    arguments = {"orders": list(orders)} if orders else {}
    with store.transaction(desk.settings) as connection:
        return plans.propose(
            desk.settings,
            connection,
            run_id=desk.run,
            actions=[{"action": action, "arguments": arguments | more}],
            reason="the strategy runs away",
            platform="crypto",
        )


def applied(desk: World, plan: Plan, name: str = "cleo") -> Plan:
    approval.approve(desk.settings, plan.hash, desk.person(name))
    approval.apply(desk.settings, plan.hash, desk.person(name))
    return applier.run_once(desk.settings, plan.hash)


def left(desk: World) -> list[str]:
    return [one["order"] for one in desk.platform.orders or []]


def test_the_orders_named_are_cancelled_and_no_other(desk: World) -> None:
    plan = propose(desk, "A-1", "A-2")
    [action] = plan.document.actions
    assert action.summary == "Cancel 2 working orders of crypto: A-1, A-2"
    assert (action.preview["count"], action.preview["of"]) == (2, 3)
    assert action.preview["rows"][0] == ORDERS[0]
    assert "abcdefghij" not in plan.document.text
    assert (action.undo.kind, action.authority, action.stops_new_risk) == ("none", "L3", False)
    assert left(desk) == ["A-1", "A-2", "B-1"]  # the preview cancelled nothing
    after = applied(desk, plan)
    assert (after.state, left(desk), desk.platform.trading) == ("verified", ["B-1"], True)
    [(path, body, key)] = desk.platform.posts
    assert (path, body["orders"], key) == ("/api/orders/cancel", ["A-1", "A-2"], f"{plan.hash}-0")
    with pytest.raises(PlanError, match="an order that is entered again has lost its place in the queue"):
        approval.undo(desk.settings, plan.hash, desk.person("cleo"))


def test_stopping_new_risk_cancels_none(desk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shown_at_once(monkeypatch, "crypto.stop-trading")
    applied(desk, propose(desk, action="crypto.stop-trading"), "ann")
    assert (desk.platform.trading, left(desk)) == (False, ["A-1", "A-2", "B-1"])


def test_what_was_filled_meanwhile_is_no_drift_until_nothing_is_left(desk: World) -> None:
    first, second = propose(desk, "A-1", "A-2"), propose(desk, "A-2", "B-1")
    desk.platform.orders = [ORDERS[1]]
    assert (applied(desk, first).state, left(desk)) == ("verified", [])
    after = applied(desk, second)
    assert (after.state, len(desk.platform.posts)) == ("void", 1)
    assert "orders was 2, is now 0, beyond 1..2" in (after.reason or "")


def test_it_needs_authority_and_waits_on_a_hold(desk: World) -> None:
    plan = propose(desk, "A-1")
    with pytest.raises(NotAllowed, match="bob is L2; it needs L3 on crypto"):
        approval.approve(desk.settings, plan.hash, desk.person("bob"))
    holds.place(desk.settings, desk.person("ann"), reason="wait")
    with pytest.raises(PlanError, match="on hold by ann: wait"):
        applied(desk, plan)
    assert left(desk) == ["A-1", "A-2", "B-1"]


def test_of_many_orders_those_of_the_plan_alone_are_looked_through(
    desk: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.platform.orders = [{**ORDERS[0], "order": f"A-{number}"} for number in range(3000)]
    real, made = redaction.default, []

    def default(*arguments: Any) -> redaction.Redactor:
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(redaction, "default", default)
    plan = propose(desk, "A-1")
    assert plan.document.actions[0].preview["of"] == 3000
    assert len(made) < 30  # reading the settings each time would take seconds


def test_what_makes_no_sense_is_refused(desk: World) -> None:
    for orders in ((), ("A-1", "A-1"), ("A\x001",), tuple(f"A-{number}" for number in range(101))):
        with pytest.raises(ParameterError, match="orders"):
            make("orders.cancel-working", {"orders": orders})
    with pytest.raises(PlanError, match="none of these orders works any more"):
        propose(desk, "Z-9")
    desk.platform.orders = None
    with pytest.raises(ProbeError, match="/api/orders: answered 404"):
        propose(desk, "A-1")
    desk.platform.orders = [{"symbol": "BTC-USD"}]
    with pytest.raises(ProbeError, match="/api/orders of api of crypto is no list of orders with their names"):
        propose(desk, "A-1")
