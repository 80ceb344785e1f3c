"""The changes that can be made from outside, in physical words: a limit, a volatility, a model, a rule."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sandbox.crypto.models import View
from sandbox.crypto.parameters import ASIDE_EVERY_STEPS, STEP_S, SYMBOLS
from sandbox.crypto.platform import Platform
from sandbox.errors import ControlRefused

__all__ = ["CHANGES"]

_TRIAL_SCENARIOS = 40_000


class _Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def symbols_of(self, names: list[str]) -> list[int]:
        """Positions of the named symbols."""
        for name in names:
            if name not in SYMBOLS:
                raise ControlRefused(f"unknown symbol {name!r}; there are {', '.join(SYMBOLS)}")
        return [SYMBOLS.index(name) for name in names]


class MarketVolatility(_Change):
    """Volatility of some symbols goes to a multiple of its usual level over some steps."""

    symbols: list[str]
    multiple: float = Field(gt=0, le=50)
    steps: int = Field(ge=1, le=10_000)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        platform.market.move_volatility(self.symbols_of(self.symbols), self.multiple, self.steps)


class EstimatorRunning(_Change):
    """The volatility estimator runs or stalls."""

    running: bool

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        platform.estimator.running = self.running


class PositionLimit(_Change):
    """The position limit of one symbol is multiplied."""

    symbol: str
    multiple: float = Field(gt=0, le=100)

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.set_limit(place, float(platform.limits[place]) * self.multiple, "risk desk", now_ms)


class EdgeGain(_Change):
    """The signal of one symbol is scaled."""

    symbol: str
    gain: float = Field(gt=0, le=100)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.edge_gain[place] = self.gain


class DeployModel(_Change):
    """A model is deployed for some symbols."""

    name: str
    version: str
    view: View
    edge_bps: float = Field(gt=0, le=1_000)
    confidence: float | None = Field(default=None, ge=0, le=1)
    symbols: list[str]

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        places = self.symbols_of(self.symbols)
        platform.deploy(self.name, self.version, self.view, self.edge_bps, self.confidence, places, now_ms)


class KellyFraction(_Change):
    """The Kelly fraction in force is set."""

    value: float = Field(gt=0, le=1)

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        platform.set_kelly(self.value, "portfolio desk", now_ms)


class SwitchOnce(_Change):
    """One symbol is given to another model."""

    symbol: str

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.switch_once(place, now_ms)


class MissFeed(_Change):
    """The feed of one symbol misses a step."""

    symbol: str

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.miss_feed(place)


class MarketVolume(_Change):
    """Traded volume of some symbols goes to a share of the usual."""

    symbols: list[str]
    share: float = Field(gt=0, le=10)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        platform.market.set_volume(self.symbols_of(self.symbols), self.share)


class MixedSignals(_Change):
    """The models become less sure of one symbol, and it scatters from call to call."""

    symbol: str
    less: float = Field(ge=0, le=1)
    spread: float = Field(ge=0, le=1)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        (place,) = self.symbols_of([self.symbol])
        platform.doubt.less[place], platform.doubt.spread[place] = self.less, self.spread


class MinConfidence(_Change):
    """The least confidence of the router rules is edited."""

    value: float = Field(ge=0, le=1)

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        rules = platform.router.rules.changed(None, {"min_confidence": self.value})
        platform.apply_rules(rules, "quant desk", now_ms)


class PairThreshold(_Change):
    """The first pair rule is edited: it divides the two models that have the most symbols, at a new threshold."""

    threshold: float = Field(ge=0, le=1)
    band: float = Field(ge=0, le=1)

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        rules = platform.router.rules
        if not rules.pair_rules:
            raise ControlRefused("the router has no pair rule")
        held = Counter(model.name for model in platform.router.chosen)
        names = sorted((model.name for model in platform.models), key=lambda name: -held[name])[:2]
        edited = {"above": names[0], "below": names[1], "threshold": self.threshold, "band": self.band}
        first = rules.pair_rules[0].model_copy(update=edited)
        changed = rules.model_copy(update={"pair_rules": (first, *rules.pair_rules[1:])})
        platform.apply_rules(changed, "quant desk", now_ms)


class ScoreAside(_Change):
    """Candidate models are scored beside those that trade; `share` is the processor time of it, where none is held."""

    models: int = Field(ge=0, le=50)
    share: float = Field(gt=0, le=0.9)

    def apply(self, platform: Platform, _now_ms: int) -> None:
        """Carry it out."""
        names = [f"candidate-{number:02d}" for number in range(1, self.models + 1)]
        platform.aside = (names, self.share * STEP_S * ASIDE_EVERY_STEPS)


class ScenarioTime(_Change):
    """So many scenarios are set for the stressed VaR that they take a processor `cpu_ms` in every step."""

    cpu_ms: float = Field(gt=0, le=1_000)

    def apply(self, platform: Platform, now_ms: int) -> None:
        """Carry it out."""
        costs = []
        for _ in range(3):
            begun = time.thread_time()
            platform.harmoniser.stress(_TRIAL_SCENARIOS, np.random.default_rng(now_ms))
            costs.append(time.thread_time() - begun)
        each_ms = 1000.0 * min(costs) / _TRIAL_SCENARIOS
        platform.set_scenarios(round(self.cpu_ms / each_ms), "risk desk", now_ms)


CHANGES: dict[str, type[Any]] = {
    "market-volatility": MarketVolatility,
    "estimator-running": EstimatorRunning,
    "position-limit": PositionLimit,
    "edge-gain": EdgeGain,
    "deploy-model": DeployModel,
    "kelly-fraction": KellyFraction,
    "switch-once": SwitchOnce,
    "miss-feed": MissFeed,
    "market-volume": MarketVolume,
    "mixed-signals": MixedSignals,
    "min-confidence": MinConfidence,
    "pair-threshold": PairThreshold,
    "score-aside": ScoreAside,
    "scenario-time": ScenarioTime,
}
