"""Whether a notebook that ran again shows what it showed before: text and figures, pictures by their presence.

Figures with decimals may differ by a millionth, or by one in the last digit that is shown; whole numbers not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opslib.runs.formats import NotebookNode

__all__ = ["Difference", "cells", "differences", "same_text"]

RELATIVE = 1e-6
_NUMBER = re.compile(r"(?<![A-Za-z_])[-+−]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
# What is of one process alone: addresses in memory, the kernel's folder, where cut output was kept.
_PASSING = (
    (re.compile(r"0x[0-9a-f]{6,16}"), "0x"),
    (re.compile(r"/[\w./-]*/kernel-\w{8}"), "/kernel"),
    (re.compile(r"\[[\d,]+ bytes of output cut here; [^\]]*\]"), "[cut]"),
)
_AROUND = 60


@dataclass(frozen=True)
class Difference:
    """Where two things differ, and the two as far as they differ."""

    where: str
    archived: str
    replayed: str


def cells(before: NotebookNode, after: NotebookNode) -> Iterator[tuple[int, NotebookNode, Difference | None]]:
    """The code cells of two executions of one notebook, each with its index in the first and how they differ.

    A cell that did not come to its end before is left out: it says nothing of what it would have shown.
    """
    then = [(index, cell) for index, cell in enumerate(before.cells) if cell.cell_type == "code"]
    now = [cell for cell in after.cells if cell.cell_type == "code"]
    for (index, cell), again in zip(then, now, strict=True):
        if cell.metadata.get("runbook", {}).get("status") in ("succeeded", "failed"):
            yield index, cell, _outputs(shown(cell), shown(again))


def shown(cell: NotebookNode) -> list[tuple[str, str]]:
    """What a cell shows, as pairs of kind and text: pieces of a stream in one, of a picture that it is there."""
    found: list[tuple[str, str]] = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            kind = str(output.name)
            if found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1] + _text(output.text))
            else:
                found.append((kind, _text(output.text)))
        elif output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        else:
            found += [
                ("picture", "") if kind.startswith("image/") else (kind, _text(data))
                for kind, data in sorted(output.data.items())
            ]
    return found


def same_text(before: str, after: str) -> bool:
    """Whether two texts are the same but for the last digits of their figures."""
    return _first_difference(before, after) is None


def differences(before: Any, after: Any, where: str = "") -> Iterator[Difference]:
    """Where two JSON values differ; numbers and texts as in cells."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            yield from differences(before.get(name), after.get(name), f"{where}.{name}" if where else str(name))
    elif _listed(before) and _listed(after) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{where}[{place}]")
    elif not _same(before, after):
        yield Difference(where, _text(before), _text(after))


def _outputs(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> Difference | None:
    for (kind, text), (other, again) in zip(before, after, strict=False):
        if kind != other:
            return Difference(kind, f"{kind}: {text[:_AROUND]}", f"{other}: {again[:_AROUND]}")
        place = _first_difference(text, again)
        if place is not None:
            return Difference(kind, _around(text, place), _around(again, place))
    if len(before) == len(after):
        return None
    kind, text = (before if len(before) > len(after) else after)[min(len(before), len(after))]
    more = f"{kind}: {text[:_AROUND]}"
    return Difference(kind, more, "nothing") if len(before) > len(after) else Difference(kind, "nothing", more)


def _first_difference(before: str, after: str) -> int | None:
    """Where two texts differ first, by the first one's characters; None: they are the same."""
    before, after = _lasting(before), _lasting(after)
    if before == after:
        return None
    ours, theirs = list(_NUMBER.finditer(before)), list(_NUMBER.finditer(after))
    here = there = 0
    for one, other in zip(ours, theirs, strict=False):
        if before[here : one.start()] != after[there : other.start()]:
            return here
        if not _close(one[0], other[0]):
            return one.start()
        here, there = one.end(), other.end()
    return None if len(ours) == len(theirs) and before[here:] == after[there:] else here


def _close(one: str, other: str) -> bool:
    """Whether two figures are the same as far as they are shown."""
    if one == other:
        return True
    if not any(sign in text for text in (one, other) for sign in ".eE"):
        return False
    a, b = _value(one), _value(other)
    last = max(_last_digit(one), _last_digit(other))
    return abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), 1.000001 * last)


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def _last_digit(text: str) -> float:
    """The worth of the last digit of a figure; 0 where it shows no decimals."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, bool) or isinstance(after, bool) or before is None or after is None:
        return before is after
    if isinstance(before, int) and isinstance(after, int):
        return before == after
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(before - after) <= max(RELATIVE * max(abs(before), abs(after)), 0.0011)  # three decimals are kept
    if isinstance(before, str) and isinstance(after, str):
        return same_text(before, after)
    return bool(before == after)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _lasting(text: str) -> str:
    for pattern, instead in _PASSING:
        text = pattern.sub(instead, text)
    return text


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else str(value)


def _around(text: str, place: int) -> str:
    """The part of a text around a place, in one line."""
    text = _lasting(text)
    start, end = max(0, place - _AROUND), place + _AROUND
    return ("…" if start else "") + " ".join(text[start:end].split()) + ("…" if end < len(text) else "")
