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
from sandbox.faults.unlisted import UNLISTED

__all__ = ["FAULTS", "PAIRS", "UNLISTED", "Fault", "parts"]

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

PAIRS: tuple[str, ...] = (
    "api-error-rate/slow-database+stale-cache",
    "cache-miss-rate/key-pattern-changed+memory-full",
    "dashboard-no-data/datasource-wrong+module-missing",
    "greeks-latency/gpu-unavailable+high-load",
    "redis-latency/slow-commands+too-many-clients",
    "var-breach/stale-volatility+single-symbol",
)
"""Two at once that a game day plays: neither hides the other, and both show before the alert comes.

They are made in this order, what takes longer to show first.
"""


def parts(name: str) -> list[str]:
    """The faults of `RUNBOOK/CAUSE`, and of several at once, `RUNBOOK/CAUSE+CAUSE`."""
    runbook, _, causes = name.partition("/")
    return [f"{runbook}/{cause}" for cause in causes.split("+")]
