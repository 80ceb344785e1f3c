"""Value at risk, expected shortfall and Kelly sizing against references that know nothing of the code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import integrate, stats

from engine import (
    InvalidInput,
    NotFinite,
    RiskMeasure,
    TooFewObservations,
    expected_shortfall,
    kelly_for_var,
    kelly_fraction,
    value_at_risk,
)
from engine.risk.measures import Method

MEASURES = (value_at_risk, expected_shortfall)


def book(seed: int = 7, n_obs: int = 500, n_symbols: int = 5) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Exposures of both signs and correlated heavy-tailed returns."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(4, size=(n_obs, 1))
    returns = 0.01 * (0.7 * common + 0.7 * rng.standard_t(4, size=(n_obs, n_symbols)))
    return rng.uniform(-1e6, 2e6, n_symbols), returns


def test_normal_value_at_risk_has_the_printed_figure() -> None:
    assert value_at_risk([1.0], covariance=[[1.0]], confidence=0.99).total == pytest.approx(2.3263479, abs=5e-8)


def test_normal_expected_shortfall_has_the_printed_figure() -> None:
    found = expected_shortfall([1.0], covariance=[[1.0]], confidence=0.975).total
    assert found == pytest.approx(2.3378028, abs=5e-8)


@pytest.mark.parametrize("confidence", [0.5001, 0.9, 0.99, 0.9999])
def test_parametric_figures_agree_with_scipy(confidence: float) -> None:
    exposures, returns = book()
    covariance = returns.T @ returns / len(returns)
    deviation = math.sqrt(exposures @ covariance @ exposures * 10.0 / 0.25)
    facts: dict[str, Any] = {"interval": 0.25, "horizon": 10.0, "confidence": confidence}
    quantile = stats.norm.ppf(confidence, scale=deviation)
    tail = integrate.quad(lambda loss: loss * stats.norm.pdf(loss, scale=deviation), quantile, 12.0 * deviation)[0]
    assert value_at_risk(exposures, returns, **facts).total == pytest.approx(quantile, rel=1e-12)
    assert expected_shortfall(exposures, returns, **facts).total == pytest.approx(tail / (1.0 - confidence), rel=1e-6)


@pytest.mark.parametrize("n_obs", [100, 101, 250, 1_000])
def test_historical_value_at_risk_is_the_quantile_of_the_losses(n_obs: int) -> None:
    exposures, returns = book(n_obs=n_obs)
    found = value_at_risk(exposures, returns, method="historical", interval=0.5)
    losses = -returns * exposures * math.sqrt(2.0)
    assert found.total == pytest.approx(np.quantile(losses.sum(axis=1), 0.99), rel=1e-12)
    np.testing.assert_allclose(found.standalone, np.quantile(losses, 0.99, axis=0), rtol=1e-12)


@pytest.mark.parametrize("n_obs", [100, 130, 777])
def test_historical_shortfall_is_the_mean_of_the_tail_by_its_literal_definition(n_obs: int) -> None:
    exposures, returns = book(n_obs=n_obs)
    losses = np.sort(-(returns @ exposures))[::-1]
    left, mean = n_obs * 0.01, 0.0
    for loss in losses:
        part = min(1.0, left)
        mean += part * loss / (n_obs * 0.01)
        left -= part
        if left <= 1e-12:
            break
    assert expected_shortfall(exposures, returns, method="historical").total == pytest.approx(mean, rel=1e-9)


def test_decay_weighs_the_latest_returns_most() -> None:
    calm, wild = np.full((300, 1), 0.001), np.full((60, 1), 0.05)
    returns = np.vstack([calm, wild])
    literal, weight, total = 0.0, 1.0, 0.0
    for value in returns[::-1, 0]:
        literal += weight * value**2
        total += weight
        weight *= 0.95
    found = value_at_risk([1.0], returns, decay=0.95).total
    assert found == pytest.approx(stats.norm.ppf(0.99) * math.sqrt(literal / total), rel=1e-12)


def test_names_and_facts_travel_with_the_figure() -> None:
    exposures, returns = book(n_symbols=2)
    found = value_at_risk(exposures, returns, symbols=["BTC-USD", "ETH-USD"], horizon=2.0)
    assert isinstance(found, RiskMeasure)
    assert (found.symbols, found.horizon, found.n_observations) == (("BTC-USD", "ETH-USD"), 2.0, 500)
    assert found.diversification >= 0.0


def test_a_book_that_is_flat_has_no_risk() -> None:
    found = value_at_risk([0.0, 0.0], covariance=np.eye(2))
    assert found.total == 0.0
    assert not found.contributions.any()


@settings(max_examples=60, deadline=None)
@given(
    exposures=arrays.arrays(np.float64, 4, elements=st.floats(-1e7, 1e7)),
    seed=st.integers(0, 10_000),
    method=st.sampled_from(["parametric", "historical"]),
    confidence=st.floats(0.8, 0.99),
)
def test_contributions_add_up(exposures: Any, seed: int, method: Method, confidence: float) -> None:
    _, returns = book(seed, 200, 4)
    for measure in MEASURES:
        found = measure(exposures, returns, method=method, confidence=confidence)
        assert found.contributions.sum() == pytest.approx(found.total, rel=1e-9, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    exposures=arrays.arrays(np.float64, 3, elements=st.floats(-1e7, 1e7)),
    factor=st.floats(0.01, 100.0),
    method=st.sampled_from(["parametric", "historical"]),
)
def test_twice_the_book_is_twice_the_risk(exposures: Any, factor: float, method: Method) -> None:
    _, returns = book(3, 150, 3)
    for measure in MEASURES:
        once = measure(exposures, returns, method=method)
        more = measure(exposures * factor, returns, method=method)
        assert more.total == pytest.approx(once.total * factor, rel=1e-9, abs=1e-6)
        np.testing.assert_allclose(more.standalone, once.standalone * factor, rtol=1e-9, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    returns=arrays.arrays(np.float64, (60, 2), elements=st.floats(-0.5, 0.5)),
    confidence=st.floats(0.5, 0.98),
    first=arrays.arrays(np.float64, 2, elements=st.floats(-1e6, 1e6)),
    second=arrays.arrays(np.float64, 2, elements=st.floats(-1e6, 1e6)),
)
def test_shortfall_of_two_books_is_at_most_the_sum(returns: Any, confidence: float, first: Any, second: Any) -> None:
    def shortfall(exposures: Any) -> float:
        return expected_shortfall(exposures, returns, method="historical", confidence=confidence).total

    assert shortfall(first + second) <= shortfall(first) + shortfall(second) + 1e-5


def test_value_at_risk_is_not_subadditive_and_says_so_by_its_figures() -> None:
    """Two bonds that default apart: VaR misses each alone and sees them together; the shortfall sees all."""
    returns = np.zeros((200, 2))
    returns[:2, 0] = returns[2:4, 1] = -1.0
    facts: dict[str, Any] = {"method": "historical", "confidence": 0.985}
    together = value_at_risk([1.0, 1.0], returns, **facts)
    assert together.total > together.standalone.sum()
    spread = expected_shortfall([1.0, 1.0], returns, **facts)
    assert spread.total <= spread.standalone.sum()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"exposures": [1.0, float("nan")]}, r"exposures\[1\]: is nan"),
        ({"exposures": [[1.0]]}, "exposures: must have 1 dimension"),
        ({"exposures": []}, "exposures: is empty"),
        ({"exposures": ["much", 1.0]}, "exposures: must hold numbers only"),
        ({"exposures": [1.0, 2.0, 3.0]}, "returns: has 2 columns for 3 exposures"),
        ({"confidence": 1.0}, "confidence: is 1.0; must lie strictly between 0 and 1"),
        ({"confidence": float("nan")}, "confidence: is nan"),
        ({"horizon": 0.0}, "horizon: is 0.0; must be a finite number above 0"),
        ({"interval": -1.0}, "interval: is -1.0"),
        ({"method": "guess"}, "method: is 'guess'; choose 'parametric' or 'historical'"),
        ({"symbols": ["BTC-USD"]}, "symbols: has 1 names for 2 exposures"),
        ({"covariance": np.eye(2)}, "returns: give either returns or covariance"),
        ({"method": "historical", "decay": 0.9}, "method: 'historical' takes returns"),
        ({"decay": 1.0}, "decay: is 1.0"),
    ],
)
def test_a_wrong_argument_is_named(facts: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"exposures": [1.0, 2.0], "returns": book(n_symbols=2)[1]}
    with pytest.raises(InvalidInput, match=message):
        value_at_risk(**{**good, **facts})


def test_the_first_nan_among_returns_is_named() -> None:
    returns = book(n_symbols=2)[1].copy()
    returns[17, 1] = np.inf
    returns[40, 0] = np.nan
    with pytest.raises(NotFinite, match=r"returns\[17, 1\]: is inf") as caught:
        value_at_risk([1.0, 1.0], returns)
    assert caught.value.index == (17, 1)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (np.eye(3), r"covariance: has shape \(3, 3\), must be \(2, 2\)"),
        ([[1.0, 0.5], [0.4, 1.0]], r"covariance\[0, 1\]: is not symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "covariance: is not positive semidefinite"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        value_at_risk([1.0, 1.0], covariance=covariance)


def test_too_short_a_history_is_refused() -> None:
    short = r"confidence 0\.99 needs at least 100 observations and got 99: .* a lower confidence$"
    with pytest.raises(TooFewObservations, match=short):
        value_at_risk([1.0, 1.0], book(n_obs=99, n_symbols=2)[1], method="historical")
    with pytest.raises(TooFewObservations, match="needs at least 2 observations and got 1"):
        value_at_risk([1.0], [[0.1]])


def test_kelly_fraction_is_mean_over_variance() -> None:
    assert kelly_fraction(0.08, 0.16) == 0.5
    assert kelly_fraction(0.08, 0.16, fraction=0.5) == 0.25
    np.testing.assert_allclose(kelly_fraction([0.1, -0.2], [0.2, 0.4]), [0.5, -0.5])


def test_kelly_fractions_together_maximise_growth() -> None:
    mean, covariance = np.array([0.05, 0.03]), np.array([[0.04, 0.01], [0.01, 0.02]])
    best = np.asarray(kelly_fraction(mean, covariance))

    def growth(shares: Any) -> float:
        return float(mean @ shares - shares @ covariance @ shares / 2.0)

    for nudge in ([1e-3, 0.0], [0.0, 1e-3], [-1e-3, 1e-3]):
        assert growth(best) > growth(best + np.array(nudge))


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        (0.1, 0.0, r"^variance: is 0.0; must be above 0"),
        ([0.1, 0.1], [0.1, -0.1], r"variance\[1\]: is -0.1; must be above 0"),
        ([0.1, 0.1], [0.1, 0.1, 0.1], "variance: has shape"),
        ([0.1, 0.1], [[1.0, 1.0], [1.0, 1.0]], "variance: is singular"),
        ([0.1, 0.1], [[0.04, 0.06], [0.06, 0.09]], "variance: is singular: drop a symbol that repeats another"),
        ([0.1, 0.1], [[0.04, 0.0], [0.0, 0.0]], r"variance\[1, 1\]: is 0: drop the symbol"),
        (1e300, 1e-300, "variance: is so small beside the expected return that a fraction overflows"),
        (float("nan"), 0.1, "^expected_return: is nan"),
    ],
)
def test_kelly_fraction_refuses(mean: Any, variance: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        kelly_fraction(mean, variance)


def test_kelly_fraction_refuses_a_sample_covariance_of_a_symbol_that_mixes_others() -> None:
    rng = np.random.default_rng(1)
    for part in (0.5, 1.3, 2.7, 40.0):
        returns = rng.normal(0.0, 0.01, (200, 2))
        third = part * returns[:, 0] + 0.7 * returns[:, 1]
        with pytest.raises(InvalidInput, match=r"variance: is singular.*a mix of others"):
            kelly_fraction([0.01, 0.02, 0.03], np.cov(np.column_stack([returns, third]).T))


def test_kelly_fraction_of_symbols_of_very_different_size() -> None:
    deviations = np.array([1e-8, 1.0, 1e6])
    correlation = np.array([[1.0, 0.999999, 0.0], [0.999999, 1.0, 0.0], [0.0, 0.0, 1.0]])
    shares = np.array([3.0, -2.0, 1.0]) / deviations
    covariance = correlation * deviations * deviations[:, None]
    np.testing.assert_allclose(kelly_fraction(covariance @ shares, covariance), shares, rtol=1e-9)


@given(
    var=st.lists(st.floats(0.01, 50.0), min_size=1, max_size=8),
    kelly=st.floats(0.01, 1.0),
    limit=st.floats(0.1, 10.0),
    margin=st.floats(0.0, 0.9),
)
def test_kelly_for_var_brings_the_largest_to_the_limit(
    var: list[float], kelly: float, limit: float, margin: float
) -> None:
    found = kelly_for_var(limit, var, kelly, margin=margin)
    assert max(var) * found / kelly == pytest.approx(limit * (1.0 - margin))


@pytest.mark.parametrize("method", ["parametric", "historical"])
def test_figures_that_overflow_are_no_figures(method: Method) -> None:
    with pytest.raises(NotFinite, match="exposures: and their returns are so large that the figure overflows"):
        value_at_risk([1e300, 1e300], np.full((100, 2), 1e100), method=method)
    with pytest.raises(NotFinite, match="returns: are so large that their squares overflow"):
        value_at_risk([1.0, 1.0], np.full((100, 2), 1e200))
    with pytest.raises(NotFinite, match="so far below the limit of 1e\\+308 that the fraction overflows"):
        kelly_for_var(1e308, 1e-10, 0.25)


def test_kelly_for_var_refuses_what_has_no_loss() -> None:
    with pytest.raises(InvalidInput, match="var: has no value above 0"):
        kelly_for_var(1.8, [0.0, -1.0], 0.25)
    with pytest.raises(InvalidInput, match=r"margin: is 1\.0"):
        kelly_for_var(1.8, [1.0], 0.25, margin=1.0)
    with pytest.raises(InvalidInput, match="limit: is 0"):
        kelly_for_var(0, [1.0], 0.25)
