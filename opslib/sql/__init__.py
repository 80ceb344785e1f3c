"""The SQL of opslib: named, commented blocks in files of their own.

A block begins with `-- name: open_incident`; the lines of comment under it say what it is for.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

__all__ = ["queries"]

_BLOCK = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def queries(name: str) -> SimpleNamespace:
    """The blocks of `opslib/sql/<name>.sql`, as attributes.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When a block's name appears twice.
    """
    text = files(__package__).joinpath(f"{name}.sql").read_text("utf-8")
    parts = _BLOCK.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{name}.sql names a block twice")
    return SimpleNamespace(**{key: body.strip() for key, body in zip(names, bodies, strict=True)})
