"""Faults of playbook A23: four ways in which the dashboards lose their data."""

from __future__ import annotations

import random
from typing import Any

from sandbox.crypto.steps import Step
from sandbox.faults.on_crypto import fault

__all__ = ["FAULTS"]


def writer_down(rng: random.Random) -> list[Step]:
    """The writer of the series ends; the platform goes on."""
    return [Step(rng.uniform(0.0, 2.0), "series-writer", {"running": False})]


def redis_empty(rng: random.Random) -> list[Step]:
    """A clean-up that takes every series for old removes them as fast as they are written."""
    facts = {
        "name": rng.choice(["retention", "clean-up", "nightly-maintenance"]),
        "pattern": "metrics:*",
        "pause_s": round(rng.uniform(0.01, 0.03), 3),
    }
    return [Step(rng.uniform(0.0, 1.0), "remove-series", facts)]


def module_missing(rng: random.Random) -> list[Step]:
    """A dashboard is released whose panels ask the TimeSeries module, which this Redis does not have."""
    message = rng.choice(["range queries", "faster panels", "new series API", "panels of release 0.5"])
    return [Step(rng.uniform(0.0, 2.0), "query-modules", {"message": message})]


def datasource_wrong(rng: random.Random) -> list[Step]:
    """The datasource is given an address at which the platform's Redis is not, or a database that is not used."""
    facts: dict[str, Any] = {"uid": "redis"}
    if rng.random() < 0.5:
        facts["port_shift"] = rng.choice([-7, -3, -1, 1, 2, 5])
    else:
        facts["database"] = rng.randint(1, 12)
    return [Step(rng.uniform(0.0, 2.0), "datasource", facts)]


def shows(document: dict[str, Any]) -> str | None:
    """Whether panels have no data."""
    empty = int(document["panels_without_data"])
    return f"{empty} panels have no data" if empty >= 4 else None


FAULTS = {
    cause: fault(steps, shows, within_s=60.0)
    for cause, steps in {
        "datasource-wrong": datasource_wrong,
        "module-missing": module_missing,
        "redis-empty": redis_empty,
        "writer-down": writer_down,
    }.items()
}
