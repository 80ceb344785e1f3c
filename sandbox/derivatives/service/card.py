"""This process's share of the node's card: blocks once taken are kept for the next batch, as allocators of cards do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.gpu import card as accounting

__all__ = ["Card", "OutOfMemory"]

_CONTEXT_MIB = 24.0  # what a process takes before its first batch


class OutOfMemory(MemoryError):
    """CUDA out of memory."""


class Card:
    """The described card, through its accounting (`sandbox.gpu.card`).

    Parameters
    ----------
    folder : Path
        Where the node has it; without a description in it there is no card.
    share_mib : float
        What this process may take [MiB].
    """

    def __init__(self, folder: Path, share_mib: float) -> None:
        self._folder = folder
        self._share = share_mib
        self._card: accounting.Card | None = None
        self.look()

    @property
    def there(self) -> bool:
        """Whether there is a card, and it is not lost."""
        return self._card is not None

    @property
    def used_bytes(self) -> float:
        """What this process holds: the context, and blocks kept for the next batch."""
        return self._card.used_mib * 2**20 if self._card else 0.0

    @property
    def share_bytes(self) -> float:
        """What this process may hold."""
        return self._share * 2**20

    def look(self) -> None:
        """Look for the card, and find out when it was lost or came back."""
        try:
            if self._card is None:
                self._card = accounting.Card(self._folder)
                self._card.allocate(min(_CONTEXT_MIB, self._share))
            else:
                self._card.allocate(0.0)
        except accounting.CardLost:
            self.leave()
        except accounting.OutOfCardMemory:
            pass  # others hold all of it: every batch will say so

    def take(self, wanted_mib: float) -> None:
        """Have room for a batch.

        Parameters
        ----------
        wanted_mib : float
            Workspace of the batch [MiB].

        Raises
        ------
        OutOfMemory
            It does not fit this process's share, or what other processes left free.
        """
        if self._card is None:
            return
        missing = _CONTEXT_MIB + wanted_mib - self._card.used_mib
        if missing <= 0.0:
            return
        if _CONTEXT_MIB + wanted_mib > self._share:
            raise OutOfMemory(
                f"CUDA out of memory. Tried to allocate {wanted_mib:.2f} MiB (GPU 0; {self._share:.2f} MiB is the "
                f"share of this process; {self._card.used_mib:.2f} MiB already allocated)"
            )
        try:
            self._card.allocate(missing)
        except accounting.OutOfCardMemory as full:
            raise OutOfMemory(str(full)) from full

    def leave(self) -> None:
        """Give everything back."""
        if self._card is not None:
            self._card.close()
            self._card = None

    def describe(self) -> dict[str, Any] | None:
        """The card as `/stats/engines` shows it."""
        if self._card is None:
            return None
        return {
            "name": self._card.described["name"],
            "simulated": True,
            "memory_total_mib": self._card.total_mib,
            "memory_free_mib": round(self._card.free_mib(), 1),
            "memory_used_by_this_process_mib": round(self._card.used_mib, 1),
            "memory_share_mib": self._share,
        }
