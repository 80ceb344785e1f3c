"""The shape of a JSON document, declared by an example: what is there, and of which kind.

    {"status": "text", "engines": {"*": {"average_us": "number"}}, "models": [{"name": "text", "loss?": "number"}]}

A name that ends in `?` may be absent or null; `*` stands for every other name; a list holds the shape of each item.
Kinds: text, number, whole, flag, object, list, time (RFC 3339), any. What the shape does not name is let through.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

MOST = 10
KINDS = ("text", "number", "whole", "flag", "object", "list", "time", "any")


def differences(value: Any, shape: Any) -> list[str]:
    """What is not as declared, each with its place; at most ten.

    Raises
    ------
    ValueError
        When the shape itself is none.
    """
    return list(islice(_differences(value, shape, "the answer"), MOST))


def _differences(value: Any, shape: Any, place: str) -> Iterator[str]:
    if isinstance(shape, dict):
        yield from _of_object(value, shape, place)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{place} must be a list, is {_kind(value)}"
        else:
            for number, item in enumerate(value):
                yield from _differences(item, shape[0] if shape else "any", f"{place}[{number}]")
    elif shape not in KINDS:
        raise ValueError(f"a shape is an object, a list or one of {', '.join(KINDS)}, not {shape!r}")
    elif not _is(value, str(shape)):
        yield f"{place} must be {shape}, is {_kind(value)}"


def _of_object(value: Any, shape: dict[str, Any], place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} must be an object, is {_kind(value)}"
        return
    for name, wanted in shape.items():
        plain = name.removesuffix("?")
        if name == "*":
            continue
        if value.get(plain) is None and name.endswith("?"):
            continue
        if plain not in value:
            yield f"{place} lacks {plain!r}"
        else:
            yield from _differences(value[plain], wanted, f"{place}.{plain}")
    if "*" in shape:
        named = {name.removesuffix("?") for name in shape}
        for name in value:
            if name not in named:
                yield from _differences(value[name], shape["*"], f"{place}.{name}")


def _is(value: Any, kind: str) -> bool:
    if kind == "any":
        return True
    if kind == "time":
        return isinstance(value, str) and _time(value)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "whole":
        return isinstance(value, int) and not isinstance(value, bool)
    return _kind(value) == kind


def _time(value: str) -> bool:
    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _kind(value: Any) -> str:
    """What a value is, in the words of a shape."""
    if value is None:
        return "null"
    kinds: tuple[tuple[type, str], ...] = ((bool, "flag"), (str, "text"), (dict, "object"), (list, "list"))
    for type_, name in kinds:
        if isinstance(value, type_):
            return name
    return "number"
