"""The risk desk: what is done in a step about risk, once it is known what market and models did.

It is called as a whole, so that it can be another process than the one that follows market and models.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sandbox.crypto.parameters import FloatArray
from sandbox.crypto.risk import CircuitBreaker, RiskHarmoniser, VolatilityEstimator

__all__ = ["RiskDesk", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """What the risk desk has to know of a step.

    Attributes
    ----------
    ticks : ndarray, shape (n_ticks, n_symbols)
        Logarithmic returns.
    realised : ndarray, shape (n_symbols,)
        Realised variance [1/day].
    edge_bps, confidence, limits_usd : ndarray, shape (n_symbols,)
        Of the models in charge; and how large a position may be [USD].
    kelly, volatility_reference, var_breaker_pct : float
    trading : bool
        Whether new risk is allowed.
    latency_ms : float
        What the step before took from tick to store.
    now_ms : int
    """

    ticks: FloatArray
    realised: FloatArray
    edge_bps: FloatArray
    confidence: FloatArray
    limits_usd: FloatArray
    kelly: float
    volatility_reference: float
    var_breaker_pct: float
    trading: bool
    latency_ms: float
    now_ms: int

    def document(self) -> dict[str, Any]:
        """Itself, as JSON holds it without loss."""
        values = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values}

    @classmethod
    def read(cls, document: dict[str, Any]) -> Task:
        """The task that a document tells of."""
        values: dict[str, Any] = {
            name: np.asarray(value) if isinstance(value, list) else value for name, value in document.items()
        }
        return cls(**values)


class RiskDesk:
    """Volatility estimates, circuit breaker, positions and value at risk.

    Parameters
    ----------
    volatility : ndarray, shape (n_symbols,)
        To begin with [per square root of a day].
    since_ms : int
        Since when the breaker is closed.
    """

    def __init__(self, volatility: FloatArray, since_ms: int) -> None:
        self.estimator = VolatilityEstimator(volatility)
        self.breaker = CircuitBreaker(since_ms=since_ms)
        self.harmoniser = RiskHarmoniser(volatility)

    def go_live(self) -> None:
        """The history is simulated; what comes now is the present."""

    def step(self, task: Task) -> bool:
        """Estimate, size, measure and judge; return whether the breaker changed."""
        self.estimator.observe(task.realised, task.now_ms)
        self.harmoniser.size(
            task.edge_bps,
            task.confidence,
            self.estimator.estimate,
            task.kelly,
            task.volatility_reference,
            task.limits_usd,
            self.breaker.growth if task.trading else 0.0,
        )
        self.harmoniser.measure_risk(task.ticks)
        largest, trades = float(self.harmoniser.var_pct.max()), self.harmoniser.trades
        return self.breaker.judge(largest, task.var_breaker_pct, task.latency_ms, trades, task.now_ms)

    def stress(self, scenarios: int, rng: np.random.Generator) -> None:
        """Simulate the stressed VaR of the book, in so many scenarios; real work."""
        self.harmoniser.stress(scenarios, rng)

    def document(self) -> dict[str, Any]:
        """All that it knows, as JSON holds it without loss."""
        return {
            "estimator": self.estimator.document(),
            "breaker": self.breaker.document(),
            "harmoniser": self.harmoniser.document(),
        }

    def adopt(self, document: dict[str, Any]) -> None:
        """Be what a document tells."""
        self.estimator.adopt(document["estimator"])
        self.breaker.adopt(document["breaker"])
        self.harmoniser.adopt(document["harmoniser"])
