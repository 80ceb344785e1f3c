"""The SQL of opslib: named, commented blocks in files of their own.

A block begins with `-- name: open_incident`; the lines of comment under it say what it is for. They are for who reads
the file: no server gets them, and so none shows them in its log or in its lists of statements.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

__all__ = ["blocks", "queries"]

_BLOCK = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_COMMENT = re.compile(r"\A(?:--[^\n]*(?:\n|\Z)|\s+)+")


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
    return blocks(files(__package__).joinpath(f"{name}.sql").read_text("utf-8"), f"{name}.sql")


def blocks(text: str, source: str) -> SimpleNamespace:
    """The blocks of a text, as attributes, without the comment that each begins with.

    Raises
    ------
    ValueError
        When a block's name appears twice in this `source`.
    """
    parts = _BLOCK.split(text)[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{source} names a block twice")
    return SimpleNamespace(**{key: _COMMENT.sub("", body).strip() for key, body in zip(names, bodies, strict=True)})
