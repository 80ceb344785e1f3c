"""Fault names, as `RUNBOOK/CAUSE` with the keys of the inventory, and what each does."""

from __future__ import annotations

from sandbox.faults import var_breach
from sandbox.faults.step import Fault, Step

__all__ = ["FAULTS", "Fault", "Step"]

FAULTS: dict[str, Fault] = {
    "var-breach/after-model-switch": var_breach.after_model_switch,
    "var-breach/all-symbols": var_breach.all_symbols,
    "var-breach/single-symbol": var_breach.single_symbol,
    "var-breach/stale-volatility": var_breach.stale_volatility,
}
