"""Figures for reading: few digits, the unit beside them, and what a plan would change as a small table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = {"usd": "USD", "pct": "%", "s": "s", "ms": "ms", "us": "us", "bytes": "bytes", "mb": "MB", "mib": "MiB"}
_WORDS = {"var": "VaR", "nav": "NAV", "usd": "USD", "es": "ES", "kelly": "Kelly"}
_AFTER = "_after"
_NAMING = ("", "pod", "symbol")  # what names a row stands first
_ONE = {"indexes": "index", "switches": "switch"}  # of which one is not called by leaving out the `s`


def figure(value: Any) -> str:
    """A value for reading: numbers with three digits that count, structures as JSON."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def exact(value: Any) -> str:
    """A value of a piece of evidence: numbers with six digits that count."""
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return figure(value)


def percent(share: float, places: int = 0) -> str:
    """A share of one as per cent."""
    return f"{100 * share:.{places}f} %"


def amount(value: float) -> str:
    """A sum of money without its currency: `846 k`, `2.31 M`."""
    for size, sign in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            share = value / size
            places = 0 if abs(share) >= 99.95 else 1 if abs(share) >= 9.995 else 2
            return f"{share:,.{places}f} {sign}"
    return _digits(value)


def measured(name: str, value: Any, *, unit: bool = True) -> str:
    """A value with the unit that its name ends in.

    Parameters
    ----------
    name : str
        Such as `notional_usd`, `var_pct`, `waited_s`.
    value : Any
    unit : bool
        Whether the unit is told; its rounding is kept either way.
    """
    sign = unit_of(name)
    if not sign or isinstance(value, bool) or not isinstance(value, int | float):
        return figure(value)
    text = amount(value) if sign == "USD" else f"{value:.2f}" if sign == "%" else figure(value)
    return f"{text} {sign}" if unit else text


def touched(radius: Mapping[str, Any]) -> str:
    """What a plan touches, as one would say it: `5 positions, 3.19 M USD notional`."""
    counts = sorted(radius.items(), key=lambda item: bool(unit_of(item[0])) or item[0] == "bytes")
    return ", ".join(_counted(name, value) for name, value in counts)


def _counted(name: str, value: Any) -> str:
    """A count before what is counted; `rows`, `ready_pods_left`, `bytes` and `notional_usd` are such."""
    if name == "bytes" and isinstance(value, int):
        return f"{amount(value)}B" if value >= 1000 else f"{value} bytes"
    words = label(name)
    if value == 1 and not unit_of(name):
        words = " ".join(_ONE.get(word, word.removesuffix("s")) for word in words.split(" "))
    return f"{'no' if value in (0, 'none') else measured(name, value)} {words}"


def unit_of(name: str) -> str:
    """The unit that a name ends in; empty where it ends in none."""
    return _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""


def label(name: str) -> str:
    """A name (`single-symbol`, `position_usd`) as words, without its unit."""
    bare = name.rpartition("_")[0] if unit_of(name) else name
    words = bare.replace("-", " ").replace("_", " ").split(" ")
    return " ".join(_WORDS.get(word, word) for word in words)


@dataclass(frozen=True)
class Changes:
    """What would change, row by row.

    Attributes
    ----------
    plain, pairs : tuple of str
        The headings, with units: of what names a row, and of what goes from a value to another.
    rows : tuple
        For each row the plain texts, and a text now and a text after for each pair.
    """

    plain: tuple[str, ...]
    pairs: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], ...]


def changes(preview: Mapping[str, Any]) -> Changes:
    """The rows of an action's preview; a column with another of its name and `_after` is a pair.

    The pair that the preview's measure speaks of comes first. A column in which no row has anything is left out.
    """
    rows = [row for row in preview.get("rows") or [] if isinstance(row, Mapping)]
    names = list(rows[0]) if rows else []
    measure = str(preview.get("measure", "")).lower().split()
    pairs = sorted(
        (name for name in names if name + _AFTER in names),
        key=lambda name: label(name).split()[0].lower() not in measure,
    )
    plain = [name for name in names if name not in pairs and name.removesuffix(_AFTER) not in pairs]
    plain = [name for name in plain if any(row.get(name) not in (None, "") for row in rows)]
    plain.sort(key=lambda name: (name not in _NAMING, isinstance(rows[0][name], int | float)))
    return Changes(
        tuple(heading(name) for name in plain),
        tuple(heading(name) for name in pairs),
        tuple(
            (
                tuple(measured(name, row.get(name), unit=False) for name in plain),
                tuple(
                    (measured(name, row.get(name), unit=False), measured(name, row.get(name + _AFTER), unit=False))
                    for name in pairs
                ),
            )
            for row in rows
        ),
    )


def effect(preview: Mapping[str, Any]) -> str:
    """The measure of a preview from now to after in one line; empty where it has none."""
    if not {"measure", "before", "after"} <= preview.keys():
        return ""
    unit = f" {preview['unit']}" if preview.get("unit") else ""
    limit = f", limit {figure(preview['limit'])}" if preview.get("limit") is not None else ""
    before = f"{preview['measure']}: {figure(preview['before'])}"
    if preview["after"] is None:
        return f"{before}{unit} → not known before it is done{limit}"
    return f"{before} → {figure(preview['after'])}{unit}{limit}"


def outcome(result: Mapping[str, Any]) -> dict[str, Any]:
    """What came of an apply, laid out as a preview is: the check before and after, and each measure row by row."""
    before, after = result.get("check_before"), result.get("check")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return {}
    first, last = ((result.get(name) or [{}])[0].get("measures") or {} for name in ("before", "after"))
    measures = [name for name in first if name in last] or [after["measure"]]
    if not first or not last:
        first, last = {after["measure"]: before["by"]}, {after["measure"]: after["by"]}
    items = sorted(before["by"], key=lambda item: -before["by"][item])
    rows = [
        {"": item} | {key: value for name in measures for key, value in _pair(name, first[name], last[name], item)}
        for item in items
    ]
    facts = {"measure": after["measure"], "unit": after["unit"], "limit": after["limit"], "rows": rows}
    return facts | {"before": before["value"], "after": after["value"]}


def _pair(name: str, before: Mapping[str, Any], after: Mapping[str, Any], item: str) -> list[tuple[str, Any]]:
    return [(name, before.get(item)), (name + _AFTER, after.get(item))]


def heading(name: str) -> str:
    """A name as the heading of a column, with its unit in brackets."""
    sign = unit_of(name)
    return f"{label(name)} [{sign}]" if sign else label(name)


def _number(value: float) -> str:
    size = abs(value)
    if size >= 1e6:
        return amount(value)
    return f"{value:,.0f}" if size >= 100 else _digits(value)


def _digits(value: float) -> str:
    """Three digits that count, never in powers of ten unless the value is tiny."""
    size = abs(value)
    if size == 0 or size != size:  # zero, or no number
        return f"{value:g}"
    if size < 1e-3:
        return f"{value:.2g}"
    places = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    text = f"{value:,.{places}f}" if size >= 0.1 else f"{value:.3f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
