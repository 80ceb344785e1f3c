"""The pages: the list of incidents, and one incident."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from opslib.console import views
from opslib.console.desk import Desk
from opslib.console.web import page

State = Literal["all", "active", "open", "acknowledged", "mitigated", "resolved"]


def mount(root: APIRouter, desk: Desk) -> None:
    """Add the pages to the console."""

    @root.get("/")
    def incidents(request: Request, state: Annotated[State, Query()] = "all", part: bool = False) -> Response:
        """The list; with `part`, only what changes."""
        with desk.visit(request) as visit:
            context = views.incidents(visit.connection, None if state == "all" else state)
            context |= {"person": visit.person, "form_key": visit.session.form_key}
        if part:
            return page("parts/incidents.html", context)
        return page("incidents.html", context | {"notices": visit.session.take_notices()})

    @root.get("/incidents/{incident}")
    def incident(request: Request, incident: str, part: bool = False) -> Response:
        """One incident; with `part`, only what changes."""
        with desk.visit(request) as visit:
            view = views.incident(visit.connection, desk.settings, incident, visit.person)
            context = {"view": view, "person": visit.person, "form_key": visit.session.form_key, "holds": view.holds}
        if part:
            return page("parts/incident.html", context)
        return page("incident.html", context | {"notices": visit.session.take_notices()})
