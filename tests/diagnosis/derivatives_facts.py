"""What the probes tell of a service of the derivatives platform: healthy, until something is changed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

NOW = pd.Timestamp("2026-11-28T12:00:00Z")
STEP_S = 2.0
NAME = "derivatives-api"
WORKLOAD = f"deployment/{NAME}"
REVISION, BEFORE = "7d9f8c6b5", "5c4d8b7f9"
OLDEST_S = 180.0


def over_time(values: Any) -> pd.Series[float]:
    """A series that ends now."""
    numbers = np.asarray(values, float)
    seconds = STEP_S * np.arange(1 - len(numbers), 1)
    return pd.Series(numbers, index=NOW + pd.to_timedelta(seconds, unit="s"))


def noisy(level: float, share: float = 0.02, *, seed: int = 0, seconds: float = OLDEST_S) -> Any:
    """A level with some noise."""
    rng = np.random.default_rng(seed)
    return level * (1.0 + share * rng.standard_normal(int(seconds / STEP_S)))


def ramp(low: float, high: float, *, last_s: float, seconds: float = OLDEST_S, share: float = 0.02) -> Any:
    """A level that climbs for the last `last_s` up to another."""
    n, rising = int(seconds / STEP_S), int(last_s / STEP_S)
    path = np.r_[np.full(n - rising, low), np.linspace(low, high, rising)]
    return path * (1.0 + share * np.random.default_rng(1).standard_normal(n))


@dataclass
class Pod:
    """One pod: its figures now, and some of them over time."""

    node: str = "node-2"
    card: float = 1.0
    rate: float = 8.0
    quick_us: float = 15.0
    p50_us: float = 22.0
    p95_us: float = 50.0
    queue: float = 1.0
    models: float = 12.0
    loads: float = 0.0
    revision: str = REVISION
    status: str = "Running"
    memory: Any = field(default_factory=lambda: noisy(170.0, 0.001))
    sessions: Any = field(default_factory=lambda: noisy(13.0, 0.0))
    quick: Any = field(default_factory=lambda: noisy(15.0, 0.05, seed=3))
    median: Any = field(default_factory=lambda: noisy(22.0, 0.05, seed=4))


class World:
    """The pods of the service, by name, and what the cluster says."""

    def __init__(self) -> None:
        self.pods = {f"{NAME}-{REVISION}-aaaaa": Pod(), f"{NAME}-{REVISION}-bbbbb": Pod()}
        self.gone: dict[str, Pod] = {}
        self.cpu_of_limit = 0.45
        self.nodes_cordoned: set[str] = set()
        self.desired = 2
        self.autoscalers: pd.DataFrame | None = None
        self.asked = noisy(24.0, 0.04, seed=9)
        self.latency = [*noisy(50.0, 0.04, seconds=100), *noisy(180.0, 0.04, seconds=80)]

    def each(self, **figures: Any) -> World:
        """Change every pod."""
        for pod in self.pods.values():
            for name, value in figures.items():
                setattr(pod, name, value)
        return self

    def figures(self) -> pd.DataFrame:
        """What Prometheus answers to the one query for all figures."""
        names = ("card", "rate", "quick_us", "p50_us", "p95_us", "queue", "models", "loads")
        rows = [
            {"figure": name, "pod": pod, "value": getattr(facts, name)}
            for pod, facts in self.pods.items()
            for name in names
        ]
        rows += [
            {"figure": name, "pod": pod, "value": float(values[-1])}
            for pod, facts in self.pods.items()
            for name, values in (("sessions", facts.sessions), ("memory_mb", facts.memory))
        ]
        table = pd.DataFrame(rows)
        table = table[table["value"].map(math.isfinite)]
        table.attrs["evidence"] = "E001"
        return table

    def listed(self) -> pd.DataFrame:
        """What the cluster tells of the pods."""
        rows = {
            name: {
                "status": pod.status, "node": pod.node, "revision": pod.revision, "memory_limit": 448 * 2.0**20,
                "created": NOW - pd.Timedelta(seconds=STEP_S * len(pod.memory)),
            }
            for name, pod in self.pods.items()
        }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index")

    def nodes(self) -> pd.DataFrame:
        """What the cluster tells of the nodes."""
        rows = {
            name: {"gpu_node": gpu, "ready": True, "cordoned": name in self.nodes_cordoned}
            for name, gpu in (("node-1", False), ("node-2", True))
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def top(self) -> pd.DataFrame:
        """What the pods use."""
        used = {"cpu_of_limit": self.cpu_of_limit, "window": "15s", "time": NOW - pd.Timedelta(seconds=4)}
        return pd.DataFrame([used] * len(self.pods), index=list(self.pods))

    def workloads(self) -> pd.DataFrame:
        """What the cluster tells of the workload."""
        return pd.DataFrame({"desired": [self.desired]}, index=[WORKLOAD])

    def load(self) -> pd.DataFrame:
        """What is asked of all pods, over time."""
        return pd.DataFrame({"value": over_time(self.asked)})

    def series(self, name: str) -> pd.DataFrame:
        """A figure over time, a column a pod, those that are gone too."""
        columns = {pod: over_time(getattr(facts, name)) for pod, facts in {**self.gone, **self.pods}.items()}
        table = pd.DataFrame(columns)
        table.index += pd.Timedelta(milliseconds=7 * len(name))  # two looks never fall on the same moment
        return table
