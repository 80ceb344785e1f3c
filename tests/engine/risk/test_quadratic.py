"""The distribution of a quadratic function of normal variables, against laws that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.risk._quadratic import Quadratic, tail_of

CONFIDENCES = (0.5, 0.9, 0.99, 0.9999)
NOTHING = np.zeros(1)


@pytest.mark.parametrize("level", CONFIDENCES)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 300])
def test_equal_curvatures_are_chi_squared(n: int, level: float) -> None:
    found = tail_of(Quadratic(0.0, np.zeros(n), np.full(n, 2.0)), 1.0 - level)
    quantile = stats.chi2.isf(1.0 - level, n)
    assert found.quantile == pytest.approx(quantile, rel=1e-10)
    assert found.shortfall == pytest.approx(n * stats.chi2.sf(quantile, n + 2) / (1.0 - level), rel=1e-10)
    assert found.error < 1e-9


@pytest.mark.parametrize("level", CONFIDENCES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_bounded_loss_has_the_other_tail(n: int, level: float) -> None:
    found = tail_of(Quadratic(7.0, np.zeros(n), np.full(n, -2.0)), 1.0 - level)
    quantile = stats.chi2.ppf(1.0 - level, n)
    assert found.quantile == pytest.approx(7.0 - quantile, rel=1e-10)
    assert found.shortfall == pytest.approx(7.0 - n * stats.chi2.cdf(quantile, n + 2) / (1.0 - level), rel=1e-10)
    assert found.quantile <= found.shortfall <= 7.0


@pytest.mark.parametrize("level", CONFIDENCES)
@pytest.mark.parametrize("shift", [0.1, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_shifted_square_is_noncentral(shift: float, sign: float, level: float) -> None:
    function = Quadratic(sign * shift**2, np.array([2.0 * sign * shift]), np.array([2.0 * sign]))
    found = tail_of(function, 1.0 - level)
    law = stats.ncx2(1, shift**2)
    quantile = law.isf(1.0 - level) if sign > 0.0 else -law.ppf(1.0 - level)
    assert found.quantile == pytest.approx(quantile, rel=1e-9, abs=1e-11 * (1.0 + shift))


@pytest.mark.parametrize("level", CONFIDENCES)
def test_without_curvature_it_is_normal(level: float) -> None:
    found = tail_of(Quadratic(1.0, np.array([3.0, 4.0]), np.zeros(2)), 1.0 - level)
    assert found.quantile == pytest.approx(1.0 + 5.0 * stats.norm.ppf(level), rel=1e-10)
    expected = 1.0 + 5.0 * stats.norm.pdf(stats.norm.ppf(level)) / (1.0 - level)
    assert found.shortfall == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(found.mean_at, np.array([0.6, 0.8]) * stats.norm.ppf(level), atol=1e-9)


@example(seed=365, n=1, level=0.5, lean=1.0)  # a level on the way, just below the least upper bound
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 8),
    level=st.sampled_from(CONFIDENCES),
    lean=st.sampled_from([0.0, 1e-3, 0.1, 1.0, 30.0]),
)
def test_the_moments_in_the_tail_give_back_the_figures(seed: int, n: int, level: float, lean: float) -> None:
    """Mean of the function where it equals its quantile is the quantile, where it exceeds it the shortfall."""
    rng = np.random.default_rng(seed)
    function = Quadratic(float(rng.normal()), rng.normal(size=n), lean * rng.normal(size=n))
    found = tail_of(function, 1.0 - level)
    assert found.error < 1e-6
    size = np.abs(function.slope).sum() + np.abs(function.curvature).sum() + abs(function.constant)

    def mean(first: Any, second: Any) -> float:
        return float(function.constant + function.slope @ first + 0.5 * function.curvature @ np.diag(second))

    assert mean(found.mean_at, found.moment_at) == pytest.approx(found.quantile, abs=1e-6 * size)
    assert mean(found.mean_beyond, found.moment_beyond) == pytest.approx(found.shortfall, abs=1e-6 * size)
    assert found.shortfall >= found.quantile


@pytest.mark.parametrize("seed", range(6))
def test_a_mixture_of_signs_agrees_with_simulation(seed: int) -> None:
    rng, n = np.random.default_rng(seed), 400_000
    slope = rng.normal(size=5) * rng.choice([0.0, 0.1, 1.0, 3.0], 5)
    curvature = rng.normal(size=5) * rng.choice([0.0, 0.01, 0.3, 4.0], 5)
    draws = np.random.default_rng(seed + 100).standard_normal((n, 5))
    losses = np.sort(draws @ slope + 0.5 * draws**2 @ curvature)
    found = tail_of(Quadratic(0.0, slope, curvature), 0.01)
    place, width = int(0.99 * n), 4 * int(np.sqrt(n * 0.01 * 0.99))
    assert losses[place - width] < found.quantile < losses[place + width]


def test_nothing_that_moves_is_a_constant() -> None:
    found = tail_of(Quadratic(3.0, NOTHING, NOTHING), 0.01)
    assert (found.quantile, found.shortfall, found.error) == (3.0, 3.0, 0.0)


@pytest.mark.parametrize("level", CONFIDENCES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("size", [1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11])
def test_what_hardly_bends_is_normal(size: float, sign: float, level: float) -> None:
    found = tail_of(Quadratic(0.0, np.ones(1), np.full(1, sign * size)), 1.0 - level)
    quantile = stats.norm.ppf(level)
    assert found.quantile == pytest.approx(quantile, abs=1e-9)
    assert found.shortfall == pytest.approx(stats.norm.pdf(quantile) / (1.0 - level), rel=1e-9)
    assert found.mean_at == pytest.approx(np.array([quantile]), abs=1e-8)
