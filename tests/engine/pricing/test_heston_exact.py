"""Heston prices against thirty-digit quadrature on the real line, which shares no contour, control or grouping."""

from __future__ import annotations

import functools
from typing import Any

import mpmath
import numpy as np
import pytest

from engine.pricing import heston_greeks, heston_price

DIGITS = 30


@functools.cache
def panel() -> list[tuple[Any, Any]]:
    """Nodes and weights of Gauss and Legendre on [-1, 1], of order 24."""
    with mpmath.workdps(DIGITS):
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


def quadrature(
    spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: int, *model: float
) -> tuple[float, float]:
    """Price by Lewis's integral in panels on the real line, and discounted spot plus strike."""
    with mpmath.workdps(DIGITS):
        s, k, t, r, q, v0, kappa, theta, sigma, rho = (
            mpmath.mpf(value) for value in (spot, strike, expiry, rate, dividend, *model)
        )
        own, owed = s * mpmath.exp(-q * t), k * mpmath.exp(-r * t)
        x = mpmath.log(own / owed)

        def characteristic(u: Any) -> Any:
            p = mpmath.mpc(0.5, u)
            xi = kappa - rho * sigma * p
            d = mpmath.sqrt(xi * xi + sigma**2 * p * (1 - p))
            g, e = (xi - d) / (xi + d), mpmath.exp(-d * t)
            mean = kappa * theta / sigma**2 * ((xi - d) * t - 2 * mpmath.log((1 - g * e) / (1 - g)))
            return mpmath.exp(mean + v0 * (xi - d) / sigma**2 * (1 - e) / (1 - g * e))

        total, begin = mpmath.mpf(0), mpmath.mpf(0)
        width = mpmath.mpf(0.5)
        while True:
            length = min(width, 12 / (abs(x) + mpmath.mpf(10) ** -9))
            middle = begin + length / 2
            for node, weight in panel():
                u = middle + node * length / 2
                turned = mpmath.exp(mpmath.mpc(0, u * x)) * characteristic(u)
                total += weight * length / 2 * turned.real / (u * u + 0.25)
            begin += length
            width *= 1.6
            if abs(characteristic(begin)) / begin < mpmath.mpf(10) ** -18:
                break
        call = own - mpmath.sqrt(own * owed) / mpmath.pi * total
        return float(call if sign > 0 else call - own + owed), float(own + owed)


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Feller far from held", "thirty years"])
def test_sensitivities_are_the_slopes_of_the_exact_price(name: str) -> None:
    arguments = EXTREMES[name]
    greeks = heston_greeks(*arguments)
    for place, figure in ((0, greeks.delta), (6, greeks.d_v0), (9, greeks.d_sigma)):
        step = 3e-5 * arguments[place]
        prices = []
        for factor in (-2, -1, 1, 2):
            moved = list(arguments)
            moved[place] += factor * step
            prices.append(quadrature(*moved)[0])
        slope = (prices[0] - 8 * prices[1] + 8 * prices[2] - prices[3]) / (12 * step)
        assert figure == pytest.approx(slope, rel=1e-8)
