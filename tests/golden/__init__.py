"""Golden records: real runs that must show the same again on their evidence. `make golden` makes them anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Golden:
    """What was run, and what was broken; None: nothing."""

    runbook: str
    platform: str
    fault: str | None

    @property
    def cause(self) -> str | None:
        """What the verdict must name."""
        return self.fault.partition("/")[2] if self.fault else None


# By runbook: its platform, and the causes of which there is a record; None: of the healthy platform.
_RECORDS: dict[str, tuple[str, tuple[str | None, ...]]] = {
    "var-breach": ("crypto", (None, "after-model-switch", "all-symbols", "single-symbol", "stale-volatility")),
    "greeks-latency": ("derivatives", (None, "gpu-unavailable")),
    "api-error-rate": ("derivatives", (None, "bad-deployment")),
    "postgres-down": ("derivatives", (None, "pod-crash")),
    "large-loss": ("derivatives", (None, "wrong-greeks")),
    "latency-degrading": ("derivatives", ("memory-leak",)),
    "cache-miss-rate": ("derivatives", (None, "cold-after-restart")),
}
GOLDEN = {
    f"{runbook}-{cause or 'healthy'}": Golden(runbook, platform, f"{runbook}/{cause}" if cause else None)
    for runbook, (platform, causes) in _RECORDS.items()
    for cause in causes
}
