"""What a stranger sent, made fit to be stored and shown: data only, never a path, a name or code."""

from __future__ import annotations

import math
import re
from typing import Any

LONGEST = 4096
DEEPEST = 12
_SAFE_INTEGER = 2**53 - 1
_UNFIT = re.compile("[\x00\ud800-\udfff]")


def text(value: str) -> str:
    """`value` with NUL and lone surrogates, which PostgreSQL cannot hold, as U+FFFD."""
    return _UNFIT.sub("\ufffd", value)


def cut(value: str) -> str:
    """`value` cut at 4096 characters; the cut is said."""
    value = text(value)
    return value if len(value) <= LONGEST else f"{value[:LONGEST]}…[cut, {len(value)} characters]"


def clean(value: Any, depth: int = 0) -> Any:
    """Any JSON value as one that can be stored: strings cut, nesting cut at 12 levels, NaN as null."""
    if isinstance(value, str):
        return cut(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) <= _SAFE_INTEGER else cut(hex(value))
    if depth >= DEEPEST:
        return "…[cut, nested too deep]"
    if isinstance(value, dict):
        return {cut(str(key)): clean(item, depth + 1) for key, item in value.items()}
    return [clean(item, depth + 1) for item in value]
