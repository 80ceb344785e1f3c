"""When it runs full: lines, noise, seasons and jumps whose end is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import InvalidInput, NotFinite, TooFewObservations
from engine.risk import forecast_capacity


@given(slope=st.floats(0.01, 10.0), level=st.floats(-5.0, 5.0), room=st.floats(0.1, 100.0), step=st.floats(0.1, 60.0))
def test_a_line_arrives_when_it_does(slope: float, level: float, room: float, step: float) -> None:
    values = level + slope * step * np.arange(20)
    found = forecast_capacity(values, values[-1] + room, interval=step)
    assert found.verdict == "reaches"
    assert found.remaining == pytest.approx(room / slope, rel=1e-6)
    assert found.earliest == pytest.approx(found.remaining, rel=1e-6)
    assert found.latest == pytest.approx(found.remaining, rel=1e-6)


@given(seed=st.integers(0, 10_000), slope=st.floats(-1.0, 1.0), limit=st.floats(-50.0, 200.0))
def test_the_bounds_enclose_the_figure(seed: int, slope: float, limit: float) -> None:
    values = slope * np.arange(60) + np.random.default_rng(seed).normal(0.0, 3.0, 60)
    found = forecast_capacity(values, limit)
    never = math.inf
    earliest, remaining, latest = (
        never if bound is None else bound for bound in (found.earliest, found.remaining, found.latest)
    )
    assert 0.0 <= earliest <= remaining <= latest


def test_the_interval_covers_as_often_as_it_says() -> None:
    """200 noisy series: the true time lies within the bounds, and they are not idle."""
    rng, covered, widths = np.random.default_rng(1), 0, []
    for _ in range(200):
        values = 20.0 + 0.5 * np.arange(120) + rng.normal(0.0, 2.0, 120)
        found = forecast_capacity(values, 100.0)
        true = (100.0 - 20.0 - 0.5 * 119) / 0.5
        assert found.verdict == "reaches"
        assert found.earliest is not None
        assert found.latest is not None
        covered += found.earliest <= true <= found.latest
        widths.append(found.latest - found.earliest)
    # 19 in 20 of 200, less four standard deviations; the bounds are on the safe side
    assert covered >= 178
    assert np.median(widths) < 0.2 * 41.0


def test_the_interval_allows_for_slow_noise() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(150):
        noise = np.zeros(200)
        shocks = rng.normal(0.0, 1.0, 200)
        for place in range(1, 200):
            noise[place] = 0.7 * noise[place - 1] + shocks[place]
        found = forecast_capacity(20.0 + 0.3 * np.arange(200) + noise, 120.0)
        true = (120.0 - 20.0 - 0.3 * 199) / 0.3
        covered += (found.earliest or 0.0) <= true <= (found.latest or math.inf)
    assert covered >= 131  # 19 in 20 less four standard deviations


def test_no_growth_is_not_made_up() -> None:
    rng = np.random.default_rng(3)
    verdicts = [forecast_capacity(50.0 + rng.normal(0.0, 1.0, 80), 100.0).verdict for _ in range(100)]
    assert verdicts.count("not-known") >= 85
    unknown = forecast_capacity(50.0 + np.random.default_rng(9).normal(0.0, 1.0, 80), 100.0)
    assert unknown.verdict == "not-known"
    assert unknown.latest is None
    assert forecast_capacity(np.full(20, 50.0), 100.0).verdict == "never"
    shrinking = forecast_capacity(80.0 - np.arange(30.0), 100.0)
    assert (shrinking.verdict, shrinking.remaining, shrinking.earliest) == ("never", None, None)


def test_a_limit_that_is_reached_is_said_to_be() -> None:
    found = forecast_capacity(90.0 + np.arange(20.0), 100.0)
    assert (found.verdict, found.remaining, found.earliest) == ("reached", 0.0, 0.0)


def test_free_space_runs_out_from_above() -> None:
    free = 100.0 - 2.0 * np.arange(30)
    found = forecast_capacity(free, 0.0, falling=True)
    assert found.verdict == "reaches"
    assert found.remaining == pytest.approx(free[-1] / 2.0)
    assert found.level == pytest.approx(free[-1])
    assert found.trend.slope == pytest.approx(-2.0)
    assert found.trend.low <= found.trend.slope <= found.trend.high


@pytest.mark.parametrize("falling", [False, True])
def test_shares_have_a_limit_of_their_own(falling: bool) -> None:
    used = np.linspace(0.5, 0.7, 11)
    shares = 1.0 - used if falling else used
    found = forecast_capacity(shares, falling=falling)
    assert found == forecast_capacity(shares, 0.0 if falling else 1.0, falling=falling)
    assert found.remaining == pytest.approx(15.0)


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("outside", [1.2, -0.1, 57.0])
def test_without_a_limit_anything_but_shares_is_refused(outside: float, falling: bool) -> None:
    series = [0.5] * 8
    series[3] = outside
    text = rf"^limit: must be given: series\[3\] is {outside}, and only of shares from 0 to 1 is it known$"
    with pytest.raises(InvalidInput, match=text):
        forecast_capacity(series, falling=falling)


def test_outliers_do_not_move_it() -> None:
    rng = np.random.default_rng(4)
    values = 10.0 + 0.5 * np.arange(100) + rng.normal(0.0, 0.5, 100)
    clean = forecast_capacity(values, 100.0)
    values[[7, 30, 31, 80]] = 500.0
    values[[50, 95]] = 0.0
    dirty = forecast_capacity(values, 100.0)
    assert dirty.since == 0
    assert dirty.remaining == pytest.approx(clean.remaining, rel=0.05)


def test_a_clean_up_starts_afresh() -> None:
    values = 10.0 + 1.0 * np.arange(120) + np.random.default_rng(5).normal(0.0, 0.3, 120)
    values[70:] -= 60.0
    found = forecast_capacity(values, 100.0)
    assert found.since == 70
    assert found.remaining == pytest.approx(100.0 - 69.0, abs=1.5)


def test_a_season_brings_the_limit_forward_to_its_peak() -> None:
    hours = np.arange(24.0 * 14)
    wave = 10.0 * np.sin(2.0 * np.pi * hours / 24.0)
    values = 40.0 + 0.05 * hours + wave + np.random.default_rng(6).normal(0.0, 0.5, hours.size)
    found = forecast_capacity(values, 80.0, season=24.0)
    ahead = hours[-1] + np.arange(1.0, 2_000.0, 0.25)
    true = ahead[np.argmax(40.0 + 0.05 * ahead + 10.0 * np.sin(2.0 * np.pi * ahead / 24.0) >= 80.0)] - hours[-1]
    assert found.peak == pytest.approx(10.0, abs=0.5)
    assert found.trend.slope == pytest.approx(0.05, rel=0.05)
    assert found.remaining == pytest.approx(true, abs=26.0)  # one cycle
    without = forecast_capacity(values, 80.0)
    assert without.remaining is not None
    assert found.remaining is not None
    assert without.remaining > found.remaining + 100.0


def test_uneven_times_are_the_clock() -> None:
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(10.0, 80))
    found = forecast_capacity(5.0 + 0.1 * times, 5.0 + 0.1 * (times[-1] + 300.0), times=times)
    assert found.remaining == pytest.approx(300.0, rel=1e-9)


def test_a_long_series_is_quick_and_right() -> None:
    seconds = 15.0 * np.arange(40_000)
    values = 1e9 + 800.0 * seconds + np.random.default_rng(8).normal(0.0, 1e7, seconds.size)
    found = forecast_capacity(values, 2e9, times=seconds)
    assert found.trend.slope == pytest.approx(800.0, rel=0.01)
    assert found.remaining == pytest.approx((1e9 - 800.0 * seconds[-1]) / 800.0, rel=0.01)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"series": np.arange(7.0)}, TooFewObservations, "a forecast of capacity needs at least 8"),
        ({"series": [1.0, float("nan")] * 6}, NotFinite, r"series\[1\]: is nan"),
        ({"limit": float("inf")}, NotFinite, "^limit: is inf"),
        ({"limit": [1.0, 2.0]}, InvalidInput, "limit: must have 0 dimension"),
        ({"times": np.zeros(12)}, InvalidInput, r"times\[1\]: is 0.0 after 0.0; must increase"),
        ({"times": np.arange(5.0)}, InvalidInput, "times: has 5 values for 12 of the series"),
        ({"interval": 0.0}, InvalidInput, "interval: is 0.0"),
        ({"confidence": 1.0}, InvalidInput, "confidence: is 1.0"),
        ({"season": 1.5}, InvalidInput, "season: is 1.5; must be at least twice"),
        ({"season": 10.0}, TooFewObservations, "a forecast with a season"),
        ({"season": -1.0}, InvalidInput, "season: is -1.0"),
    ],
)
def test_a_wrong_argument_is_named(facts: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"series": np.arange(12.0), "limit": 100.0, **facts}
    with pytest.raises(error, match=message):
        forecast_capacity(**given)
