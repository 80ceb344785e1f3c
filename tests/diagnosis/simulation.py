"""The sandbox's platform stepped by hand, without servers, and seen as the playbook sees it."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from types import SimpleNamespace

import pandas as pd

from engine.volatility import realised_volatility
from opslib.diagnosis import Diagnosis, Verdict, var_breach
from sandbox.crypto import config, control
from sandbox.crypto.decoys import decoys
from sandbox.crypto.parameters import STEP_DAYS, STEP_S, SYMBOLS
from sandbox.crypto.platform import Platform, when
from sandbox.faults import var_breach as var_breach_faults

WARNING = 1.8
STALE_AFTER_S = 3.0
START_MS = 1_790_000_000_000
MOST_STEPS = 240
STEPS = {f"var-breach/{cause}": steps for cause, steps in var_breach_faults.STEPS.items()}


@dataclass
class Scene:
    """A platform and its clock."""

    platform: Platform
    now_ms: int = START_MS

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.now_ms += int(STEP_S * 1000)
            self.platform.step(self.now_ms, 1.0)

    @property
    def breached(self) -> bool:
        return bool(self.platform.harmoniser.var_pct.max() > WARNING)


def scene(seed: int) -> Scene:
    """A healthy platform."""
    parameters = config.load(config.PRISTINE / "risk_params.yml", config.RiskParameters)
    rules = config.load(config.PRISTINE / "model_router_rules.yml", config.RouterRules)
    return Scene(Platform(seed, parameters, rules, START_MS))


def break_(scene: Scene, *faults: str, seed: int, noise: int = 0) -> None:
    """Make the changes of the faults, and of unrelated decoys, at their times."""
    for fault in faults:
        rng = random.Random(f"{fault} {seed}")
        for step in [*STEPS[fault](rng), *decoys(rng, noise)]:
            scene.advance(round(step.after_s / STEP_S))
            if step.do in control._CHANGES:
                control._CHANGES[step.do](**step.facts).apply(scene.platform, scene.now_ms)


def until_breach(scene: Scene) -> bool:
    """Let the platform run until VaR passes the warning level; whether it did."""
    for _ in range(MOST_STEPS):
        if scene.breached:
            return True
        scene.advance(1)
    return False


def diagnose(scene: Scene) -> Verdict:
    """What the playbook concludes from the same facts."""
    platform, now = scene.platform, dt.datetime.fromtimestamp(scene.now_ms / 1000, dt.UTC)
    records = list(platform.history)
    times = pd.to_datetime([record.at_ms for record in records], unit="ms", utc=True)

    def series(field: str) -> pd.DataFrame:
        return pd.DataFrame([getattr(record, field) for record in records], index=times, columns=list(SYMBOLS))

    var, positions, prices = series("var_pct"), series("position_size_usd"), series("price")
    realised = pd.Series(
        {symbol: realised_volatility(prices[symbol].tail(120), STEP_DAYS, decay=0.95) for symbol in SYMBOLS}
    )
    fields = {symbol: str(value) for symbol, value in zip(SYMBOLS, platform.estimator.estimate, strict=True)}
    fields |= {
        f"updated_at:{symbol}": str(at) for symbol, at in zip(SYMBOLS, platform.estimator.updated_ms, strict=True)
    }
    hash_ = pd.DataFrame({"field": fields.keys(), "value": fields.values()})
    switches = pd.DataFrame(
        [(pd.to_datetime(when(item.at_ms)), SYMBOLS[item.symbol], item.after) for item in platform.switches],
        columns=["time", "symbol", "to"],
    )
    status = {"symbols": {name: _symbol(platform, place) for place, name in enumerate(SYMBOLS)}}
    rise = var_breach.growth(var, positions, WARNING)
    volatility = var_breach.estimates(hash_, realised, now, list(SYMBOLS), STALE_AFTER_S)
    models = var_breach.claims(switches, status, now, 300.0)
    case = Diagnosis(SimpleNamespace(unseen=[]), var_breach.CAUSES)
    latest = var.iloc[-1]
    case.confirm(latest.max() > WARNING, f"VaR of {latest.idxmax()} is {latest.max():.2f} % of NAV", var)
    case.examine("single-symbol", rise=rise, models=models)
    case.examine("all-symbols", rise=rise, volatility=volatility)
    case.examine("after-model-switch", rise=rise, models=models)
    case.examine("stale-volatility", rise=rise, volatility=volatility)
    return case.verdict()


def _symbol(platform: Platform, place: int) -> dict[str, object]:
    chosen = platform.router.chosen[place]
    return {
        "model": chosen.name,
        "confidence": float(chosen.confidence[place]),
        "hit_rate": float(chosen.hit_rate[place]),
        "position_limit_usd": float(platform.limits[place]),
        "position_limit_configured_usd": platform.parameters.position_limits_usd[SYMBOLS[place]],
    }
