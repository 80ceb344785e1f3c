"""The platform as one object: what happens in a step, and what can be changed from outside.

Nothing here knows of servers: `service` drives it, `publisher` and `api` show it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from sandbox.crypto.config import RiskParameters, RouterRules
from sandbox.crypto.desk import RiskDesk, Task
from sandbox.crypto.market import Market
from sandbox.crypto.model_server import ModelServer, SteppedModelServer
from sandbox.crypto.models import Doubt, Model, View, usual_models
from sandbox.crypto.parameters import (
    ASIDE_EVERY_STEPS,
    BURN_IN_STEPS,
    HISTORY_POINTS,
    N_SYMBOLS,
    STEP_DAYS,
    STEP_S,
    SWITCH_WINDOW_S,
    SYMBOLS,
    USUAL_VOLUME_USD,
    FloatArray,
)
from sandbox.crypto.risk import BreakerState
from sandbox.crypto.router import Router, Situation, Switch
from sandbox.errors import ControlRefused

__all__ = ["Change", "Platform", "Record"]

_EDGE_SMOOTHING = 0.08

_log = logging.getLogger("trading-system")
_risk_log = logging.getLogger("risk-harmoniser")
_router_log = logging.getLogger("model-router")


@dataclass(frozen=True, slots=True)
class Record:
    """What one step left behind; each array has shape (n_symbols,). `latency_ms` is the step before's."""

    at_ms: int
    price: FloatArray
    realised_volatility: FloatArray
    edge_blended_bps: FloatArray
    position_size_usd: FloatArray
    var_pct: FloatArray
    volume_usd: FloatArray
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """A change of configuration: when, what, from what to what, by whom."""

    at_ms: int
    key: str
    before: str
    after: str
    by: str


class Platform:
    """The crypto trading platform.

    Parameters
    ----------
    seed : int
        Of all randomness of the market and the models.
    parameters, rules : RiskParameters, RouterRules
        Configuration at the start.
    now_ms : int
        Time of the newest point of the history, which is simulated at once by the same code.
    prices : ndarray, shape (n_symbols,), optional
        Where the market starts [USD].
    server : ModelServer, optional
        What the models run on; by default one that is stepped with the platform.
    desk : callable
        Makes the risk desk, of a volatility and a time; by default one within the platform.
    """

    def __init__(
        self,
        seed: int,
        parameters: RiskParameters,
        rules: RouterRules,
        now_ms: int,
        prices: FloatArray | None = None,
        server: ModelServer | None = None,
        desk: Callable[[FloatArray, int], RiskDesk] = RiskDesk,
    ) -> None:
        self.server = server or SteppedModelServer()
        self._rng = np.random.default_rng(seed)
        self._live = False
        self.market = Market(self._rng, prices)
        self.models = usual_models(now_ms)
        self.doubt = Doubt()
        self.router = Router([self.models[symbol % len(self.models)] for symbol in range(N_SYMBOLS)], rules)
        self.aside: tuple[list[str], float] = ([], 0.0)  # models scored aside, and the work of a round [s]
        self.steps = 0
        self.desk = desk(self.market.volatility, now_ms - int(HISTORY_POINTS * STEP_S * 1000))
        self.estimator, self.breaker, self.harmoniser = self.desk.estimator, self.desk.breaker, self.desk.harmoniser
        self.parameters = parameters
        self.kelly = parameters.kelly_fraction
        self.limits = np.array([parameters.position_limits_usd[name] for name in SYMBOLS])
        self.edge_gain = np.ones(N_SYMBOLS)
        self.edge_blended = np.mean([model.edges for model in self.models], axis=0)
        self.trading = True
        self.scenarios = parameters.stress_scenarios
        self.history: deque[Record] = deque(maxlen=HISTORY_POINTS)
        self.switches: deque[Switch] = deque(maxlen=1_000)
        self.changes: deque[Change] = deque(maxlen=200)
        self.fresh_switches: list[Switch] = []
        step_ms = int(STEP_S * 1000)
        for place in range(-(BURN_IN_STEPS + HISTORY_POINTS) + 1, 1):
            self.step(now_ms + place * step_ms, 0.0)
        oldest = self.history[0].at_ms
        self.switches = deque((switch for switch in self.switches if switch.at_ms >= oldest), maxlen=1_000)
        self.fresh_switches.clear()
        self.desk.go_live()
        self._live = True

    def step(self, now_ms: int, latency_ms: float) -> Record:
        """Advance by one step; `latency_ms` is what the step before took from tick to store."""
        ticks = self.market.step()
        moved = ticks.sum(axis=0)
        realised = (ticks * ticks).sum(axis=0) / STEP_DAYS
        seen = self.market.features()
        self.doubt.volume = self.market.volume
        for model in self.models:
            model.settle(moved)
            model.look(seen, self._rng, self.doubt)
        for switch in self.router.route(self.models, self._situation(), now_ms):
            self._note_switch(switch)
        edges, confidence = self.chosen_calls()
        self.edge_blended = self.edge_blended + _EDGE_SMOOTHING * (edges * self.edge_gain - self.edge_blended)
        task = Task(
            ticks=ticks,
            realised=realised,
            edge_bps=self.edge_blended,
            confidence=confidence,
            limits_usd=self.limits,
            kelly=self.kelly,
            volatility_reference=self.parameters.volatility_reference,
            var_breaker_pct=self.parameters.var_breaker_pct,
            trading=self.trading,
            latency_ms=latency_ms,
            now_ms=now_ms,
        )
        if self.desk.step(task):
            self._tell(
                _risk_log, logging.WARNING, "Circuit breaker %s: %s", self.breaker.state.name, self.breaker.reason
            )
        record = Record(
            now_ms,
            self.market.prices,
            np.sqrt(realised),
            self.edge_blended,
            self.harmoniser.positions,
            self.harmoniser.var_pct,
            self.market.volume * USUAL_VOLUME_USD,
            latency_ms,
        )
        self.history.append(record)
        return record

    def stress(self) -> None:
        """Simulate the stressed VaR of the book, in as many scenarios as are set; real work."""
        self.desk.stress(self.scenarios, self._rng)

    def _situation(self) -> Situation:
        """What the router looks at; calls the models for the next step."""
        if not self._live:
            return Situation(self.market.trend, self.market.volume, {}, {})
        if isinstance(self.server, SteppedModelServer):
            self.server.advance(STEP_S * 1000.0)
        names = [model.name for model in self.models]
        waited = {name: self.server.waited_ms(name) for name in names}
        took = {name: self.server.took_ms(name) for name in names}
        self.steps += 1
        aside, work_s = self.aside
        if aside and self.steps % ASIDE_EVERY_STEPS == 0:
            self.server.ask_aside(aside, work_s)
        self.server.ask(names)
        return Situation(self.market.trend, self.market.volume, waited, took)

    def switches_per_minute(self, now_ms: int) -> float:
        """Switches of all symbols over the latest `SWITCH_WINDOW_S`, as a rate [1/min]."""
        since = now_ms - 1000.0 * SWITCH_WINDOW_S
        return sum(switch.at_ms > since for switch in self.switches) * 60.0 / SWITCH_WINDOW_S

    def chosen_calls(self) -> tuple[FloatArray, FloatArray]:
        """Edge [bps] and stated confidence of the model in charge of each symbol."""
        chosen = self.router.chosen
        edges = np.array([chosen[symbol].edges[symbol] for symbol in range(N_SYMBOLS)])
        confidence = np.array([chosen[symbol].confidence[symbol] for symbol in range(N_SYMBOLS)])
        return edges, confidence

    # What operators do

    def set_kelly(self, fraction: float, by: str, now_ms: int) -> float:
        """Set the Kelly fraction; return the one before."""
        before, self.kelly = self.kelly, fraction
        self._note_change("kelly_fraction", f"{before:g}", f"{fraction:g}", by, now_ms)
        return before

    def set_limit(self, symbol: int, limit_usd: float, by: str, now_ms: int) -> float:
        """Set the position limit of one symbol [USD]; return the one before."""
        before = float(self.limits[symbol])
        self.limits = self.limits.copy()
        self.limits[symbol] = limit_usd
        self._note_change(f"position_limits_usd.{SYMBOLS[symbol]}", f"{before:.0f}", f"{limit_usd:.0f}", by, now_ms)
        return before

    def set_penalty(self, name: str, penalty: float, by: str, now_ms: int) -> float:
        """Subtract `penalty` from what a model states about itself; return the penalty before."""
        model = self.model(name)
        before, model.penalty = model.penalty, penalty
        self._note_change(f"confidence_penalty.{name}", f"{before:g}", f"{penalty:g}", by, now_ms)
        return before

    def refresh_volatility(self, by: str, now_ms: int) -> dict[str, float]:
        """Compute the volatility estimates anew; return them per symbol."""
        self.estimator.refresh(now_ms)
        self._tell(_risk_log, logging.INFO, "Volatility estimates refreshed from market data by %s", by)
        return dict(zip(SYMBOLS, (float(value) for value in self.estimator.estimate), strict=True))

    def reset_breaker(self, by: str, now_ms: int) -> BreakerState:
        """Move an open breaker to half open; return the state after."""
        if self.breaker.state is BreakerState.OPEN:
            self.breaker.move(BreakerState.HALF_OPEN, f"reset by {by}", now_ms)
            self._tell(_risk_log, logging.INFO, "Circuit breaker HALF_OPEN: reset by %s", by)
        return self.breaker.state

    def set_trading(self, on: bool, by: str, now_ms: int) -> None:
        """Allow or forbid new risk."""
        if on != self.trading:
            self._note_change("trading", str(self.trading).lower(), str(on).lower(), by, now_ms)
        self.trading = on

    def set_router(self, paused: bool, by: str, now_ms: int) -> None:
        """Pause or resume the model router."""
        if paused != self.router.paused:
            self._note_change("router.paused", str(self.router.paused).lower(), str(paused).lower(), by, now_ms)
        self.router.paused = paused

    def scale_models(self, instances: int, by: str, now_ms: int) -> int:
        """Run as many instances of the model server; return how many ran before."""
        before = len(self.server.instances)
        self.server.scale(instances)
        self._note_change("model_server.instances", str(before), str(instances), by, now_ms)
        return before

    def set_scenarios(self, scenarios: int, by: str, now_ms: int) -> int:
        """Simulate as many scenarios in every step; return how many before."""
        before, self.scenarios = self.scenarios, scenarios
        self._note_change("stress_scenarios", str(before), str(scenarios), by, now_ms)
        return before

    def apply_parameters(self, parameters: RiskParameters, by: str, now_ms: int) -> None:
        """Take over a reloaded `conf/risk_params.yml`, as far as it differs."""
        self.parameters = parameters
        if parameters.kelly_fraction != self.kelly:
            self.set_kelly(parameters.kelly_fraction, by, now_ms)
        for symbol, name in enumerate(SYMBOLS):
            if parameters.position_limits_usd[name] != self.limits[symbol]:
                self.set_limit(symbol, parameters.position_limits_usd[name], by, now_ms)
        if parameters.stress_scenarios != self.scenarios:
            self.set_scenarios(parameters.stress_scenarios, by, now_ms)

    def apply_rules(self, rules: RouterRules, by: str, now_ms: int) -> None:
        """Take over router rules, as far as they differ."""
        before, after = self.router.rules.figures(), rules.figures()
        self.router.rules = rules
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                was, now = (str(facts.get(key, "none")) for facts in (before, after))
                self._note_change(f"router.{key}", was, now, by, now_ms)

    # What happens to a platform

    def deploy(
        self,
        name: str,
        version: str,
        view: View,
        edge_bps: float,
        confidence: float | None,
        symbols: list[int],
        now_ms: int,
    ) -> Model:
        """Deploy a model for some symbols; it is first scored over the history that is kept."""
        if any(model.name == name for model in self.models):
            raise ControlRefused(f"a model named {name} is deployed already")
        model = Model(name, version, view, now_ms, edge_bps, confidence)
        model.serves[:] = False
        model.serves[symbols] = True
        prices = np.log(np.array([record.price for record in self.history]))
        seen = self.market.features()
        for moved in np.diff(prices, axis=0):
            model.look(seen, self._rng, self.doubt)
            model.settle(moved)
        model.look(seen, self._rng, self.doubt)
        self.models.append(model)
        _router_log.info("Model %s %s deployed for %s", name, version, ", ".join(SYMBOLS[place] for place in symbols))
        self._note_change(f"models.{name}", "none", version, "release", now_ms)
        return model

    def model(self, name: str) -> Model:
        """The deployed model of that name."""
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise ControlRefused(f"no model named {name}; deployed are {known}")

    def switch_once(self, symbol: int, now_ms: int) -> None:
        """Give one symbol to another of the models that serve it, as a person trying one out would."""
        current = self.router.chosen[symbol]
        others = [model for model in self.models if model.serves[symbol] and model is not current]
        best = max(others, key=lambda model: float(model.confidence[symbol]))
        self._note_switch(self.router.switch(symbol, best, now_ms, "manual trial by quant desk"))

    def miss_feed(self, symbol: int) -> None:
        """Let one symbol's feed miss a step."""
        self.market.miss_step(symbol)
        _log.warning("Market data for %s missed a heartbeat, reconnected", SYMBOLS[symbol])

    def _note_switch(self, switch: Switch) -> None:
        self.switches.append(switch)
        self.fresh_switches.append(switch)
        self._tell(
            _router_log,
            logging.INFO,
            "Model switch %s: %s -> %s, %s",
            SYMBOLS[switch.symbol],
            switch.before,
            switch.after,
            switch.reason,
        )

    def _note_change(self, key: str, before: str, after: str, by: str, now_ms: int) -> None:
        self.changes.append(Change(now_ms, key, before, after, by))
        self._tell(_log, logging.INFO, "%s changed from %s to %s by %s", key, before, after, by)

    def _tell(self, log: logging.Logger, level: int, message: str, *facts: object) -> None:
        if self._live:
            log.log(level, message, *facts)


def when(at_ms: int) -> str:
    """A time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000.0, UTC).isoformat(timespec="milliseconds")
