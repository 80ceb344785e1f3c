"""Fault names, as `RUNBOOK/CAUSE` with the keys of the inventory, and what each does.

A playbook's faults are a module that exports `FAULTS`, by cause. Importing one must stay cheap.
"""

from __future__ import annotations

from sandbox.faults import (
    api_error_rate,
    cache_miss_rate,
    circuit_breaker,
    dashboard_no_data,
    greeks_latency,
    large_loss,
    latency_degrading,
    model_switching,
    postgres_down,
    redis_latency,
    var_breach,
)
from sandbox.faults.fault import Fault

__all__ = ["FAULTS", "Fault"]

_RUNBOOKS: dict[str, dict[str, Fault]] = {
    "api-error-rate": api_error_rate.FAULTS,
    "cache-miss-rate": cache_miss_rate.FAULTS,
    "circuit-breaker": circuit_breaker.FAULTS,
    "dashboard-no-data": dashboard_no_data.FAULTS,
    "greeks-latency": greeks_latency.FAULTS,
    "large-loss": large_loss.FAULTS,
    "latency-degrading": latency_degrading.FAULTS,
    "model-switching": model_switching.FAULTS,
    "postgres-down": postgres_down.FAULTS,
    "redis-latency": redis_latency.FAULTS,
    "var-breach": var_breach.FAULTS,
}

FAULTS: dict[str, Fault] = {
    f"{runbook}/{cause}": fault for runbook, faults in sorted(_RUNBOOKS.items()) for cause, fault in faults.items()
}
