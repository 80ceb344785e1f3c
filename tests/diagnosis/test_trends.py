"""Trend and jump are told apart, chance is called chance, and what cannot be tested says so."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import engine
from opslib.diagnosis.trends import step, together, trend

START = pd.Timestamp("2026-11-28T12:00:00Z")


def series(values: object, every_s: float = 5.0) -> pd.Series[float]:
    numbers = np.asarray(values, float)
    return pd.Series(numbers, index=START + pd.to_timedelta(np.arange(len(numbers)) * every_s, unit="s"))


def test_the_slope_is_that_of_theil_and_sen() -> None:
    rng = np.random.default_rng(1)
    values = series(0.3 * np.arange(60) + rng.normal(0, 4, 60))
    found = trend(values, engine)
    seconds = np.arange(60) * 5.0
    assert found.slope == pytest.approx(stats.theilslopes(values.to_numpy(), seconds).slope)
    assert found.rises
    assert found.last > found.first


def test_memory_that_grows_in_steps_rises() -> None:
    rng = np.random.default_rng(5)
    for every in (1, 3, 6):
        kept = np.repeat(np.cumsum(rng.exponential(1.0, 40 // every + 1)), every)[:40]
        assert trend(series(90.0 + kept), engine).rises


def test_a_rise_that_bends_is_no_chance() -> None:
    bends = 220.0 + 0.5 * np.arange(21) + 0.02 * np.arange(21) ** 2
    assert trend(series(bends, every_s=1.0), engine).rises


def test_chance_is_no_trend() -> None:
    rng = np.random.default_rng(2)
    called = sum(trend(series(rng.normal(50, 5, 40)), engine).rises for _ in range(300))
    assert called <= 8
    walks = sum(
        trend(series(np.convolve(rng.normal(0, 1, 60), np.ones(10), "valid")), engine).rises for _ in range(300)
    )
    assert walks <= 40  # means over a window are alike; as independent values they would be called far more often


def test_a_falling_or_level_series_does_not_rise() -> None:
    assert not trend(series(np.linspace(9, 1, 30)), engine).rises
    assert not trend(series(np.full(30, 7.0)), engine).rises
    assert trend(series(np.full(30, 7.0)), engine).p == 1.0


def test_too_few_values_tell_nothing() -> None:
    assert math.isnan(trend(series([1, 2, 3]), engine).slope)
    assert trend(series([1, 2, 3]), engine).p == 1.0
    assert step(series([1, 2, 3]), engine).at is None
    assert math.isnan(together(series([1, 2]), series([2, 3])))
    assert trend(series([]), engine).p == 1.0


def test_a_jump_is_found_where_it_is() -> None:
    rng = np.random.default_rng(3)
    found = step(series(np.r_[rng.normal(20, 1, 25), rng.normal(60, 2, 35)]), engine)
    assert found.at == (START + pd.Timedelta(seconds=125)).to_pydatetime()
    assert found.p < 1e-4
    assert not found.gradual


def test_a_jump_of_a_moment_ago_is_found_where_it_is() -> None:
    rng = np.random.default_rng(5)
    drifting = np.linspace(90, 96, 50) + rng.normal(0, 2, 50)
    found = step(series(np.r_[drifting, [180, 560, 570, 640, 700, 690, 740, 740, 760, 800]]), engine)
    assert abs((found.at - (START + pd.Timedelta(seconds=250))).total_seconds()) <= 5.0  # type: ignore[operator]
    assert not found.gradual


def test_a_slope_is_no_jump() -> None:
    rng = np.random.default_rng(4)
    assert step(series(np.linspace(20, 60, 60) + rng.normal(0, 1, 60)), engine).gradual


def test_a_long_series_is_shortened_and_gaps_are_left_out() -> None:
    long = series(np.linspace(0, 100, 4000), every_s=1.0)
    long.iloc[100:300] = np.nan
    assert trend(long, engine).slope == pytest.approx(100 / 3999, rel=1e-3)


def test_two_series_that_follow_each_other() -> None:
    first = series(np.linspace(1, 9, 20))
    assert together(first, first**2) == pytest.approx(1.0)
    assert together(first, -first) == pytest.approx(-1.0)
    assert math.isnan(together(first, first * 0 + 1))
