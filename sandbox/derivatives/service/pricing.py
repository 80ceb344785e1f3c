"""Greeks of a batch of options: on the card's path by the engine, on the other by finite differences, one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from engine.pricing import european
from sandbox.derivatives.market import RATE, black_scholes
from sandbox.derivatives.service.models import Models
from sandbox.derivatives.service.release import Release

__all__ = ["FIELDS", "Option", "PricingFailed", "Quote", "Row", "greeks"]

FIELDS = ("price", "delta", "gamma", "vega", "theta", "rho", "volatility", "spot")
_DAYS = 365.0

Row = tuple[float, float, float, float, float, float, float, float]
"""The fields of one result, in the order of `FIELDS`; per unit of the underlying, time in years."""


class PricingFailed(ValueError):
    """An option that this release cannot price."""


class Quote(NamedTuple):
    """The market of an underlying: spot [USD] and volatility at the money [per sqrt(year)]."""

    spot: float
    volatility: float


class Option(NamedTuple):
    """A European option; `spot` is None where the market's is meant."""

    underlying: str
    kind: str
    strike: float
    days: int
    spot: float | None = None


def greeks(options: list[Option], market: dict[str, Quote], models: Models, release: Release, card: bool) -> list[Row]:
    """Return the Greeks of a batch.

    Parameters
    ----------
    options : list of Option
    market : dict
        By underlying.
    models, release
        Volatility surfaces, and the parameters in force.
    card : bool
        Whether there is a card; without one each Greek is a difference of prices.

    Raises
    ------
    PricingFailed
        An underlying is unknown, has no market, or no dividend in this release.
    """
    method = _by_engine if card else _by_differences
    rows: list[Row] = []
    for underlying, kind, strike, days, asked in options:
        try:
            quote = market[underlying]
            model = models.get(underlying)
            dividend = release.dividends[underlying]
        except KeyError as missing:
            raise PricingFailed(f"no dividend, model or market for {underlying} (looked for {missing})") from None
        spot = quote.spot if asked is None else asked
        years = days / _DAYS
        level = quote.volatility * release.volatility_scale * model(math.log(strike / spot), years)
        if release.smoothing == 1:
            rows.append((*method(spot, strike, years, dividend, level, kind), level, spot))
            continue
        width = range(-(release.smoothing // 2), release.smoothing - release.smoothing // 2)
        near = [method(spot * (1.0 + 1e-4 * step), strike, years, dividend, level, kind) for step in width]
        mean = [sum(column) / len(near) for column in zip(*near, strict=True)]
        rows.append((mean[0], mean[1], mean[2], mean[3], mean[4], mean[5], level, spot))
    return rows


_Six = tuple[float, float, float, float, float, float]


def _by_engine(spot: float, strike: float, years: float, dividend: float, volatility: float, kind: str) -> _Six:
    found = european(spot, strike, years, RATE, dividend, volatility, kind)
    return found[0], found[1], found[2], found[3], found[4], found[5]


def _by_differences(spot: float, strike: float, years: float, dividend: float, volatility: float, kind: str) -> _Six:
    """Differences of prices, of sixth order at two widths, extrapolated (Richardson): no card, no compiled kernel."""
    sign = 1.0 if kind == "call" else -1.0

    def at(ds: float = 0.0, dt: float = 0.0, dr: float = 0.0, dv: float = 0.0) -> float:
        return black_scholes(spot + ds, strike, years + dt, RATE + dr, dividend, volatility + dv, sign)

    def slope(name: str, h: float) -> float:
        one, two, three = (at(**{name: step * h}) - at(**{name: -step * h}) for step in (1, 2, 3))
        return (45.0 * one - 9.0 * two + three) / (60.0 * h)

    def curvature(h: float) -> float:
        one, two, three = (at(ds=step * h) + at(ds=-step * h) for step in (1, 2, 3))
        return (270.0 * one - 27.0 * two + 2.0 * three - 490.0 * value) / (180.0 * h * h)

    def extrapolated(difference: Callable[[float], float], h: float) -> float:
        return (64.0 * difference(h) - difference(2.0 * h)) / 63.0

    def sensitivity(name: str, h: float) -> float:
        return extrapolated(lambda width: slope(name, width), h)

    value = at()
    gamma = extrapolated(curvature, spot * 1e-3)
    theta = -sensitivity("dt", years * 1e-3)
    return value, sensitivity("ds", spot * 1e-3), gamma, sensitivity("dv", 1e-4), theta, sensitivity("dr", 1e-5)
