"""Heston prices and sensitivities against quadrature on the real line, which shares no contour, control or grouping.

Prices are integrated with thirty digits, sensitivities are differences of prices with fifty.
"""

from __future__ import annotations

import functools
from typing import Any

import mpmath
import numpy as np
import pytest

from engine.pricing import HestonGreeks, heston_greeks, heston_price

DIGITS, MORE_DIGITS = 30, 50
SPOT, EXPIRY, RATE, MODEL = 0, 2, 3, range(6, 11)  # places among the arguments


@functools.cache
def panel() -> list[tuple[Any, Any]]:
    """Nodes and weights of Gauss and Legendre on [-1, 1], of order 24."""
    with mpmath.workdps(MORE_DIGITS):
        found = []
        for node in np.polynomial.legendre.leggauss(24)[0]:
            root = mpmath.mpf(float(node))
            for _ in range(3):
                value, before = mpmath.legendre(24, root), mpmath.legendre(23, root)
                slope = 24 * (root * value - before) / (root**2 - 1)
                root -= value / slope
            before = mpmath.legendre(23, root)
            found.append((root, 2 * (1 - root**2) / (24 * before) ** 2))
        return found


def characteristic(u: Any, t: Any, v0: Any, kappa: Any, theta: Any, sigma: Any, rho: Any) -> Any:
    """Of the logarithm of spot over forward, half a unit below the real line."""
    p = mpmath.mpc(0.5, u)
    xi = kappa - rho * sigma * p
    d = mpmath.sqrt(xi * xi + sigma**2 * p * (1 - p))
    g, e = (xi - d) / (xi + d), mpmath.exp(-d * t)
    mean = kappa * theta / sigma**2 * ((xi - d) * t - 2 * mpmath.log((1 - g * e) / (1 - g)))
    return mpmath.exp(mean + v0 * (xi - d) / sigma**2 * (1 - e) / (1 - g * e))


def numbers(arguments: tuple[Any, ...]) -> list[Any]:
    return [mpmath.mpf(value) for value in arguments]


def moneyness(s: Any, k: Any, t: Any, r: Any, q: Any) -> Any:
    return mpmath.log(s / k) + (r - q) * t


def nodes(arguments: list[Any], rest: float) -> list[tuple[Any, Any]]:
    """Points and weights on the real line, out to where the characteristic function is below `rest`."""
    x, begin, width, found = moneyness(*arguments[:5]), mpmath.mpf(0), mpmath.mpf(0.5), []
    while True:
        length = min(width, 12 / (abs(x) + mpmath.mpf(10) ** -9))
        middle = begin + length / 2
        found += [(middle + node * length / 2, weight * length / 2) for node, weight in panel()]
        begin += length
        width *= 1.6
        if abs(characteristic(begin, arguments[EXPIRY], *arguments[6:])) < rest * begin:
            return found


def price(arguments: list[Any], points: list[tuple[Any, Any]], values: list[Any]) -> Any:
    """Lewis's integral, of a characteristic function that is known at the points."""
    s, k, t, r, q, sign = arguments[:6]
    own, owed, x = s * mpmath.exp(-q * t), k * mpmath.exp(-r * t), moneyness(s, k, t, r, q)
    total = mpmath.mpf(0)
    for (u, weight), value in zip(points, values, strict=True):
        total += weight * (mpmath.expj(u * x) * value).real / (u * u + 0.25)
    call = own - mpmath.sqrt(own * owed) / mpmath.pi * total
    return call if sign > 0 else call - own + owed


def known(arguments: list[Any], points: list[tuple[Any, Any]]) -> list[Any]:
    return [characteristic(u, arguments[EXPIRY], *arguments[6:]) for u, _ in points]


def quadrature(*arguments: Any) -> tuple[float, float]:
    """Price, and discounted spot plus strike."""
    with mpmath.workdps(DIGITS):
        centre = numbers(arguments)
        points = nodes(centre, 1e-18)
        s, k, t, r, q = centre[:5]
        size = s * mpmath.exp(-q * t) + k * mpmath.exp(-r * t)
        return float(price(centre, points, known(centre, points))), float(size)


def differences(arguments: tuple[Any, ...]) -> HestonGreeks:
    """All figures; the points stay where they are while the arguments move, so that no error of theirs is divided."""
    with mpmath.workdps(MORE_DIGITS):
        centre = numbers(arguments)
        points = nodes(centre, 1e-24)
        here = known(centre, points)
        middle = price(centre, points, here)

        def slope(place: int) -> Any:
            step = mpmath.mpf(10) ** -18 * max(abs(centre[place]), mpmath.mpf("0.01"))
            moved = list(centre)
            moved[place] += step
            return (price(moved, points, here if place == RATE else known(moved, points)) - middle) / step

        step = mpmath.mpf(10) ** -15 * centre[SPOT]
        below, above = (price([centre[SPOT] + side * step, *centre[1:]], points, here) for side in (-1, 1))
        delta, gamma = (above - below) / (2 * step), (above - 2 * middle + below) / step**2
        model = [slope(place) for place in MODEL]
        vega = 2 * mpmath.sqrt(centre[MODEL[0]]) * model[0]
        figures = (middle, delta, gamma, vega, -slope(EXPIRY), slope(RATE), *model)
        return HestonGreeks._make(map(float, figures))


def market(seed: int) -> tuple[Any, ...]:
    """An option and a model as they come, the moneyness within four standard deviations."""
    rng = np.random.default_rng(seed)
    expiry = float(np.exp(rng.uniform(np.log(0.05), np.log(5.0))))
    v0, theta = rng.uniform(0.01, 0.4, 2)
    model = (v0, rng.uniform(0.3, 6.0), theta, rng.uniform(0.1, 1.2), rng.uniform(-0.95, 0.6))
    strike = 100.0 * np.exp(rng.uniform(-4.0, 4.0) * np.sqrt(0.5 * (v0 + theta) * expiry))
    return (100.0, float(strike), expiry, 0.03, 0.01, 1 if rng.random() < 0.5 else -1, *map(float, model))


EXTREMES = {
    "an hour": (100.0, 100.4, 1 / 8766, 0.02, 0.0, 1, 0.04, 2.0, 0.05, 0.6, -0.6),
    "a day, five deviations out": (100.0, 105.3, 1 / 365, 0.02, 0.0, 1, 0.04, 2.0, 0.05, 0.6, -0.6),
    "thirty years": (100.0, 180.0, 30.0, 0.02, 0.0, -1, 0.04, 0.3, 0.09, 0.8, -0.8),
    "Feller far from held": (100.0, 100.0, 1.0, 0.0, 0.0, 1, 0.01, 0.2, 0.02, 3.0, -0.5),
    "correlation near -1": (100.0, 110.0, 1.0, 0.0, 0.0, 1, 0.04, 1.0, 0.04, 0.5, -0.999),
    "correlation near 1": (100.0, 90.0, 0.5, 0.0, 0.0, -1, 0.04, 1.0, 0.04, 0.5, 0.999),
    "hardly any volatility of variance": (100.0, 110.0, 1.0, 0.0, 0.0, 1, 0.04, 1.0, 0.09, 1e-6, -0.7),
    "hardly any reversion": (100.0, 95.0, 2.0, 0.0, 0.0, 1, 0.04, 1e-7, 0.09, 0.4, 0.7),
    "no variance today": (100.0, 101.0, 0.25, 0.0, 0.0, -1, 0.0, 2.0, 0.09, 0.5, -0.7),
    "no variance in the long run": (100.0, 101.0, 0.5, 0.0, 0.0, -1, 0.09, 2.0, 0.0, 0.5, -0.7),
    "far in the money": (100.0, 15.0, 1.0, 0.05, 0.02, 1, 0.09, 2.0, 0.09, 0.7, -0.7),
    "far out of the money": (100.0, 900.0, 2.0, 0.05, 0.02, 1, 0.09, 2.0, 0.09, 0.7, 0.5),
    "moments that explode": (100.0, 130.0, 5.0, 0.0, 0.0, 1, 0.09, 0.3, 0.2, 2.0, 0.8),
}


@pytest.mark.parametrize("seed", range(16))
def test_prices_of_markets_are_right_to_thirteen_digits(seed: int) -> None:
    arguments = market(seed)
    exact, size = quadrature(*arguments)
    assert heston_price(*arguments) == pytest.approx(exact, rel=0, abs=1e-13 * size)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(16, 200))
def test_prices_of_many_markets_are_right_to_thirteen_digits(seed: int) -> None:
    arguments = market(seed)
    exact, size = quadrature(*arguments)
    assert heston_price(*arguments) == pytest.approx(exact, rel=0, abs=1e-13 * size)


@pytest.mark.parametrize("name", EXTREMES)
def test_prices_at_extremes_are_right_to_eleven_digits(name: str) -> None:
    exact, size = quadrature(*EXTREMES[name])
    assert heston_price(*EXTREMES[name]) == pytest.approx(exact, rel=0, abs=1e-12 * size)


def agree(arguments: tuple[Any, ...]) -> None:
    found, exact = heston_greeks(*arguments), differences(arguments)
    for name, figure, reference in zip(found._fields, found, exact, strict=True):
        assert figure == pytest.approx(reference, rel=1e-11, abs=1e-13 * arguments[SPOT]), name


@pytest.mark.parametrize("seed", range(2))
def test_sensitivities_of_markets_are_right_to_eleven_digits(seed: int) -> None:
    agree(market(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 14))
def test_sensitivities_of_more_markets_are_right_to_eleven_digits(seed: int) -> None:
    agree(market(seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTREMES)
def test_sensitivities_at_extremes_are_right_to_eleven_digits(name: str) -> None:
    agree(EXTREMES[name])
