"""The SQL of the platform: named blocks in files, read as those of opslib are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import SimpleNamespace

from opslib.sql import blocks

__all__ = ["queries"]


@cache
def queries(name: str) -> SimpleNamespace:
    """The blocks of `NAME.sql` beside this file, as attributes."""
    return blocks(files(__package__).joinpath(f"{name}.sql").read_text("utf-8"), f"{name}.sql")
