"""What `/metrics` tells: the ledger and the queue from the store, deliveries as this process saw them."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opslib import intake, store
from opslib.errors import StoreError
from opslib.settings import Settings
from opslib.sql import queries


class _Store(Collector):
    """Figures that the store holds, read when they are asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the store has been asked."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures; only `runbook_store_up 0` while the store is away."""
        up = GaugeMetricFamily("runbook_store_up", "Whether the database answers.")
        try:
            with store.transaction(self._settings, role="reader") as connection:
                counted = intake.totals(connection)
                queue = connection.execute(queries("intake").queue_age).fetchone()
        except (StoreError, psycopg.OperationalError):
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        alerts = GaugeMetricFamily("runbook_alerts", "Accepted alerts by what became of them.", labels=["outcome"])
        for outcome in intake.OUTCOMES:
            alerts.add_metric([outcome], counted[outcome])
        accepted = GaugeMetricFamily("runbook_alerts_accepted", "Accepted alerts (episodes).")
        accepted.add_metric([], counted["accepted"])
        repeats = GaugeMetricFamily("runbook_alerts_repeats", "Deliveries of an alert that was known.")
        repeats.add_metric([], counted["repeats"])
        waiting = GaugeMetricFamily("runbook_runs_waiting", "Runs that wait for a worker.")
        oldest = GaugeMetricFamily("runbook_queue_age_seconds", "How long the oldest waiting run has waited.")
        if queue is not None:
            waiting.add_metric([], queue["waiting"])
            oldest.add_metric([], queue["oldest_s"])
        return [up, accepted, alerts, repeats, waiting, oldest]


class Counts:
    """The counts of one server, in a registry of their own."""

    def __init__(self, settings: Settings) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Store(settings))
        self._deliveries = Counter(
            "runbook_deliveries",
            "Bodies that came to this server: taken, kept (not understood), too-large, refused, incomplete, away.",
            ["outcome"],
            registry=self._registry,
        )

    def delivery(self, outcome: str) -> None:
        """Count a body."""
        self._deliveries.labels(outcome).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)
