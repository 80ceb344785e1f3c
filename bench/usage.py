"""What processes take: memory and time, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cpu_s", "memory_mb"]


def memory_mb(processes: Iterable[int], kind: str = "Pss") -> float:
    """What processes keep [MB]: `Pss` counts of what several share their part, `Private_Dirty` what is theirs alone."""
    lines = [line for one in processes for line in _text(one, "smaps_rollup").splitlines()]
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def cpu_s(processes: Iterable[int]) -> float:
    """What processes have used so far of a core, and those of their children that have ended [s]."""
    fields = [_text(one, "stat").rpartition(")")[2].split() for one in processes]
    return sum(int(ticks) for known in fields for ticks in known[11:15]) / os.sysconf("SC_CLK_TCK")


def _text(process: int, name: str) -> str:
    """A file of the kernel about a process; empty where that has just ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
