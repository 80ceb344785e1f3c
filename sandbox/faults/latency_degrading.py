"""Faults of playbook A05: latency that rises."""

from __future__ import annotations

import random
import time

from sandbox.derivatives.access import Access
from sandbox.derivatives.service.release import Release
from sandbox.derivatives.sql import queries
from sandbox.faults.fault import Fault
from sandbox.faults.greeks_latency import new_sessions
from sandbox.faults.on_derivatives import demand, deploy, fault, grown
from sandbox.progress import Progress

__all__ = ["FAULTS"]

_ROWS = 50_000


def recent_deployment(access: Access, rng: random.Random, progress: Progress) -> None:
    """A release that averages Greeks over several spots."""
    progress("rolling out a release")
    deploy(access, Release(f"2.4.{rng.randint(1, 9)}", smoothing=rng.randint(44, 60)), "Greeks smoothed near strikes")


def load_growth(access: Access, rng: random.Random, progress: Progress) -> None:
    """More clients every few seconds."""
    most = rng.randint(60, 75)
    for clients in range(20, most + 1, 10):
        progress(f"{clients} clients")
        demand(access, clients=clients, think_s=0.3)
        time.sleep(rng.uniform(2.5, 3.5))


def data_growth(access: Access, rng: random.Random, progress: Progress) -> None:
    """The table of trades grows by what clients bring over from elsewhere."""
    batches = rng.randint(9, 12)
    with access.database(timeout_s=120.0) as connection:
        for number in range(batches):
            progress(f"{number * _ROWS:,} trades")
            connection.execute(queries("growth").trades, {"rows": _ROWS})


FAULTS: dict[str, Fault] = {
    "data-growth": fault(data_growth, grown, 150.0),
    "load-growth": fault(load_growth, grown, 120.0),
    "memory-leak": fault(new_sessions, grown, 240.0),
    "recent-deployment": fault(recent_deployment, grown, 120.0),
}
