"""Scripts that containers of the platform run."""

from __future__ import annotations

from pathlib import Path

__all__ = ["script"]


def script(name: str) -> str:
    """The text of `scripts/NAME.sh` beside this file."""
    return (Path(__file__).parent / "scripts" / f"{name}.sh").read_text("utf-8")
