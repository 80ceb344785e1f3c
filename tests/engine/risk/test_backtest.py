"""Kupiec, Christoffersen and Basel: published figures, limits, and how often they are right."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine import InvalidInput, NotFinite, TooFewObservations
from engine.risk import Backtest, backtest_var


def with_hits(n: int, places: Any, confidence: float = 0.99) -> Backtest:
    pnl = np.ones(n)
    pnl[places] = -2.0
    return backtest_var(pnl, 1.0, confidence)


# Kupiec (1995), table 3, and Jorion, table 6-2: exceedances N at which a VaR is not rejected at 5 %, low < N < high
NOT_REJECTED = [
    (0.99, 255, None, 7),
    (0.99, 510, 1, 11),
    (0.99, 1_000, 4, 17),
    (0.975, 255, 2, 12),
    (0.975, 510, 6, 21),
    (0.975, 1_000, 15, 36),
    (0.95, 255, 6, 21),
    (0.95, 510, 16, 36),
    (0.95, 1_000, 37, 65),
    (0.925, 255, 11, 28),
    (0.925, 510, 27, 51),
    (0.925, 1_000, 59, 92),
    (0.90, 255, 16, 36),
    (0.90, 510, 38, 65),
    (0.90, 1_000, 81, 120),
]


@pytest.mark.parametrize(("confidence", "n", "low", "high"), NOT_REJECTED)
def test_the_regions_of_kupiec_are_those_that_are_printed(
    confidence: float, n: int, low: int | None, high: int
) -> None:
    critical = stats.chi2.isf(0.05, 1)

    def statistic(hits: int) -> float:
        return with_hits(n, np.arange(hits), confidence).frequency.statistic

    # at N = 0 of 255 the table accepts what its own statistic of 5.1 rejects
    inside = range(1 if low is None else low + 1, high)
    assert all(statistic(hits) < critical for hits in inside)
    assert statistic(high) > critical
    if low is not None:
        assert statistic(low) > critical


@pytest.mark.parametrize(
    ("n", "hits", "confidence"), [(250, 0, 0.99), (250, 5, 0.99), (1_000, 80, 0.95), (20, 20, 0.9)]
)
def test_frequency_is_the_ratio_of_binomial_likelihoods(n: int, hits: int, confidence: float) -> None:
    found = with_hits(n, np.arange(hits), confidence)
    likelihoods = stats.binom.logpmf(hits, n, [hits / n, 1.0 - confidence])
    statistic = 2.0 * (likelihoods[0] - likelihoods[1])
    assert found.frequency.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.frequency.p_value == pytest.approx(stats.chi2.sf(statistic, 1), rel=1e-7)
    assert found.n_exceedances == hits
    assert found.expected == pytest.approx(n * (1.0 - confidence))


def test_independence_is_the_ratio_of_markov_likelihoods() -> None:
    rng = np.random.default_rng(1)
    hit, chain = False, []
    for _ in range(800):
        hit = bool(rng.random() < (0.3 if hit else 0.04))
        chain.append(hit)
    found = with_hits(800, np.flatnonzero(chain), 0.95)
    counts = np.zeros((2, 2))
    for before, after in itertools.pairwise(chain):
        counts[int(before), int(after)] += 1.0
    rates = counts[:, 1] / counts.sum(axis=1)
    pooled = counts[:, 1].sum() / counts.sum()
    statistic = 2.0 * sum(
        counts[row, 0] * math.log((1.0 - rates[row]) / (1.0 - pooled)) + counts[row, 1] * math.log(rates[row] / pooled)
        for row in (0, 1)
    )
    assert found.independence.statistic == pytest.approx(statistic, rel=1e-10)
    assert found.coverage.statistic == pytest.approx(statistic + found.frequency.statistic, rel=1e-12)
    assert found.coverage.p_value == pytest.approx(stats.chi2.sf(found.coverage.statistic, 2), rel=1e-9)
    assert found.independence.p_value < 0.001


# Basel Committee (1996), table 2: 250 days at 99 %
@pytest.mark.parametrize("hits", range(14))
def test_the_traffic_light_is_that_of_basel(hits: int) -> None:
    zone = with_hits(250, np.arange(hits) * 3).zone
    assert zone == ("green" if hits <= 4 else "yellow" if hits <= 9 else "red")


def test_no_exceedance_is_a_limit() -> None:
    found = with_hits(250, [])
    assert found.frequency.statistic == pytest.approx(-2.0 * 250.0 * math.log(0.99), rel=1e-12)
    assert (found.independence.statistic, found.independence.p_value) == (0.0, 1.0)
    assert (found.zone, found.exceedances.size) == ("green", 0)
    for n, confidence in ((2, 0.99), (5, 0.99), (5, 0.99999)):
        assert with_hits(n, [], confidence).zone == "green"
    always = with_hits(50, slice(None))
    assert always.frequency.statistic == pytest.approx(-2.0 * 50.0 * math.log(0.01), rel=1e-12)
    assert (always.independence.statistic, always.zone) == (0.0, "red")


def test_a_loss_of_exactly_var_does_not_exceed_it() -> None:
    assert backtest_var([-1.0, -1.0, -1.0000001], 1.0).exceedances.tolist() == [2]
    assert backtest_var([-1.0, -1.0, -1.0], [2.0, 0.5, 1.0]).exceedances.tolist() == [1]
    assert backtest_var([-1.0, -2.0, -1.0], np.array(1.0)).exceedances.tolist() == [1]


def test_a_right_var_is_kept_and_a_wrong_one_rejected() -> None:
    """1,000 days, 95 %: the size is that of the level, the power that of the binomial law."""
    rng, n, runs = np.random.default_rng(2), 1_000, 1_500
    right = stats.norm.ppf(0.95)
    returns = rng.standard_normal((runs, n))
    for var, confidence in ((right, 0.95), (stats.norm.ppf(0.92), 0.95)):
        rejected = np.mean([backtest_var(row, var, confidence).frequency.p_value < 0.05 for row in returns])
        hits = np.arange(n + 1)
        share = stats.norm.sf(var)
        refused = np.array([k <= 37 or k >= 65 for k in hits])
        expected = float(stats.binom.pmf(hits, n, share)[refused].sum())
        assert abs(rejected - expected) < 4.0 * math.sqrt(expected * (1.0 - expected) / runs)
        assert expected < 0.06 if var == right else expected > 0.9


def test_a_calm_var_in_clustered_markets_fails_independence_alone() -> None:
    """Losses come in clusters, as often as they should: frequency holds, independence does not."""
    rng, rejected = np.random.default_rng(3), [0, 0]
    for _ in range(200):
        hit, chain = False, []
        for _ in range(1_000):
            hit = bool(rng.random() < (0.24 if hit else 0.04))
            chain.append(hit)
        found = with_hits(1_000, np.flatnonzero(chain), 0.95)
        rejected[0] += found.frequency.p_value < 0.05
        rejected[1] += found.independence.p_value < 0.05
    assert rejected[0] < 60
    assert rejected[1] > 160


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], 1.0), InvalidInput, "pnl: is empty"),
        (([1.0], 1.0), TooFewObservations, "a backtest of VaR needs at least 2"),
        (([1.0, float("nan")], 1.0), NotFinite, r"pnl\[1\]: is nan"),
        (([1.0, 2.0], [1.0, float("inf")]), NotFinite, r"var\[1\]: is inf"),
        (([1.0, 2.0, 3.0], [1.0, 2.0]), InvalidInput, "var: has 2 figures for 3 of pnl"),
        (([1.0, 2.0], 1.0, 1.0), InvalidInput, r"confidence: is 1\.0"),
        (([1.0, "x"], 1.0), InvalidInput, "pnl: must hold numbers only"),
    ],
)
def test_a_wrong_argument_is_named(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        backtest_var(*arguments)


def test_a_loss_with_the_other_sign_is_said_so() -> None:
    pnl = np.array([0.5, -1.5, 2.0, 1.0])
    with pytest.raises(InvalidInput, match=r"^var: is -1.0; VaR is a loss and positive: change its sign, or say allow"):
        backtest_var(pnl, -1.0)
    with pytest.raises(InvalidInput, match=r"^var\[2\]: is -1.0; VaR is a loss and positive"):
        backtest_var(pnl, [1.0, 0.0, -1.0, -2.0])
    # a book that gains 1 even where it does worst: exceeded where it gains less
    found = backtest_var(pnl, -1.0, allow_negative=True)
    assert found.exceedances.tolist() == [0, 1]
    assert backtest_var(pnl, 0.0).exceedances.tolist() == [1]
