"""The card of the node, simulated, and the memory that a process takes on it, really accounted for.

A node with a card has `card.json` in its folder; every process on the card keeps a file under `processes/` that says
what it holds. What they hold together never exceeds the card: an allocation that does not fit is refused.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Card", "OutOfMemory", "usage"]

_MIB = 1024 * 1024
_CONTEXT_MIB = 24  # what a process takes before its first batch


class OutOfMemory(MemoryError):
    """CUDA out of memory."""


@dataclass(frozen=True, slots=True)
class _Described:
    name: str
    total_mib: int


def usage(folder: Path) -> dict[str, int]:
    """Memory held on the card by each process [MiB]."""
    held = {}
    for path in sorted((folder / "processes").glob("*.json")):
        try:
            document = json.loads(path.read_text("utf-8"))
            held[path.stem] = int(document["used_mib"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or gone by now
    return held


class Card:
    """One process's share of the card.

    Parameters
    ----------
    folder : Path
        The node's; without `card.json` in it there is no card.
    owner : str
        The pod.
    share_mib : int
        What this process may take [MiB].
    """

    def __init__(self, folder: Path, owner: str, share_mib: int) -> None:
        self._folder = folder
        self._owner = owner
        self._share = share_mib * _MIB
        self._described: _Described | None = None
        self._reserved = 0
        self._others = 0
        self.look()

    @property
    def there(self) -> bool:
        """Whether the node has a card."""
        return self._described is not None

    @property
    def used_bytes(self) -> int:
        """What this process holds: the context, and blocks kept for the next batch."""
        return self._reserved

    def look(self) -> None:
        """Look for the card, and at what other processes hold."""
        try:
            document = json.loads((self._folder / "card.json").read_text("utf-8"))
            self._described = _Described(str(document["name"]), int(document["memory_total_mib"]))
        except (OSError, ValueError, KeyError, TypeError):
            self._described, self._reserved = None, 0
            return
        held = usage(self._folder)
        self._others = sum(mib for owner, mib in held.items() if owner != self._owner) * _MIB
        if self._reserved == 0:
            self._keep(_CONTEXT_MIB * _MIB)
        elif self._owner not in held:
            self._keep(self._reserved)

    def take(self, wanted: int) -> None:
        """Have room for a batch; blocks once taken are kept for the next one, as allocators of cards do.

        Parameters
        ----------
        wanted : int
            Workspace of the batch [bytes].

        Raises
        ------
        OutOfMemory
            The batch does not fit this process's share, or what other processes left free.
        """
        needed = _CONTEXT_MIB * _MIB + wanted
        if needed <= self._reserved:
            return
        total = self._described.total_mib * _MIB if self._described else 0
        room = min(self._share, total - self._others)
        if needed > room:
            raise OutOfMemory(
                f"CUDA out of memory. Tried to allocate {wanted / _MIB:.0f} MiB (card {total / _MIB:.0f} MiB; share of "
                f"this process {self._share / _MIB:.0f} MiB; held by it {self._reserved / _MIB:.0f} MiB, by others "
                f"{self._others / _MIB:.0f} MiB)"
            )
        self._keep(needed)

    def leave(self) -> None:
        """Give everything back."""
        (self._folder / "processes" / f"{self._owner}.json").unlink(missing_ok=True)

    def describe(self) -> dict[str, Any] | None:
        """The card as `/stats/engines` shows it."""
        if self._described is None:
            return None
        return {
            "name": self._described.name,
            "simulated": True,
            "memory_total_mib": self._described.total_mib,
            "memory_used_mib": round((self._reserved + self._others) / _MIB, 1),
            "memory_used_by_this_process_mib": round(self._reserved / _MIB, 1),
            "memory_share_mib": round(self._share / _MIB, 1),
        }

    def _keep(self, amount: int) -> None:
        self._reserved = amount
        place = self._folder / "processes"
        place.mkdir(exist_ok=True)
        temporary = place / f".{self._owner}"
        mib = -(-amount // _MIB)
        temporary.write_text(
            json.dumps({"pod": self._owner, "pid": os.getpid(), "name": "derivatives-api", "used_mib": mib}), "utf-8"
        )
        temporary.replace(place / f"{self._owner}.json")
