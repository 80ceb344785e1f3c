"""The models, each with a real record of hits."""

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
_CONFIDENCE_NOISE = 0.004  # of a stated confidence at the usual volume; it grows as trades become few
_EDGE_NOISE_BPS = 0.25  # of an edge, likewise


@dataclass(slots=True)
class Doubt:
    """How sure anything can be of a symbol: as little as the market gives; each array has shape (n_symbols,).

    Attributes
    ----------
    volume : ndarray
        Traded volume, as a share of the usual: few trades make confidence and edge noise.
    less, spread : ndarray
        By how much the models are less sure of a symbol than usual, and how far that scatters from call to call.
    """

    volume: FloatArray = field(default_factory=lambda: np.ones(N_SYMBOLS))
    less: FloatArray = field(default_factory=lambda: np.zeros(N_SYMBOLS))
    spread: FloatArray = field(default_factory=lambda: np.zeros(N_SYMBOLS))


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
    swing: FloatArray = field(default_factory=lambda: np.zeros(N_SYMBOLS))  # of the confidence of this call

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
        return np.clip(stated + self.swing - self.penalty, 0.0, 1.0)

    def settle(self, moved: FloatArray) -> None:
        """Score the last call against what happened."""
        self.calls = _HIT_MEMORY * self.calls + 1.0
        self.hits = _HIT_MEMORY * self.hits + (np.sign(self.score) == np.sign(moved))
        self.n_calls += 1

    def look(self, seen: Features, rng: np.random.Generator, doubt: Doubt) -> None:
        """Make the call for the next step."""
        scatter = 1.0 / np.sqrt(np.maximum(doubt.volume, 1e-4))
        spread = np.hypot(_CONFIDENCE_NOISE * scatter, doubt.spread)
        self.swing = np.asarray(spread * rng.standard_normal(N_SYMBOLS) - doubt.less)
        noise = rng.standard_normal(N_SYMBOLS)
        if self.view == "none":
            self.score = noise
        else:
            self.score = getattr(seen, self.view) + 0.2 * noise
        guess = _EDGE_NOISE_BPS * scatter * rng.standard_normal(N_SYMBOLS)
        self.edges = np.asarray(self.edge_bps + 3.0 * np.tanh(self.score) + guess)


def usual_models(now_ms: int) -> list[Model]:
    """The three models that the platform runs with."""
    month = 30 * 86_400_000
    return [
        Model("momentum", "1.9.2", "momentum", now_ms - 3 * month),
        Model("mean-reversion", "1.4.0", "reversion", now_ms - 5 * month),
        Model("alpha-vertex", "2.3.1", "news", now_ms - month),
    ]
