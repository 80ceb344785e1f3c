"""Applying a plan: preconditions, the change, the firing check, the record, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import redis
from nbformat import NotebookNode

from opslib import store
from opslib.actions import applier, approval, crypto, crypto_breaker, holds, plans
from opslib.actions.applying import Apply, target_locks
from opslib.actions.documents import Plan
from opslib.canonical import file_digest
from opslib.errors import ActionFailed, PlanError
from sandbox.crypto import redis_server
from tests.actions.world import World, begin_run, edit_policy, shown_at_once


def ready(world: World, plan: Plan) -> Plan:
    """The plan, approved and requested by somebody who may."""
    who = world.person("ann" if plan.document.actions[0].authority == "L1" else "ben")
    approval.approve(world.settings, plan.hash, who)
    return approval.apply(world.settings, plan.hash, who)


def record(world: World) -> NotebookNode:
    """The notebook of the newest apply."""
    found = sorted(world.settings.home.glob("*/*/*-apply.ipynb"))
    return nbformat.read(found[-1], 4)  # type: ignore[no-untyped-call]


def test_a_plan_is_applied_and_verified(world: World) -> None:
    world.fire()
    plan = ready(world, world.propose())
    after = applier.run_once(world.settings, plan.hash)
    assert (after.state, world.platform.kelly) == ("verified", 0.1)
    [(path, body, key)] = world.platform.posts
    assert (path, key) == ("/api/risk/emergency-reduce", f"{plan.hash}-0")
    assert body == {"kelly_fraction": 0.1, "reason": "VaR breach"}
    kinds = world.kinds()
    assert kinds.index("apply-started") < kinds.index("file") < kinds.index("apply-ended")
    ended = world.last("apply-ended")
    assert ended["state"] == "verified"
    assert ended["result"]["check_before"]["firing"]
    assert not ended["result"]["check"]["firing"]


def test_the_record_shows_before_done_after_and_check(world: World) -> None:
    plan = ready(world, world.propose())
    applier.run_once(world.settings, plan.hash)
    notebook = record(world)
    text = "\n".join(cell.source for cell in notebook.cells)
    for heading in ("# Apply:", "## Before", "## What was done", "## After", "## Firing check", "## Next"):
        assert heading in text
    assert "went from 2.30 to 0.92" in text
    assert "no longer holds" in text
    assert notebook.metadata["run"]["plan"] == plan.hash
    assert any("image/png" in output.data for cell in notebook.cells for output in cell.get("outputs", []))
    nbformat.validate(notebook)  # type: ignore[no-untyped-call]
    [page] = world.settings.home.glob("*/*/*-apply.html")
    with store.connect(world.settings) as connection:
        entries = [json.loads(row["line"]) for row in connection.execute("SELECT line FROM journal ORDER BY seq")]
    files = {entry["body"]["path"]: entry["body"]["sha256"] for entry in entries if entry["kind"] == "file"}
    assert files == {path.name: file_digest(path) for path in (page, Path(str(page)[:-4] + "ipynb"))}


def test_nothing_is_applied_twice_or_without_a_request(world: World) -> None:
    plan = world.propose()
    assert applier.run_once(world.settings, plan.hash).state == "proposed"
    approval.approve(world.settings, plan.hash, world.person("ann"))
    assert applier.run_once(world.settings, plan.hash).state == "approved"
    approval.apply(world.settings, plan.hash, world.person("ann"))
    for _ in range(3):
        assert applier.run_once(world.settings, plan.hash).state == "verified"
    assert len(world.platform.posts) == 1
    with pytest.raises(PlanError, match="is verified; only a plan that is approved"):
        approval.apply(world.settings, plan.hash, world.person("ann"))


DRIFTS: list[tuple[Callable[[World], object], str]] = [
    (lambda w: w.platform.set_kelly(0.2), "kelly_fraction was 0.25, is now 0.2"),
    (lambda w: setattr(w.platform, "trading", False), "trading was True, is now False"),
    (lambda w: w.platform.changes.append({"at": "2026", "key": "position_limits_usd.X"}), "configuration was version"),
    (lambda w: w.platform.var_at_one.update({"BTC-USD": 4.0}), "the firing check is no longer true"),
    (lambda w: holds.place(w.settings, w.person("ann"), reason="wait"), "every platform is on hold by ann: wait"),
    (lambda w: setattr(w.platform, "url", "") or _unreachable(w), "could not be examined, nothing was done"),
    (
        lambda w: edit_policy(w.params, lambda p: p["actions"]["crypto.emergency-reduce"].update(two_persons=True)),
        "the approvals are not enough under the policy in force",
    ),
]


def _unreachable(world: World) -> None:
    place = world.settings.state / "sandbox" / "crypto.json"
    place.write_text('{"endpoints": {"api": "http://127.0.0.1:9"}}', "utf-8")


@pytest.mark.parametrize(("drift", "reason"), DRIFTS, ids=[reason[:20] for _, reason in DRIFTS])
def test_a_world_that_changed_voids_the_plan_and_says_what_changed(
    world: World, drift: Callable[[World], object], reason: str
) -> None:
    plan = ready(world, world.propose())
    drift(world)
    after = applier.run_once(world.settings, plan.hash)
    assert after.state == "void"
    assert reason in (after.reason or "")
    assert reason in world.last("plan-state")["reason"]
    assert world.platform.posts == []


def test_a_resolved_alert_voids_the_plan(world: World) -> None:
    world.fire()
    plan = ready(world, world.propose())
    world.execute("UPDATE alerts SET state = 'resolved'")
    assert applier.run_once(world.settings, plan.hash).reason == "the alert is resolved"
    assert world.platform.posts == []


def stop_trading(world: World) -> Plan:
    """A plan that only stops new risk, approved and requested."""
    with store.transaction(world.settings) as connection:
        plan = plans.propose(
            world.settings,
            connection,
            run_id=world.run,
            actions=[{"action": "crypto.stop-trading", "arguments": {}}],
            reason="VaR of BTC-USD is above its limit",
            platform="crypto",
        )
    return ready(world, plan)


def test_new_risk_is_stopped_on_hold_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto_breaker.StopTrading, "effect_within_s", 0.6)
    world.fire()
    plan = stop_trading(world)
    holds.place(world.settings, world.person("ann"), reason="wait")
    applier.run_once(world.settings, plan.hash)
    assert world.kinds().count("apply-started") == 1
    assert not world.platform.trading


@pytest.mark.parametrize("fails", [False, True], ids=["done", "refused"])
def test_no_secret_in_an_answer_of_the_platform_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    secret = "Bearer abcdefghijklmnopqrstuvwxyz0123456789"
    shown_at_once(monkeypatch, "crypto.emergency-reduce")

    def answers(*_given: Any) -> dict[str, str]:
        if fails:
            raise ActionFailed(f"refused: {secret}")
        return {"session": secret}

    monkeypatch.setattr(crypto.EmergencyReduce, "apply", answers)
    plan = ready(world, world.propose())
    applier.run_once(world.settings, plan.hash)
    with store.connect(world.settings) as connection:
        kept = connection.execute("SELECT result::text, reason FROM plans").fetchall()
        kept += connection.execute("SELECT error FROM runs").fetchall()
    assert "redacted" in str(kept)
    assert secret.split()[1] not in str(kept)
    for path in world.settings.home.glob("*/*/*"):
        assert secret.split()[1].encode() not in (path.read_bytes() if path.is_file() else b"")


@pytest.mark.parametrize(
    ("second", "posted"),
    [
        ("crypto.refresh-volatility", ["/api/risk/emergency-reduce"]),
        ("crypto.stop-trading", ["/api/risk/emergency-reduce", "/api/stop-trading"]),
    ],
)
def test_a_hold_that_comes_meanwhile_stops_the_next_step_unless_it_stops_new_risk(
    world: World, monkeypatch: pytest.MonkeyPatch, second: str, posted: list[str]
) -> None:
    shown_at_once(monkeypatch, "crypto.emergency-reduce", second)
    world.fire()
    steps = [{"action": "crypto.emergency-reduce", "arguments": {"kelly_fraction": 0.1}}, {"action": second}]
    with store.transaction(world.settings) as connection:
        plan = plans.propose(
            world.settings, connection, run_id=world.run, actions=steps, reason="VaR breach", platform="crypto"
        )
    approval.approve(world.settings, plan.hash, world.person("cleo"))
    approval.apply(world.settings, plan.hash, world.person("cleo"))
    first = crypto.EmergencyReduce.apply

    def then_held(*given: Any) -> Any:
        answer = first(*given)
        holds.place(world.settings, world.person("ann"), reason="wait")
        return answer

    monkeypatch.setattr(crypto.EmergencyReduce, "apply", then_held)
    after = applier.run_once(world.settings, plan.hash)
    assert [path for path, _, _ in world.platform.posts] == posted
    if len(posted) == 1:
        assert after.state == "partial"
        assert "1 of 2 actions were done; not begun: every platform is on hold by ann: wait" in (after.reason or "")


@pytest.mark.parametrize("alerts", [True, False], ids=["the alert is resolved", "the firing check is false"])
def test_new_risk_is_stopped_whatever_became_of_the_alert(world: World, alerts: bool) -> None:
    if alerts:
        world.fire()
    plan = stop_trading(world)
    world.platform.var_at_one.update({"BTC-USD": 4.0})
    world.execute("UPDATE alerts SET state = 'resolved'")
    assert applier.run_once(world.settings, plan.hash).state == "verified"
    assert not world.platform.trading
    assert [path for path, _, _ in world.platform.posts] == ["/api/stop-trading"]


def test_time_that_passed_expires_the_plan(world: World) -> None:
    plan = ready(world, world.propose())
    world.overdue(plan.hash)
    assert applier.run_once(world.settings, plan.hash).state == "expired"
    assert world.platform.posts == []


def test_a_refused_change_is_a_failure_that_says_why(world: World) -> None:
    plan = ready(world, world.propose())
    world.platform.refuse = 422
    after = applier.run_once(world.settings, plan.hash)
    assert after.state == "failed"
    assert 'answered 422 {"error": "refused"}' in (after.reason or "")
    assert "failed: " in "\n".join(cell.source for cell in record(world).cells)


def test_a_change_whose_answer_is_lost_counts_as_done_when_the_platform_shows_it(world: World) -> None:
    plan = ready(world, world.propose())
    world.platform.hang_up = True
    assert applier.run_once(world.settings, plan.hash).state == "verified"
    assert len(world.platform.posts) == 1


def test_a_change_without_effect_is_partial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto.EmergencyReduce, "effect_within_s", 0.6)
    plan = ready(world, world.propose())
    world.platform.ineffective = True
    after = applier.run_once(world.settings, plan.hash)
    assert after.state == "partial"
    assert "the alert's condition still holds: largest VaR of a symbol 2.3" in (after.reason or "")


@pytest.mark.parametrize(("until", "state"), [("begun", "failed"), ("intended", "failed"), ("done", "verified")])
def test_an_interrupted_apply_is_examined_and_never_repeated(world: World, until: str, state: str) -> None:
    plan = ready(world, world.propose())
    with target_locks(world.settings, plan.document.targets) as free:
        assert free
        apply = Apply(world.settings, plan, "applier-that-dies")
        assert apply.begin()
        if until == "intended":
            apply.result["steps"].append({"action": "crypto.emergency-reduce", "state": "intended", "at": ""})
            apply._save_own()
        if until == "done":
            world.platform.set_kelly(0.1)  # the change was made; its end was not written down
            apply.result["steps"].append({"action": "crypto.emergency-reduce", "state": "intended", "at": ""})
            apply._save_own()
    assert world.plan(plan.hash).state == "applying"
    after = applier.run_once(world.settings, plan.hash)
    assert after.state == state
    assert "interrupted" in (after.reason or "") or state == "verified"
    assert world.platform.posts == []


def test_what_became_of_a_change_that_nobody_could_see_is_no_failure(world: World) -> None:
    plan = ready(world, world.propose())
    with target_locks(world.settings, plan.document.targets):
        apply = Apply(world.settings, plan, "applier-that-dies")
        assert apply.begin()
        apply.result["steps"].append({"action": "crypto.emergency-reduce", "state": "intended", "at": ""})
        apply._save_own()
    world.platform.set_kelly(0.1)  # the change was made, and then the platform tells nothing any more
    world.platform.blind = True
    after = applier.run_once(world.settings, plan.hash)
    assert after.state == "partial"
    assert "0 of 1 actions were done; interrupted; whether it was done could not be seen: " in (after.reason or "")
    world.platform.blind = False
    back = approval.undo(world.settings, plan.hash, world.person("bob"))
    assert [one.action for one in back.document.actions] == ["crypto.set-kelly"]


def test_one_at_a_time_per_target_over_all_incidents(world: World) -> None:
    plan = ready(world, world.propose())
    with target_locks(world.settings, plan.document.targets) as free:
        assert free
        assert applier.run_once(world.settings, plan.hash).state == "approved"
    assert applier.run_once(world.settings, plan.hash).state == "verified"


def test_patterns_that_may_mean_the_same_keys_are_one_target(world: World, tmp_path: Path) -> None:
    server = redis_server.start(tmp_path, tmp_path, redis_server.Passwords.fresh())
    try:
        with redis.Redis.from_url(server.url()) as client:
            client.mset({f"cache:greeks:{number}": "x" for number in range(9)})
        place = world.settings.state / "sandbox" / "crypto.json"
        endpoints = {"redis": server.url("recorder"), "redis_admin": server.url("admin"), "api": world.platform.url}
        place.write_text(json.dumps({"endpoints": endpoints}), "utf-8")

        def flush(pattern: str) -> Plan:
            given = {"action": "redis.flush-pattern", "arguments": {"pattern": pattern, "until": "alert"}}
            with store.transaction(world.settings) as connection:
                plan = plans.propose(
                    world.settings, connection, run_id=world.run, actions=[given], reason="full", platform="crypto"
                )
            return ready(world, plan)

        first, second = flush("cache:greeks:*"), flush("cache:*")
        with target_locks(world.settings, first.document.targets) as free:
            assert free
            assert applier.run_once(world.settings, second.hash).state == "approved"
        assert applier.run_once(world.settings, second.hash).state == "verified"
        after = applier.run_once(world.settings, first.hash)
        assert (after.state, "keys was 9, is now 0" in (after.reason or "")) == ("void", True)
    finally:
        server.process.terminate()
        server.process.wait()


@pytest.mark.slow
def test_undo_is_a_plan_of_its_own_and_guarded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto.SetKelly, "calm_s", 0.5)
    done = ready(world, world.propose())
    applier.run_once(world.settings, done.hash)
    undo = approval.undo(world.settings, done.hash, world.person("bob"), "breach is over")
    assert (undo.undo_of, undo.state, undo.document.initiator) == (done.hash, "proposed", "bob")
    assert undo.document.actions[0].arguments["kelly_fraction"] == 0.25
    assert world.platform.kelly == 0.1
    world.platform.var_at_one["BTC-USD"] = 17.0  # VaR 1.7 % now: no hot reload above 1.5 %
    ready(world, undo)
    after = applier.run_once(world.settings, undo.hash)
    assert (after.state, world.platform.kelly) == ("void", 0.1)
    assert "no hot reload above 1.5 %" in (after.reason or "")
    world.platform.var_at_one["BTC-USD"] = 5.0
    again = ready(world, approval.undo(world.settings, done.hash, world.person("bob"), "breach is over"))
    assert applier.run_once(world.settings, again.hash).state == "verified"
    assert (world.plan(done.hash).state, world.platform.kelly) == ("undone", 0.25)


@pytest.mark.slow
def test_what_adds_risk_is_verified_only_once_it_has_had_its_effect(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto.SetKelly, "calm_s", 1.0)
    monkeypatch.setattr(crypto.SetKelly, "effect_within_s", 2.0)
    done = ready(world, world.propose())
    applier.run_once(world.settings, done.hash)
    undo = ready(world, approval.undo(world.settings, done.hash, world.person("bob")))
    world.platform.lag_s = 0.7  # VaR is low at first, and passes its limit when the positions have grown
    after = applier.run_once(world.settings, undo.hash)
    assert after.state == "partial"
    assert "the alert's condition still holds" in (after.reason or "")
    assert world.plan(done.hash).state == "verified"


def test_a_run_that_observes_proposes_nothing(world: World) -> None:
    run = begin_run(world.settings, world.incident, mode="observe")
    with pytest.raises(PlanError, match="only observes"):
        world.propose(run=run)
    with pytest.raises(PlanError, match="would not reduce"):
        world.propose(0.3)
    with store.connect(world.settings) as connection:
        assert plans.of_incident(connection, world.incident) == []


@pytest.mark.slow
def test_two_appliers_at_once_apply_a_plan_once(world: World) -> None:
    plan = ready(world, world.propose())
    command = [sys.executable, "-m", "opslib.actions.applier", "--once", plan.hash]
    both = [subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL) for _ in range(2)]
    for process in both:
        process.wait(120)
    assert applier.run_once(world.settings, plan.hash).state == "verified"
    assert len(world.platform.posts) == 1
    assert world.kinds().count("apply-started") == 1
