"""What the tests read from a verdict."""

from __future__ import annotations

from opslib.diagnosis import Verdict


def likely(verdict: Verdict) -> set[str]:
    """The causes above one half."""
    return {item.key for item in verdict.causes if item.likelihood > 0.5}
