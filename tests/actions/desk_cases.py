"""Decisions and applies on a real store and a small platform: a table in which every guard of theirs matters.

As in `policy_cases`, each case asks the modules that it is given. Most write what they need in a transaction that is
taken back; those of whole decisions leave their plan behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from opslib import store
from opslib.actions import holds, plans
from opslib.actions.action import Check, Observation
from opslib.actions.documents import Document, Plan, PlannedAction, Target, Undo
from opslib.sql import queries
from tests.actions.policy_facts import REDUCE, REFRESH, SET, STOP, Modules, full, plan, planned, signed, utc
from tests.actions.world import World, begin_run

REASON = {"reason": "test"}
TWO = (("bob", "L2"), ("ben", "L2"))
FIRING, CALM = (Check(value > 1.8, "VaR", value, 1.8, "%", {}) for value in (2.0, 1.0))


def set_up(world: World) -> None:
    """The policy of these cases: no window depends on the hour of the test, and one change an hour is enough."""
    raw = full()
    raw["guards"] |= {"market_hours": [], "expiry_windows": []}
    for action in (REDUCE, REFRESH, STOP):
        raw["actions"].setdefault(action, {})["budget_per_hour"] = {"automatic": 1, "any": 1}
    for entry in raw["standing_approvals"]:
        entry["expires"] = utc(2999, 1, 1)
    (world.params / "policy.yaml").write_text(yaml.safe_dump(signed(raw)), "utf-8")


@dataclass(frozen=True)
class Desk:
    """A case's world, and a connection whose writes are taken back after it."""

    world: World
    connection: store.Connection

    def document(self, *actions: PlannedAction, **more: Any) -> Document:
        """A plan of the world's run that is kept as proposed."""
        facts = {"incident": self.world.incident, "run": self.world.run, "expires_at": utc(2999, 1, 1), **more}
        document = plan(*actions, **facts)
        plans.keep(self.world.settings, self.connection, document, actor="recorder")
        return document

    def decided(
        self, document: Document, who: Iterable[tuple[str, str]], decision: str = "approve", glass: bool = False
    ) -> None:
        """What somebody decided, in the role that they had then."""
        for person, role in who:
            facts = {"hash": document.hash, "person": person, "role": role, "decision": decision}
            facts |= {"reason": WHY, "break_glass": glass}
            self.connection.execute(queries("actions").decide, facts)

    def state(self, hash_: str, state: str) -> None:
        """Bring a plan into a state, as what went before would."""
        self.connection.execute("UPDATE plans SET state = %s WHERE hash = %s", (state, hash_))

    def alert(self, state: str) -> None:
        """An episode of the alert."""
        self.connection.execute(
            "INSERT INTO alerts (key, fingerprint, labels, payload, platform, starts_at, state, incident)"
            " VALUES ('key', 'f', %s, '{}', 'crypto', now(), %s, %s)",
            (json.dumps({"alertname": "VarBreach"}), state, self.world.incident),
        )

    def hold(self, platform: str | None) -> None:
        """A hold on a platform, or on all."""
        facts = {"platform": platform, "reason": "wait", "person": "bob"}
        self.connection.execute(queries("actions").place_hold, facts)


Case = Callable[[Modules, Desk], Any]
WHY = "nobody else is awake"
BACK = Undo(kind="inverse", reason="", action=SET, arguments={"kelly_fraction": 0.2})
FIX = planned(REFRESH, arguments=REASON, authority="L2", approvers=2)
LESS, NONE_NEW = planned(REDUCE), planned(STOP, arguments=REASON)
MORE = planned(SET, authority="L2")


def _sufficient(
    action: PlannedAction, *who: tuple[str, str], decision: str = "approve", alert: str = "", initiator: str = "alert",
    glass: bool = False,
) -> Case:  # fmt: skip
    """Whether the approvals are enough."""

    def asked(modules: Modules, desk: Desk) -> Any:
        document = desk.document(action, initiator=initiator)
        desk.decided(document, who, decision, glass)
        if alert:
            desk.alert(alert)
        return modules.approval.sufficient(desk.world.settings, desk.connection, document)

    return asked


def _held(action: PlannedAction, *places: str | None) -> Case:
    """Why a hold stops a plan."""

    def asked(modules: Modules, desk: Desk) -> Any:
        for place in places:
            desk.hold(place)
        return modules.approval.held(desk.connection, plan(action))

    return asked


def _approvers(modules: Modules, desk: Desk) -> Any:
    """Who approved what somebody else wants to be applied."""
    document = desk.document(LESS)
    desk.decided(document, [("ann", "L1")])
    desk.decided(document, [("bea", "L1")], "apply")
    return modules.approval.approvers(desk.connection, document.hash)


def _problems(
    action: PlannedAction,
    who: Iterable[tuple[str, str]] = TWO,
    *,
    before: int = 0,
    hold: bool = False,
    alert: str = "",
    check: Check | None = None,
    undo_of: str = "",
    **facts: Any,
) -> Case:
    """Why an approved plan may not be applied now; `before`: how often its target was changed within the hour."""

    def asked(modules: Modules, desk: Desk) -> Any:
        for _ in range(before):
            desk.state(desk.document(action).hash, "verified")
        undone = None
        if undo_of:
            undone = desk.document(planned(SET, target="another")).hash
            desk.state(undone, undo_of)
        document = desk.document(action, undo_of=undone)
        desk.decided(document, who)
        if alert:
            desk.alert(alert)
        if hold:
            desk.hold("crypto")
        now = plans.load(desk.connection, document.hash)
        apply = modules.applying.Apply(desk.world.settings, now, "applier-1")
        return apply._problems(desk.connection, [Observation(action.target, {"trading": True} | facts)], check)

    return asked


def result(*states: str, before: float = 0.3, after: float | None = 0.25, uid: str = "small") -> dict[str, Any]:
    """What an apply of some steps saw and did: the Kelly fraction before and after."""

    def seen(kelly: float) -> list[dict[str, Any]]:
        target = Target(kind="risk-engine", name="crypto", uid=uid, fields={"kelly_fraction": kelly})
        return [Observation(target, {"volatility_updated_at": ""}).as_json()] * 2

    told = {"steps": [{"state": state} for state in states], "before": seen(before)}
    return told if after is None else {**told, "after": seen(after)}


def _inverse(undo: Undo, *states: str, to: float = 0.25, then: Undo | None = None, **seen: Any) -> Case:
    """The plan that takes another back, on a platform whose Kelly fraction is 0.25."""

    def asked(modules: Modules, desk: Desk) -> Any:
        desk.world.platform.set_kelly(0.25)
        actions = [planned(REDUCE, kelly=to).model_copy(update={"undo": undo})]
        if then is not None:
            actions.append(planned(REDUCE, kelly=0.25).model_copy(update={"undo": then}))
        document = plan(*actions, incident=desk.world.incident)
        told = result(*(states or ("done",)), **seen)
        applied = Plan(document.hash, "verified", document, document.expires_at, result=told)
        with desk.world.platform.calm():
            drawn = modules.undoing.inverse(desk.world.settings, applied, initiator="ann", reason="")
        return [action.action for action in drawn.actions]

    return asked


def _decision(
    decision: str, name: str, *, action: str = REDUCE, state: str = "proposed", by: str = "alert", before: str = "",
    overdue: bool = False, hold: bool = False, broke: str = "", now: str = "", again: bool = False, **more: Any,
) -> Case:  # fmt: skip
    """What comes of a decision about a plan of a run that somebody started."""

    def asked(modules: Modules, desk: Desk) -> Any:
        world = desk.world
        hash_ = _proposed(world, action, by)
        if before:
            modules.approval.approve(world.settings, hash_, world.person(before))
        if broke:
            modules.approval.approve(world.settings, hash_, world.person(broke), WHY, break_glass=True)
        if state != "proposed":
            world.execute("UPDATE plans SET state = %s WHERE hash = %s", (state, hash_))
        if state == "verified":
            world.platform.set_kelly(0.1)
            told = json.dumps(result("done", before=0.25, after=0.1))
            world.execute("UPDATE plans SET result = %s WHERE hash = %s", (told, hash_))
        if again:
            modules.approval.undo(world.settings, hash_, world.person("ann"))
            world.platform.set_kelly(0.12)
        if overdue:
            world.overdue(hash_)
        if hold:
            holds.place(world.settings, world.person("bob"), reason="wait")
        try:
            person = world.person(name)
            person = replace(person, role=now) if now else person
            return getattr(modules.approval, decision)(world.settings, hash_, person, **more).state
        finally:
            world.execute("UPDATE holds SET released_at = now()")

    return asked


def _begun(*, state: str = "approved", overdue: bool = False, drift: bool = False) -> Case:
    """Whether an apply begins, and what the plan is then."""

    def asked(modules: Modules, desk: Desk) -> Any:
        world = desk.world
        hash_ = _proposed(world, REDUCE, "alert")
        if state == "approved":
            Modules().approval.approve(world.settings, hash_, world.person("ann"))
        apply = modules.applying.Apply(world.settings, replace(world.plan(hash_), state="approved"), "applier-1")
        if overdue:
            world.overdue(hash_)
        if drift:
            world.platform.set_kelly(0.24)
        return apply.begin(), world.plan(hash_).state, (apply.result.get("check_before") or {}).get("firing")

    return asked


def _proposed(world: World, action: str, by: str) -> str:
    """A plan, on a platform as it is at first whose target was not changed within the hour."""
    world.platform.set_kelly(0.25)
    world.execute("UPDATE plans SET changed_at = now() - interval '2 hours'")
    return world.propose(0.1, action, run=begin_run(world.settings, world.incident, by=by)).hash


# By the function that they are about.
CASES: dict[str, dict[str, Case]] = {
    "sufficient": {
        "approved by nobody": _sufficient(LESS),
        "approved by L1": _sufficient(LESS, ("ann", "L1")),
        "approved by a viewer": _sufficient(LESS, ("vera", "viewer")),
        "approved by somebody who has left": _sufficient(LESS, ("gone", "L1")),
        "approved by somebody who was L2": _sufficient(MORE, ("ann", "L2")),
        "approved by somebody who is L2 now": _sufficient(MORE, ("bob", "L1")),
        "approved by whoever started it": _sufficient(MORE, ("bob", "L2"), initiator="bob"),
        "L1, approved by whoever started it": _sufficient(LESS, ("ann", "L1"), initiator="ann"),
        "approved by one of two": _sufficient(FIX, ("bob", "L2")),
        "approved by two": _sufficient(FIX, *TWO),
        "the glass broken by L1": _sufficient(MORE, ("ann", "L1"), glass=True),
        "the glass broken by a viewer": _sufficient(MORE, ("vera", "viewer"), glass=True),
        "the glass broken by whoever started it": _sufficient(MORE, ("bob", "L2"), initiator="bob", glass=True),
        "the glass broken in place of the second": _sufficient(FIX, ("bob", "L2"), glass=True),
        "only asked for": _sufficient(LESS, ("ann", "L1"), decision="apply"),
        "approved in advance": _sufficient(LESS, ("standing:var-emergency-reduce", "standing"), alert="firing"),
        "approved in advance, resolved": _sufficient(
            LESS, ("standing:var-emergency-reduce", "standing"), alert="resolved"
        ),
    },
    "approvers": {
        "who approved": _approvers,
    },
    "held": {
        "no hold": _held(LESS),
        "a hold": _held(LESS, "crypto"),
        "a hold on all": _held(LESS, None),
        "a hold elsewhere": _held(LESS, "quant"),
        "a hold, no new risk": _held(NONE_NEW, "crypto"),
    },
    "_problems": {
        "as planned": _problems(FIX),
        "not approved": _problems(FIX, ()),
        "on hold": _problems(FIX, hold=True),
        "trading is stopped": _problems(FIX, trading=False),
        "changed before": _problems(FIX, before=1),
        "changed before, less risk": _problems(LESS, before=1),
        "changed before, no new risk": _problems(NONE_NEW, before=1),
    },
    "_not_wanted": {
        "the alert fires": _problems(FIX, alert="firing", check=CALM),
        "the alert is resolved": _problems(FIX, alert="resolved", check=FIRING),
        "no alert, and no condition to look at": _problems(FIX),
        "no alert, and its condition holds": _problems(FIX, check=FIRING),
        "no alert, and its condition is over": _problems(FIX, check=CALM),
        "no alert, its condition is over, no new risk": _problems(NONE_NEW, check=CALM),
        "the alert is resolved, no new risk": _problems(NONE_NEW, alert="resolved", check=FIRING),
        "undo of what was applied": _problems(FIX, undo_of="verified", check=CALM),
        "undo of what is undone": _problems(FIX, undo_of="undone"),
    },
    "inverse": {
        "an inverse": _inverse(Undo(kind="inverse", reason="", action=SET, arguments={"kelly_fraction": 0.2})),
        "an inverse that is not told": _inverse(Undo(kind="inverse", reason="")),
        "no undo, with an action": _inverse(
            Undo(kind="none", reason="", action=SET, arguments={"kelly_fraction": 0.2})
        ),
        "nothing was done": _inverse(BACK, "failed", before=0.25),
        "nothing was done, and the second was not begun": _inverse(BACK, "failed", before=0.25, then=BACK),
        "it failed halfway": _inverse(BACK, "failed", to=0.1),
        "it failed, and what it left was not seen": _inverse(BACK, "failed", to=0.1, after=None),
        "the second was not begun, and has no inverse": _inverse(BACK, then=Undo(kind="none", reason="")),
        "the second hides the first": _inverse(BACK, "done", "done", to=0.1, then=BACK),
        "as it was before it was done": _inverse(BACK, before=0.25, to=0.1),
        "another value since": _inverse(BACK, to=0.1, after=0.1),
        "another platform since": _inverse(BACK, uid="large"),
        "as it was left, which is not as it was asked": _inverse(BACK, to=0.1),
        "what it left was not seen": _inverse(BACK, after=None),
        "another value since, and no new risk": _inverse(
            Undo(kind="inverse", reason="", action=STOP, arguments=REASON), to=0.1, after=0.1
        ),
    },
    "approve": {
        "approve": _decision("approve", "ann"),
        "approve, a viewer": _decision("approve", "vera"),
        "approve, approved": _decision("approve", "bea", before="ann"),
        "approve, too late": _decision("approve", "ann", overdue=True),
        "approve, whoever started it": _decision("approve", "bob", action=SET, by="bob"),
        "approve, L1 for more than that": _decision("approve", "ann", action=SET),
        "approve, L1 breaks the glass": _decision("approve", "ann", action=SET, reason=WHY, break_glass=True),
        "approve, breaks the glass for no reason": _decision("approve", "ann", action=SET, break_glass=True),
        "approve, breaks the glass where none is": _decision("approve", "ann", reason=WHY, break_glass=True),
        "approve, a viewer breaks the glass": _decision("approve", "vera", reason=WHY, break_glass=True),
        "approve, one of two": _decision("approve", "bob", action=SET, by="root (no token)"),
        "approve, breaks the glass in place of the second": _decision(
            "approve", "bob", action=SET, by="root (no token)", reason=WHY, break_glass=True
        ),
    },
    "reject": {
        "reject": _decision("reject", "ann"),
        "reject, a viewer": _decision("reject", "vera"),
        "reject, rejected too late": _decision("reject", "ann", state="rejected", overdue=True),
    },
    "apply": {
        "apply": _decision("apply", "bea", before="ann"),
        "apply, a viewer": _decision("apply", "vera", before="ann"),
        "apply, not approved": _decision("apply", "ann"),
        "apply, on hold": _decision("apply", "ann", before="ann", hold=True),
        "apply, who broke the glass": _decision("apply", "ann", action=SET, broke="ann"),
        "apply, L1 where another broke the glass": _decision("apply", "bea", action=SET, broke="ann"),
        "apply, who approved it and has that authority no longer": _decision(
            "apply", "bob", action=SET, before="bob", now="L1"
        ),
        "apply, whoever started it": _decision("apply", "bob", action=SET, by="bob", before="ben"),
    },
    "undo": {
        "undo": _decision("undo", "ann", state="verified"),
        "undo, a viewer": _decision("undo", "vera", state="verified"),
        "undo, not applied": _decision("undo", "ann"),
        "undo again, somebody changed it since": _decision("undo", "bea", state="verified", again=True),
    },
    "begin": {
        "begin": _begun(),
        "begin, not approved": _begun(state="proposed"),
        "begin, too late": _begun(overdue=True),
        "begin, after drift": _begun(drift=True),
    },
}
CASES["_problems"] |= CASES["_not_wanted"]
CASES |= dict.fromkeys(("_made", "_moved"), CASES["inverse"])
# What all decisions ask first is judged by the cases of each.
_DECISIONS = CASES["approve"] | CASES["reject"] | CASES["apply"] | CASES["undo"]
CASES |= {"must_be": _DECISIONS, "authority": _DECISIONS}


def answer(case: Case, modules: Modules, world: World) -> str:
    """What comes of a case, without the hashes; an error is an answer too."""
    with store.connect(world.settings) as connection:
        try:
            told = repr(case(modules, Desk(world, connection)))
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
        finally:
            connection.rollback()
    return re.sub(r"[0-9a-f]{12,64}", "HASH", told)


def answers(cases: dict[str, Case], modules: Modules, world: World) -> dict[str, str]:
    """What comes of some cases."""
    return {name: answer(case, modules, world) for name, case in cases.items()}
