"""Volatility, change point and trend against references that know nothing of the code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine import InvalidInput, NotFinite, TooFewObservations, change_point, realised_volatility, trend


def test_volatility_of_a_simulated_price_is_found() -> None:
    rng = np.random.default_rng(1)
    daily, interval, n = 0.03, 300 / 86_400, 20_000
    prices = 100.0 * np.exp(np.cumsum(rng.standard_normal(n)) * daily * math.sqrt(interval))
    error = daily / math.sqrt(2 * n)
    assert realised_volatility(prices, interval) == pytest.approx(daily, abs=4 * error)


def test_decay_follows_the_literal_recursion() -> None:
    returns = np.random.default_rng(2).standard_normal(400) * 0.01
    literal, weight, total = 0.0, 1.0, 0.0
    for value in returns[::-1]:
        literal += weight * value**2
        total += weight
        weight *= 0.97
    found = realised_volatility(returns, 0.5, kind="returns", decay=0.97)
    assert found == pytest.approx(math.sqrt(literal / total / 0.5), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "interval", "facts", "error", "message"),
    [
        ([1.0, 0.0, 1.0], 1.0, {}, InvalidInput, r"values\[1\]: is 0.0; must be above 0"),
        ([1.0, float("nan")], 1.0, {}, NotFinite, r"values\[1\]: is nan"),
        ([1.0, 2.0, 3.0], 0.0, {}, InvalidInput, "interval: is 0.0"),
        ([1.0, 2.0, 3.0], 1.0, {"kind": "guesses"}, InvalidInput, "kind: is 'guesses'"),
        ([1.0, 2.0, 3.0], 1.0, {"decay": 1.5}, InvalidInput, "decay: is 1.5"),
        ([1.0, 2.0], 1.0, {}, TooFewObservations, "needs at least 2 observations and got 1"),
    ],
)
def test_volatility_refuses(values: Any, interval: float, facts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        realised_volatility(values, interval, **facts)


@pytest.mark.parametrize("place", [20, 60, 100])
def test_a_step_is_found_where_it_is(place: int) -> None:
    series = np.random.default_rng(place).normal(0.9, 0.05, 120)
    series[place:] += 1.4
    found = change_point(series)
    assert abs(found.index - place) <= 1
    assert found.before == pytest.approx(0.9, abs=0.05)
    assert found.after == pytest.approx(2.3, abs=0.06)
    assert found.p_value < 1e-4
    assert not found.gradual
    assert found.rise <= 3


def test_a_slow_rise_is_told_from_a_step() -> None:
    series = np.random.default_rng(5).normal(0.9, 0.05, 200)
    series[120:] += np.linspace(0.0, 1.5, 80)
    found = change_point(series)
    assert found.gradual
    assert found.rise > 30
    assert found.after > 2.0


@pytest.mark.parametrize("young", [5, 8, 55])
def test_a_young_level_is_not_drawn_to_the_middle(young: int) -> None:
    rng = np.random.default_rng(young)
    off = [
        abs(change_point(np.r_[rng.normal(20, 1, 60 - young), rng.normal(26, 1.5, young)]).index - (60 - young))
        for _ in range(50)
    ]
    assert np.median(off) <= 1


def test_outliers_do_not_move_the_change_point() -> None:
    series = np.random.default_rng(6).normal(1.0, 0.05, 100)
    series[70:] += 1.0
    series[[5, 30, 90]] = 50.0
    assert abs(change_point(series).index - 70) <= 2


def test_noise_is_seldom_taken_for_a_change() -> None:
    rng = np.random.default_rng(8)
    found = [change_point(rng.standard_normal(100)).p_value < 0.05 for _ in range(200)]
    assert sum(found) <= 20


def test_a_constant_series_has_no_change() -> None:
    found = change_point(np.ones(30))
    assert (found.p_value, found.gradual, found.rise) == (1.0, False, 0)


def test_the_statistic_is_that_of_pettitt_and_the_place_where_both_sides_are_closest_to_their_medians() -> None:
    series = np.random.default_rng(9).standard_normal(40)
    series[25:] += 1.0
    literal = [
        abs(sum(np.sign(series[i] - series[j]) for i in range(split) for j in range(split, 40)))
        for split in range(1, 40)
    ]
    found = change_point(series)
    sides = [[series[:split], series[split:]] for split in range(1, 40)]
    scatter = [sum(float(np.abs(side - np.median(side)).sum()) for side in pair) for pair in sides]
    assert found.index == int(np.argmin(scatter)) + 1
    assert found.p_value == pytest.approx(min(1.0, 2 * math.exp(-6 * max(literal) ** 2 / (40**3 + 40**2))))


def test_the_shape_of_a_rise_is_taken_for_chance_unless_that_is_bounded() -> None:
    bends = 220.0 + 0.5 * np.arange(21) + 0.02 * np.arange(21) ** 2
    whole, bounded = trend(bends), trend(bends, most_correlated=0.6)
    assert whole.p_value > bounded.p_value
    assert bounded.correlation == 0.6
    with pytest.raises(InvalidInput, match="most_correlated: is 1"):
        trend(bends, most_correlated=1.0)


def test_trend_agrees_with_scipy() -> None:
    series = np.random.default_rng(10).normal(0.0, 1.0, 60) + 0.2 * np.arange(60)
    found = trend(series, confidence=0.9)
    slope, _, low, high = stats.theilslopes(series, np.arange(60), 0.9)
    assert found.slope == pytest.approx(slope)
    assert found.low == pytest.approx(low, abs=0.005)
    assert found.high == pytest.approx(high, abs=0.005)
    assert found.significant


@given(slope=st.floats(-10, 10), level=st.floats(-10, 10), interval=st.floats(0.01, 100))
def test_trend_of_a_line_is_its_slope(slope: float, level: float, interval: float) -> None:
    found = trend(level + slope * interval * np.arange(12), interval)
    assert found.slope == pytest.approx(slope, abs=1e-6)
    assert found.intercept == pytest.approx(level, abs=1e-4)


def test_no_trend_is_claimed_for_noise() -> None:
    assert not trend(np.random.default_rng(3).standard_normal(80)).significant


def test_short_or_broken_series_are_refused() -> None:
    with pytest.raises(TooFewObservations, match="a change point needs at least 8 observations and got 7"):
        change_point(np.arange(7.0))
    with pytest.raises(TooFewObservations, match="a trend needs at least 4 observations and got 3"):
        trend([1.0, 2.0, 3.0])
    with pytest.raises(NotFinite, match=r"series\[2\]: is nan"):
        trend([1.0, 2.0, float("nan"), 4.0])


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_a_trend_follows_times_that_are_uneven(missing: float) -> None:
    rng = np.random.default_rng(11)
    times = np.cumsum(rng.exponential(2.0, 90))[rng.random(90) >= missing]
    series = 4.0 - 0.3 * times + rng.normal(0.0, 0.5, times.size)
    found = trend(series, times=times, confidence=0.9)
    slope, _, low, high = stats.theilslopes(series, times, 0.9)
    assert found.slope == pytest.approx(slope)
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)
    assert trend(series, times=times + 1e6).slope == pytest.approx(slope, rel=1e-6)


def test_the_p_value_is_that_of_kendall() -> None:
    series = np.random.default_rng(12).normal(0.0, 1.0, 50) + 0.02 * np.arange(50)
    found = trend(series)
    expected = stats.kendalltau(np.arange(50), series, method="asymptotic").pvalue
    assert found.correlation == 0.0
    assert found.p_value == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.92), (0.4, 0.90), (0.8, 0.84)])
def test_the_interval_covers_the_slope_also_under_serial_correlation(correlation: float, least: float) -> None:
    """300 series of 100 values: 19 in 20, less four standard deviations and what little is known of the correlation."""
    rng, covered = np.random.default_rng(13), 0
    for _ in range(300):
        noise = np.zeros(100)
        for place, shock in enumerate(rng.standard_normal(100)):
            noise[place] = correlation * noise[place - 1] + shock
        found = trend(0.1 * np.arange(100) + noise)
        covered += found.low <= 0.1 <= found.high
    assert covered / 300 >= least


def test_a_long_series_is_as_good_as_a_short_one() -> None:
    series = 0.001 * np.arange(50_003) + np.random.default_rng(14).normal(0.0, 5.0, 50_003)
    found = trend(series)
    assert found.slope == pytest.approx(0.001, rel=0.01)
    assert found.low < 0.001 < found.high
    assert found.intercept == pytest.approx(0.0, abs=0.2)


def test_a_wander_is_no_certain_change() -> None:
    """Serial correlation makes independent noise's p-value far too small; it is allowed for."""
    rng, claimed = np.random.default_rng(15), 0
    for _ in range(100):
        noise = np.zeros(150)
        for place, shock in enumerate(rng.standard_normal(150)):
            noise[place] = 0.6 * noise[place - 1] + shock
        claimed += change_point(noise).p_value < 0.01
    assert claimed <= 12


def test_times_that_do_not_increase_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"times\[3\]: is 1.0 after 2.0; must increase"):
        trend([1.0, 2.0, 3.0, 4.0], times=[0.0, 1.0, 2.0, 1.0])
    with pytest.raises(InvalidInput, match="times: has 3 values for 4 of the series"):
        trend([1.0, 2.0, 3.0, 4.0], times=[0.0, 1.0, 2.0])
