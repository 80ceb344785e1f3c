"""Canonical JSON (RFC 8785) and digests: one spelling of a document, so that a hash means one thing."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from pathlib import Path
from typing import Any

import rfc8785

_SAFE_INTEGER = 2**53 - 1


def plain(value: Any) -> Any:
    """`value` as JSON types that RFC 8785 takes: lone surrogates replaced, NaN as null, dates as RFC 3339.

    Raises
    ------
    TypeError
        For a type that has no JSON form.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return value if abs(value) <= _SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dt.date | Path):
        return str(value)
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def storable(value: Any) -> Any:
    """`value` as `plain` gives it, without NUL, which PostgreSQL's JSON cannot hold; it becomes U+FFFD."""
    return _without_nul(plain(value))


def kept(value: Any, depth: int = 100) -> bool:
    """Whether a value is stored as it is: no letter, number or name of it becomes another; a tuple becomes a list.

    One that is deeper than `depth` is not.
    """
    if isinstance(value, dict):
        names = all(isinstance(name, str) and storable(name) == name for name in value)
        return names and depth > 0 and all(kept(item, depth - 1) for item in value.values())
    if isinstance(value, list | tuple):
        return depth > 0 and all(kept(item, depth - 1) for item in value)
    return bool(storable(value) == value)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value


def canonical(value: Any) -> bytes:
    """The canonical JSON of `value` (RFC 8785), after `plain`."""
    return rfc8785.dumps(plain(value))


def digest(data: bytes) -> str:
    """SHA-256 of `data`, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
