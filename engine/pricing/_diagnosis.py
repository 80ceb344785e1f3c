"""Why served Greeks may differ: conventions of a single figure, and inputs that would explain all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine._checks import FloatArray
from engine.pricing.closed_form import Greeks, european

__all__ = ["Option", "conventions", "explanations"]

Option = tuple[float, float, float, float, float, float, float]  # arguments of european

_INPUTS = ("spot", "strike", "expiry", "rate", "dividend", "volatility")
_SEARCHED = 801
_REACH = {"spot": 0.7, "strike": 0.7, "expiry": 3.0, "rate": 0.2, "dividend": 0.2, "volatility": 1.6}
_ADDED = {"rate", "dividend"}  # moved by a difference; the others by a factor, whose log is searched
_HALVINGS = 90
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


def conventions(name: str, served: float, closed: float, allowed: float, values: Option) -> str:
    """Return in which convention the figure would be right; empty where in none that is known."""
    if not math.isfinite(served) or not math.isfinite(closed):
        return ""
    for factor, phrase in _factors(name, values):
        for sign in (1.0, -1.0):
            by = sign * factor
            if by == 1.0 or abs(by * closed) <= 2.0 * abs(by) * allowed:
                continue
            if abs(served - by * closed) <= abs(by) * allowed:
                turned = ", with the opposite sign" if sign < 0.0 else ""
                return f"it is {phrase}{turned}" if phrase else "it has the opposite sign"
    spot, strike, expiry, rate, dividend, volatility, sign = values
    exact = european(*values)
    other = european(spot, strike, expiry, rate, dividend, volatility, -sign)
    kind = "put" if sign > 0.0 else "call"
    variants = [(getattr(other, name), f"that of the {kind}")]
    if name == "delta" and spot > 0.0:
        variants += [
            (closed - exact.price / spot, "the delta adjusted for a premium paid in the underlying"),
            (closed * math.exp(dividend * expiry), "the delta of the forward"),
        ]
    for figure, phrase in variants:
        if abs(figure - closed) > 2.0 * allowed and abs(served - figure) <= allowed:
            return f"it is {phrase}"
    return ""


def _factors(name: str, values: Option) -> list[tuple[float, str]]:
    """Factors by which desks quote a Greek, and how one says it."""
    spot = values[0]
    found = [(1.0, "")]
    if name in ("vega", "rho", "vanna"):
        found += [(1e-2, "per 1 %, not per 1.0"), (1e-4, "per basis point, not per 1.0")]
    if name == "volga":
        found += [(1e-4, "per 1 % of volatility twice, not per 1.0"), (1e-2, "per 1 %, not per 1.0")]
    if name in ("theta", "charm"):
        found += [(1.0 / 365.0, "per calendar day, not per year"), (1.0 / 252.0, "per trading day, not per year")]
        found += [(1.0 / 360.0, "per day of a year of 360, not per year")]
    if name == "delta":
        found += [(100.0, "in percent"), (spot, "in currency (times the spot)")]
    if name == "gamma":
        found += [(0.01 * spot, "per 1 % of the spot"), (0.01 * spot * spot, "in currency per 1 % of the spot")]
        found += [(spot * spot, "times the spot squared"), (100.0, "in percent")]
    found += [(100.0, "100 times too large"), (0.01, "100 times too small")]
    return found


def explanations(
    served: Mapping[str, float],
    values: Option,
    tolerances: Mapping[str, float],
    sizes: tuple[float, ...],
    of_size: float,
) -> tuple[str, ...]:
    """Return what would explain all served figures at once, the likeliest first."""
    names = [name for name in Greeks._fields if math.isfinite(served.get(name, math.nan))]
    if len(names) < 2:
        return ()
    places = [Greeks._fields.index(name) for name in names]
    figures = np.array([served[name] for name in names])
    parts = np.array([tolerances[name] for name in names])
    floors = of_size * np.array([sizes[place] for place in places])

    def misfit(columns: tuple[Any, ...]) -> FloatArray:
        """How many times the tolerance the worst figure is off, for each candidate."""
        with np.errstate(all="ignore"):
            found = np.array([np.atleast_1d(european(*columns)[place]) for place in places])
            off = np.abs(figures[:, None] - found) / (parts[:, None] * (np.abs(found) + floors[:, None]))
        return np.asarray(np.where(np.isfinite(off), off, np.inf).max(axis=0))

    all_of = f"all {len(names)} served figures"
    found = []
    sign = values[6]
    if misfit((*values[:6], -sign))[0] <= 1.0:
        found.append(f"{all_of} are those of the {'put' if sign > 0.0 else 'call'}")
    multiple = _multiple(figures, np.array([european(*values)[place] for place in places]), parts, floors)
    if multiple is not None:
        found.append(f"{all_of} are {multiple:.6g} times what they should be: a multiplier, or a number of contracts")
    moves = []
    for place, name in enumerate(_INPUTS):
        moved = _moved(place, name, values, misfit)
        if moved is not None:
            way = abs(moved - values[place]) if name in _ADDED else abs(math.log(moved / values[place]))
            moves.append((way, f"{all_of} fit {name} {moved:.6g}, where the request says {values[place]:.6g}"))
    return (*found, *(sentence for _, sentence in sorted(moves)))


def _multiple(figures: FloatArray, exact: FloatArray, parts: FloatArray, floors: FloatArray) -> float | None:
    """Return the factor that all figures have in common."""
    if not np.isfinite(exact).all() or not exact.any():
        return None
    weights = 1.0 / (parts * (np.abs(exact) + floors))
    factor = float((figures * weights) @ (exact * weights) / ((exact * weights) @ (exact * weights)))
    off = np.abs(figures - factor * exact) * weights
    return factor if factor != 0.0 and off.max() <= abs(factor) and not (off.max() <= 1.0 and factor == 1.0) else None


def _moved(place: int, name: str, values: Option, misfit: Any) -> float | None:
    """Return the value of one input, the others as requested, that fits all figures; None where none does."""
    base = values[place]
    if name not in _ADDED and base <= 0.0:
        return None
    reach = _REACH[name]

    def at(steps: Any) -> Any:
        return base + steps if name in _ADDED else base * np.exp(steps)

    def off(steps: Any) -> FloatArray:
        return np.asarray(misfit((*values[:place], at(np.asarray(steps)), *values[place + 1 :])))

    steps = np.linspace(-reach, reach, _SEARCHED)
    seen = off(steps)
    best = int(np.argmin(seen))
    if not math.isfinite(seen[best]):
        return None
    # the worst figure of all is a valley with one bottom around the best place: golden section
    low, high = steps[max(best - 1, 0)], steps[min(best + 1, _SEARCHED - 1)]
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_inner, at_outer = off(inner)[0], off(outer)[0]
    for _ in range(_HALVINGS):
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - _GOLDEN * (high - low)
            at_inner = off(inner)[0]
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + _GOLDEN * (high - low)
            at_outer = off(outer)[0]
    found = 0.5 * (low + high)
    return float(at(found)) if off(found)[0] <= 1.0 else None
