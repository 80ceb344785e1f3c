"""The cases of what is taken back by itself: the rest of the table of `desk_cases`."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from opslib.actions import plans
from opslib.actions.documents import Plan, Undo
from opslib.record import journal
from tests.actions import desk_cases
from tests.actions.desk_cases import CALM, FIRING, FIX, Case, Desk
from tests.actions.policy_facts import REDUCE, REFRESH, SET, STOP, Modules, plan, planned, utc


def _applied(
    *,
    automatic: bool = True,
    kind: str = "inverse",
    action: str = REFRESH,
    result: dict[str, Any] | None = None,
    undo_of: str | None = None,
) -> Plan:
    """A plan that was applied without effect, and said that it is taken back then."""
    back = {"kelly_fraction": 0.2, "reason": "undo"}
    undo = Undo(kind=kind, reason="", action=SET, arguments=back, automatic=automatic)  # type: ignore[arg-type]
    arguments = {"kelly_fraction": 0.1} if action == REDUCE else desk_cases.REASON
    document = plan(planned(action, arguments=arguments).model_copy(update={"undo": undo}), undo_of=undo_of)
    told = desk_cases.result("done", before=0.25) | {"missing": [], "check": {"firing": True}} | (result or {})
    return Plan(document.hash, "partial", document, document.expires_at, undo_of=undo_of, result=told)


def _declared(**facts: Any) -> Case:
    """Whether a plan may be taken back by itself."""
    return lambda modules, _: modules.undoing.declared(_applied(**facts))


def _in_vain(**result: Any) -> Case:
    """Whether a plan was seen to have no effect; what is None is not in its result."""

    def asked(modules: Modules, desk: Desk) -> Any:
        applied = _applied(result=result)
        kept = {name: value for name, value in (applied.result or {}).items() if value is not None}
        return modules.undoing.in_vain(replace(applied, result=kept))

    return asked


def _drawn(state: str = "partial", away: bool = False, **facts: Any) -> Case:
    """The plan that takes another one back by itself, and what is told."""

    def asked(modules: Modules, desk: Desk) -> Any:
        applied = _applied(**facts)
        document = applied.document.model_copy(update={"incident": desk.world.incident})
        calm = nullcontext() if away else desk.world.platform.calm()
        desk.world.platform.set_kelly(0.25)
        with calm:
            drawn, told = modules.undoing.drawn(
                desk.world.settings, replace(applied, document=document), state, "it had none"
            )
        return drawn and drawn.initiator, told

    return asked


def _by_itself(*, hold: bool = False) -> Case:
    """What becomes of a plan that takes another back by itself."""

    def asked(modules: Modules, desk: Desk) -> Any:
        first = desk.document(FIX)
        if hold:
            desk.hold("crypto")
        more = {"incident": desk.world.incident, "run": desk.world.run, "expires_at": utc(2999, 1, 1)}
        document = plan(planned(SET), undo_of=first.hash, **more)
        modules.undoing.by_itself(desk.world.settings, desk.connection, document)
        told = [
            one["body"] for one in journal.entries(desk.connection, document.incident) if one["kind"] == "plan-decided"
        ]
        decided = [one["decision"] for one in told if one["hash"] == document.hash]
        return plans.load(desk.connection, document.hash).state, decided

    return asked


def _covered(
    *,
    asked_for: float = 0.2,
    state: str = "partial",
    automatic: bool = True,
    firing: bool = True,
    undone: bool = True,
    role: bool = True,
) -> Case:
    """Whether a plan is covered by what the one that it takes back declared, and its approvals enough so."""

    def asked(modules: Modules, desk: Desk) -> Any:
        applied = _applied(automatic=automatic)
        first = desk.document(*applied.document.actions)
        result = json.dumps({**(applied.result or {}), "check": {"firing": firing}})
        desk.connection.execute("UPDATE plans SET result = %s WHERE hash = %s", (result, first.hash))
        desk.state(first.hash, state)
        arguments = {"kelly_fraction": asked_for, "reason": "undo"}
        document = desk.document(planned(SET, arguments=arguments), undo_of=first.hash if undone else None)
        desk.decided(document, [("undo-if-ineffective", "declared" if role else "L1")])
        enough = modules.approval.sufficient(desk.world.settings, desk.connection, document)
        return modules.undoing.covered(desk.connection, document), enough

    return asked


def _fires(*, undo_of: bool = False, firing: bool | None = True, vain: bool = True) -> Case:
    """Whether an alert's condition is what a plan is to end."""

    def asked(modules: Modules, desk: Desk) -> Any:
        applied = _applied()
        first = desk.document(*applied.document.actions)
        result = json.dumps({**(applied.result or {}), "check": {"firing": vain}})
        desk.connection.execute("UPDATE plans SET result = %s WHERE hash = %s", (result, first.hash))
        desk.connection.commit()
        document = desk.document(planned(SET), undo_of=first.hash if undo_of else None)
        apply = modules.applying.Apply(desk.world.settings, plans.load(desk.connection, document.hash), "applier-1")
        return apply._fires(None if firing is None else FIRING if firing else CALM)

    return asked


CASES: dict[str, dict[str, Case]] = {
    **desk_cases.CASES,
    "declared": {
        "declared": _declared(),
        "not declared": _declared(automatic=False),
        "declared by what reduces risk": _declared(action=REDUCE),
        "declared by what stops new risk": _declared(action=STOP),
        "declared by what takes another back": _declared(undo_of="0" * 64),
    },
    "in_vain": {
        "in vain": _in_vain(),
        "in vain, nothing to check": _in_vain(check=None, missing=["a restart"]),
        "the condition holds, though the effect shows": _in_vain(missing=None),
        "not in vain": _in_vain(check={"firing": False}),
        "in vain, but that was not seen": _in_vain(unseen="away"),
        "in vain, but not all was done": _in_vain(steps=[{"state": "failed"}]),
    },
    "drawn": {
        "drawn": _drawn(),
        "drawn, verified": _drawn("verified"),
        "drawn, not declared": _drawn(automatic=False),
        "drawn, not in vain": _drawn(result={"check": {"firing": False}}),
        "drawn, forbidden": _drawn(away=True),
        "drawn, no inverse": _drawn(kind="none"),
    },
    "by_itself": {
        "by itself": _by_itself(),
        "by itself, on hold": _by_itself(hold=True),
    },
    "covered": {
        "covered": _covered(),
        "covered, another value": _covered(asked_for=0.3),
        "covered, undone already": _covered(state="undone"),
        "covered, not declared": _covered(automatic=False),
        "covered, not in vain": _covered(firing=False),
        "covered, takes nothing back": _covered(undone=False),
        "covered, approved by a person": _covered(role=False),
    },
    "_fires": {
        "fires": _fires(),
        "fires not": _fires(firing=False),
        "fires, nothing to check": _fires(firing=None),
        "fires, what is taken back was in vain": _fires(undo_of=True),
        "fires, what is taken back was not": _fires(undo_of=True, vain=False),
    },
}
CASES["sufficient"] = CASES["sufficient"] | CASES["covered"]
