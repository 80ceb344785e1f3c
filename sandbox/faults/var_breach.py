"""Faults of playbook A11: four ways in which value at risk passes its limit, in physical terms."""

from __future__ import annotations

import random
from typing import Any

from sandbox.crypto.config import PRISTINE, RiskParameters, load
from sandbox.crypto.operations import var_pct
from sandbox.crypto.parameters import DAILY_VOLATILITY, NAV_USD, SYMBOLS
from sandbox.crypto.steps import Step
from sandbox.faults.on_crypto import Steps, fault

__all__ = ["FAULTS", "STEPS", "after_model_switch", "all_symbols", "single_symbol", "stale_volatility"]

_NORMAL_99 = 2.3263478740408408
_USUAL_SHARE_OF_NAV = 0.25 * 0.545 * 0.65  # Kelly x confidence x signal of a healthy platform


def single_symbol(rng: random.Random) -> list[Step]:
    """Raise the position limit and the signal of one symbol, so that its position becomes a concentration."""
    return concentrate(rng)


def concentrate(rng: random.Random, wanted_var: float | None = None) -> list[Step]:
    """Let the position of one symbol grow to a value at risk of `wanted_var` [% of NAV]; default: 2.7 to 3.1."""
    place = rng.randrange(len(SYMBOLS))
    symbol, volatility = SYMBOLS[place], DAILY_VOLATILITY[place]
    parameters = load(PRISTINE / "risk_params.yml", RiskParameters)
    per_usd = _NORMAL_99 * volatility / NAV_USD * 100.0  # VaR [% of NAV] per USD held
    scale = (parameters.volatility_reference / volatility) ** 0.5
    usual_var = _NORMAL_99 * volatility * _USUAL_SHARE_OF_NAV * scale * 100.0
    wanted_var = rng.uniform(2.7, 3.1) if wanted_var is None else wanted_var
    room = rng.uniform(1.15, 1.4) * wanted_var / (parameters.position_limits_usd[symbol] * per_usd)
    return [
        Step(0.0, "position-limit", {"symbol": symbol, "multiple": round(room, 2)}),
        Step(rng.uniform(0.2, 1.5), "edge-gain", {"symbol": symbol, "gain": round(wanted_var / usual_var, 3)}),
    ]


def all_symbols(rng: random.Random) -> list[Step]:
    """Let the whole market move far more than usual; the estimator keeps up."""
    multiple = round(rng.uniform(6.2, 8.0), 2)
    facts = {"symbols": list(SYMBOLS), "multiple": multiple, "steps": rng.randint(1, 6)}
    return [Step(rng.uniform(0.0, 1.5), "market-volatility", facts)]


def after_model_switch(rng: random.Random) -> list[Step]:
    """Deploy a model that is sure of itself without being right; the router then gives it several symbols."""
    name = rng.choice(["gradient-blend", "order-flow", "cross-asset", "tide"])
    symbols = [*rng.sample(SYMBOLS[2:], rng.randint(1, 2)), rng.choice(SYMBOLS[:2])]
    facts = {
        "name": name,
        "version": f"{rng.randint(1, 3)}.{rng.randint(0, 9)}.0",
        "view": "none",
        "edge_bps": round(rng.uniform(27.0, 30.0), 1),
        "confidence": round(rng.uniform(0.94, 0.98), 3),
        "symbols": sorted(symbols, key=SYMBOLS.index),
    }
    return [Step(rng.uniform(0.0, 1.5), "deploy-model", facts)]


def stale_volatility(rng: random.Random) -> list[Step]:
    """Stall the volatility estimator, and let the market's volatility rise little by little."""
    facts = {
        "symbols": list(SYMBOLS),
        "multiple": round(rng.uniform(2.6, 2.9), 2),
        "steps": rng.randint(36, 44),
    }
    return [
        Step(0.0, "estimator-running", {"running": False}),
        Step(rng.uniform(0.2, 1.5), "market-volatility", facts),
    ]


def shows(document: dict[str, Any]) -> str | None:
    """Whether VaR of a symbol is above its warning level."""
    symbol, largest = max(var_pct(document).items(), key=lambda item: item[1])
    warning = document["limits"]["var_warn_pct"]
    return f"VaR of {symbol} is {largest:.2f} % of NAV, above {warning:g} %" if largest > warning else None


STEPS: dict[str, Steps] = {
    "after-model-switch": after_model_switch,
    "all-symbols": all_symbols,
    "single-symbol": single_symbol,
    "stale-volatility": stale_volatility,
}
FAULTS = {cause: fault(steps, shows) for cause, steps in STEPS.items()}
