"""What `/metrics` tells: the figures of the store, and deliveries as this process saw them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, generate_latest

from opslib.api import figures
from opslib.settings import Settings

OUTCOMES = ("taken", "kept", "too-large", "refused", "incomplete", "away")


class Counts:
    """The counts of one server, in a registry of their own."""

    def __init__(self, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(figures.Store(settings))
        self._deliveries = Counter(
            "runbook_deliveries",
            "Bodies that came to this server: taken, kept (not understood), too-large, refused, incomplete, away.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in OUTCOMES:
            self._deliveries.labels(outcome)

    def delivery(self, outcome: str) -> None:
        """Count a body."""
        self._deliveries.labels(outcome).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)
