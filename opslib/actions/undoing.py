"""Taking a plan back: the plan that does it, and when that goes without a person.

Undo is a plan of its own. It goes by itself only where every action of the first plan said so, as its approvers read,
and the plan was done as a whole and had no effect in time. What reduces risk or stops new risk is never taken back so.
"""

from __future__ import annotations

from opslib import platforms, store
from opslib.actions import holds, plans
from opslib.actions.catalogue import make
from opslib.actions.documents import Document, Plan, State
from opslib.errors import PlanError, RunbookError
from opslib.record import journal
from opslib.settings import Settings
from opslib.sql import queries

ROLE = "declared"  # in which the decisions on such a plan are made: by what the first plan declared
WHO = "undo-if-ineffective"


def inverse(settings: Settings, plan: Plan, *, initiator: str, reason: str) -> Document:
    """The plan that takes another back, last action first, previewed now.

    Raises
    ------
    PlanError
        When an action cannot be undone, or its inverse makes no sense as the platform is now.
    ProbeError
        When the platform cannot be examined.
    """
    for action in plan.document.actions:
        if action.undo.kind != "inverse" or action.undo.action is None:
            raise PlanError(f"{action.action} cannot be undone: {action.undo.reason}")
    return plans.draw_up(
        settings,
        platforms.load(settings, plan.platform),
        [make(a.undo.action or "", a.undo.arguments or {}) for a in reversed(plan.document.actions)],
        incident=plan.incident,
        run=plan.document.run,
        initiator=initiator,
        reason=reason,
        undo_of=plan.hash,
    )


def declared(plan: Plan) -> bool:
    """Whether a plan may be taken back by itself: every action says so, and none reduces risk or stops new risk."""
    return plan.undo_of is None and all(
        action.undo.automatic and not (action.risk_reducing or action.stops_new_risk)
        for action in plan.document.actions
    )


def in_vain(plan: Plan) -> bool:
    """Whether a plan was done as a whole, and what it was to bring about was seen not to show in time."""
    result = plan.result or {}
    states = [step["state"] for step in result.get("steps", [])]
    if "unseen" in result or states != ["done"] * len(plan.document.actions):
        return False
    return bool(result.get("missing")) or bool((result.get("check") or {}).get("firing"))


def takes_back_what_was_in_vain(settings: Settings, plan: Plan) -> bool:
    """Whether a plan takes back one that had no effect, so that the alert may go on after it."""
    if plan.undo_of is None:
        return False
    with store.connect(settings) as connection:
        return in_vain(plans.load(connection, plan.undo_of))


def drawn(settings: Settings, plan: Plan, state: State, reason: str) -> tuple[Document | None, str]:
    """The plan that takes one back by itself that ends in a state, and what is told of that; None where none does."""
    if state != "partial" or not (declared(plan) and in_vain(plan)):
        return None, reason
    try:
        document = inverse(settings, plan, initiator=WHO, reason=f"without effect: {reason}")
    except RunbookError as error:
        return None, f"{reason}; it could not be taken back by itself: {error}"
    return document, f"{reason}; plan {document.hash[:12]} takes it back"


def by_itself(settings: Settings, connection: store.Connection, document: Document) -> None:
    """Keep the plan that takes back what had no effect, approved and asked for; on hold a person decides."""
    plans.keep(settings, connection, document, actor=WHO)
    if holds.on(connection, document.platform):
        return
    reason = f"plan {str(document.undo_of)[:12]} had no effect in time, and said that it is taken back then"
    for decision in ("approve", "apply"):
        decided = {"hash": document.hash, "person": WHO, "role": ROLE, "decision": decision, "reason": reason}
        connection.execute(queries("actions").decide, {**decided, "break_glass": False})
        journal.append(connection, document.incident, "plan-decided", decided, actor=WHO, settings=settings)
    plans.move(settings, connection, document.hash, "approved", actor=WHO, reason=reason)
    connection.execute(queries("actions").announce, {"hash": document.hash})


def covered(connection: store.Connection, document: Document) -> bool:
    """Whether what a plan does is what an ineffective plan said would take it back."""
    if document.undo_of is None:
        return False
    undone = plans.load(connection, document.undo_of)
    wanted = [(a.undo.action, make(a.undo.action or "", a.undo.arguments or {})) for a in undone.document.actions]
    asked = [(a.action, a.arguments) for a in reversed(document.actions)]
    same = asked == [(name, action.arguments.model_dump(mode="json")) for name, action in wanted]
    return same and undone.state == "partial" and declared(undone) and in_vain(undone)
