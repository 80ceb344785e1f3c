"""Golden records: real runs that must show the same again on their evidence. `make golden` makes them anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib.diagnosis.verdict import NONE_OF_THESE

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Golden:
    """What was run, what was broken, and the alert that it was run with; None: nothing, and by hand."""

    runbook: str
    platform: str
    fault: str | None
    alert: dict[str, Any] | None = None

    @property
    def cause(self) -> str | None:
        """What the verdict must name: none that it knows where the fault belongs to another runbook."""
        if self.fault is None:
            return None
        runbook, _, cause = self.fault.partition("/")
        return cause if runbook == self.runbook else NONE_OF_THESE


# By runbook: its platform, and the causes of which there is a record; None: of the healthy platform. Triage has no
# causes of its own, and is shown what another runbook knows.
_RECORDS: dict[str, tuple[str, tuple[str | None, ...]]] = {
    "var-breach": ("crypto", (None, "after-model-switch", "all-symbols", "single-symbol", "stale-volatility")),
    "greeks-latency": ("derivatives", (None, "gpu-unavailable")),
    "api-error-rate": ("derivatives", (None, "bad-deployment")),
    "postgres-down": ("derivatives", (None, "pod-crash")),
    "large-loss": ("derivatives", (None, "wrong-greeks")),
    "latency-degrading": ("derivatives", ("memory-leak",)),
    "cache-miss-rate": ("derivatives", (None, "cold-after-restart")),
    "circuit-breaker": ("crypto", (None, "latency")),
    "dashboard-no-data": ("crypto", (None, "module-missing")),
    "model-switching": ("crypto", (None, "two-model-flip")),
    "redis-latency": ("crypto", (None, "slow-commands")),
    "triage": ("crypto", (None, "var-breach/single-symbol")),
}
# An alert without a playbook of its own; the other playbooks need none to be run.
_ALERTS: dict[str, dict[str, Any]] = {
    "triage": {
        "labels": {"alertname": "FundingRateSpike", "platform": "crypto", "severity": "warning", "symbol": "SOL-USD"},
        "annotations": {"summary": "The funding rate of SOL-USD is 0.31 % in 8 hours, above 0.1 %"},
        "startsAt": "2026-11-02T06:40:00Z",
    },
}


def _golden(runbook: str, platform: str, cause: str | None) -> Golden:
    fault = cause if cause is None or "/" in cause else f"{runbook}/{cause}"
    return Golden(runbook, platform, fault, _ALERTS.get(runbook))


GOLDEN = {
    f"{runbook}-{(cause or 'healthy').replace('/', '-')}": _golden(runbook, platform, cause)
    for runbook, (platform, causes) in _RECORDS.items()
    for cause in causes
}
