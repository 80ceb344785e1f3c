"""Faults of playbook A10: four ways in which the model router switches far too often, in physical terms."""

from __future__ import annotations

import random
from typing import Any

from sandbox.crypto.parameters import SYMBOLS
from sandbox.crypto.steps import Step
from sandbox.faults.on_crypto import Steps, fault

__all__ = ["FAULTS", "STEPS", "random_across_all", "same_symbol_oscillation", "server_overload", "two_model_flip"]


def two_model_flip(rng: random.Random) -> list[Step]:
    """Edit a routing rule: its threshold lies in the midst of what trends usually are, with hardly a band."""
    facts = {"threshold": round(rng.uniform(0.15, 0.35), 3), "band": round(rng.uniform(0.0, 0.03), 3)}
    return [Step(rng.uniform(0.0, 1.5), "pair-threshold", facts)]


def random_across_all(rng: random.Random) -> list[Step]:
    """Let the market all but stand still: so few trades that confidences and edges are noise."""
    every = list(SYMBOLS)
    calm = {"symbols": every, "multiple": round(rng.uniform(0.25, 0.5), 2), "steps": rng.randint(1, 8)}
    return [
        Step(rng.uniform(0.0, 1.0), "market-volatility", calm),
        Step(rng.uniform(0.0, 0.5), "market-volume", {"symbols": every, "share": round(rng.uniform(0.001, 0.006), 4)}),
    ]


def server_overload(rng: random.Random) -> list[Step]:
    """Let the model server score more candidate models beside its work than its instances can hold in memory."""
    facts = {"models": rng.randint(6, 9), "share": round(rng.uniform(0.4, 0.55), 2)}
    return [Step(rng.uniform(0.0, 1.5), "score-aside", facts)]


def same_symbol_oscillation(rng: random.Random) -> list[Step]:
    """Lower the confidence that a model must have; one symbol, of which no model is sure, then goes to and fro."""
    unsure = {"symbol": rng.choice(SYMBOLS), "less": round(rng.uniform(0.05, 0.06), 4)}
    return [
        Step(0.0, "mixed-signals", {**unsure, "spread": round(rng.uniform(0.038, 0.044), 4)}),
        Step(rng.uniform(0.0, 1.5), "min-confidence", {"value": round(rng.uniform(0.25, 0.42), 2)}),
    ]


def shows(document: dict[str, Any]) -> str | None:
    """Whether the router switches more often than the alert allows."""
    rate, most = document["router"]["switches_per_minute"], document["limits"]["model_switches_per_minute"]
    return f"{rate:.0f} model switches a minute, above {most:g}" if rate > most else None


STEPS: dict[str, Steps] = {
    "random-across-all": random_across_all,
    "same-symbol-oscillation": same_symbol_oscillation,
    "server-overload": server_overload,
    "two-model-flip": two_model_flip,
}
FAULTS = {cause: fault(steps, shows, within_s=90.0) for cause, steps in STEPS.items()}
