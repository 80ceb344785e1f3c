"""The sandbox's platform stepped by hand, without servers, and seen as the playbook sees it."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pandas as pd

from engine import risk
from engine.volatility import realised_volatility
from opslib.diagnosis import Diagnosis, Verdict, circuit_breaker, model_switching, var_breach
from opslib.diagnosis import model_switching_seen as switching_seen
from sandbox.crypto import config
from sandbox.crypto.changes import CHANGES
from sandbox.crypto.decoys import decoys
from sandbox.crypto.parameters import NAV_USD, STEP_DAYS, STEP_S, SYMBOLS
from sandbox.crypto.platform import Platform, when
from sandbox.crypto.status import status as status_of
from sandbox.faults import circuit_breaker as circuit_breaker_faults
from sandbox.faults import model_switching as model_switching_faults
from sandbox.faults import var_breach as var_breach_faults

WARNING = 1.8
STALE_AFTER_S = 3.0
START_MS = 1_790_000_000_000
MOST_STEPS = 240
MISRECKONED_STEPS = 40
FAULTS = {
    "circuit-breaker": circuit_breaker_faults.STEPS,
    "model-switching": model_switching_faults.STEPS,
    "var-breach": var_breach_faults.STEPS,
}
STEPS = {f"{runbook}/{cause}": steps for runbook, causes in FAULTS.items() for cause, steps in causes.items()}
SWITCH_WINDOW_S = 30.0
SLOW_MS = 100.0
WANTED = {"min_confidence": 0.6, "switch_hysteresis": 0.05, "threshold": 0.92, "band": 0.85}
LIMITS = {"var": 2.5, "latency": 100.0}
EACH_SCENARIO_MS = 1e-4  # in a step that is not made on a real server


@dataclass
class Scene:
    """A platform and its clock."""

    platform: Platform
    now_ms: int = START_MS
    scenarios: int = 0

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.now_ms += int(STEP_S * 1000)
            self.platform.step(self.now_ms, 1.0 + EACH_SCENARIO_MS * self.scenarios)

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
            if step.do == "scenario-time":
                scene.scenarios = round(step.facts["cpu_ms"] / EACH_SCENARIO_MS)
            elif step.do in CHANGES:
                CHANGES[step.do](**step.facts).apply(scene.platform, scene.now_ms)


def until(scene: Scene, seen: Callable[[Scene], bool], most_steps: int = MOST_STEPS) -> bool:
    """Let the platform run until `seen` holds; whether it did."""
    for _ in range(most_steps):
        if seen(scene):
            return True
        scene.advance(1)
    return False


def until_breach(scene: Scene) -> bool:
    """Let the platform run until VaR passes the warning level; whether it did."""
    return until(scene, lambda scene: scene.breached)


def switching(scene: Scene) -> bool:
    """Whether the alert of A10 is true."""
    return scene.platform.switches_per_minute(scene.now_ms) > 20.0


def opened(scene: Scene) -> bool:
    """Whether the alert of A20 is true."""
    return scene.platform.breaker.state.name == "OPEN"


def document(scene: Scene) -> dict[str, Any]:
    """The document of `/api/status`."""
    heart = SimpleNamespace(
        lock=nullcontext(),
        platform=scene.platform,
        sandbox_id="stepped",
        earlier_switches=[0] * len(SYMBOLS),
        stages_ms={"models": 0.6, "scenarios": EACH_SCENARIO_MS * scene.scenarios, "store": 0.4},
        now_ms=lambda: scene.now_ms,
        store=SimpleNamespace(in_use="primary", servers={}, figures={}),
        store_connected=True,
        series_writer="on",
        dashboards=SimpleNamespace(panels=[]),
    )
    return status_of(heart)  # type: ignore[arg-type]  # what it reads of a heart, without its servers


def history(scene: Scene, field: str) -> pd.DataFrame:
    """A series as the platform's Redis holds it."""
    records = list(scene.platform.history)
    times = pd.to_datetime([record.at_ms for record in records], unit="ms", utc=True)
    values = [getattr(record, field) for record in records]
    columns = ["platform"] if field == "latency_ms" else list(SYMBOLS)
    return pd.DataFrame(values, index=times, columns=columns)


def stream(scene: Scene) -> pd.DataFrame:
    """The log of switches as the platform's Redis holds it."""
    rows = [
        (
            pd.to_datetime(when(item.at_ms)),
            SYMBOLS[item.symbol],
            item.before,
            item.after,
            f"{item.confidence:.4f}",
            f"{item.took_ms:.1f}",
        )
        for item in scene.platform.switches
    ]
    return pd.DataFrame(rows, columns=["time", "symbol", "from", "to", "confidence", "took_ms"])


def clock(scene: Scene) -> dt.datetime:
    """The time."""
    return dt.datetime.fromtimestamp(scene.now_ms / 1000, dt.UTC)


def diagnose_switching(
    scene: Scene,
    unseen: tuple[str, ...] = (),
    *,
    entries: pd.DataFrame | None = None,
    volume: pd.DataFrame | None = None,
    ours: dt.datetime | None = None,
) -> Verdict:
    """What A10 concludes; `unseen` names `redis` or `api`; another log or volume and our own clock may be given."""
    status = None if "api" in unseen else document(scene)
    now = switching_seen.clock(status, ours or clock(scene))
    held = stream(scene) if entries is None else entries
    switches = None if "redis" in unseen else switching_seen.log(held, now)
    traded = history(scene, "volume_usd") if volume is None else volume
    rate = switching_seen.rate(switches, status, now, SWITCH_WINDOW_S)
    facts: dict[str, Any] = dict.fromkeys(("pattern", "liquidity", "routing", "serving"))
    if switches is not None and switching_seen.trusted(switches, status, now):
        facts["pattern"] = switching_seen.pattern(switches, now, SWITCH_WINDOW_S, SLOW_MS)
    if "redis" not in unseen:
        facts["liquidity"] = switching_seen.liquidity(traded, status, now)
    if status is not None:
        facts["routing"], facts["serving"] = switching_seen.routing(status, WANTED), switching_seen.serving(status)
    case = Diagnosis(SimpleNamespace(unseen=list(unseen)), model_switching.CAUSES)
    case.confirm(*switching_seen.symptom(rate, 20.0, 15.0, alerted=False))
    case.notes += switching_seen.doubts(switches, status, now)
    case.examine("two-model-flip", pattern=facts["pattern"], routing=facts["routing"])
    case.examine("random-across-all", pattern=facts["pattern"], liquidity=facts["liquidity"])
    case.examine("server-overload", pattern=facts["pattern"], serving=facts["serving"])
    case.examine("same-symbol-oscillation", pattern=facts["pattern"], routing=facts["routing"])
    return case.verdict()


def remedy_switching(scene: Scene, causes: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """What A10 proposes for the causes."""
    status = document(scene)
    return model_switching.remedy(causes, switching_seen.routing(status, WANTED), switching_seen.serving(status))


def diagnose_breaker(scene: Scene, unseen: tuple[str, ...] = ()) -> tuple[Verdict, pd.DataFrame]:
    """What A20 concludes, and the triggers it saw; `unseen` names `redis` or `api`."""
    var = None if "redis" in unseen else history(scene, "var_pct")
    latency = None if "redis" in unseen else history(scene, "latency_ms")
    status = None if "api" in unseen else document(scene)
    alerted = dt.datetime.fromisoformat(when(scene.platform.breaker.since_ms))
    began = circuit_breaker.since(status, alerted)
    limits, _ = circuit_breaker.in_force(status, LIMITS)
    triggers = circuit_breaker.triggers(var, latency, status, began, limits)
    case = Diagnosis(SimpleNamespace(unseen=list(unseen)), circuit_breaker.CAUSES)
    case.confirm(opened(scene), f"the circuit breaker is {scene.platform.breaker.state.name}")
    case.examine("var", triggers=triggers)
    case.examine("latency", triggers=triggers)
    return case.verdict(), triggers


def likely(verdict: Verdict) -> list[str]:
    """The causes above one half."""
    return [item.key for item in verdict.causes if item.likelihood > 0.5]


def diagnose(scene: Scene, *, misreckoned: float = 1.0) -> Verdict:
    """What the playbook concludes from the same facts; VaR of the last 10 s may be told so many times too large."""
    platform, now = scene.platform, dt.datetime.fromtimestamp(scene.now_ms / 1000, dt.UTC)
    records = list(platform.history)
    times = pd.to_datetime([record.at_ms for record in records], unit="ms", utc=True)

    def series(field: str) -> pd.DataFrame:
        return pd.DataFrame([getattr(record, field) for record in records], index=times, columns=list(SYMBOLS))

    var, positions, prices = series("var_pct"), series("position_size_usd"), series("price")
    var.iloc[-MISRECKONED_STEPS:] *= misreckoned
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
    rise = var_breach.growth(var, positions, prices, WARNING)
    volatility = var_breach.estimates(hash_, realised, now, list(SYMBOLS), STALE_AFTER_S)
    models = var_breach.claims(switches, status, now, list(SYMBOLS), 300.0)
    case = Diagnosis(SimpleNamespace(unseen=[]), var_breach.CAUSES)
    latest = var.iloc[-1]
    agreement = var_breach.agreement(latest, risk, positions.iloc[-1], prices, STEP_DAYS, NAV_USD)
    doubt = var_breach.doubt(agreement, rise)
    raised = var_breach.raised(
        {"kelly_fraction": platform.kelly, "kelly_fraction_configured": platform.parameters.kelly_fraction}
    )
    confirmed, symptom = var_breach.above(latest, WARNING)
    case.confirm(confirmed, "; ".join(told for told in (symptom, raised, doubt) if told), var)
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
