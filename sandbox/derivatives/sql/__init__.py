"""The SQL of the platform: named blocks in files, read as those of opslib are."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

__all__ = ["queries"]

_BLOCK = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def queries(name: str) -> SimpleNamespace:
    """The blocks of `NAME.sql` beside this file, as attributes."""
    parts = _BLOCK.split(files(__package__).joinpath(f"{name}.sql").read_text("utf-8"))[1:]
    return SimpleNamespace(**{key: body.strip() for key, body in zip(parts[::2], parts[1::2], strict=True)})
