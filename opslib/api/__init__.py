"""The HTTP API."""

from fastapi import FastAPI

from opslib.api import alerts, failures, health, incidents, plans
from opslib.api.counts import Counts
from opslib.settings import Settings

__all__ = ["install"]


def install(app: FastAPI, settings: Settings) -> None:
    """Add the API to an application: its addresses, and how it answers errors."""
    counts = Counts(settings)
    failures.install(app)
    app.include_router(alerts.router(settings, counts))
    app.include_router(incidents.router(settings))
    app.include_router(plans.router(settings))
    app.include_router(health.router(settings, counts))
