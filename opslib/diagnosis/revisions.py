"""What a revision of a workload changed, as `ops.kubernetes.history` tells it."""

from __future__ import annotations

_NO_PROGRAM = ("restarted at", "annotation ")


def harmless(changes: str) -> bool:
    """Whether a revision changed no program: nothing at all, a restart, or annotations alone."""
    return all(one in ("", "nothing") or one.startswith(_NO_PROGRAM) for one in changes.split("; "))
