"""Who may decide about a plan, and that a refusal changes nothing."""

from __future__ import annotations

import pytest

from opslib import people, store
from opslib.actions import applier, approval, holds
from opslib.errors import NotAllowed, NotFound, PlanError, UsageError
from tests.actions.world import World, begin_run, edit_policy


def test_the_on_call_approves_what_reduces_risk(world: World) -> None:
    plan = world.propose()
    assert plan.document.actions[0].authority == "L1"
    after = approval.approve(world.settings, plan.hash, world.person("ann"), "VaR is real")
    assert after.state == "approved"
    assert world.kinds()[-2:] == ["plan-decided", "plan-state"]
    assert world.last("plan-decided")["person"] == "ann"


@pytest.mark.parametrize("name", ["vera", "bot", "otto"])
@pytest.mark.parametrize("decision", ["approve", "reject", "apply"])
def test_others_are_refused_journalled_and_nothing_changes(world: World, name: str, decision: str) -> None:
    plan = world.propose()
    if decision == "apply":
        approval.approve(world.settings, plan.hash, world.person("ann"))
    before = world.plan(plan.hash).state
    with pytest.raises(NotAllowed, match=r"Who could: ann \(L1\), bea \(L1\), ben \(L2\), bob \(L2\), cleo \(L3\)"):
        getattr(approval, decision)(world.settings, plan.hash, world.person(name))
    assert world.plan(plan.hash).state == before
    refused = world.last("plan-refused")
    assert (refused["person"], refused["decision"], refused["hash"]) == (name, decision, plan.hash)


def test_what_adds_risk_needs_l2_and_not_the_initiator(world: World) -> None:
    run = begin_run(world.settings, world.incident, by="bob")
    world.platform.set_kelly(0.1)
    plan = world.propose(0.12, "crypto.set-kelly", run)
    with pytest.raises(NotAllowed, match="ann is L1; it needs L2 on crypto"):
        approval.approve(world.settings, plan.hash, world.person("ann"))
    with pytest.raises(
        NotAllowed, match=r"bob started it; above L1 somebody else approves. Who could: ben \(L2\), cleo \(L3\)"
    ):
        approval.approve(world.settings, plan.hash, world.person("bob"))
    assert approval.approve(world.settings, plan.hash, world.person("ben")).state == "approved"


@pytest.mark.parametrize("by", ["root (no token)", "jupyter"])
def test_above_l1_two_approve_what_anybody_may_have_started(world: World, by: str) -> None:
    run = begin_run(world.settings, world.incident, by=by)
    world.platform.set_kelly(0.1)
    plan = world.propose(0.12, "crypto.set-kelly", run)
    assert approval.approve(world.settings, plan.hash, world.person("bob")).state == "proposed"
    assert approval.approve(world.settings, plan.hash, world.person("bob")).state == "proposed"
    assert approval.approve(world.settings, plan.hash, world.person("ben")).state == "approved"


def test_what_cannot_be_undone_needs_one_level_more(world: World) -> None:
    from opslib.actions import plans

    with store.transaction(world.settings) as connection:
        plan = plans.propose(
            world.settings,
            connection,
            run_id=world.run,
            actions=[("crypto.refresh-volatility", {})],
            reason="estimates are stale",
            platform="crypto",
        )
    assert plan.document.actions[0].authority == "L2"


def test_two_persons_where_the_policy_says_so(world: World) -> None:
    edit_policy(world.params, lambda p: p["actions"]["crypto.emergency-reduce"].update(two_persons=True))
    plan = world.propose()
    assert approval.approve(world.settings, plan.hash, world.person("ann")).state == "proposed"
    assert approval.approve(world.settings, plan.hash, world.person("ann")).state == "proposed"
    with pytest.raises(PlanError, match="is proposed; only a plan that is approved"):
        approval.apply(world.settings, plan.hash, world.person("ann"))
    assert approval.approve(world.settings, plan.hash, world.person("bea")).state == "approved"


def test_a_policy_that_became_stricter_counts(world: World) -> None:
    plan = world.propose()
    edit_policy(world.params, lambda p: p["actions"]["crypto.emergency-reduce"].update(authority="L3"))
    with pytest.raises(NotAllowed, match="it needs L3"):
        approval.approve(world.settings, plan.hash, world.person("ann"))


def test_a_hash_is_given_in_full_or_unambiguously(world: World) -> None:
    plan = world.propose()
    with pytest.raises(UsageError, match="at least 12 characters"):
        approval.approve(world.settings, plan.hash[:11], world.person("ann"))
    with pytest.raises(NotFound, match="there is no plan 000000000000"):
        approval.approve(world.settings, "0" * 12, world.person("ann"))
    with pytest.raises(NotFound, match="of INC-2000-000001"):
        approval.approve(world.settings, plan.hash, world.person("ann"), incident="INC-2000-000001")
    assert approval.approve(world.settings, plan.hash[:12], world.person("ann")).state == "approved"


def test_what_has_ended_cannot_be_approved(world: World) -> None:
    rejected, overdue = world.propose(), world.propose(0.12)
    approval.reject(world.settings, rejected.hash, world.person("ann"), "not now")
    with pytest.raises(PlanError, match="is rejected; only a plan that is proposed"):
        approval.approve(world.settings, rejected.hash, world.person("ann"))
    world.overdue(overdue.hash)
    with pytest.raises(PlanError, match="has expired; run the playbook again"):
        approval.approve(world.settings, overdue.hash, world.person("ann"))
    assert world.plan(overdue.hash).state == "expired"


def test_a_hold_stops_applies_until_it_is_released(world: World) -> None:
    plan = world.propose()
    approval.approve(world.settings, plan.hash, world.person("ann"))
    with pytest.raises(UsageError, match="needs a reason"):
        holds.place(world.settings, world.person("ann"), reason=" ")
    with pytest.raises(NotAllowed, match=r"vera \(viewer\) has no authority on crypto"):
        holds.place(world.settings, world.person("vera"), reason="why not")
    holds.place(world.settings, world.person("ann"), reason="VaR feed is wrong", platform="crypto")
    with pytest.raises(PlanError, match="crypto is on hold by ann: VaR feed is wrong"):
        approval.apply(world.settings, plan.hash, world.person("ann"))
    assert [row["reason"] for row in holds.release(world.settings, world.person("ann"))] == ["VaR feed is wrong"]
    with pytest.raises(NotFound, match="there is no hold"):
        holds.release(world.settings, world.person("ann"))
    approval.apply(world.settings, plan.hash, world.person("ann"))
    assert {"hold-placed", "hold-released"} <= set(world.kinds())


def test_a_run_that_has_ended_proposes_nothing(world: World) -> None:
    world.execute("UPDATE runs SET state = 'succeeded'")
    with pytest.raises(PlanError, match="is succeeded; it proposes nothing any more"):
        world.propose()


def test_a_document_that_was_altered_in_the_store_is_no_plan_any_more(world: World) -> None:
    plan = world.propose()
    approval.approve(world.settings, plan.hash, world.person("ann"))
    approval.apply(world.settings, plan.hash, world.person("ann"))
    world.execute("UPDATE plans SET document = replace(document, '\"kelly_fraction\":0.1', '\"kelly_fraction\":0.9')")
    for step in (approval.approve, approval.apply, approval.reject):
        with pytest.raises(PlanError, match="is not the document that its hash is over: it was altered"):
            step(world.settings, plan.hash, world.person("ann"))
    with pytest.raises(PlanError, match="it was altered"):
        applier.run_once(world.settings, plan.hash)
    assert world.platform.posts == []


@pytest.mark.parametrize("became", ["removed", "viewer", "L1 elsewhere"])
def test_an_approval_by_who_has_no_authority_any_more_counts_no_longer(world: World, became: str) -> None:
    plan = world.propose()
    approval.approve(world.settings, plan.hash, world.person("ann"))
    approval.apply(world.settings, plan.hash, world.person("ann"))
    with store.transaction(world.settings) as connection:
        people.remove(connection, "ann")
        if became != "removed":
            role, _, elsewhere = became.partition(" ")
            people.add(connection, "ann", role, "quant" if elsewhere else None)
    after = applier.run_once(world.settings, plan.hash)
    assert (after.state, world.platform.posts) == ("void", [])
    assert "the approvals are not enough" in (after.reason or "")


def test_people_of_the_sandbox_decide_nothing_in_production(world: World) -> None:
    (world.params / "platforms" / "crypto.yaml").write_text(
        (world.params / "platforms" / "crypto.yaml")
        .read_text("utf-8")
        .replace("environment: sandbox", f"environment: production\nendpoints: {{api: '{world.platform.url}'}}")
    )
    people.ensure_sandbox_people(world.settings)
    plan = world.propose()
    assert plan.document.environment == "production"
    with pytest.raises(NotAllowed, match="demo-l4 is L4 on environment:sandbox; it needs L1 on crypto"):
        approval.approve(world.settings, plan.hash, people.current(world.settings, "demo-l4"))
    with pytest.raises(NotAllowed, match="has no authority on crypto"):
        holds.place(world.settings, people.current(world.settings, "demo-l4"), reason="mischief")


def test_nobody_takes_the_name_of_a_process(world: World) -> None:
    with store.transaction(world.settings) as connection:
        for name in ("recorder", "worker", "signer", "applier", "policy", "alert", "operator"):
            with pytest.raises(UsageError, match=f"{name!r} is a name of the service's own"):
                people.add(connection, name, "L2")
