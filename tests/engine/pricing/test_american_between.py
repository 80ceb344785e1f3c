"""American options that are exercised between two boundaries, against trees, the perpetual, identities and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine import european
from engine.pricing import American, american
from tests.engine.pricing.test_american import tree

RATE, DIVIDEND, VOLATILITY = -0.01, -0.04, 0.2


@pytest.mark.parametrize(
    ("spot", "expiry", "rate", "dividend", "volatility", "sign"),
    [
        (100.0, 1.0, -0.01, -0.04, 0.2, -1.0),
        (25.0, 1.0, -0.01, -0.04, 0.2, -1.0),
        (20.0, 5.0, -0.01, -0.04, 0.2, -1.0),
        (110.0, 10.0, -0.01, -0.04, 0.1, -1.0),
        (95.0, 0.5, -0.03, -0.01, 0.15, 1.0),
        (300.0, 2.0, -0.05, -0.02, 0.3, 1.0),
        (95.0, 0.1, -0.002, -0.05, 0.4, -1.0),
    ],
)
def test_it_agrees_with_a_tree(
    spot: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
) -> None:
    arguments = (spot, 100.0, expiry, rate, dividend, volatility, sign)
    found = american(*arguments)
    rough, fine = tree(*arguments, 500), tree(*arguments, 1000)
    assert abs(fine - rough) < 2e-3
    assert found.price == pytest.approx(fine, rel=0, abs=2.0 * abs(fine - rough) + found.error_estimate + 5e-5)
    assert found.error_estimate < 1e-5 * 100.0
    assert found.price >= max(european(*arguments).price, sign * (spot - 100.0))


def test_with_all_the_time_in_the_world_it_is_perpetual() -> None:
    """A. Battauz, M. De Donno and A. Sbuelz (2015): both roots of the perpetual put's equation are below 0."""
    volatility = 0.1
    drift = RATE - DIVIDEND - 0.5 * volatility**2
    root = math.sqrt(drift**2 + 2.0 * RATE * volatility**2)
    for spot, power in ((100.0, (-drift - root) / volatility**2), (20.0, (-drift + root) / volatility**2)):
        boundary = 100.0 * power / (power - 1.0)
        price = (100.0 - boundary) * (spot / boundary) ** power
        found = american(spot, 100.0, 400.0, RATE, DIVIDEND, volatility, "put")
        assert found.price == pytest.approx(price, rel=0, abs=found.error_estimate + 1e-3)
        assert found.error_estimate < 0.02
        assert found.far_boundary == pytest.approx(30.48, rel=0.1)
        assert found.boundary == pytest.approx(82.02, rel=0.03)


def test_the_error_is_below_its_estimate() -> None:
    rng = np.random.default_rng(3)
    for _ in range(8):
        dividend = -rng.uniform(0.005, 0.1)
        rate, volatility, expiry = dividend * rng.uniform(0.1, 0.9), rng.uniform(0.05, 0.5), rng.uniform(0.05, 4.0)
        arguments = (rng.uniform(60.0, 130.0), 100.0, expiry, rate, dividend, volatility, "put")
        rough, exact = american(*arguments, tolerance=1e-4), american(*arguments, tolerance=1e-13)
        assert abs(rough.price - exact.price) <= rough.error_estimate + exact.error_estimate
        assert exact.error_estimate < 2e-7 * 100.0 * max(1.0, expiry)


@pytest.mark.parametrize("spot", [24.0, 78.0, 100.0, 120.0])
def test_greeks_are_slopes_of_the_price(spot: float) -> None:
    def price(spot: float, expiry: float = 1.0) -> float:
        return float(american(spot, 100.0, expiry, RATE, DIVIDEND, VOLATILITY, "put").price)

    found = american(spot, 100.0, 1.0, RATE, DIVIDEND, VOLATILITY, "put")
    h = 0.003 * spot
    up, here, down = price(spot + h), price(spot), price(spot - h)
    assert found.delta == pytest.approx((up - down) / (2.0 * h), abs=2e-4)
    assert found.gamma == pytest.approx((up - 2.0 * here + down) / (h * h), abs=2e-4)
    assert found.theta == pytest.approx((price(spot, 0.99) - price(spot, 1.01)) / 0.02, abs=2e-3)


def test_it_is_exercised_between_the_boundaries_and_kept_outside() -> None:
    arguments = (100.0, 1.0, RATE, DIVIDEND, VOLATILITY, "put")
    found = american(50.0, *arguments)
    assert (found.price, found.delta, found.gamma, found.theta) == (50.0, -1.0, 0.0, 0.0)
    # at expiry exercise pays from strike times rate over dividend on; the region shrinks with time
    assert 25.0 < found.far_boundary < 30.0
    assert 70.0 < found.boundary < 80.0
    for spot in (0.98 * found.far_boundary, 1.02 * found.boundary):
        kept = american(spot, *arguments)
        assert kept.price > 100.0 - spot
        assert kept.gamma > 0.0
    for spot in (1.02 * found.far_boundary, 0.98 * found.boundary):
        assert american(spot, *arguments).price == 100.0 - spot
    # with so much volatility and time there is nothing left to exercise now
    never = american(50.0, 100.0, 20.0, -0.01, -0.012, 0.3, "put")
    assert (never.boundary, never.far_boundary) == (0.0, 0.0)
    assert never.price > 50.0


def test_a_call_is_a_put_with_everything_exchanged() -> None:
    put = american(95.0, 100.0, 1.0, RATE, DIVIDEND, VOLATILITY, "put")
    call = american(100.0, 95.0, 1.0, DIVIDEND, RATE, VOLATILITY, "call")
    assert call.price == pytest.approx(put.price, rel=1e-12)
    assert call.boundary == pytest.approx(100.0 * 95.0 / put.boundary, rel=1e-12)
    assert call.boundary < call.far_boundary < math.inf


def test_limits() -> None:
    at_expiry = american(50.0, 100.0, 0.0, RATE, DIVIDEND, VOLATILITY, "put")
    assert (at_expiry.price, at_expiry.boundary) == (50.0, 100.0)
    assert at_expiry.far_boundary == pytest.approx(25.0)
    times = np.linspace(0.0, 3.0, 30_001)
    for spot in (0.0, 10.0, 24.0, 60.0, 100.0, 130.0):
        worth = np.maximum(100.0 * np.exp(-RATE * times) - spot * np.exp(-DIVIDEND * times), 0.0).max()
        certain = american(spot, 100.0, 3.0, RATE, DIVIDEND, 0.0, "put")
        assert certain.price == pytest.approx(worth, rel=1e-8, abs=1e-8)
        nearly = american(spot, 100.0, 3.0, RATE, DIVIDEND, 0.01, "put")
        assert nearly.price == pytest.approx(worth, abs=0.05 * spot + nearly.error_estimate)
    # a region of exercise that no grid can see
    hidden = american(100.0, 100.0, 1.0, -0.01, -0.010000001, 0.2, "put")
    assert 0.0 < hidden.error_estimate < 1e-6
    assert hidden.price == pytest.approx(european(100.0, 100.0, 1.0, -0.01, -0.010000001, 0.2, "put").price)


def test_arrays_mix_all_cases() -> None:
    rate, dividend = np.array([-0.01, 0.05, -0.02, 0.0]), np.array([-0.04, 0.02, 0.01, 0.0])
    found = american(90.0, 100.0, 1.0, rate, dividend, 0.2, "put")
    assert isinstance(found, American)
    for place in range(4):
        one = american(90.0, 100.0, 1.0, rate[place], dividend[place], 0.2, "put")
        assert [row[place] for row in found] == list(one)
    assert found.far_boundary.tolist()[1:] == [0.0, 0.0, 0.0]
