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


GOLDEN = {
    "var-breach-healthy": Golden("var-breach", "crypto", None),
    **{
        f"var-breach-{cause}": Golden("var-breach", "crypto", f"var-breach/{cause}")
        for cause in ("after-model-switch", "all-symbols", "single-symbol", "stale-volatility")
    },
}
