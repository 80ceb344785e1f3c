"""Breaking the glass: what it passes over, what it never does, and that the record says so loudly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import psycopg
import pytest

from opslib import store
from opslib.actions import applier, approval, holds
from opslib.actions.documents import Plan
from opslib.errors import NotAllowed, PlanError, UsageError
from tests.actions.world import World, begin_run, edit_policy

WHY = "bob does not answer, the desk loses money"


def needs(world: World, level: str = "L2", *, two: bool = False, by: str = "alert") -> Plan:
    """A plan that needs that level, started by somebody."""
    rule = {"authority": level, "two_persons": two}
    edit_policy(world.params, lambda p: p["actions"]["crypto.emergency-reduce"].update(rule))
    return world.propose(run=begin_run(world.settings, world.incident, by=by))


def break_glass(world: World, plan: Plan, name: str, reason: str = WHY) -> Plan:
    return approval.approve(world.settings, plan.hash, world.person(name), reason, break_glass=True)


@pytest.mark.parametrize(
    ("given", "name", "skipped"),
    [
        ({"level": "L2"}, "ann", ["it needs L2"]),
        ({"level": "L2", "by": "bob"}, "bob", ["bob started it"]),
        ({"level": "L1", "two": True}, "ann", ["it needs 2 persons"]),
        ({"level": "L3", "two": True, "by": "bob"}, "bob", ["it needs L3", "bob started it", "it needs 2 persons"]),
    ],
)
def test_one_person_decides_and_the_journal_says_what_was_passed_over(
    world: World, given: dict[str, Any], name: str, skipped: list[str]
) -> None:
    plan = needs(world, **given)
    assert break_glass(world, plan, name).state == "approved"
    assert world.kinds()[-2:] == ["plan-break-glass", "plan-state"]
    told = world.last("plan-break-glass")
    assert (told["person"], told["reason"], told["skipped"]) == (name, WHY, skipped)
    approval.apply(world.settings, plan.hash, world.person(name))
    after = applier.run_once(world.settings, plan.hash)
    assert (after.state, world.platform.kelly) == ("verified", 0.1)
    [record] = world.settings.home.glob("*/*/*-apply.ipynb")
    notebook = nbformat.read(record, 4)  # type: ignore[no-untyped-call]
    assert f"who broke the glass: {WHY}" in notebook.cells[0].source


@pytest.mark.parametrize("reason", ["", "   ", "...", "\n-"])
def test_without_a_reason_it_is_refused_and_journalled(world: World, reason: str) -> None:
    plan = needs(world)
    with pytest.raises(UsageError, match="breaking the glass needs a reason"):
        break_glass(world, plan, "ann", reason)
    assert world.plan(plan.hash).state == "proposed"
    assert "breaking the glass needs a reason" in world.last("plan-refused")["reason"]
    with pytest.raises(psycopg.errors.CheckViolation, match="glass_broken_for_a_reason"):
        world.execute(
            "INSERT INTO decisions (plan, person, role, decision, reason, break_glass)"
            " VALUES (%s, 'ann', 'L1', 'approve', %s, true)",
            (plan.hash, reason),
        )


@pytest.mark.parametrize("name", ["ann", "vera", "bot", "otto"])
def test_one_level_is_the_most_that_is_passed_over(world: World, name: str) -> None:
    plan = needs(world, "L3")
    with pytest.raises(NotAllowed, match=f"{name} is "):
        break_glass(world, plan, name)
    assert world.plan(plan.hash).state == "proposed"
    assert "plan-break-glass" not in world.kinds()


def test_where_nothing_is_passed_over_it_is_an_approval_like_any_other(world: World) -> None:
    plan = world.propose()
    assert break_glass(world, plan, "ann").state == "approved"
    assert world.kinds()[-2:] == ["plan-decided", "plan-state"]


def test_the_first_of_two_may_break_the_glass_later(world: World) -> None:
    plan = needs(world, "L1", two=True)
    assert approval.approve(world.settings, plan.hash, world.person("ann"), "VaR is real").state == "proposed"
    assert break_glass(world, plan, "ann").state == "approved"
    with store.connect(world.settings) as connection:
        [row] = approval.decisions(connection, plan.hash)
    assert (row["person"], row["reason"], row["break_glass"]) == ("ann", WHY, True)


def test_only_who_broke_it_carries_it_on(world: World) -> None:
    plan = needs(world)
    break_glass(world, plan, "ann")
    with pytest.raises(NotAllowed, match="bea is L1; it needs L2"):
        approval.apply(world.settings, plan.hash, world.person("bea"))
    assert approval.reject(world.settings, plan.hash, world.person("ann"), "bob has answered").state == "rejected"


def forbid_now(world: World) -> None:
    window = {
        "start": "2000-01-01T00:00:00Z",
        "end": "2100-01-01T00:00:00Z",
        "forbids": ["configuration"],
        "reason": "expiry",
    }
    edit_policy(world.params, lambda p: p["guards"].update(expiry_windows=[window]))


HELD: list[tuple[Callable[[World], object], str]] = [
    (forbid_now, "window: expiry"),
    (lambda w: w.platform.set_kelly(0.05), "kelly_fraction was 0.1, is now 0.05"),
    (lambda w: holds.place(w.settings, w.person("ann"), reason="wait"), "every platform is on hold by ann: wait"),
    (
        lambda w: edit_policy(w.params, lambda p: p["actions"]["crypto.set-kelly"].update(authority="L4")),
        "the approvals are not enough under the policy in force",
    ),
    (
        lambda w: w.execute("UPDATE people SET role = 'viewer' WHERE name = 'ann'"),
        "the approvals are not enough under the policy in force",
    ),
]


@pytest.mark.parametrize(("change", "reason"), HELD, ids=[reason[:18] for _, reason in HELD])
def test_guards_drift_holds_and_authority_hold_as_ever(
    world: World, change: Callable[[World], object], reason: str
) -> None:
    world.platform.set_kelly(0.1)
    plan = world.propose(0.12, "crypto.set-kelly")
    break_glass(world, plan, "ann")
    approval.apply(world.settings, plan.hash, world.person("ann"))
    world.fire()
    change(world)
    after = applier.run_once(world.settings, plan.hash)
    assert after.state == "void"
    assert reason in (after.reason or "")
    assert world.platform.posts == []


def test_a_hold_refuses_the_request_too(world: World) -> None:
    plan = needs(world)
    break_glass(world, plan, "ann")
    holds.place(world.settings, world.person("ann"), reason="wait")
    with pytest.raises(PlanError, match="on hold by ann"):
        approval.apply(world.settings, plan.hash, world.person("ann"))
