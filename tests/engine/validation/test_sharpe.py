"""Sharpe ratios against printed figures, quadrature and simulation."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from engine.errors import InvalidInput, NotFinite, TooFewObservations
from engine.validation import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
)


def test_the_printed_figures_of_the_deflated_ratio() -> None:
    # five years of 250 days; the published case
    assert round(expected_maximum_sharpe(100, 0.5 / 250), 6) == 0.113172
    found = deflated_sharpe_ratio(2.5 / math.sqrt(250), 1250, 100, 0.5 / 250, -3.0, 10.0)
    assert isinstance(found, float)
    assert round(found, 6) == 0.900397


def test_the_printed_figures_of_the_probabilistic_ratio() -> None:
    assert round(probabilistic_sharpe_ratio(0.458, 0.0, 24, 0.0, 3.0), 6) == 0.981675
    assert round(probabilistic_sharpe_ratio(0.458, 0.0, 24, -2.448, 10.164), 6) == 0.913361


@pytest.mark.parametrize(("n_trials", "error"), [(5, 0.03), (10, 0.025), (100, 0.01), (1_000, 0.005), (10**6, 0.002)])
def test_the_expected_maximum_is_close_to_its_integral(n_trials: int, error: float) -> None:
    def density(x: float) -> float:
        return float(x * n_trials * stats.norm.pdf(x) * math.exp((n_trials - 1) * stats.norm.logcdf(x)))

    exact = integrate.quad(density, -10.0, 15.0, points=[0.0, 3.0, 5.0], limit=200)[0]
    assert expected_maximum_sharpe(n_trials, 1.0) == pytest.approx(exact, rel=error)
    assert expected_maximum_sharpe(n_trials, 0.04) == pytest.approx(0.2 * expected_maximum_sharpe(n_trials, 1.0))


def test_the_limits() -> None:
    assert expected_maximum_sharpe(1, 0.5) == 0.0
    assert expected_maximum_sharpe(100, 0.0) == 0.0
    assert math.isfinite(expected_maximum_sharpe(1e300, 1.0))
    assert deflated_sharpe_ratio(0.1, 500, 1, 0.5) == probabilistic_sharpe_ratio(0.1, 0.0, 500)
    assert probabilistic_sharpe_ratio(0.1, 0.1, 500, -1.0, 6.0) == 0.5
    assert probabilistic_sharpe_ratio(3.0, 0.0, 10**9) == 1.0


def test_scalars_give_floats_and_arrays_broadcast() -> None:
    assert isinstance(probabilistic_sharpe_ratio(0.1, 0.0, 100), float)
    found = probabilistic_sharpe_ratio([[0.1], [0.2]], [0.0, 0.05, 0.1], 100, -0.5, 4.0)
    assert found.shape == (2, 3)
    assert found[1, 2] == probabilistic_sharpe_ratio(0.2, 0.1, 100, -0.5, 4.0)


@settings(max_examples=100, deadline=None)
@given(st.floats(-0.5, 0.5), st.integers(3, 5_000), st.integers(1, 10_000), st.floats(1e-6, 0.1), st.floats(-3.0, 3.0))
def test_more_trials_never_make_it_more_credible(
    sharpe: float, n: int, trials: int, variance: float, skewness: float
) -> None:
    rest = (variance, skewness, 2.0 + skewness**2)
    one, more = (deflated_sharpe_ratio(sharpe, n, count, *rest) for count in (trials, 2 * trials))
    assert 0.0 <= more <= one <= 1.0


def test_the_probability_is_what_simulated_normal_returns_show() -> None:
    # 4,000 series with the true ratio at the benchmark: in 5 % it should exceed 0.95; standard deviation 14
    returns = np.random.default_rng(3).normal(0.1, 1.0, (250, 4_000))
    ratios = sharpe_ratio(returns)
    found = int((probabilistic_sharpe_ratio(ratios, 0.1, 250) > 0.95).sum())
    assert abs(found - 200) <= 4 * 14


def test_the_ratio_is_its_definition_in_every_shape() -> None:
    returns = np.random.default_rng(4).normal(0.001, 0.01, (300, 3))
    expected = (returns.mean(axis=0) - 0.0002) / returns.std(axis=0, ddof=1)
    np.testing.assert_allclose(sharpe_ratio(returns, risk_free=0.0002), expected, rtol=1e-13)
    frame = pd.DataFrame(returns, columns=["a", "b", "c"])
    np.testing.assert_allclose(sharpe_ratio(frame, risk_free=0.0002), expected, rtol=1e-13)
    assert sharpe_ratio(frame["b"]) == sharpe_ratio(returns[:, 1])
    assert sharpe_ratio(returns[:, 1] * 1e-200) == pytest.approx(sharpe_ratio(returns[:, 1]), rel=1e-13)


@pytest.mark.parametrize("least", [1e-300, 0.1, 1e6])
def test_returns_that_differ_by_one_rounding_have_the_exact_ratio(least: float) -> None:
    returns = [least, least, math.nextafter(least, math.inf)]
    exact = [Fraction(value) for value in returns]
    mean = sum(exact) / 3
    variance = sum((value - mean) ** 2 for value in exact) / 2
    assert sharpe_ratio(returns) == pytest.approx(math.sqrt(mean**2 / variance), rel=1e-13)


def test_bad_returns_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"returns: is 0\.01 throughout"):
        sharpe_ratio([0.01, 0.01, 0.01])
    with pytest.raises(TooFewObservations, match=r"needs at least 2 observations and got 1: give a longer series$"):
        sharpe_ratio([0.01])
    with pytest.raises(NotFinite, match=r"returns\['b'\]\[1\]: is nan"):
        sharpe_ratio(pd.DataFrame({"a": [0.1, 0.2], "b": [0.1, math.nan]}))
    with pytest.raises(NotFinite, match=r"returns\[:, 1\]\[0\]: is inf"):
        sharpe_ratio([[0.1, math.inf], [0.2, 0.1]])
    with pytest.raises(InvalidInput, match="returns: must hold numbers only"):
        sharpe_ratio(["a", "b"])
    with pytest.raises(InvalidInput, match="returns: is empty"):
        sharpe_ratio([])
    with pytest.raises(InvalidInput, match="returns: must have 1 or 2 dimensions, has 0"):
        sharpe_ratio(0.1)
    with pytest.raises(InvalidInput, match="risk_free: is nan"):
        sharpe_ratio([0.1, 0.2], risk_free=math.nan)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((0.1, 0.0, 1), "n_observations: is 1.0; must be at least 2"),
        ((0.1, 0.0, [100, 1]), r"n_observations\[1\]: is 1.0; must be at least 2"),
        ((0.1, 0.0, 100, 0.0, 0.5), "kurtosis: is 0.5; must be above"),
        ((0.1, 0.0, 100, 2.0, 3.0), "kurtosis: is 3.0; must be above"),
        ((math.nan, 0.0, 100), "sharpe: is nan; every value must be finite"),
        (("0.1", 0.0, 100), "sharpe: must hold numbers only"),
        (([0.1, 0.2], [0.0, 0.0, 0.0], 100), "do not broadcast"),
    ],
)
def test_bad_moments_are_named(arguments: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        probabilistic_sharpe_ratio(*arguments)


def test_bad_trials_are_named() -> None:
    with pytest.raises(InvalidInput, match="n_trials: is 0"):
        deflated_sharpe_ratio(0.1, 100, 0, 0.1)
    with pytest.raises(InvalidInput, match=r"trials_variance\[1\]: is -0\.1; must be at least 0"):
        deflated_sharpe_ratio(0.1, 100, 5, [0.1, -0.1])
