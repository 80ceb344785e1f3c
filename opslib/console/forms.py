"""The forms: acknowledge, note, resolve; approve, reject, apply and undo a plan.

A form names the plan's whole hash, as the page showed it; what it says has happened is told on the next page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response

from opslib import incidents, store
from opslib.actions import approval
from opslib.console import views
from opslib.console.desk import Desk
from opslib.console.web import to
from opslib.errors import NotAllowed, NotFound, RunbookError, UsageError
from opslib.people import Person

Step = Literal["acknowledge", "note", "resolve"]
Decision = Literal["approve", "approve-and-apply", "apply", "reject", "undo"]
Key = Annotated[str, Form(max_length=128)]
Text = Annotated[str, Form(max_length=8000)]


def mount(root: APIRouter, desk: Desk) -> None:
    """Add the forms to the console."""

    @root.post("/incidents/{incident}/{step}")
    def step(request: Request, incident: str, step: Step, form_key: Key, text: Text = "") -> Response:
        """Acknowledge, note or resolve."""
        session = desk.form(request, form_key)

        def do() -> str:
            return _step(desk, incident, step, session.person, text.strip())

        session.notices.append(_told(do))
        return to(f"/incidents/{incident}")

    @root.post("/incidents/{incident}/plans/{plan}/{decision}")
    def decide(
        request: Request, incident: str, plan: str, decision: Decision, form_key: Key, reason: Text = ""
    ) -> Response:
        """Decide about a plan."""
        session = desk.form(request, form_key)

        def do() -> str:
            return _decide(desk, incident, plan, decision, session.person, reason.strip())

        session.notices.append(_told(do))
        return to(f"/incidents/{incident}")


def _told(do: Callable[[], str]) -> tuple[str, str]:
    """Do it and say how it went; what is not there at all stays an error."""
    try:
        return "done", do()
    except NotFound:
        raise
    except RunbookError as error:
        return "refused", f"Refused: {error}"


def _step(desk: Desk, incident: str, step: Step, person: Person, text: str) -> str:
    with store.transaction(desk.settings) as connection:
        row = views.find(connection, incident)
        if not views.may_act(desk.settings, row["platform"], person):
            raise NotAllowed(f"{person.name} ({person.role}) may look at {incident}; L1 or above may {step} it")
        if step == "note" and not text:
            raise UsageError("the note is empty; write it and send it again")
        if step == "acknowledge":
            incidents.acknowledge(connection, incident, person.name, text)
            return f"{incident} is acknowledged; it is yours."
        if step == "note":
            incidents.note(connection, incident, person.name, text)
            return "The note is on the record."
        incidents.resolve(connection, incident, person.name, text)
        return f"{incident} is resolved."


def _decide(desk: Desk, incident: str, plan: str, decision: Decision, person: Person, reason: str) -> str:
    settings = desk.settings
    with store.transaction(settings) as connection:
        row = views.find(connection, incident)
        if plan not in views.plan_hashes(connection, incident):
            raise NotFound(f"{incident} has no plan {plan[:12]}")
    if decision in ("approve", "approve-and-apply"):
        approval.approve(settings, plan, person, reason)
    if decision == "reject":
        approval.reject(settings, plan, person, reason)
        return f"Plan {plan[:12]} is rejected; nothing was changed on {row['platform']}."
    if decision == "undo":
        undo = approval.undo(settings, plan, person)
        return f"Plan {undo.hash[:12]} would take it back; look at it and approve it."
    if decision == "approve":
        return f"Plan {plan[:12]} is approved. Nothing has been changed yet: apply it next."
    approval.apply(settings, plan, person)
    return f"Plan {plan[:12]} is being applied; its effect shows below."
