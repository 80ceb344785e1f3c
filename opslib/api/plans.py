"""Plans over HTTP: approved, rejected, applied, undone, each with the person's own token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from opslib import store
from opslib.actions import approval
from opslib.actions.documents import Plan
from opslib.api import security
from opslib.api.answers import Json
from opslib.people import Person
from opslib.settings import Settings

Decide = Callable[[Settings, str, Person, str], Plan]


class Reason(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=2000)


class Approval(Reason):
    """Why, and whether the usual rules are passed over for it, which goes loudly on the record."""

    break_glass: bool = False


def router(settings: Settings) -> APIRouter:
    """The addresses of plans. Who may do what is decided by the plan's own rules, not here."""
    api = APIRouter(prefix="/api/v1/plans", tags=["plans"], dependencies=[Depends(security.bearer)])

    def decide(request: Request, plan: str, reason: Reason | None, step: Decide) -> Json:
        token = security.token_of(request)
        with store.transaction(settings) as connection:
            person = security.authenticate(connection, token)
        return Json(step(settings, plan, person, reason.reason if reason else "").as_json())

    @api.post("/{plan}/approve", summary="Approve a plan")
    def approve(request: Request, plan: str, reason: Approval | None = None) -> Json:
        """Changes nothing on the platform yet."""
        break_glass = reason is not None and reason.break_glass
        return decide(request, plan, reason, partial(approval.approve, break_glass=break_glass))

    @api.post("/{plan}/reject", summary="Reject a plan")
    def reject(request: Request, plan: str, reason: Reason | None = None) -> Json:
        """It can no longer be approved."""
        return decide(request, plan, reason, approval.reject)

    @api.post("/{plan}/apply", summary="Have an approved plan applied")
    def apply(request: Request, plan: str, reason: Reason | None = None) -> Json:
        """Answers when the applier has been told; follow the incident's events."""
        return decide(request, plan, reason, approval.apply)

    @api.post("/{plan}/undo", summary="Propose the plan that takes an applied one back")
    def undo(request: Request, plan: str, reason: Reason | None = None) -> Json:
        """The undo is a plan of its own, with its own hash, to be approved."""
        return decide(request, plan, reason, approval.undo)

    return api
