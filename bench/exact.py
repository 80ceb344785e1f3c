"""Prices to a hundred digits, from the definition of the error function and nothing of the engine.

Greeks are central differences of the price: with so many digits a step of 1e-20 leaves 35 good ones.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache

from engine import Greeks

DIGITS = 100
STEP = Decimal("1e-20")
HALF = Decimal("0.5")
Numbers = tuple[Decimal, ...]


@cache
def pi() -> Decimal:
    """Machin: pi / 4 = 4 atan(1 / 5) - atan(1 / 239)."""

    def arctangent(inverse: int) -> Decimal:
        term = Decimal(1) / inverse
        total, order = term, 1
        while abs(term) > Decimal(10) ** -(DIGITS + 5):
            term /= -inverse * inverse
            order += 2
            total += term / order
        return total

    return 16 * arctangent(5) - 4 * arctangent(239)


def complement(x: Decimal) -> Decimal:
    """Complementary error function."""
    if x < 0:
        return 2 - complement(-x)
    scale = (-x * x).exp() / pi().sqrt()
    if x < 6:  # 1 - erf, whose series (Abramowitz and Stegun 7.1.6) has positive terms only
        term = total = x
        order = 0
        while term > total * Decimal(10) ** -(DIGITS + 5):
            order += 1
            term *= 2 * x * x / (2 * order + 1)
            total += term
        return 1 - 2 * scale * total
    fraction = x  # Abramowitz and Stegun 7.1.14
    for order in range(700, 0, -1):
        fraction = x + (Decimal(order) / 2) / fraction
    return scale / fraction


def price(
    spot: Decimal, strike: Decimal, expiry: Decimal, rate: Decimal, dividend: Decimal, volatility: Decimal, sign: int
) -> Decimal:
    """Black-Scholes-Merton price."""
    s = volatility * expiry.sqrt()
    d1 = ((spot / strike).ln() + (rate - dividend) * expiry) / s + s / 2
    root = Decimal(2).sqrt()
    own = spot * (-dividend * expiry).exp() * complement(-sign * d1 / root) / 2
    owed = strike * (-rate * expiry).exp() * complement(-sign * (d1 - s) / root) / 2
    return sign * (own - owed)


def exact_price(arguments: tuple[float, ...], sign: int) -> float:
    """Return the price, rounded once."""
    with localcontext() as context:
        context.prec = DIGITS
        return float(price(*(Decimal(value) for value in arguments), sign))


def exact_greeks(arguments: tuple[float, ...], sign: int) -> tuple[float, ...]:
    """Price, delta, gamma, vega, theta, rho, vanna, volga and charm, each rounded once."""
    with localcontext() as context:
        context.prec = DIGITS
        centre = [Decimal(value) for value in arguments]
        sizes = [centre[0] * STEP, centre[1] * STEP, centre[2] * STEP, STEP, STEP, centre[5] * STEP]

        def at(*moves: tuple[int, int]) -> Decimal:
            moved = list(centre)
            for place, steps in moves:
                moved[place] += steps * sizes[place]
            return price(*moved, sign)

        def first(place: int) -> Decimal:
            return (at((place, 1)) - at((place, -1))) / (2 * sizes[place])

        def second(place: int) -> Decimal:
            return (at((place, 1)) - 2 * at() + at((place, -1))) / sizes[place] ** 2

        def mixed(one: int, other: int) -> Decimal:
            up = at((one, 1), (other, 1)) - at((one, 1), (other, -1))
            down = at((one, -1), (other, 1)) - at((one, -1), (other, -1))
            return (up - down) / (4 * sizes[one] * sizes[other])

        found = (at(), first(0), second(0), first(5), -first(2), first(3), mixed(0, 5), second(5), -mixed(0, 2))
        return tuple(float(value) for value in found)


def scales(spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float) -> Greeks:
    """Size of the terms that each figure is a difference of: rounding is relative to these."""
    root = math.sqrt(expiry)
    size = spot * math.exp(-dividend * expiry) + strike * math.exp(-rate * expiry)
    unit = size / spot
    s = volatility * root
    theta = size * (volatility / root + abs(rate) + abs(dividend))
    charm = unit * (abs(dividend) + abs(rate - dividend) / s + 1.0 / expiry)
    return Greeks(
        size,
        unit,
        unit / spot / s,
        size * root,
        theta,
        size * expiry,
        unit / volatility,
        size * root / volatility,
        charm,
    )
