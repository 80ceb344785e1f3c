"""No sequence of decisions, holds, crashes, retries, drift and time applies what was not approved, twice, or too late.

Nor does one apply two plans on one target at once.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from opslib import store
from opslib.actions import applier, approval, crypto, holds, plans
from opslib.actions.applying import Apply, target_locks
from opslib.actions.documents import Plan
from opslib.errors import ActionFailed, NotAllowed, NotFound, PlanError, UsageError
from opslib.incidents.opening import open_incident
from opslib.record import journal
from opslib.sql import queries
from tests.actions.world import World, begin_run, edit_policy

PEOPLE = ("ann", "bob", "cleo", "vera", "bot", "otto")
REASONS = ("", "  ", "-!", "nobody else is awake")


class Sequence(RuleBasedStateMachine):
    """Plans of two incidents of one platform, and what it was really asked to do."""

    world: World
    may: tuple[str, ...] = ("ann", "bob", "cleo")
    may_break: tuple[str, ...] = ()
    proposed = Bundle("proposed")

    def __init__(self) -> None:
        super().__init__()
        world, platform = self.world, self.world.platform
        platform.posts.clear()
        platform.before_posts.clear()
        platform.changes.clear()
        platform.kelly, platform.hang_up, platform.refuse = 0.25, False, 0
        platform.takes_s, platform.most_in_flight = 0.0, 0
        world.execute("UPDATE holds SET released_at = now() WHERE released_at IS NULL")
        self.runs = [begin_run(world.settings, self._incident(target)) for target in ("", "ETH-USD")]
        self.held = False
        self.approved: set[str] = set()
        self.broke: set[tuple[str, str]] = set()
        self.ended: set[str] = set()
        self.expected: dict[str, tuple[float, int]] = {}
        self.seen = 0

    def _incident(self, target: str) -> str:
        with store.transaction(self.world.settings) as connection:
            return open_incident(
                connection,
                platform="crypto",
                runbook="var-breach",
                target=target,
                severity="critical",
                title="VarBreach",
                opened_by="ann",
            )["id"]

    @rule(target=proposed, kelly=st.sampled_from([0.05, 0.1, 0.15]), incident=st.sampled_from([0, 1]))
    def propose(self, kelly: float, incident: int) -> str:
        """A run proposes."""
        if kelly >= self.world.platform.kelly:
            self.world.platform.set_kelly(0.25)
        plan = self.world.propose(kelly, run=self.runs[incident])
        self.expected[plan.hash] = (self.world.platform.kelly, len(self.world.platform.changes))
        return plan.hash

    @rule(
        plan=proposed, name=st.sampled_from(PEOPLE), decision=st.sampled_from(["approve", "apply", "apply", "reject"])
    )
    def decide(self, plan: str, name: str, decision: str) -> None:
        """Somebody decides, who may or may not."""
        before = self.world.plan(plan).state
        try:
            getattr(approval, decision)(self.world.settings, plan, self.world.person(name))
        except (NotAllowed, PlanError):
            assert self.world.plan(plan).state in (before, "expired")
            return
        assert name in self.may or (decision != "approve" and (plan, name) in self.broke)
        if decision == "approve":
            self.approved.add(plan)
        if decision == "reject":
            self.ended.add(plan)

    @rule(plan=proposed, who=st.integers(0, 2))
    def approve_and_request(self, plan: str, who: int) -> None:
        """The usual way."""
        name = self.may[who % len(self.may)]
        self.decide(plan, name, "approve")
        self.decide(plan, name, "apply")

    @rule(plan=proposed, name=st.sampled_from(PEOPLE), reason=st.sampled_from(REASONS))
    def break_glass_and_request(self, plan: str, name: str, reason: str) -> None:
        """Somebody breaks the glass, who may or may not, for a reason or for none."""
        before = self.world.plan(plan).state
        try:
            approval.approve(self.world.settings, plan, self.world.person(name), reason, break_glass=True)
        except (NotAllowed, PlanError, UsageError):
            assert self.world.plan(plan).state in (before, "expired")
            return
        assert reason == REASONS[-1]
        assert name in self.may or name in self.may_break
        self.approved.add(plan)
        if name not in self.may:
            self.broke.add((plan, name))
        self.decide(plan, name, "apply")

    @rule(plan=proposed)
    def apply(self, plan: str) -> None:
        """The applier takes it up, also again."""
        self._note(applier.take_up(self.world.settings, plan, worker="applier-1"))

    @rule(plan=proposed)
    def apply_by_two_at_once(self, plan: str) -> None:
        """Two appliers try the same plan at the same time."""
        assert sum(one is not None for one in self._at_once(plan, plan)) <= 1

    @rule()
    def apply_two_plans_at_once(self) -> None:
        """Two appliers try plans of two incidents on one target at the same time, which takes its time for a change."""
        self.release()
        self.platform_behaves("well")
        self.drift(0.25)
        plans_ = [self.propose(kelly, incident) for incident, kelly in enumerate((0.05, 0.1))]
        for plan in plans_:
            self.approve_and_request(plan, 0)
        self.world.platform.takes_s = 0.02
        assert any(self._at_once(*plans_))
        self.world.platform.takes_s = 0.0

    @rule()
    def hold(self) -> None:
        """Somebody stops all applies."""
        holds.place(self.world.settings, self.world.person("bob"), reason="wait", platform="crypto")
        self.held = True

    @rule()
    def release(self) -> None:
        """Somebody lets them go on."""
        with suppress(NotFound):
            holds.release(self.world.settings, self.world.person("bob"), platform="crypto")
            assert self.held
        self.held = False

    @rule(plan=proposed, point=st.sampled_from(["begun", "intended", "sent", "done"]))
    def crash(self, plan: str, point: str) -> None:
        """An applier dies at some point of an apply."""
        self.approve_and_request(plan, 0)
        now = self.world.plan(plan)
        if now.state != "approved":
            return
        with target_locks(self.world.settings, now.document.targets) as free:
            apply = Apply(self.world.settings, now, "applier-that-dies")
            if not free or not apply.begin() or point == "begun":
                return
            if point == "done":
                apply.do()
                return
            apply.result["steps"].append({"action": apply.actions[0].name, "state": "intended", "at": ""})
            apply._save_own()
            if point == "sent":
                with plans.context(apply.platform, "applier") as context, suppress(ActionFailed):
                    apply.actions[0].apply(context, f"{plan}-0")

    @rule()
    def restart(self) -> None:
        """An applier starts and takes up all that there is to do."""
        with store.connect(self.world.settings) as connection:
            rows = connection.execute(queries("actions").requested).fetchall()
        waiting = [row["hash"] for row in rows if row["hash"] in self.expected]  # not of the sequence before
        for plan in waiting:
            self.apply(plan)

    @rule(kelly=st.sampled_from([0.2, 0.25, 0.3]))
    def drift(self, kelly: float) -> None:
        """Somebody else changes the platform."""
        with self.world.platform.lock:
            self.world.platform.set_kelly(kelly)

    @rule(plan=proposed)
    def expire(self, plan: str) -> None:
        """Its time passes."""
        self.world.overdue(plan)
        if self.world.plan(plan).state in ("proposed", "approved"):
            self.ended.add(plan)

    @rule(how=st.sampled_from(["well", "refuses", "hangs up"]))
    def platform_behaves(self, how: str) -> None:
        """The platform answers, refuses, or does what it is asked and hangs up."""
        self.world.platform.refuse = 500 if how == "refuses" else 0
        self.world.platform.hang_up = how == "hangs up"

    @invariant()
    def only_what_was_approved_once_in_time_and_as_planned(self) -> None:
        """Look at every change that the platform was asked for since the last step."""
        posts: list[Any] = self.world.platform.posts
        assert self.world.platform.most_in_flight <= 1
        assert not (self.held and len(posts) > self.seen)
        keys = [key for _, _, key in posts]
        assert len(keys) == len(set(keys))
        for index in range(self.seen, len(posts)):
            plan = posts[index][2].removesuffix("-0")
            assert plan in self.approved
            assert plan not in self.ended
            self._was_approved_by_authority_or_for_a_reason(plan)
            kelly, changes = self.expected[plan]
            assert self.world.platform.before_posts[index] == (kelly, changes)
            self.ended.add(plan)
        self.seen = len(posts)

    def _was_approved_by_authority_or_for_a_reason(self, plan: str) -> None:
        with store.connect(self.world.settings) as connection:
            rows = [row for row in approval.decisions(connection, plan) if row["decision"] == "approve"]
            told = [
                entry["body"]
                for entry in journal.entries(connection, self.world.plan(plan).document.incident)
                if entry["kind"] == "plan-break-glass" and entry["body"]["hash"] == plan
            ]
        assert {row["person"] for row in rows if row["break_glass"]} == {body["person"] for body in told}
        assert all(body["reason"] == REASONS[-1] and body["skipped"] for body in told)
        assert told or any(row["person"] in self.may for row in rows)

    def _at_once(self, *plans_: str) -> list[Plan | None]:
        """Let as many appliers take up plans at the same time."""
        done: list[Plan | None] = []

        def take_up(plan: str) -> None:
            done.append(applier.take_up(self.world.settings, plan, worker="applier-2"))

        threads = [threading.Thread(target=take_up, args=(plan,)) for plan in plans_]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == len(plans_)
        for one in done:
            self._note(one)
        return done

    def _note(self, plan: Plan | None) -> None:
        if plan is not None:
            assert plan.state in ("verified", "partial", "failed")
            posted = any(key == f"{plan.hash}-0" for _, _, key in self.world.platform.posts)
            assert posted or plan.state == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("authority", ["L1", "L3"])
def test_no_sequence_applies_without_approval_twice_or_after_drift(
    world: World, monkeypatch: pytest.MonkeyPatch, authority: str
) -> None:
    edit_policy(world.params, lambda p: p["actions"]["crypto.emergency-reduce"].update(authority=authority))
    monkeypatch.setattr(crypto.EmergencyReduce, "effect_within_s", 0.01)
    monkeypatch.setattr("opslib.actions.applying.POLL_S", 0.01)

    class InThisWorld(Sequence):
        """The sequence with the fixtures of this test."""

    InThisWorld.world = world
    if authority == "L3":
        InThisWorld.may, InThisWorld.may_break = ("cleo",), ("bob",)
    run_state_machine_as_test(
        InThisWorld,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            database=None,
            phases=(Phase.generate,),  # a sequence takes a second, too long to shrink it
        ),
    )
