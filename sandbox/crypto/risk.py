"""The risk side of the platform: volatility estimates, circuit breaker, position sizing and value at risk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from statistics import median
from typing import Any

import numpy as np

from engine.risk import value_at_risk
from sandbox.crypto.parameters import (
    EDGE_REFERENCE_BPS,
    ESTIMATOR_DECAY,
    GROW_SHARE,
    HALF_OPEN_CLEAN_TRADES,
    HALF_OPEN_SHARE,
    LATENCY_LIMIT_MS,
    N_SYMBOLS,
    NAV_USD,
    SHRINK_SHARE,
    SMALLEST_TRADE_USD,
    STEP_DAYS,
    SYMBOLS,
    VAR_CONFIDENCE,
    VAR_DECAY,
    VAR_HORIZON_DAYS,
    FloatArray,
)

_TAIL = 4.0  # degrees of freedom of a stressed move
_SCENARIOS_AT_ONCE = 20_000


class VolatilityEstimator:
    """Exponentially weighted volatility per symbol, as published in `volatility_estimates`."""

    def __init__(self, start: FloatArray) -> None:
        self._variance = start**2
        self._recent: deque[FloatArray] = deque(maxlen=60)
        self.running = True
        self.updated_ms = [0] * N_SYMBOLS

    @property
    def estimate(self) -> FloatArray:
        """Estimates, per square root of a day."""
        return np.sqrt(self._variance)

    def observe(self, realised_variance: FloatArray, now_ms: int) -> None:
        """Take in the realised variance of a step [1/day]; a stalled estimator keeps its old figure and time."""
        self._recent.append(realised_variance)
        if self.running:
            self._variance = ESTIMATOR_DECAY * self._variance + (1.0 - ESTIMATOR_DECAY) * realised_variance
            self.updated_ms = [now_ms] * N_SYMBOLS

    def refresh(self, now_ms: int) -> None:
        """Compute every estimate anew from the latest steps and let the estimator run again."""
        weights = ESTIMATOR_DECAY ** np.arange(len(self._recent) - 1, -1, -1)
        self._variance = np.asarray(weights @ np.array(self._recent) / weights.sum())
        self.updated_ms = [now_ms] * N_SYMBOLS
        self.running = True

    def document(self) -> dict[str, Any]:
        """All that it knows, as JSON holds it without loss."""
        return {
            "variance": self._variance.tolist(),
            "recent": [one.tolist() for one in self._recent],
            "running": self.running,
            "updated_ms": list(self.updated_ms),
        }

    def adopt(self, document: dict[str, Any]) -> None:
        """Be what a document tells."""
        self._variance = _array(document["variance"])
        self._recent = deque((_array(one) for one in document["recent"]), maxlen=self._recent.maxlen)
        self.running = bool(document["running"])
        self.updated_ms = [int(at) for at in document["updated_ms"]]


class BreakerState(IntEnum):
    """States of the circuit breaker, with the values of the metric `circuit_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(slots=True)
class CircuitBreaker:
    """Opens on a breach, is reset by hand to half open, and closes after enough clean trades.

    Attributes
    ----------
    state, reason, since_ms
        What it is, why, and since when.
    clean_trades : int
        Trades without a breach since it is half open.
    tripped_by : dict
        What it measured when it opened last: `var_pct` [% of NAV], `latency_ms`.
    """

    state: BreakerState = BreakerState.CLOSED
    reason: str = ""
    since_ms: int = 0
    clean_trades: int = 0
    tripped_by: dict[str, float] = field(default_factory=dict)
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=20))

    @property
    def latency_ms(self) -> float:
        """Median latency of the latest steps [ms]."""
        return median(self._latencies) if self._latencies else 0.0

    @property
    def growth(self) -> float:
        """Share of a normal increase that is allowed."""
        return {BreakerState.CLOSED: 1.0, BreakerState.HALF_OPEN: HALF_OPEN_SHARE, BreakerState.OPEN: 0.0}[self.state]

    def judge(self, largest_var_pct: float, limit_pct: float, latency_ms: float, trades: int, now_ms: int) -> bool:
        """Take in one step and the trades made in it; return whether the state changed."""
        self._latencies.append(latency_ms)
        breaches = []
        if largest_var_pct > limit_pct:
            breaches.append(f"VaR {largest_var_pct:.2f} % above {limit_pct:.2f} %")
        if len(self._latencies) >= 10 and self.latency_ms > LATENCY_LIMIT_MS:
            breaches.append(f"latency {self.latency_ms:.0f} ms above {LATENCY_LIMIT_MS:.0f} ms")
        if breaches:
            if self.state is BreakerState.OPEN:
                return False
            self.move(BreakerState.OPEN, " and ".join(breaches), now_ms)
            self.tripped_by = {"var_pct": round(largest_var_pct, 4), "latency_ms": round(self.latency_ms, 3)}
            return True
        if self.state is BreakerState.HALF_OPEN:
            self.clean_trades += trades
            if self.clean_trades >= HALF_OPEN_CLEAN_TRADES:
                self.move(BreakerState.CLOSED, f"{self.clean_trades} clean trades", now_ms)
                return True
        return False

    def move(self, state: BreakerState, reason: str, now_ms: int) -> None:
        """Go to `state`."""
        self.state, self.reason, self.since_ms, self.clean_trades = state, reason, now_ms, 0

    def document(self) -> dict[str, Any]:
        """All that it knows, as JSON holds it without loss."""
        return {
            "state": self.state.name,
            "reason": self.reason,
            "since_ms": self.since_ms,
            "clean_trades": self.clean_trades,
            "tripped_by": dict(self.tripped_by),
            "latencies": list(self._latencies),
        }

    def adopt(self, document: dict[str, Any]) -> None:
        """Be what a document tells."""
        self.state, self.reason = BreakerState[document["state"]], str(document["reason"])
        self.since_ms, self.clean_trades = int(document["since_ms"]), int(document["clean_trades"])
        self.tripped_by = {str(name): float(value) for name, value in document["tripped_by"].items()}
        self._latencies = deque((float(one) for one in document["latencies"]), maxlen=self._latencies.maxlen)


class RiskHarmoniser:
    """Sizes positions from edge, confidence and volatility, and measures their value at risk."""

    def __init__(self, volatility: FloatArray) -> None:
        self.positions = np.zeros(N_SYMBOLS)
        self.targets = np.zeros(N_SYMBOLS)
        self.covariance = np.diag(volatility**2 * STEP_DAYS)
        self.trades = 0  # made in the last step
        self.stressed_var_pct = 0.0
        self._standalone = np.zeros(N_SYMBOLS)  # value at risk per symbol, and of all together [USD]
        self._total = 0.0

    @property
    def var_pct(self) -> FloatArray:
        """Value at risk per symbol, 1 day, 99 % [% of NAV]."""
        return self._standalone * (100.0 / NAV_USD)

    @property
    def portfolio_var_pct(self) -> float:
        """Value at risk of all positions together [% of NAV]."""
        return self._total * (100.0 / NAV_USD)

    def size(
        self,
        edge_bps: FloatArray,
        confidence: FloatArray,
        estimate: FloatArray,
        kelly: float,
        reference: float,
        limits: FloatArray,
        growth: float,
    ) -> None:
        """Move the positions towards NAV x Kelly x confidence x signal x (reference / estimate)^0.5."""
        signal = edge_bps / EDGE_REFERENCE_BPS
        wanted = NAV_USD * kelly * confidence * signal * np.sqrt(reference / estimate)
        self.targets = np.minimum(np.maximum(wanted, 0.0), limits)
        gap = self.targets - self.positions
        change = np.where(gap > 0.0, GROW_SHARE * growth, SHRINK_SHARE) * gap
        self.trades = int((np.abs(change) >= SMALLEST_TRADE_USD).sum())
        self.positions = self.positions + change

    def measure_risk(self, ticks: FloatArray) -> None:
        """Take in the ticks of a step and measure VaR from what the market really did lately."""
        self.covariance = VAR_DECAY * self.covariance + (1.0 - VAR_DECAY) * (ticks.T @ ticks)
        measure = value_at_risk(
            self.positions,
            covariance=self.covariance,
            interval=STEP_DAYS,
            horizon=VAR_HORIZON_DAYS,
            confidence=VAR_CONFIDENCE,
            symbols=SYMBOLS,
        )
        self._standalone, self._total = measure.standalone, measure.total

    def stress(self, scenarios: int, rng: np.random.Generator) -> None:
        """Simulate the book over a bad day, with fat tails, and take its 99 % loss [% of NAV]."""
        root = np.linalg.cholesky(self.covariance / STEP_DAYS + 1e-12 * np.eye(N_SYMBOLS)) * np.sqrt(VAR_HORIZON_DAYS)
        losses = np.empty(scenarios)
        for first in range(0, scenarios, _SCENARIOS_AT_ONCE):
            count = min(_SCENARIOS_AT_ONCE, scenarios - first)
            scale = np.sqrt(_TAIL / rng.chisquare(_TAIL, count))
            shocks = rng.standard_normal((count, N_SYMBOLS)) @ root.T
            losses[first : first + count] = -(shocks @ self.positions) * scale
        rank = int(VAR_CONFIDENCE * (scenarios - 1))
        self.stressed_var_pct = float(np.partition(losses, rank)[rank]) * 100.0 / NAV_USD

    def document(self) -> dict[str, Any]:
        """All that it knows, as JSON holds it without loss."""
        return {
            "positions": self.positions.tolist(),
            "targets": self.targets.tolist(),
            "covariance": self.covariance.tolist(),
            "standalone": self._standalone.tolist(),
            "total": float(self._total),
            "trades": self.trades,
            "stressed_var_pct": self.stressed_var_pct,
        }

    def adopt(self, document: dict[str, Any]) -> None:
        """Be what a document tells."""
        self.positions, self.targets = _array(document["positions"]), _array(document["targets"])
        self.covariance = _array(document["covariance"], (N_SYMBOLS, N_SYMBOLS))
        self._standalone, self._total = _array(document["standalone"]), float(document["total"])
        self.trades, self.stressed_var_pct = int(document["trades"]), float(document["stressed_var_pct"])


def _array(values: Any, shape: tuple[int, ...] = (N_SYMBOLS,)) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != shape:
        raise ValueError(f"figures of shape {found.shape} where {shape} is meant")
    return found
