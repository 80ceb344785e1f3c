"""The clients' sessions: each keeps its latest risk profile, so that a client's exposure spans all of its sessions."""

from __future__ import annotations

import array
import math
from dataclasses import dataclass, field

from sandbox.derivatives.service.pricing import Row

__all__ = ["Sessions"]

_PROFILE = 4096  # points of a profile, 32 KiB


@dataclass(slots=True)
class _Session:
    client: str
    delta: float = 0.0
    vega: float = 0.0
    profile: array.array[float] = field(default_factory=lambda: array.array("d", bytes(8 * _PROFILE)))
    place: int = 0


class Sessions:
    """All sessions that clients opened and did not close."""

    def __init__(self) -> None:
        self._open: dict[str, _Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def note(self, client: str, session: str, rows: list[Row]) -> None:
        """Take results into a session."""
        found = self._open.get(session)
        if found is None:
            found = self._open[session] = _Session(client)
        found.delta = sum(row[1] * row[7] for row in rows)
        found.vega = sum(row[3] for row in rows)
        found.profile[found.place % _PROFILE] = found.delta
        found.place += 1

    def share(self, client: str) -> float:
        """The share of a client in what all are exposed to [1]."""
        exposed: dict[str, float] = {}
        for one in self._open.values():
            exposed[one.client] = exposed.get(one.client, 0.0) + math.hypot(one.delta, one.vega)
        whole = sum(exposed.values())
        return exposed.get(client, 0.0) / whole if whole else 0.0

    def end(self, session: str) -> bool:
        """Close a session; whether there was one."""
        return self._open.pop(session, None) is not None
