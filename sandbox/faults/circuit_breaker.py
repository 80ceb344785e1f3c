"""Faults of playbook A20: what opens the circuit breaker, in physical terms."""

from __future__ import annotations

import random
from typing import Any

from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.steps import Step
from sandbox.faults import var_breach
from sandbox.faults.on_crypto import Steps, fault

__all__ = ["FAULTS", "STEPS", "latency", "var"]


def var(rng: random.Random) -> list[Step]:
    """Let value at risk pass the breaker's limit: the whole market moves wildly, or one position runs away."""
    if rng.random() < 0.5:
        facts = {"symbols": list(SYMBOLS), "multiple": round(rng.uniform(10.5, 13.0), 2), "steps": rng.randint(1, 6)}
        return [Step(rng.uniform(0.0, 1.5), "market-volatility", facts)]
    return var_breach.concentrate(rng, rng.uniform(3.6, 4.2))


def latency(rng: random.Random) -> list[Step]:
    """Set so many scenarios for the stressed VaR that a step takes longer than the breaker allows."""
    return [Step(rng.uniform(0.0, 1.5), "scenario-time", {"cpu_ms": round(rng.uniform(130.0, 170.0))})]


def shows(document: dict[str, Any]) -> str | None:
    """Whether the breaker is open."""
    breaker = document["circuit_breaker"]
    return f"the circuit breaker is OPEN: {breaker['reason']}" if breaker["state"] == "OPEN" else None


STEPS: dict[str, Steps] = {"latency": latency, "var": var}
FAULTS = {cause: fault(steps, shows, within_s=60.0) for cause, steps in STEPS.items()}
