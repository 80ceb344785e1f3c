"""American options against published figures, trees, identities and limits; and the estimate of their error."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import InvalidInput, NotFinite, european
from engine.pricing import American, american


def tree(
    spot: float, strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float, n: int
) -> float:
    """M. Broadie and J. Detemple (1996): binomial tree, Black-Scholes in the last step, extrapolated."""

    def once(steps: int) -> float:
        dt = expiry / steps
        up = math.exp(volatility * math.sqrt(dt))
        chance = (math.exp((rate - dividend) * dt) - 1.0 / up) / (up - 1.0 / up)
        spots = spot * up ** np.arange(steps - 1, -steps, -2.0)
        worth = np.maximum(european(spots, strike, dt, rate, dividend, volatility, sign).price, sign * (spots - strike))
        for _ in range(steps - 1):
            spots = spots[:-1] / up
            kept = math.exp(-rate * dt) * (chance * worth[:-1] + (1.0 - chance) * worth[1:])
            worth = np.maximum(kept, sign * (spots - strike))
        return float(worth[0])

    return 2.0 * once(n) - once(n // 2)


def test_the_benchmark_of_andersen_lake_and_offengenden() -> None:
    put = american(100.0, 100.0, 1.0, 0.05, 0.05, 0.25, "put", tolerance=1e-12)
    assert put.early_exercise_premium == pytest.approx(0.106952702747, abs=1e-12 + 0.5e-12)
    assert put.error_estimate < 1e-9


@pytest.mark.parametrize(
    ("volatility", "strike", "prices"),
    [
        # J. Huang, M. Subrahmanyam and G. Yu (1996), table 1: binomial, 10,000 steps; spot 40, rate 4.88 %
        (0.2, 35.0, (0.0062, 0.2004, 0.4328)),
        (0.2, 40.0, (0.8522, 1.5798, 1.9904)),
        (0.2, 45.0, (5.0000, 5.0883, 5.2670)),
        (0.3, 35.0, (0.0774, 0.6975, 1.2198)),
        (0.3, 40.0, (1.3099, 2.4825, 3.1696)),
        (0.3, 45.0, (5.0597, 5.7056, 6.2436)),
        (0.4, 35.0, (0.2466, 1.3460, 2.1549)),
        (0.4, 40.0, (1.7681, 3.3874, 4.3526)),
        (0.4, 45.0, (5.2868, 6.5099, 7.3830)),
    ],
)
def test_puts_in_print(volatility: float, strike: float, prices: tuple[float, ...]) -> None:
    found = american(40.0, strike, [0.0833, 0.3333, 0.5833], 0.0488, 0.0, volatility, "put").price
    # half a digit, and what a tree of 10,000 steps is off
    np.testing.assert_allclose(found, prices, rtol=0, atol=0.5e-4 + 0.6e-4)


def test_it_agrees_with_a_tree() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        spot, expiry, volatility = rng.uniform(70, 130), math.exp(rng.uniform(-3, 1.2)), math.exp(rng.uniform(-2.3, 0))
        rate, dividend, sign = rng.uniform(0, 0.12), rng.uniform(0, 0.12), float(rng.choice([-1, 1]))
        arguments = (spot, 100.0, expiry, rate, dividend, volatility, sign)
        found = american(*arguments)
        rough, fine = tree(*arguments, 400), tree(*arguments, 1200)
        assert found.price == pytest.approx(fine, rel=0, abs=abs(fine - rough) + 2e-4)
        assert abs(fine - rough) < 2e-3
        assert found.error_estimate <= 1e-6 * max(spot, 100.0)


@pytest.mark.parametrize(("rate", "dividend", "sign"), [(0.0, -0.04, -1.0), (-0.04, 0.0, 1.0), (0.05, -0.3, -1.0)])
def test_negative_rates_agree_with_a_tree(rate: float, dividend: float, sign: float) -> None:
    found = american(100.0, 100.0, 1.0, rate, dividend, 0.25, sign)
    assert found.early_exercise_premium > 0.2
    assert found.price == pytest.approx(tree(100.0, 100.0, 1.0, rate, dividend, 0.25, sign, 2000), rel=0, abs=1.2e-3)


def test_the_error_is_below_its_estimate() -> None:
    rng = np.random.default_rng(1)
    n = 150
    expiry, volatility = np.exp(rng.uniform(-6.0, 1.6, n)), np.exp(rng.uniform(-3.5, 0.0, n))
    spot, rate, dividend = rng.uniform(50, 150, n), rng.uniform(0.0, 0.12, n), rng.uniform(0.0, 0.12, n)
    sign = np.where(rng.random(n) < 0.5, 1.0, -1.0)
    for tolerance in (1e-4, 1e-8):
        rough = american(spot, 100.0, expiry, rate, dividend, volatility, sign, tolerance=tolerance)
        exact = american(spot, 100.0, expiry, rate, dividend, volatility, sign, tolerance=1e-11)
        wrong = np.abs(rough.price - exact.price)
        assert (wrong <= rough.error_estimate + exact.error_estimate).all()
        assert (rough.error_estimate <= tolerance * np.maximum(spot, 100.0) * 1.01).mean() > 0.99


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.5, 2.0),
    st.floats(0.01, 5.0),
    st.floats(0.0, 0.15),
    st.floats(0.0, 0.15),
    st.floats(0.05, 1.0),
    st.sampled_from([1.0, -1.0]),
)
def test_bounds_and_symmetry(
    moneyness: float, expiry: float, rate: float, dividend: float, volatility: float, sign: float
) -> None:
    spot, strike = 100.0 * moneyness, 100.0
    found = american(spot, strike, expiry, rate, dividend, volatility, sign)
    plain = european(spot, strike, expiry, rate, dividend, volatility, sign)
    payoff = max(sign * (spot - strike), 0.0)
    assert found.price >= max(payoff, plain.price)
    assert found.price <= (spot if sign > 0.0 else strike)
    assert found.early_exercise_premium == pytest.approx(found.price - plain.price, abs=1e-12)
    assert -1e-9 <= sign * found.delta <= 1.0 + 1e-7
    assert found.gamma >= -1e-9
    # McDonald and Schroder: a call is a put with spot and strike, rate and dividend exchanged
    other = american(strike, spot, expiry, dividend, rate, volatility, -sign)
    assert other.price == pytest.approx(found.price, rel=1e-10, abs=1e-10)


def test_it_grows_with_expiry_and_volatility() -> None:
    expiry = np.array([0.0, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0])
    assert (np.diff(american(95.0, 100.0, expiry, 0.05, 0.03, 0.2, "put").price) >= 0.0).all()
    volatility = np.array([0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0])
    assert (np.diff(american(97.0, 100.0, 1.0, 0.05, 0.03, volatility, "put").price) >= -1e-6).all()


@pytest.mark.parametrize(("kind", "sign"), [("put", -1.0), ("call", 1.0)])
def test_with_all_the_time_in_the_world_it_is_perpetual(kind: str, sign: float) -> None:
    """R. Merton (1973), and its call."""
    rate, dividend, volatility = 0.06, 0.04, 0.3
    centre = 0.5 - (rate - dividend) / volatility**2
    power = centre + sign * math.sqrt(centre**2 + 2.0 * rate / volatility**2)
    boundary = 100.0 * power / (power - 1.0)
    price = sign * (boundary - 100.0) * (100.0 / boundary) ** power
    found = american(100.0, 100.0, 400.0, rate, dividend, volatility, kind, tolerance=1e-10)
    assert found.price == pytest.approx(price, rel=1e-8)
    assert found.boundary == pytest.approx(boundary, rel=1e-6)


def exact_perpetual(spot: float, strike: float, rate: float, dividend: float, volatility: float, sign: int) -> float:
    """R. Merton (1973), to fifty digits."""
    with mpmath.workdps(50):
        spot, strike, rate, dividend, volatility = map(mpmath.mpf, (spot, strike, rate, dividend, volatility))
        centre = mpmath.mpf(0.5) - (rate - dividend) / volatility**2
        power = centre + sign * mpmath.sqrt(centre**2 + 2 * rate / volatility**2)
        boundary = strike * power / (power - 1)
        if sign * (spot - boundary) >= 0:
            return float(sign * (spot - strike))
        return float(sign * (boundary - strike) * (spot / boundary) ** power)


@pytest.mark.parametrize(
    ("strike", "expiry", "rate", "dividend", "volatility", "sign"),
    [
        (100.0, 1.0, 0.05, 0.02, 0.0005, -1),
        (99.97945793708004, 30.0, 0.1, 0.05, 0.002, -1),
        (100.0458911323538, 30.0, 0.02, 0.0, 0.005, -1),
        (100.0, 30.0, 0.05, 0.08, 0.001, 1),
        (100.01188796074065, 30.0, 0.05, 0.1, 0.002, 1),
        (100.5, 5.0, 0.05, 0.1, 0.005, 1),
        (99.5, 60.0, 0.02, 0.05, 0.001, -1),
    ],
)
def test_where_the_boundary_is_met_long_before_expiry_it_is_perpetual(
    strike: float, expiry: float, rate: float, dividend: float, volatility: float, sign: int
) -> None:
    found = american(100.0, strike, expiry, rate, dividend, volatility, sign)
    assert found.price == pytest.approx(exact_perpetual(100.0, strike, rate, dividend, volatility, sign), abs=1e-11)
    assert found.error_estimate < 1e-11
    step = 1e-3 * volatility**2
    up, down = (american(100.0 + move, strike, expiry, rate, dividend, volatility, sign) for move in (step, -step))
    assert found.delta == pytest.approx((up.price - down.price) / (2.0 * step), abs=1e-3)
    assert found.gamma == pytest.approx((up.delta - down.delta) / (2.0 * step), rel=1e-3, abs=1e-9)
    assert found.theta == 0.0


@settings(max_examples=40, deadline=None)
@given(st.floats(-7.6, -1.2), st.sampled_from([0.005, 0.02, 0.1]), st.sampled_from([0.0, 0.01, 0.1]), st.floats(2, 60))
def test_no_expiry_makes_it_worth_more_than_the_perpetual(
    log_volatility: float, rate: float, dividend: float, spans: float
) -> None:
    volatility = math.exp(log_volatility)
    expiry = min(spans * (volatility / (abs(rate - dividend) + 1e-3)) ** 2, 50.0)
    spot = np.exp(np.array([0.0, 1.0, -1.0, 3.0]) * volatility * math.sqrt(expiry))
    found = american(spot, 1.0, expiry, rate, dividend, volatility, "put")
    most = np.array([exact_perpetual(one, 1.0, rate, dividend, volatility, -1) for one in spot.tolist()])
    assert (found.price <= most + 1e-14).all()


@pytest.mark.parametrize("kind", ["call", "put"])
@pytest.mark.parametrize("spot", [92.0, 100.0, 107.0])
def test_greeks_are_slopes_of_the_price(kind: str, spot: float) -> None:
    def price(spot: float, expiry: float) -> Any:
        return american(spot, 100.0, expiry, 0.06, 0.05, 0.3, kind, tolerance=1e-12).price

    found = american(spot, 100.0, 0.75, 0.06, 0.05, 0.3, kind, tolerance=1e-12)
    h = 0.05
    two, one, zero, minus, less = (price(spot + k * h, 0.75) for k in (2, 1, 0, -1, -2))
    assert found.delta == pytest.approx((8.0 * (one - minus) - two + less) / (12.0 * h), abs=1e-7)
    gamma = (16.0 * (one + minus) - 30.0 * zero - two - less) / (12.0 * h * h)
    assert found.gamma == pytest.approx(gamma, abs=1e-6)
    k = 1e-3
    two, one, minus, less = (price(spot, 0.75 + step * k) for step in (2, 1, -1, -2))
    assert found.theta == pytest.approx(-(8.0 * (one - minus) - two + less) / (12.0 * k), abs=1e-6)


@pytest.mark.parametrize(("kind", "sign"), [("put", -1.0), ("call", 1.0)])
def test_price_and_delta_are_smooth_at_the_boundary(kind: str, sign: float) -> None:
    arguments = (100.0, 1.0, 0.05, 0.04, 0.25, kind)
    boundary = american(100.0, *arguments, tolerance=1e-11).boundary
    kept = american(boundary * (1.0 - sign * 1e-5), *arguments, tolerance=1e-11)
    assert kept.price == pytest.approx(sign * (boundary * (1.0 - sign * 1e-5) - 100.0), abs=1e-6)
    assert kept.delta == pytest.approx(sign, abs=1e-4)
    taken = american(boundary * (1.0 + sign * 1e-5), *arguments, tolerance=1e-11)
    assert (taken.delta, taken.gamma, taken.theta) == (sign, 0.0, 0.0)
    assert taken.price == sign * (boundary * (1.0 + sign * 1e-5) - 100.0)


@pytest.mark.parametrize(
    ("arguments", "boundary"),
    [
        ((100.0, 90.0, 1.0, 0.05, 0.0, 0.2, "call"), math.inf),
        ((100.0, 110.0, 1.0, 0.0, 0.03, 0.2, "put"), 0.0),
        ((100.0, 110.0, 1.0, -0.02, 0.03, 0.2, "put"), 0.0),
        ((100.0, 110.0, 1.0, -0.02, -0.01, 0.2, "put"), 0.0),
        ((0.0, 110.0, 1.0, 0.02, 0.01, 0.2, "call"), None),
    ],
)
def test_what_is_never_exercised_is_a_european(arguments: tuple[Any, ...], boundary: float | None) -> None:
    found, plain = american(*arguments), european(*arguments)
    assert found[:5] == (plain.price, 0.0, plain.delta, plain.gamma, plain.theta)
    if boundary is not None:
        assert found.boundary == boundary


@pytest.mark.parametrize("kind", ["call", "put"])
def test_extremes_are_limits(kind: str) -> None:
    unit = {"call": 100.0, "put": 90.0}[kind]
    for volatility in (1e6, 1e10, 1e100, 1e300):
        wild = american(100.0, 90.0, 1.0, 0.05, 0.02, volatility, kind)
        assert wild.price == pytest.approx(unit, abs=1.01 * wild.error_estimate)
        assert wild.error_estimate < 1e-5
        assert wild[2:5] == (1.0 if kind == "call" else 0.0, 0.0, 0.0)
    for spot in (1e-300, 1e-200, 1e-150, 1e150, 1e200, 1e300):
        found = american(spot, 100.0, 1.0, 0.05, 0.02, 0.2, kind)
        payoff = max(spot - 100.0, 0.0) if kind == "call" else max(100.0 - spot, 0.0)
        assert found.price == pytest.approx(payoff)
        assert np.isfinite(found[:5]).all()


def test_limits() -> None:
    assert american(90.0, 100.0, 0.0, 0.05, 0.0, 0.2, "put").price == 10.0
    # exercised, so nothing decays; beyond the boundary at expiry it is the European, which would rather wait
    assert american(90.0, 100.0, 0.0, 0.05, 0.0, 0.2, "put")[2:5] == (-1.0, 0.0, 0.0)
    assert american(110.0, 100.0, 0.0, 0.0, 0.05, 0.2, "call")[2:5] == (1.0, 0.0, 0.0)
    kept = american(90.0, 100.0, 0.0, 0.05, 0.1, 0.2, "put")
    assert kept.theta == european(90.0, 100.0, 0.0, 0.05, 0.1, 0.2, "put").theta == pytest.approx(-4.0)
    assert american(90.0, 100.0, 0.0, 0.02, 0.05, 0.2, "put").boundary == pytest.approx(40.0)
    assert american(0.0, 100.0, 1.0, 0.05, 0.0, 0.2, "put")[:3] == (
        100.0,
        pytest.approx(100.0 - 100.0 * math.exp(-0.05)),
        -1.0,
    )
    assert american(1e-9, 100.0, 1.0, 0.05, 0.02, 0.2, "put").price == pytest.approx(100.0, abs=1e-8)
    assert american(1e9, 100.0, 1.0, 0.05, 0.02, 0.2, "call").price == pytest.approx(1e9 - 100.0)
    assert american(1e9, 100.0, 1.0, 0.05, 0.02, 0.2, "put").price == 0.0
    deep = american(50.0, 100.0, 1.0, 0.05, 0.02, 0.2, "put")
    assert (deep.price, deep.delta, deep.gamma, deep.theta) == (50.0, -1.0, 0.0, 0.0)


@pytest.mark.parametrize("spot", [70.0, 95.0, 100.0, 104.0, 140.0])
@pytest.mark.parametrize(("rate", "dividend"), [(0.05, 0.02), (0.02, 0.05), (0.05, 0.0), (0.0, 0.05), (0.04, 0.04)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_without_volatility_the_best_time_is_chosen(spot: float, rate: float, dividend: float, sign: float) -> None:
    times = np.linspace(0.0, 3.0, 30_001)
    worth = np.maximum(sign * (spot * np.exp(-dividend * times) - 100.0 * np.exp(-rate * times)), 0.0).max()
    found = american(spot, 100.0, 3.0, rate, dividend, 0.0, sign)
    assert found.price == pytest.approx(worth, rel=1e-8, abs=1e-8)
    nearly = american(spot, 100.0, 3.0, rate, dividend, 0.004, sign)
    assert nearly.price == pytest.approx(worth, abs=0.3 + 2.0 * nearly.error_estimate)


def test_little_volatility_is_solved() -> None:
    """Where the boundary moves within a sliver of time, and points cannot tell."""
    hard = american(99.99, 100.0, 1.0, 0.05, 0.02, 1e-4, "put")
    assert hard.error_estimate < 1e-12
    assert hard.price == pytest.approx(0.01, abs=1e-12)
    # of a put that is exercised at once, or waits for the first tick: Merton's perpetual one
    for volatility in (0.003, 0.001, 1e-4, 1e-6):
        easy = american(100.0, 100.0, 1.0, 0.1, 0.05, volatility, "put")
        assert easy.error_estimate < 1e-12
        exact = exact_perpetual(100.0, 100.0, 0.1, 0.05, volatility, -1)
        assert easy.price == pytest.approx(exact, abs=1e-12)
        assert exact == pytest.approx(100.0 * volatility**2 / (2.0 * 0.05) * math.exp(-1.0), rel=1e-3)


def test_arrays_broadcast_and_scalars_stay() -> None:
    one = american(100.0, 100.0, 1.0, 0.05, 0.02, 0.2, "put")
    assert isinstance(one, American)
    assert all(type(figure) is float for figure in one)
    many = american(np.full((2, 1), 100.0), [100.0, 100.0, 100.0], 1.0, 0.05, 0.02, 0.2, -1)
    assert all(figure.shape == (2, 3) for figure in many)
    np.testing.assert_array_equal(many.price, one.price)
    book = american(np.full(100, 100.0), 100.0, 1.0, 0.05, 0.02, 0.2, "put")  # on threads
    np.testing.assert_array_equal(book.price, one.price)
    assert american([], 100.0, 1.0, 0.05, 0.02, 0.2, "put").price.shape == (0,)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"spot": math.nan}, NotFinite, "spot: is nan"),
        ({"spot": [1.0, math.inf]}, NotFinite, r"spot\[1\]: is inf"),
        ({"strike": 0.0}, InvalidInput, "strike: is 0.0; must be above 0"),
        ({"expiry": -1.0}, InvalidInput, "expiry: is -1.0"),
        ({"volatility": [0.2, -0.1]}, InvalidInput, r"volatility\[1\]: is -0.1"),
        ({"kind": "straddle"}, InvalidInput, "kind: is 'straddle'"),
        ({"spot": "much"}, InvalidInput, "spot: must hold numbers only"),
        ({"spot": [1.0, 2.0], "strike": [1.0, 2.0, 3.0]}, InvalidInput, "strike: has shape"),
        ({"tolerance": 0.0}, InvalidInput, "tolerance: is 0.0"),
        ({"device": "tpu"}, InvalidInput, "device: is 'tpu'"),
    ],
)
def test_what_is_no_option_is_refused(changes: dict[str, Any], error: Any, message: str) -> None:
    arguments = {"spot": 100.0, "strike": 100.0, "expiry": 1.0, "rate": 0.05, "dividend": 0.02, "volatility": 0.2}
    with pytest.raises(error, match=message):
        american(**{**arguments, "kind": "put", **changes})  # type: ignore[arg-type]
