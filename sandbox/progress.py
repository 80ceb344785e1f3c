"""What a person who waits is told."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "quiet"]

Progress = Callable[[str], None]
"""Takes a line for the person who waits."""


def quiet(message: str) -> None:
    """Show no progress."""
