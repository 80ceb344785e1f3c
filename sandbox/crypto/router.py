"""The model router: which model each symbol is traded with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.crypto.config import RouterRules
from sandbox.crypto.models import Model
from sandbox.crypto.parameters import N_SYMBOLS, FloatArray

__all__ = ["Router", "Situation", "Switch"]

_LATE_DWELL_STEPS = 2  # a model that does not answer is left sooner than any other
_FLOOR = 2.0 / 3.0  # of the least confidence: a model below this share of it is left for the best there is


@dataclass(frozen=True, slots=True)
class Situation:
    """What the router looks at beside the models.

    Attributes
    ----------
    trend : ndarray, shape (n_symbols,)
        Strength of the trend, 0 to 1.
    volume : ndarray, shape (n_symbols,)
        Traded volume, as a share of the usual.
    waited_ms, took_ms : mapping
        By model: how long its call has been waiting for an answer; how long the last answer took [ms].
    """

    trend: FloatArray
    volume: FloatArray
    waited_ms: Mapping[str, float]
    took_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Switch:
    """One change of model for one symbol; `took_ms` from the call of a model to the switch [ms]."""

    at_ms: int
    symbol: int
    before: str
    after: str
    confidence: float
    reason: str
    took_ms: float = 0.0


@dataclass(slots=True)
class Router:
    """Gives a symbol to the most confident model, with hysteresis and a least time between switches.

    A rule between two models decides which of the two serves a symbol that one of them has; a model that does not
    answer in time is replaced by one that does.
    """

    chosen: list[Model]
    rules: RouterRules
    paused: bool = False
    switches_total: list[int] = field(default_factory=lambda: [0] * N_SYMBOLS)
    _dwell: list[int] = field(default_factory=lambda: [1_000] * N_SYMBOLS)

    def route(self, models: list[Model], situation: Situation, now_ms: int) -> list[Switch]:
        """Switch where the rules say so; a paused router switches nothing."""
        made: list[Switch] = []
        for symbol in range(N_SYMBOLS):
            self._dwell[symbol] += 1
            if not self.paused and not self._closed(symbol, situation):
                serving = [model for model in models if model.serves[symbol]]
                made += self._route_one(symbol, serving, situation, now_ms)
        return made

    def switch(self, symbol: int, model: Model, now_ms: int, reason: str, took_ms: float = 0.0) -> Switch:
        """Put `model` in charge of `symbol`."""
        before = self.chosen[symbol].name
        self.chosen[symbol] = model
        self._dwell[symbol] = 0
        self.switches_total[symbol] += 1
        return Switch(now_ms, symbol, before, model.name, float(model.confidence[symbol]), reason, took_ms)

    def _closed(self, symbol: int, situation: Situation) -> bool:
        return self.rules.market_hours_only and situation.volume[symbol] < self.rules.min_volume_share

    def _route_one(self, symbol: int, serving: list[Model], situation: Situation, now_ms: int) -> list[Switch]:
        current, within = self.chosen[symbol], self.rules.answer_within_ms
        waited = situation.waited_ms.get(current.name, 0.0)
        if waited > within:
            prompt = [model for model in serving if situation.waited_ms.get(model.name, 0.0) <= within]
            if not prompt or self._dwell[symbol] < _LATE_DWELL_STEPS:
                return []
            best = max(prompt, key=lambda model: float(model.confidence[symbol]))
            return [self.switch(symbol, best, now_ms, f"no answer of {current.name} for {waited:.0f} ms", waited)]
        if self._dwell[symbol] < self.rules.min_dwell_steps:
            return []
        preferred, reason, partner = self._by_rule(symbol, serving, situation)
        if preferred is None:
            preferred, reason = self._by_confidence(symbol, [model for model in serving if model.name != partner])
        if preferred is None:
            return []
        return [self.switch(symbol, preferred, now_ms, reason, situation.took_ms.get(preferred.name, 0.0))]

    def _by_rule(self, symbol: int, serving: list[Model], situation: Situation) -> tuple[Model | None, str, str | None]:
        """The model that a rule asks for, why, and the model that it keeps away."""
        name, trend = self.chosen[symbol].name, float(situation.trend[symbol])
        for rule in self.rules.pair_rules:
            if name not in (rule.above, rule.below):
                continue
            other = rule.below if name == rule.above else rule.above
            model = next((model for model in serving if model.name == other), None)
            if model is not None and other == rule.above and trend > rule.threshold:
                return model, f"rule {rule.name}: trend {trend:.3f} above {rule.threshold:.3f}", None
            lower = rule.threshold - rule.band
            if model is not None and other == rule.below and trend < lower:
                return model, f"rule {rule.name}: trend {trend:.3f} below {lower:.3f}", None
            return None, "", other
        return None, "", None

    def _by_confidence(self, symbol: int, serving: list[Model]) -> tuple[Model | None, str]:
        """A model that is more confident by more than the hysteresis, and confident enough."""
        thresholds, held = self.rules.confidence_thresholds, float(self.chosen[symbol].confidence[symbol])
        best = max(serving, key=lambda model: float(model.confidence[symbol]), default=None)
        confidence = 0.0 if best is None else float(best.confidence[symbol])
        least = thresholds.min_confidence if held >= _FLOOR * thresholds.min_confidence else 0.0
        if best is None or best is self.chosen[symbol] or confidence < least:
            return None, ""
        if confidence <= held + thresholds.switch_hysteresis:
            return None, ""
        return best, f"confidence {confidence:.3f} above {held:.3f} by more than {thresholds.switch_hysteresis:.3f}"
