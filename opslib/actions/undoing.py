"""Taking a plan back: the plan that does it, and when that goes without a person.

Undo is a plan of its own. It goes by itself only where every action of the first plan said so, as its approvers read,
and the plan was done as a whole and had no effect in time. What reduces risk or stops new risk is never taken back so.
"""

from __future__ import annotations

from typing import Any

from opslib import platforms, store
from opslib.actions import carried, holds, plans
from opslib.actions.action import Action, Context, Observation
from opslib.actions.catalogue import ACTIONS, make
from opslib.actions.documents import Document, Plan, State
from opslib.errors import PlanError, RunbookError
from opslib.record import journal, redaction
from opslib.record.redaction import Redactor
from opslib.settings import Settings
from opslib.sql import queries

ROLE = "declared"  # in which the decisions on such a plan are made: by what the first plan declared
WHO = "undo-if-ineffective"
_SHOWN = 300  # characters of what was before


def inverse(settings: Settings, plan: Plan, *, initiator: str, reason: str) -> Document:
    """The plan that takes another back: what was done of it, last action first, previewed now.

    Raises
    ------
    PlanError
        When nothing of it was done, an action cannot be undone, something is no longer as it left it, or its inverse
        makes no sense as the platform is now.
    ProbeError
        When the platform cannot be examined.
    """
    platform, redact = platforms.load(settings, plan.platform), redaction.default(settings)
    with plans.context(platform, "recorder", incident=plan.incident) as reading:
        made = [place for place in range(len(plan.document.actions)) if _made(redact, reading, plan, place)]
        if not made:
            raise PlanError("nothing of it was done, as far as the platform shows; there is nothing to take back")
        for action in (plan.document.actions[place] for place in made):
            if action.undo.kind != "inverse" or action.undo.action is None:
                raise PlanError(f"{action.action} cannot be undone: {action.undo.reason}")
        moved = [line for place in made for line in _moved(redact, reading, plan, place, made)]
    if moved:
        raise PlanError("; ".join(moved))
    back = [plan.document.actions[place].undo for place in reversed(made)]
    return plans.draw_up(
        settings,
        platform,
        [make(one.action or "", one.arguments or {}) for one in back],
        incident=plan.incident,
        run=plan.document.run,
        initiator=initiator,
        reason=reason,
        undo_of=plan.hash,
    )


def _action(plan: Plan, place: int) -> Action:
    planned = plan.document.actions[place]
    return make(planned.action, planned.arguments)


def _before(plan: Plan, place: int) -> Observation:
    """What was seen right before an action of a plan."""
    return Observation.of_json((plan.result or {})["before"][place])


def _now(redact: Redactor, reading: Context, action: Action) -> dict[str, Any]:
    """What an action leaves as it is now, to be compared with what a plan keeps, which has no secrets."""
    return action.leaves(Observation.of_json(carried.observation(redact, action.observe(reading))))


def _made(redact: Redactor, reading: Context, plan: Plan, place: int) -> bool:
    """Whether an action of a plan changed anything: it was done, or failed and left something else than was there."""
    steps = (plan.result or {}).get("steps", [])
    if place >= len(steps):
        return False
    if steps[place]["state"] == "done":
        return True
    action = _action(plan, place)
    return _now(redact, reading, action) != action.leaves(_before(plan, place))


def _moved(redact: Redactor, reading: Context, plan: Plan, place: int, made: list[int]) -> list[str]:
    """What is no longer as an action left it, and what to do then; nothing where its inverse only stops new risk."""
    planned, action, result = plan.document.actions[place], _action(plan, place), plan.result or {}
    if ACTIONS[planned.undo.action or ""].stops_new_risk:
        return []
    after = result.get("after")
    left = action.leaves(Observation.of_json(after[place])) if after else {}
    now = _now(redact, reading, action)
    lines = [f"{name} was left {left[name]}, is now {now.get(name)}" for name in left if left[name] != now.get(name)]
    # What came after it on the same thing may hide it; what failed halfway does not show.
    alone = [plan.document.actions[one].target.key for one in made].count(planned.target.key) == 1
    shown = after is None or (alone and result["steps"][place]["state"] == "done")
    if not lines and shown and not action.done(reading, _before(plan, place)):
        lines = ["what it did is not there any more"]
    if not lines:
        return []
    was = ", ".join(f"{name} {value}" for name, value in planned.target.fields.items())[:_SHOWN]
    return [
        f"{planned.action} is not taken back: {planned.target.key} is no longer as it left it ({'; '.join(lines)}). "
        f"Ask who changed it, then do by hand what is right; before the plan: {was}"
    ]


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
