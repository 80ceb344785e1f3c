"""Incidents: what an alert, or a person, opened, and what became of it."""

from opslib.incidents.changes import acknowledge, note, resolve, void_plans
from opslib.incidents.errors import IncidentClosed
from opslib.incidents.opening import NewIncident, open_all, open_incident
from opslib.incidents.reading import list_, show

__all__ = [
    "IncidentClosed",
    "NewIncident",
    "acknowledge",
    "list_",
    "note",
    "open_all",
    "open_incident",
    "resolve",
    "show",
    "void_plans",
]
