"""What an alert rule measures and the limit it holds that against, from its expression.

Where the expression ends in a comparison with a number, the left side is evaluated, so that the figure is known whether
or not the alert fires; other expressions fire where they give a series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne

_LIMIT = re.compile(r"(?P<sign>>=|<=|==|!=|>|<)\s*(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*\)*\s*$")
_HOLDS: dict[str, Callable[[float, float], bool]] = {">": gt, "<": lt, ">=": ge, "<=": le, "==": eq, "!=": ne}


@dataclass(frozen=True)
class Condition:
    """A rule's expression as what is measured and the limit it is held against.

    Attributes
    ----------
    measure : str
        The expression without its comparison; the whole where it does not end in one with a number.
    sign : str or None
        `>`, `<`, `>=`, `<=`, `==`, `!=`.
    limit : float or None
    """

    measure: str
    sign: str | None
    limit: float | None

    def holds(self, value: float) -> bool:
        """Whether a value of the measure makes the rule true; what an unlimited rule returns is true as it is."""
        if self.sign is None or self.limit is None:
            return True
        return bool(_HOLDS[self.sign](value, self.limit))

    def worst(self, values: list[float]) -> float:
        """The value that is furthest on the wrong side."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return math.nan
        return min(known) if self.sign in ("<", "<=") else max(known)


def condition(expression: str) -> Condition:
    """An expression taken apart at its last comparison, where that stands outside all brackets.

    `a > 2 and b < 1` is left whole: what it measures is not one quantity.
    """
    text = _unwrapped(expression.strip())
    found = _LIMIT.search(text)
    if found is None or found.end("limit") != len(text.rstrip()) or _depth(text[: found.start()]) != 0:
        return Condition(text, None, None)
    measure = text[: found.start()].strip()
    outside = _outside(measure)
    if not measure or re.search(r"\b(and|or|unless)\b|[<>]|[=!]=", outside) or measure.endswith("bool"):
        return Condition(text, None, None)
    return Condition(measure, found["sign"], float(found["limit"]))


def _unwrapped(text: str) -> str:
    """Without brackets around the whole."""
    while text.startswith("(") and text.endswith(")") and _depth(text[1:-1], floor=0) == 0:
        text = text[1:-1].strip()
    return text


def _depth(text: str, floor: int | None = None) -> int | None:
    """How many brackets are open at the end; None where one was closed below `floor`."""
    depth = 0
    for sign in _without_strings(text):
        depth += (sign in "([{") - (sign in ")]}")
        if floor is not None and depth < floor:
            return None
    return depth


def _outside(text: str) -> str:
    """What stands outside all brackets."""
    depth, kept = 0, []
    for sign in _without_strings(text):
        depth += sign in "([{"
        if depth == 0:
            kept.append(sign)
        depth -= sign in ")]}"
    return "".join(kept)


def _without_strings(text: str) -> str:
    return re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", "''", text)
