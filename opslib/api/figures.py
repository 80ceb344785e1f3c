"""The figures that the store holds, as `/metrics` tells them: read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import psycopg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from opslib import intake, store
from opslib.api import tallies
from opslib.errors import StoreError
from opslib.incidents.opening import BY_INTAKE
from opslib.runs import queue
from opslib.settings import Settings
from opslib.sql import queries
from opslib.store.processes import ALIVE_S

KINDS = ("server", "worker", "recorder", "applier", "signer")
STATES = ("waiting", "running", "succeeded", "failed", "timed-out", "cancelled", "kernel-died", "lost")
REASONS = ("cool-down", "ceiling", "over before it was seen")


class Store(Collector):
    """Ledger, queue, runs, processes and kernels; only `runbook_store_up 0` while the store is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the store has been asked."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures, of one moment."""
        up = GaugeMetricFamily("runbook_store_up", "Whether the database answers.")
        try:
            with store.transaction(self._settings, role="reader") as connection:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                kept = tallies.read(connection)
                found = [*_ledger(kept), *_queue(connection), *_runs(kept), *_alive(connection), *_kernels(connection)]
        except (StoreError, psycopg.OperationalError):
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *found]


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=list(labels))


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A figure without labels."""
    return GaugeMetricFamily(name, text, value=value)


def _each(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    """A figure for each value of a label."""
    found = _gauge(name, text, label)
    for of, value in values:
        found.add_metric([of], value)
    return found


def _ledger(kept: tallies.Tallies) -> Iterable[Metric]:
    outcomes = [(name, kept.count("alerts", name)) for name in intake.OUTCOMES]
    accepted = kept.count("accepted")
    yield _one("runbook_alerts_accepted", "Accepted alerts (episodes).", accepted)
    yield _one("runbook_alerts_repeats", "Deliveries of an alert that was known.", kept.count("repeats"))
    yield _each("runbook_alerts", "Accepted alerts by what became of them.", "outcome", outcomes)
    yield _each(
        "runbook_alerts_suppressed",
        "Alerts that started no run, by the kind of reason; one that fires on is looked at again.",
        "reason",
        [(reason, kept.count("suppressed", reason)) for reason in REASONS],
    )
    gap = accepted - sum(value for _, value in outcomes)
    yield _one("runbook_ledger_gap", "Accepted less run, waiting, suppressed and lost: always 0.", gap)


def _queue(connection: store.Connection) -> Iterable[Metric]:
    lanes = {row["lane"]: row for row in connection.execute(queries("metrics").queue)}
    depths = [(lane, lanes[lane]["runs"] if lane in lanes else 0) for lane in queue.PRIORITIES]
    ages = [(lane, lanes[lane]["oldest_s"] if lane in lanes else 0.0) for lane in queue.PRIORITIES]
    yield _each("runbook_queue_depth", "Runs that wait for a worker, by lane.", "lane", depths)
    yield _each("runbook_queue_oldest_seconds", "How long the oldest run of a lane has waited.", "lane", ages)
    waiting, oldest_s = sum(depth for _, depth in depths), max(age for _, age in ages)
    yield _one("runbook_runs_waiting", "Runs that wait for a worker.", waiting)
    yield _one("runbook_queue_age_seconds", "How long the oldest waiting run has waited.", oldest_s)
    storms = [(row["platform"], 1.0) for row in connection.execute(queries("storm").open, {"intake": BY_INTAKE})]
    yield _each("runbook_storm", "1 for each platform on which a storm goes on.", "platform", storms)


def _runs(kept: tallies.Tallies) -> Iterable[Metric]:
    yield _each("runbook_runs", "Runs by state.", "state", [(state, kept.count("runs", state)) for state in STATES])
    yield _histogram(kept, "wait", "runbook_queue_wait_seconds", "From the request of a run to its start.", "lane")
    yield _histogram(
        kept,
        "first cell",
        "runbook_first_cell_seconds",
        "From the request of a run to the end of its first cell; told when the run has ended.",
        "lane",
    )
    yield _histogram(kept, "duration", "runbook_run_seconds", "From the start of a run to its end.", "runbook")


def _histogram(kept: tallies.Tallies, what: str, name: str, text: str, label: str) -> HistogramMetricFamily:
    """A histogram of each value of a label."""
    found = HistogramMetricFamily(name, text, labels=[label])
    for of, duration in kept.durations(what).items():
        names = [*(str(bound) for bound in duration.bounds), "+Inf"]
        found.add_metric([of], list(zip(names, map(float, accumulate(duration.counts)), strict=True)), duration.sum_s)
    return found


def _alive(connection: store.Connection) -> Iterable[Metric]:
    rows = connection.execute(queries("metrics").processes, {"within_s": ALIVE_S})
    alive = {row["kind"]: row["alive"] for row in rows}
    yield _each(
        "runbook_processes", "Processes that are alive.", "kind", [(kind, alive.get(kind, 0)) for kind in KINDS]
    )


def _kernels(connection: store.Connection) -> Iterable[Metric]:
    """The warm kernels of each host, as its workers tell of them."""
    now = _gauge("runbook_kernels", "Warm kernels of a host: ready, in use.", "host", "state")
    taken = CounterMetricFamily("runbook_kernels_taken", "Warm kernels that were taken.", labels=["host"])
    died = CounterMetricFamily(
        "runbook_kernels_died",
        "Warm kernels that died of themselves, by when.",
        labels=["host", "when"],
    )
    for row in connection.execute(queries("metrics").kernels, {"within_s": ALIVE_S}):
        host = row["host"]
        for family, labels, name in (
            (now, [host, "ready"], "ready"),
            (now, [host, "in-use"], "in_use"),
            (taken, [host], "taken"),
            (died, [host, "waiting"], "died"),
            (died, [host, "in-use"], "died_in_use"),
        ):
            if row[name] is not None:
                family.add_metric(labels, row[name])
    return [now, taken, died]
