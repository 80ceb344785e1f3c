"""Yesterday of the crypto platform, as its Prometheus would remember it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

from sandbox.crypto import config
from sandbox.crypto.parameters import (
    CORRELATION,
    DAILY_VOLATILITY,
    NAV_USD,
    SYMBOLS,
    USUAL_VOLUME_USD,
    VAR_CONFIDENCE,
)
from sandbox.history import History, labels_of

__all__ = ["healthy"]

_SEED = 20_240_502
# At rest, measured on the platform itself.
_SIGNAL = 0.37  # confidence times signal: what is held of what Kelly would
_SWITCH_RATE = 0.6 / 60.0  # of a symbol [1/s]
_STEP_MS = 4.0
_MODEL_P95_MS = 4.0
_REDIS_P50_US = 95.0
_REDIS_P99_US = 600.0
_REDIS_BYTES = 4.6e6
_REDIS_RATE = 400.0  # commands [1/s]


def healthy(now: float, job: Mapping[str, Any]) -> History:
    """A day on which nothing happened.

    Parameters
    ----------
    now : float
        When Prometheus starts [s since 1970].
    job : mapping
        How it scrapes the platform.
    """
    history = History(now, _SEED)
    labels = labels_of(job)
    risk = config.load(config.PRISTINE / "risk_params.yml", config.RiskParameters)
    _risk(history, labels, risk)
    always = {
        "up": 1.0,
        "trading_enabled": 1.0,
        "store_connected": 1.0,
        "circuit_breaker_state": 0.0,
        "router_paused": 0.0,
        "kelly_fraction": risk.kelly_fraction,
        "stress_scenarios": risk.stress_scenarios,
        "redis_up": 1.0,
        "redis_connected_clients": 3.0,
        "redis_evicted_keys_total": 0.0,
    }
    for name, value in always.items():
        history.add(name, labels, value)
    for name, level, spread in (
        ("step_latency_ms", _STEP_MS, 0.3),
        ("model_server_latency_p95_ms", _MODEL_P95_MS, 0.3),
        ("redis_latency_p50", _REDIS_P50_US, 4.0),
        ("redis_latency_p99", _REDIS_P99_US, 100.0),
        ("redis_memory_used_bytes", _REDIS_BYTES, 0.02e6),
    ):
        history.add(name, labels, history.around(level, spread))
    history.add("redis_commands_processed_total", labels, history.counted(_REDIS_RATE))
    return history


def _risk(history: History, labels: Mapping[str, str], risk: config.RiskParameters) -> None:
    """What is held of each symbol, as `RiskHarmoniser.size` would have it, and what is at risk with it."""
    quantile = NormalDist().inv_cdf(VAR_CONFIDENCE)
    single, squares = [0.0] * len(history.times), [0.0] * len(history.times)
    for name, volatility, volume in zip(SYMBOLS, DAILY_VOLATILITY, USUAL_VOLUME_USD, strict=True):
        own = {**labels, "symbol": name}
        wanted = NAV_USD * risk.kelly_fraction * _SIGNAL * math.sqrt(risk.volatility_reference / volatility)
        held = history.around(wanted, 0.03 * wanted)
        estimates = history.around(volatility, 0.08 * volatility)
        at_risk = [100.0 * quantile * size * one / NAV_USD for size, one in zip(held, estimates, strict=True)]
        history.add("position_size_usd", own, held)
        history.add("position_limit_usd", own, risk.position_limits_usd[name])
        history.add("volatility_estimate", own, estimates)
        history.add("var_pct", own, at_risk)
        history.add("volume_usd", own, history.around(volume, 0.2 * volume))
        history.add("model_switch_total", own, history.counted(_SWITCH_RATE))
        single = [sum(pair) for pair in zip(single, at_risk, strict=True)]
        squares = [total + one * one for total, one in zip(squares, at_risk, strict=True)]
    whole = [
        math.sqrt(CORRELATION * total * total + (1.0 - CORRELATION) * square)
        for total, square in zip(single, squares, strict=True)
    ]
    history.add("portfolio_var_pct", labels, whole)
