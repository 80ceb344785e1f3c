"""The models, each with a real record of hits, and the router that chooses among them per symbol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sandbox.crypto.market import Features
from sandbox.crypto.parameters import N_SYMBOLS, FloatArray

View = Literal["momentum", "reversion", "news", "none"]

_HIT_MEMORY = 0.995
_PRIOR_HIT_RATE = 0.545
_PRIOR_WEIGHT = 160.0
_USUAL_EDGE_BPS = 13.0


@dataclass(slots=True)
class Model:
    """One forecasting model.

    Attributes
    ----------
    name, version : str
    view : str
        Which of the features it looks at; ``"none"`` looks at noise.
    edge_bps : float
        Edge that it claims in the mean [bps].
    stated_confidence : float or None
        What it states about itself; None: its own hit rate, shrunk towards the usual one.
    serves : ndarray of bool, shape (n_symbols,)
        Symbols for which the router may choose it.
    penalty : float
        Subtracted from its confidence by an operator.
    """

    name: str
    version: str
    view: View
    deployed_at_ms: int = 0
    edge_bps: float = _USUAL_EDGE_BPS
    stated_confidence: float | None = None
    serves: np.ndarray[tuple[int], np.dtype[np.bool_]] = field(default_factory=lambda: np.ones(N_SYMBOLS, dtype=bool))
    penalty: float = 0.0
    score: FloatArray = field(default_factory=lambda: np.zeros(N_SYMBOLS))
    edges: FloatArray = field(default_factory=lambda: np.full(N_SYMBOLS, _USUAL_EDGE_BPS))
    hits: FloatArray = field(default_factory=lambda: np.zeros(N_SYMBOLS))
    calls: float = 0.0
    n_calls: int = 0

    @property
    def hit_rate(self) -> FloatArray:
        """Share of its calls that came true, recent ones weighing more; one half before the first."""
        return self.hits / self.calls if self.calls else np.full(N_SYMBOLS, 0.5)

    @property
    def confidence(self) -> FloatArray:
        """What it states about each symbol, less the penalty."""
        if self.stated_confidence is not None:
            stated = np.full(N_SYMBOLS, self.stated_confidence)
        else:
            stated = (self.hits + _PRIOR_HIT_RATE * _PRIOR_WEIGHT) / (self.calls + _PRIOR_WEIGHT)
        return np.clip(stated - self.penalty, 0.0, 1.0)

    def settle(self, moved: FloatArray) -> None:
        """Score the last call against what happened."""
        self.calls = _HIT_MEMORY * self.calls + 1.0
        self.hits = _HIT_MEMORY * self.hits + (np.sign(self.score) == np.sign(moved))
        self.n_calls += 1

    def look(self, seen: Features, rng: np.random.Generator) -> None:
        """Make the call for the next step."""
        noise = rng.standard_normal(N_SYMBOLS)
        if self.view == "none":
            self.score = noise
        else:
            self.score = getattr(seen, self.view) + 0.2 * noise
        self.edges = np.asarray(self.edge_bps + 3.0 * np.tanh(self.score))


def usual_models(now_ms: int) -> list[Model]:
    """The three models that the platform runs with."""
    month = 30 * 86_400_000
    return [
        Model("momentum", "1.9.2", "momentum", now_ms - 3 * month),
        Model("mean-reversion", "1.4.0", "reversion", now_ms - 5 * month),
        Model("alpha-vertex", "2.3.1", "news", now_ms - month),
    ]


@dataclass(frozen=True, slots=True)
class Switch:
    """One change of model for one symbol."""

    at_ms: int
    symbol: int
    before: str
    after: str
    confidence: float
    reason: str


@dataclass(slots=True)
class Router:
    """Chooses the model of each symbol: the most confident one, with hysteresis and a least time between switches."""

    chosen: list[Model]
    min_confidence: float
    switch_hysteresis: float
    min_dwell_steps: int
    paused: bool = False
    switches_total: int = 0
    _dwell: list[int] = field(default_factory=lambda: [1_000] * N_SYMBOLS)

    def route(self, models: list[Model], now_ms: int) -> list[Switch]:
        """Switch where the rule says so; a paused router switches nothing."""
        made: list[Switch] = []
        confidences = [model.confidence for model in models]
        for symbol in range(N_SYMBOLS):
            self._dwell[symbol] += 1
            if self.paused or self._dwell[symbol] < self.min_dwell_steps:
                continue
            current = self.chosen[symbol]
            held = float(current.confidence[symbol])
            best, confidence = current, held
            for model, stated in zip(models, confidences, strict=True):
                if model.serves[symbol] and stated[symbol] > confidence:
                    best, confidence = model, float(stated[symbol])
            if best is current or confidence < max(self.min_confidence, held + self.switch_hysteresis):
                continue
            reason = f"confidence {confidence:.3f} above {held:.3f} by more than {self.switch_hysteresis:.3f}"
            made.append(self.switch(symbol, best, now_ms, reason))
        return made

    def switch(self, symbol: int, model: Model, now_ms: int, reason: str) -> Switch:
        """Put `model` in charge of `symbol`."""
        before = self.chosen[symbol].name
        self.chosen[symbol] = model
        self._dwell[symbol] = 0
        self.switches_total += 1
        return Switch(now_ms, symbol, before, model.name, float(model.confidence[symbol]), reason)
