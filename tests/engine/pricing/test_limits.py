"""Where the formula divides by nothing: expiry, volatility or spot of 0, and far wings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.exact import exact_greeks, exact_price, scales
from engine import Greeks, european

EPSILON = float(np.finfo(np.float64).eps)
INFINITY = math.inf


def test_at_expiry_in_and_out_of_the_money() -> None:
    greeks = european(110.0, 100.0, 0.0, 0.05, 0.02, 0.2, "call")
    assert greeks == Greeks(10.0, 1.0, 0.0, 0.0, 0.02 * 110.0 - 0.05 * 100.0, 0.0, 0.0, 0.0, 0.02)
    assert european(110.0, 100.0, 0.0, 0.05, 0.02, 0.2, "put") == Greeks(*[0.0] * 9)


@pytest.mark.parametrize(("kind", "sign"), [("call", 1.0), ("put", -1.0)])
def test_at_expiry_and_at_the_money(kind: str, sign: float) -> None:
    greeks = european(100.0, 100.0, 0.0, 0.05, 0.02, 0.2, kind)
    assert greeks == Greeks(0.0, 0.5 * sign, INFINITY, 0.0, -INFINITY, 0.0, 0.0, 0.0, -INFINITY)


@pytest.mark.parametrize(("rate", "charm"), [(0.0, INFINITY), (0.03, 0.015), (0.06, -INFINITY)])
def test_at_expiry_and_at_the_money_charm_has_the_sign_of_the_drift(rate: float, charm: float) -> None:
    # rate - dividend + volatility**2 / 2 is below, at and above 0
    volatility = 0.0 if rate == 0.03 else 0.01
    assert european(100.0, 100.0, 0.0, rate, 0.03, volatility, "call").charm == charm


@pytest.mark.parametrize(("kind", "sign"), [("call", 1.0), ("put", -1.0)])
def test_without_volatility(kind: str, sign: float) -> None:
    own, owed = 100.0 * math.exp(-0.01), 80.0 * math.exp(-0.05)
    greeks = european(100.0, 80.0, 1.0, 0.05, 0.01, 0.0, kind)
    if sign > 0:
        expected = (own - owed, own / 100.0, 0.0, 0.0, 0.01 * own - 0.05 * owed, owed, 0.0, 0.0, 0.01 * own / 100.0)
        assert greeks == pytest.approx(expected, rel=1e-15)
    else:
        assert greeks == Greeks(*[0.0] * 9)


def test_without_volatility_and_with_the_forward_at_the_strike() -> None:
    greeks = european(100.0, 100.0, 4.0, 0.0, 0.0, 0.0, "call")
    vega = 100.0 * 2.0 / math.sqrt(2.0 * math.pi)
    assert greeks == pytest.approx((0.0, 0.5, INFINITY, vega, 0.0, 200.0, 0.01 * vega / 2.0, 0.0, 0.0), rel=1e-15)


def test_with_a_spot_of_nothing() -> None:
    owed = 100.0 * math.exp(-0.1)
    assert european(0.0, 100.0, 2.0, 0.05, 0.02, 0.3, "call") == Greeks(*[0.0] * 9)
    delta = -math.exp(-0.04)
    expected = (owed, delta, 0.0, 0.0, 0.05 * owed, -2.0 * owed, 0.0, 0.0, 0.02 * delta)
    assert european(0.0, 100.0, 2.0, 0.05, 0.02, 0.3, "put") == pytest.approx(expected, rel=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(0.0, 0.3), (0.5, 0.0)]),
    st.floats(50.0, 200.0).filter(lambda spot: abs(spot - 100.0) > 5.0),
    st.sampled_from(["call", "put"]),
)
def test_the_limit_is_where_the_formula_goes(nothing: tuple[float, float], spot: float, kind: str) -> None:
    expiry, volatility = nothing
    at = european(spot, 100.0, expiry, 0.03, 0.01, volatility, kind)
    near = european(spot, 100.0, expiry or 1e-9, 0.03, 0.01, volatility or 1e-9, kind)
    assert near == pytest.approx(at, rel=1e-8, abs=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        (100.0, 100.0, 1e-14, 0.03, 0.01, 0.2),  # minutes in the nanoseconds
        (100.0, 100.0, 1.0, 0.02, 0.02, 1e-9),
        (100.0, 4e3, 0.01, 0.0, 0.0, 1.0),  # 37 deviations out of the money
        (4e3, 100.0, 0.01, 0.0, 0.0, 1.0),
        (100.0, 100.0, 100.0, 0.01, 0.0, 8.0),  # 40 deviations, and the call worth its bound
        (1e-150, 1e-150, 1.0, 0.0, 0.0, 0.3),
        (1e150, 1e150, 1.0, 0.0, 0.0, 0.3),
        (100.0, 100.0, 30.0, 5.0, 4.9, 0.3),  # discounts of 1e-65
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_outside_the_range_of_the_fast_formulas(arguments: tuple[float, ...], sign: int) -> None:
    exact = exact_greeks(arguments, sign)
    found = european(*arguments, "call" if sign > 0 else "put")
    for name, value, reference, scale in zip(Greeks._fields, found, exact, scales(*arguments), strict=True):
        assert value == pytest.approx(reference, rel=1e-10, abs=8 * EPSILON * scale), name


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_wings_have_their_digits_down_to_the_smallest_float(unit: float, sign: int) -> None:
    for s in (0.001, 0.0103, 0.3, 3.0):
        for deviations in (20.0, 33.0, 35.0, 36.5, 36.95, 37.3, 38.0):
            strike = unit * math.exp(sign * deviations * s)
            exact = exact_price((unit, strike, 1.0, 0.0, 0.0, s), sign)
            if exact < 1e-305:
                continue
            allowed = 200 * EPSILON / min(s, 1.0) * (1.0 + deviations * s)
            assert european(unit, strike, 1.0, 0.0, 0.0, s, sign).price == pytest.approx(exact, rel=allowed, abs=0)
            both = european([unit, unit], strike, 1.0, 0.0, 0.0, s, sign).price
            assert both[0] == pytest.approx(exact, rel=allowed, abs=0)


@pytest.mark.parametrize(
    "arguments",
    [
        (1e8, 10165064662.114553, 11.55385475326235, 0.5, 0.1, 0.001),
        (100.0, 1.115740794254876, 30.0, -0.05, 0.1, 0.001),
        (1e-8, 1.0914293035024106e-11, 23.64659185213459, -0.18842495344610494, 0.1, 0.001),
        (100.0, 100.0, 1.0 / 525_960.0, 0.05, 0.1, 0.001),
        (1e8, 3e7, 30.0, 0.02, 0.1, 5.0),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_little_and_much_volatility_far_from_the_strike(arguments: tuple[float, ...], sign: int) -> None:
    spot, strike, expiry, rate, dividend, volatility = arguments
    s = volatility * math.sqrt(expiry)
    far = 1.0 + (abs(math.log(spot / strike)) + abs(rate - dividend) * expiry) / min(s, 1.0)
    exact = exact_greeks(arguments, sign)
    for name, value, right, scale in zip(
        Greeks._fields, european(*arguments, sign), exact, scales(*arguments), strict=True
    ):
        assert value == pytest.approx(right, rel=0, abs=8 * EPSILON * far * scale), name


@pytest.mark.parametrize("arguments", [(1e300, 1e-300), (1e-300, 1e300), (5e-324, 1.0), (1.0, 5e-324)])
@pytest.mark.parametrize("rest", [(1.0, 0.0, 0.0, 0.2), (1e300, 0.01, 0.01, 1e300), (1e-300, 0.0, 0.0, 1e-300)])
def test_nothing_is_nan_at_the_ends_of_the_floats(arguments: tuple[float, float], rest: tuple[float, ...]) -> None:
    for kind in ("call", "put"):
        assert not any(math.isnan(value) for value in european(*arguments, *rest, kind))


def test_a_price_is_never_negative_nor_minus_nothing() -> None:
    rng = np.random.default_rng(4)
    spot: Any = 100.0 * np.exp(rng.normal(0.0, 2.0, 20_000))
    expiry: Any = np.where(rng.random(20_000) < 0.1, 0.0, 10.0 ** rng.uniform(-13, 1, 20_000))
    price = european(spot, 100.0, expiry, 0.0, 0.0, 0.1, np.where(rng.random(20_000) < 0.5, 1, -1)).price
    assert not np.signbit(price).any()
