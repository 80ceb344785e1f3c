"""Fault names, as `RUNBOOK/CAUSE` with the keys of the inventory, and what each does.

A playbook's faults are a module that exports `FAULTS`, by cause. Importing one must stay cheap.
"""

from __future__ import annotations

from sandbox.faults import circuit_breaker, dashboard_no_data, model_switching, redis_latency, var_breach
from sandbox.faults.fault import Fault

__all__ = ["FAULTS", "Fault"]

_RUNBOOKS: dict[str, dict[str, Fault]] = {
    "dashboard-no-data": dashboard_no_data.FAULTS,
    "redis-latency": redis_latency.FAULTS,
    "circuit-breaker": circuit_breaker.FAULTS,
    "model-switching": model_switching.FAULTS,
    "var-breach": var_breach.FAULTS,
}

FAULTS: dict[str, Fault] = {
    f"{runbook}/{cause}": fault for runbook, faults in sorted(_RUNBOOKS.items()) for cause, fault in faults.items()
}
