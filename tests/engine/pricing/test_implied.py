"""Implied volatility: back to where the price came from, bounds and their reasons."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.exact import exact_price
from engine import InvalidInput, NotFinite, european, implied_volatility, implied_volatility_reason

EPSILON = float(np.finfo(np.float64).eps)


def rounding(arguments: tuple[Any, ...], price: Any, sign: Any) -> Any:
    """Relative error of the volatility from one rounding of the price and, in the money, of spot and strike."""
    spot, strike, expiry, rate, dividend, volatility = arguments
    own, owed = spot * np.exp(-dividend * expiry), strike * np.exp(-rate * expiry)
    vega = european(*arguments, sign).vega
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return EPSILON * (price + np.where(sign * (own - owed) > 0.0, own + owed, 0.0)) / (vega * volatility)


@pytest.mark.parametrize(
    ("arguments", "kind", "price", "volatility"),
    [
        ((42.0, 40.0, 0.5, 0.10, 0.0), "call", 4.7594224, 0.2),  # Hull
        ((42.0, 40.0, 0.5, 0.10, 0.0), "put", 0.8085994, 0.2),
        ((60.0, 65.0, 0.25, 0.08, 0.0), "call", 2.1334, 0.30),  # Haug
        ((100.0, 95.0, 0.5, 0.10, 0.05), "put", 2.4648, 0.20),
    ],
)
def test_prices_in_print(arguments: tuple[float, ...], kind: str, price: float, volatility: float) -> None:
    digits = len(str(price).partition(".")[2])
    vega = european(*arguments, volatility, kind).vega
    found = implied_volatility(price, *arguments, kind)
    assert found == pytest.approx(volatility, rel=0, abs=0.51 * 10**-digits / vega)


@pytest.mark.parametrize(
    ("x", "price", "s"), [(-0.1, 7.4744685724967554e-27, 0.01), (-0.5, 0.64640138673324614, 3.0), (0.0, 0.0, 0.0)]
)
def test_normalised_prices_in_print(x: float, price: float, s: float) -> None:
    found = implied_volatility(price, math.exp(0.5 * x), math.exp(-0.5 * x), 1.0, 0.0, 0.0, "call")
    assert found == pytest.approx(s, rel=1e-14, abs=0)


@settings(max_examples=150, deadline=None)
@given(
    st.floats(-4.0, 4.0),
    st.floats(-3.0, 1.0),
    st.floats(-3.0, 0.7),
    st.floats(-0.05, 0.15),
    st.floats(-0.05, 0.15),
    st.sampled_from([1, -1]),
)
def test_it_inverts_exact_prices_to_1e_12(
    moneyness: float, expiry: float, volatility: float, rate: float, dividend: float, sign: int
) -> None:
    arguments = (100.0 * math.exp(moneyness), 100.0, 10.0**expiry, rate, dividend, 10.0**volatility)
    price = exact_price(arguments, sign)
    assume(price > 1e-290)
    slack = float(rounding(arguments, price, sign))
    assume(slack < 1e-12)
    assert implied_volatility(price, *arguments[:5], sign) == pytest.approx(arguments[5], rel=1e-12 + 4 * slack, abs=0)


@pytest.mark.parametrize("moneyness", [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("s", [1e-6, 1e-4, 0.004, 0.02, 0.3, 2.0, 10.0])
def test_over_the_whole_plane(moneyness: float, s: float) -> None:
    arguments = (100.0, 100.0 * math.exp(moneyness), 1.0, 0.0, 0.0, s)
    price = exact_price(arguments, 1)
    if price < 1e-290:
        assert implied_volatility(price, *arguments[:5], "call") <= 40.0 * s
        return
    # the bound of a call is its spot: near it, rounding of the price is all that is left
    slack = float(rounding(arguments, price, 1))
    assert implied_volatility(price, *arguments[:5], "call") == pytest.approx(s, rel=1e-12 + 4 * slack, abs=0)


def random_cases(n: int, seed: int) -> tuple[tuple[Any, ...], Any, Any]:
    """Arguments, signs and prices over fifteen orders of magnitude of time value."""
    rng = np.random.default_rng(seed)
    moneyness = rng.normal(size=n) * 10.0 ** rng.uniform(-6.0, 0.5, n)
    rate, dividend = rng.uniform(-0.05, 0.15, n), rng.uniform(-0.05, 0.15, n)
    expiry, volatility = 10.0 ** rng.uniform(-4.0, 1.3, n), 10.0 ** rng.uniform(-2.5, 0.7, n)
    sign = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    strike = 10.0 ** rng.uniform(-3.0, 5.0, n)
    spot = strike * np.exp(moneyness - (rate - dividend) * expiry)
    arguments = (spot, strike, expiry, rate, dividend, volatility)
    return arguments, sign, european(*arguments, sign).price


def check_random_cases(n: int, seed: int) -> None:
    arguments, sign, price = random_cases(n, seed)
    found = implied_volatility(price, *arguments[:5], sign)
    # `european` itself is right to a few units of rounding of spot and strike, so the slack counts these everywhere
    own = arguments[0] * np.exp(-arguments[4] * arguments[2])
    owed = arguments[1] * np.exp(-arguments[3] * arguments[2])
    with np.errstate(divide="ignore", over="ignore"):
        slack = 16 * EPSILON * (own + owed) / (european(*arguments, sign).vega * arguments[5])
    posed = slack < 1e-3
    assert posed.mean() > 0.5
    assert np.isfinite(np.asarray(found)[posed]).all()
    assert (np.abs(found / arguments[5] - 1.0)[posed] <= 1e-12 + 2.0 * slack[posed]).all()
    # elsewhere too, the price comes back
    back = european(*arguments[:5], np.where(np.isfinite(found), found, 0.0), sign).price
    known = np.isfinite(found)
    assert (np.abs(back - price)[known] <= 32 * EPSILON * (own + owed)[known]).all()


def test_ten_thousand_random_cases() -> None:
    check_random_cases(10_000, 1)


@pytest.mark.slow
def test_a_million_random_cases() -> None:
    for seed in range(4):
        check_random_cases(250_000, 100 + seed)


def test_the_bounds_are_nothing_and_infinity() -> None:
    assert implied_volatility([0.0, 100.0], 100.0, 120.0, 1.0, 0.0, 0.0, "call").tolist() == [0.0, math.inf]  # type: ignore[union-attr]
    assert implied_volatility(20.0, 100.0, 120.0, 1.0, 0.0, 0.0, "put") == 0.0
    assert implied_volatility(120.0, 100.0, 120.0, 1.0, 0.0, 0.0, "put") == math.inf


def test_the_price_without_volatility_has_none_whichever_way_it_was_rounded() -> None:
    rng = np.random.default_rng(3)
    n = 4_000
    spot = rng.choice([1e-8, 1.0, 100.0, 1e8, 77.7], n)
    strike = spot * np.exp(rng.uniform(-0.7, 0.7, n))
    expiry, rate, dividend = (
        rng.choice([0.01, 1.0, 5.0], n),
        rng.choice([0.0, 0.05, -0.02], n),
        rng.choice([0, 0.03], n),
    )
    sign = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    own, owed = spot * np.exp(-dividend * expiry), strike * np.exp(-rate * expiry)
    ways = (european(spot, strike, expiry, rate, dividend, 0.0, sign).price, np.maximum(sign * (own - owed), 0.0))
    for price in ways:
        found = np.asarray(implied_volatility(price, spot, strike, expiry, rate, dividend, sign))
        assert not np.isnan(found).any()
        # one rounding above the bound there is a volatility, and it gives the price to rounding
        assert (found == 0.0).mean() > 0.97
        back = european(spot, strike, expiry, rate, dividend, found, sign).price
        assert (np.abs(back - price) <= 4 * EPSILON * (own + owed)).all()
    # well below the bound there is none
    below = ways[0] * (1.0 - 1e-13) - 1e-13 * spot
    assert np.isnan(implied_volatility(below, spot, strike, expiry, rate, dividend, sign)).all()


def test_digits_that_a_price_without_discounting_has_are_used() -> None:
    for strike, sign in ((99.9999, 1), (100.0001, -1)):
        price = sign * (100.0 - strike) + 5e-15
        found = float(implied_volatility(price, 100.0, strike, 3e-8, 0.0, 0.0, sign))
        assert 9e-4 < found < 1.1e-3
        assert exact_price((100.0, strike, 3e-8, 0.0, 0.0, found), sign) == pytest.approx(price, rel=1e-15)


@pytest.mark.parametrize("price", [5e-324, 1e-320, 1e-312, 1e-305, 1e-295])
def test_prices_down_to_the_smallest_float_have_a_volatility(price: float) -> None:
    at = implied_volatility(price, 1.0, 1.0, 0.25, 0.0, 0.0, "call")
    assert at == pytest.approx(price * math.sqrt(2.0 * math.pi) / 0.5, rel=1e-14, abs=1e-323)
    for strike in (1.5, 1.0001):
        away = implied_volatility(price, 1.0, strike, 0.25, 0.0, 0.0, "call")
        assert implied_volatility_reason(price, 1.0, strike, 0.25, 0.0, 0.0, "call") == ""
        assert european(1.0, strike, 0.25, 0.0, 0.0, away, "call").price == pytest.approx(price, rel=1e-5, abs=1e-323)


@pytest.mark.parametrize(
    ("arguments", "kind", "reason"),
    [
        ((1.5, 42.0, 40.0, 1.0, 0.0, 0.0), "call", "the price 1.5 is below 2, that without volatility"),
        ((-0.5, 42.0, 40.0, 1.0, 0.0, 0.0), "put", "the price -0.5 is below 0, that without volatility"),
        ((42.5, 42.0, 40.0, 1.0, 0.0, 0.0), "call", "the price 42.5 is above 42, that of an infinite volatility"),
        ((41.0, 42.0, 40.0, 1.0, 0.0, 0.0), "put", "the price 41 is above 40, that of an infinite volatility"),
        ((2.0, 42.0, 40.0, 0.0, 0.0, 0.0), "call", "at expiry the price does not depend on volatility"),
        ((40.0, 0.0, 40.0, 1.0, 0.0, 0.0), "put", "at a spot of 0 the price does not depend on volatility"),
        ((4.0, 42.0, 40.0, 1.0, 0.0, 0.0), "call", ""),
    ],
)
def test_where_there_is_no_volatility_the_reason_is_said(arguments: tuple[float, ...], kind: str, reason: str) -> None:
    found = implied_volatility(*arguments, kind)
    assert isinstance(found, float)
    assert math.isnan(found) == bool(reason)
    assert implied_volatility_reason(*arguments, kind) == reason


def test_reasons_of_arrays() -> None:
    prices = np.array([[1.5, 4.0], [42.5, 3.0]])
    found = np.asarray(implied_volatility(prices, 42.0, 40.0, 1.0, 0.0, 0.0, "call"))
    reasons = implied_volatility_reason(prices, 42.0, 40.0, 1.0, 0.0, 0.0, "call")
    assert isinstance(reasons, np.ndarray)
    assert np.isnan(found).tolist() == [[True, False], [True, False]]
    assert [[bool(text) for text in row] for row in reasons] == [[True, False], [True, False]]
    assert "above 42" in reasons[1, 0]


def test_a_price_out_of_its_bounds_does_not_hide_a_bad_input() -> None:
    with pytest.raises(NotFinite, match=r"price\[1\]: is nan"):
        implied_volatility([1.5, math.nan], 42.0, 40.0, 1.0, 0.0, 0.0, "call")
    with pytest.raises(InvalidInput, match=r"strike: is 0.0; must be above 0"):
        implied_volatility(1.5, 42.0, 0.0, 1.0, 0.0, 0.0, "call")
    with pytest.raises(InvalidInput, match=r"expiry: is -1.0; must be at least 0"):
        implied_volatility_reason(1.5, 42.0, 40.0, -1.0, 0.0, 0.0, "call")
    with pytest.raises(InvalidInput, match=r"kind\[0\]: is 2.0"):
        implied_volatility(1.5, 42.0, 40.0, 1.0, 0.0, 0.0, [2])


def test_single_requests_agree_with_arrays_to_the_last_bit() -> None:
    arguments, sign, price = random_cases(2_000, 9)
    whole = np.asarray(implied_volatility(price, *arguments[:5], sign))
    for place in range(0, 2_000, 13):
        one = (float(values[place]) for values in (price, *arguments[:5], sign))
        np.testing.assert_equal(implied_volatility(*one), whole[place])


def test_a_long_chain_on_many_threads_is_the_chain_in_parts() -> None:
    arguments, sign, price = random_cases(120_000, 10)
    whole = implied_volatility(price, *arguments[:5], sign)
    parts = [
        implied_volatility(price[cut], *(values[cut] for values in arguments[:5]), sign[cut])
        for cut in (slice(0, 30_001), slice(30_001, 75_000), slice(75_000, None))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (6, 0.5, r"is 0.5; must be \+1 \(call\) or -1 \(put\)"),
        (6, 0.0, r"is 0.0; must be \+1 \(call\) or -1 \(put\)"),
        (6, -2.0, r"is -2.0; must be \+1 \(call\) or -1 \(put\)"),
        (4, -1e4, "times expiry is so far below 0 that the discounted strike overflows"),
        (4, -1e308, "times expiry is so far below 0 that the discounted strike overflows"),
        (5, -1e4, "times expiry is so far below 0 that the discounted spot overflows"),
    ],
)
def test_what_european_refuses_is_refused(place: int, value: float, text: str) -> None:
    arguments: list[Any] = [5.3, 100.0, 105.0, 0.5, 0.03, 0.01, 1.0]
    name = ("price", "spot", "strike", "expiry", "rate", "dividend", "kind")[place]
    alone = [*arguments[:place], value, *arguments[place + 1 :]]
    with pytest.raises(InvalidInput, match=f"{name}: {text}"):
        implied_volatility(*alone)
    among = [*arguments[:place], [arguments[place], value], *arguments[place + 1 :]]
    with pytest.raises(InvalidInput, match=rf"{name}\[1\]: {text}"):
        implied_volatility(*among)
