"""Risk of a book, three ways: against the literal figure, the closed form, and each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from engine import InvalidInput, NotFinite, TooFewObservations, european
from engine.risk import Book, Market, Scenarios, expected_shortfall, revalue, value_at_risk
from engine.risk._book_measures import _smooth_weights
from tests.engine.risk.books import NAMES, book, market, scenarios

MEASURES = (value_at_risk, expected_shortfall)
METHODS = ("historical", "parametric", "monte-carlo")


def linear(*quantities: float) -> Book:
    n = len(quantities)
    return Book.from_columns(id=NAMES[:n], underlying=NAMES[:n], kind=["perpetual"] * n, quantity=quantities)


def single(kind: str = "put", quantity: float = -1.0) -> tuple[Book, Market]:
    held = Book.from_columns(
        id=["it"], underlying=["X"], kind=[kind], quantity=[quantity], strike=[100.0], expiry=[0.25]
    )
    return held, Market({"X": 100.0}, volatility=0.3, rate=0.02)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("method", ["historical", "parametric"])
def test_a_linear_book_has_the_figures_of_its_exposures(measure: Any, method: Any) -> None:
    held, moves = linear(3.0, -2.0, 1.5), scenarios(400)
    now = market()
    exposures = [3.0 * 100.0, -2.0 * 95.0, 1.5 * 108.0]
    facts: dict[str, Any] = {"method": method, "confidence": 0.975}
    found = measure(held, now, Scenarios(NAMES, moves.spot), **facts)
    expected = measure(exposures, moves.spot, **facts)
    assert found.total == pytest.approx(expected.total, rel=1e-9)
    np.testing.assert_allclose(found.standalone, expected.standalone, rtol=1e-9)
    np.testing.assert_allclose(found.contributions, expected.contributions, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found.position_contributions, found.contributions, rtol=1e-10)


def test_the_normal_figures_are_those_that_are_printed() -> None:
    now = Market({"BTC": 1.0})
    assert value_at_risk(linear(1.0), now, covariance=[[1.0]]).total == pytest.approx(2.3263479, abs=5e-8)
    found = expected_shortfall(linear(1.0), now, covariance=[[1.0]], confidence=0.975)
    assert found.total == pytest.approx(2.3378028, abs=5e-8)


@pytest.mark.parametrize("facts", [{}, {"elapsed": 1.0}])
def test_historical_figures_are_those_of_the_losses(facts: dict[str, Any]) -> None:
    held, now, moves = book(80), market(), scenarios(500, **facts)
    losses = -revalue(held, now, moves).total
    found = value_at_risk(held, now, moves, method="historical")
    assert found.total == pytest.approx(np.quantile(losses, 0.99), rel=1e-12)
    own = -revalue(held, now, moves).by_underlying
    np.testing.assert_allclose(found.standalone, np.quantile(own, 0.99, axis=1), rtol=1e-12)
    shortfall = expected_shortfall(held, now, moves, method="historical")
    assert shortfall.total == pytest.approx(np.sort(losses)[-5:].mean(), rel=1e-12)
    worst = np.argsort(losses)[-5:]
    by_position = revalue(held, now, moves, positions=True).by_position
    assert by_position is not None
    expected = -by_position[:, worst].mean(axis=1)
    np.testing.assert_allclose(shortfall.position_contributions, expected, rtol=1e-9, atol=1e-9)


def test_contributions_add_up_where_the_contour_bends_sharply() -> None:
    held, moves = book(25, 5284), scenarios(150, 5284)
    found = value_at_risk(held, market(), moves, method="parametric", confidence=0.875)
    size = np.abs(found.position_contributions).sum()
    assert found.contributions.sum() == pytest.approx(found.total, abs=1e-11 * size)


def test_where_every_contour_passes_near_a_pole_more_nodes_are_taken() -> None:
    held, moves = book(25, 708), scenarios(150, 708)
    found = expected_shortfall(held, market(), moves, method="parametric", confidence=0.875)
    size = np.abs(found.position_contributions).sum()
    assert found.contributions.sum() == pytest.approx(found.total, abs=1e-9 * size)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), confidence=st.floats(0.8, 0.99))
def test_contributions_add_up(measure: Any, method: Any, seed: int, confidence: float) -> None:
    held, now, moves = book(25, seed), market(), scenarios(150, seed)
    found = measure(held, now, moves, method=method, confidence=confidence, n_scenarios=500)
    size = np.abs(found.position_contributions).sum()
    assert found.contributions.sum() == pytest.approx(found.total, abs=1e-9 * size)
    sums = np.bincount(held.group, weights=found.position_contributions, minlength=len(held.underlyings))
    np.testing.assert_allclose(sums, found.contributions, atol=1e-9 * size)
    assert found.positions.tolist() == held.ids.tolist()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=12, deadline=None)
@given(factor=st.floats(0.01, 100.0))
def test_twice_the_book_is_twice_the_risk(method: Any, factor: float) -> None:
    one = book(20, 5)
    more = Book(one.ids, one.underlyings, one.starts, one.kinds, one.quantity * factor, *_rest(one))
    facts: dict[str, Any] = {"method": method, "confidence": 0.95, "n_scenarios": 300}
    for measure in MEASURES:
        once = measure(one, market(), scenarios(150), **facts)
        again = measure(more, market(), scenarios(150), **facts)
        assert again.total == pytest.approx(once.total * factor, rel=1e-9)


def _rest(held: Book) -> tuple[Any, ...]:
    return held.multiplier, held.strike, held.expiry, held.dated


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), confidence=st.floats(0.5, 0.99))
def test_shortfall_of_two_books_is_at_most_the_sum(seed: int, confidence: float) -> None:
    whole, now, moves = book(30, seed), market(), scenarios(120, seed)
    facts: dict[str, Any] = {"method": "historical", "confidence": confidence}
    parts = [expected_shortfall(whole.part(*span), now, moves, **facts).total for span in ((0, 15), (15, 30))]
    together = expected_shortfall(whole, now, moves, **facts).total
    assert together <= sum(parts) + 1e-9 * sum(abs(part) for part in parts)
    assert together >= value_at_risk(whole, now, moves, **facts).total - 1e-9 * abs(together)


def test_money_in_hand_is_taken_off_the_risk() -> None:
    """Translation: an expired call in the money is worth its payoff whatever the rate does; here nothing moves it."""
    held, now = single()
    certain = Book.from_columns(
        id=["it", "bond"],
        underlying=["X", "SURE"],
        kind=["put", "future"],
        quantity=[-1.0, 50.0],
        strike=[100.0, None],
        expiry=[0.25, 1.0],
    )
    moves = Scenarios(["X", "SURE"], np.column_stack([scenarios(200).spot[:, 0], np.zeros(200)]), elapsed=1.0)
    both = Market({"X": 100.0, "SURE": 1.0}, volatility=0.3, rate=0.02)
    gain = 50.0 * (math.exp(0.02 * (1.0 - 1 / 365)) - math.exp(0.02))
    for measure in MEASURES:
        alone = measure(held, now, Scenarios(["X"], moves.spot[:, :1], elapsed=1.0), method="historical").total
        assert measure(certain, both, moves, method="historical").total == pytest.approx(alone - gain, rel=1e-9)


@pytest.mark.parametrize("kind", ["call", "put"])
@pytest.mark.parametrize("quantity", [1.0, -1.0])
def test_delta_gamma_of_one_option_is_the_closed_form(kind: str, quantity: float) -> None:
    """One normal factor: the loss is a parabola, exceeded between or outside the two roots."""
    held, now = single(kind, quantity)
    deviation, level = 0.05, 0.99
    greeks = european(100.0, 100.0, 0.25, 0.02, 0.0, 0.3, kind)
    slope, bend = -quantity * greeks.delta * 100.0 * deviation, -quantity * greeks.gamma * (100.0 * deviation) ** 2

    def beyond(loss: float) -> float:
        root = slope**2 + 2.0 * bend * loss
        if root < 0.0:
            return 1.0 if bend > 0.0 else 0.0
        low, high = sorted(((-slope - math.sqrt(root)) / bend, (-slope + math.sqrt(root)) / bend))
        inside = stats.norm.cdf(high) - stats.norm.cdf(low)
        return float(1.0 - inside if bend > 0.0 else inside)

    found = value_at_risk(held, now, covariance=[[deviation**2]], confidence=level)
    assert beyond(found.total) == pytest.approx(1.0 - level, rel=1e-9)
    shortfall = expected_shortfall(held, now, covariance=[[deviation**2]], confidence=level)
    top = found.total + 60.0 * deviation * 100.0 if bend > 0.0 else -(slope**2) / (2.0 * bend)
    mean = integrate.quad(beyond, found.total, top, limit=400, points=[found.total + 1e-3])[0] / (1.0 - level)
    assert shortfall.total == pytest.approx(found.total + mean, rel=1e-7)
    assert found.integration_error is not None
    assert found.integration_error < 1e-9


def test_delta_gamma_agrees_with_simulation_of_its_own_expansion() -> None:
    """Spot, volatility and rate, correlated; the literal second-order expansion of every position."""
    held, now, moves = book(60), market(), scenarios(300, rate=0.002 * np.random.default_rng(9).standard_normal(300))
    factors = np.hstack([moves.spot, moves.volatility, moves.rate[:, None]])
    covariance = factors.T @ factors / len(moves)
    rng, n = np.random.default_rng(10), 400_000
    drawn = rng.standard_normal((n, 7)) @ np.linalg.cholesky(covariance).T
    group = np.array([NAMES.index(name) for name in held.underlyings])[held.group]
    spot = np.array([100.0, 95.0, 108.0])[group]
    dividend = np.array([0.0, 0.03, 0.05])[group]
    level = np.array([0.5, 0.6, 0.8])[group]
    time = np.where(np.isfinite(held.expiry), held.expiry, 0.0)
    sign = np.where(held.sign == 0.0, 1.0, held.sign)
    greeks = european(spot, held.strike, time, 0.04, dividend, level, sign)
    profit = np.zeros((3, n))
    for i in range(len(held)):
        s, v, r = spot[i] * drawn[:, group[i]], drawn[:, 3 + group[i]], drawn[:, 6]
        if held.sign[i] == 0.0:
            grown = math.exp((0.04 - dividend[i]) * time[i])
            gain = grown * s + time[i] * spot[i] * grown * r
        else:
            g = [greek[i] for greek in greeks]
            gain = g[1] * s + 0.5 * g[2] * s**2 + g[3] * v + g[5] * r + g[6] * s * v + 0.5 * g[7] * v**2
        profit[group[i]] += held.weight[i] * gain
    losses = np.sort(-profit.sum(axis=0))
    found = value_at_risk(held, now, moves, confidence=0.95)
    place = int(0.95 * n)
    width = 4 * int(math.sqrt(n * 0.05 * 0.95))
    assert losses[place - width] < found.total < losses[place + width]
    shortfall = expected_shortfall(held, now, moves, confidence=0.95)
    tail = losses[place:]
    error = math.sqrt((tail.var() + 0.95 * (tail.mean() - tail[0]) ** 2) / (n * 0.05))
    assert abs(shortfall.total - tail.mean()) < 4.0 * error
    # contributions: mean loss of each underlying in the tail
    worst = np.argsort(-profit.sum(axis=0))[place:]
    order = [NAMES.index(name) for name in held.underlyings]
    own = -profit[order][:, worst]
    deviations = own.std(axis=1) / math.sqrt(own.shape[1]) + np.abs(own.mean(axis=1)) / math.sqrt(own.shape[1])
    assert (np.abs(shortfall.contributions - own.mean(axis=1)) < 5.0 * deviations).all()


def test_parametric_contributions_are_the_derivatives_of_the_figure() -> None:
    """Euler: what the figure gains when a position grows, by central differences."""
    held, now, moves = book(8, 3), market(), scenarios(200)
    for measure in MEASURES:
        found = measure(held, now, moves, confidence=0.95)
        for row in range(len(held)):
            figures = []
            for nudge in (1e-4, -1e-4):
                quantity = held.quantity.copy()
                quantity[row] *= 1.0 + nudge
                nudged = Book(held.ids, held.underlyings, held.starts, held.kinds, quantity, *_rest(held))
                figures.append(measure(nudged, now, moves, confidence=0.95).total)
            expected = (figures[0] - figures[1]) / 2e-4
            size = np.abs(found.position_contributions).max()
            assert found.position_contributions[row] == pytest.approx(expected, abs=1e-5 * size)


def test_theta_is_taken_from_the_loss() -> None:
    held, now = single(quantity=1.0)
    still = np.zeros((3, 1))
    moves = Scenarios(["X"], still + 1e-9, elapsed=2.0)
    theta = european(100.0, 100.0, 0.25, 0.02, 0.0, 0.3, "put").theta
    assert value_at_risk(held, now, moves).total == pytest.approx(-theta * 2.0 / 365.0, rel=1e-5)


def test_monte_carlo_is_within_its_standard_error() -> None:
    """One long put: the loss falls with the spot, so its quantile is that of the normal."""
    held, now = single(quantity=1.0)
    deviation, found = 0.04, []
    worst = 100.0 * math.exp(stats.norm.ppf(0.99) * deviation)
    before = european(100.0, 100.0, 0.25, 0.02, 0.0, 0.3, "put").price

    def loss(z: float) -> float:
        return float(before - european(100.0 * math.exp(z * deviation), 100.0, 0.25, 0.02, 0.0, 0.3, "put").price)

    exact = before - european(worst, 100.0, 0.25, 0.02, 0.0, 0.3, "put").price
    mean = integrate.quad(lambda z: loss(z) * stats.norm.pdf(z), stats.norm.ppf(0.99), 9.0)[0] / 0.01
    facts: dict[str, Any] = {"covariance": [[deviation**2]], "method": "monte-carlo", "n_scenarios": 4_000}
    for target, measure in ((exact, value_at_risk), (mean, expected_shortfall)):
        scores = []
        for seed in range(40):
            found = measure(held, now, seed=seed, **facts)
            assert found.standard_error is not None
            scores.append((found.total - target) / found.standard_error)
        # forty standard normal figures, but for the skewness of a tail
        assert max(map(abs, scores)) < 4.0
        assert abs(np.mean(scores)) < 0.6
        assert 0.7 < np.std(scores) < 1.4


def test_the_same_seed_is_the_same_figure() -> None:
    facts: dict[str, Any] = {"method": "monte-carlo", "n_scenarios": 500, "confidence": 0.95}
    once = value_at_risk(book(), market(), scenarios(), seed=4, **facts)
    again = value_at_risk(book(), market(), scenarios(), seed=4, **facts)
    other = value_at_risk(book(), market(), scenarios(), seed=5, **facts)
    assert once.total == again.total != other.total
    np.testing.assert_array_equal(once.position_contributions, again.position_contributions)


@pytest.mark.parametrize(("count", "level"), [(100, 0.99), (1_000, 0.95), (10_000, 0.99), (777, 0.5)])
def test_smooth_weights_are_a_beta_distribution(count: int, level: float) -> None:
    weights = _smooth_weights(count, level)
    assert weights.sum() == pytest.approx(1.0, rel=1e-14)
    expected = np.diff(
        stats.beta.cdf(np.arange(weights.size + 1) / count, (count + 1) * (1 - level), (count + 1) * level)
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-12)


def test_three_ways_are_close_for_a_nearly_linear_book() -> None:
    held, now = linear(5.0, 5.0, -2.0), market()
    rng = np.random.default_rng(11)
    moves = Scenarios(NAMES, np.expm1(0.01 * rng.standard_normal((20_000, 3))))
    figures = [value_at_risk(held, now, moves, method=method).total for method in METHODS]  # type: ignore[call-overload]
    assert max(figures) / min(figures) < 1.06


def test_horizons_scale_by_the_root_of_time() -> None:
    held, now, moves = linear(1.0, 1.0, 1.0), market(), scenarios(300)
    day = value_at_risk(held, now, moves)
    assert value_at_risk(held, now, moves, horizon=4.0).total == pytest.approx(2.0 * day.total, rel=1e-9)
    hourly = Scenarios(NAMES, moves.spot, interval=1 / 24)
    expected = math.sqrt(24.0) * day.total
    assert value_at_risk(held, now, hourly).total == pytest.approx(expected, rel=1e-9)
    assert value_at_risk(held, now, moves, decay=0.97).total != day.total


def test_shards_have_the_figures_of_the_whole() -> None:
    held, now, moves = book(90), market(), scenarios(200)
    shards = [lambda first=first: held.part(first, first + 30) for first in (0, 30, 60)]
    for method in METHODS:
        for measure in MEASURES:
            facts: dict[str, Any] = {"method": method, "confidence": 0.95, "n_scenarios": 400}
            whole, found = measure(held, now, moves, **facts), measure(shards, now, moves, **facts)
            assert found.symbols == whole.symbols
            assert found.positions.tolist() == whole.positions.tolist()
            size = np.abs(whole.position_contributions).max()
            for name in ("total", "standalone", "contributions", "position_contributions"):
                np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-9, atol=1e-9 * size)


def test_a_book_that_nothing_moves_has_no_risk() -> None:
    found = value_at_risk(linear(1.0, 2.0, 3.0), market(), covariance=np.zeros((3, 3)))
    assert found.total == 0.0
    assert not found.standalone.any()
    assert not np.asarray(found.position_contributions).any()


@pytest.mark.parametrize(
    ("arguments", "facts", "error", "message"),
    [
        ((book(), None), {}, InvalidInput, "market: is of type NoneType; a Book needs a Market"),
        ((book(), scenarios()), {}, InvalidInput, "market: is of type Scenarios"),
        ((book(), market()), {}, InvalidInput, "scenarios: give either scenarios or covariance"),
        ((book(), market(), market()), {}, InvalidInput, "scenarios: is of type Market"),
        ((book(), market(), scenarios()), {"covariance": np.eye(3)}, InvalidInput, "scenarios: give either"),
        ((book(), market(), scenarios()), {"method": "guess"}, InvalidInput, "method: is 'guess'; choose"),
        ((book(), market(), scenarios()), {"confidence": 0.0}, InvalidInput, "confidence: is 0.0"),
        ((book(), market(), scenarios()), {"horizon": -1.0}, InvalidInput, "horizon: is -1.0"),
        ((book(), market(), scenarios()), {"symbols": ["X"]}, InvalidInput, "symbols: names columns"),
        ((book(), market(), scenarios()), {"method": "historical"}, TooFewObservations, "needs at least 100"),
        ((book(), market(), scenarios(1)), {}, TooFewObservations, "needs at least 2"),
        ((book(), market(), scenarios(150)), {"method": "historical", "decay": 0.9}, InvalidInput, "method: 'histor"),
        ((book(), market()), {"covariance": np.eye(4)}, InvalidInput, r"covariance: has shape \(4, 4\)"),
        ((book(), market()), {"covariance": -np.eye(3)}, InvalidInput, "covariance: is not positive semidefinite"),
        (
            (book(), market(), scenarios()),
            {"method": "monte-carlo", "n_scenarios": 50},
            TooFewObservations,
            "needs at least 100 observations and got 50",
        ),
        (
            (book(), market(), scenarios()),
            {"method": "monte-carlo", "seed": "x"},
            InvalidInput,
            "seed: is 'x'; must be a whole number",
        ),
        (
            (book(), market(), scenarios(elapsed=np.arange(40.0))),
            {},
            InvalidInput,
            r"scenarios\[1\]: passes another time than the first",
        ),
        (
            (book(), market(), Scenarios(NAMES, [[0.1] * 3, [-1.0] * 3])),
            {"method": "monte-carlo"},
            InvalidInput,
            r"scenarios\[1\]: takes a spot to 0",
        ),
        (([1.0, 2.0], market()), {}, InvalidInput, "exposures: is of type list; a Market goes with a Book"),
        (([1.0], [[0.1], [0.2]]), {"device": "tpu"}, InvalidInput, "device: is 'tpu'; must be one of auto, cpu, cuda"),
        (([1.0], [[0.1], [0.2]]), {"method": "monte-carlo"}, InvalidInput, "method: is 'monte-carlo'.*a Book takes"),
    ],
)
def test_a_wrong_argument_is_named(
    arguments: tuple[Any, ...], facts: dict[str, Any], error: type[Exception], message: str
) -> None:
    for measure in MEASURES:
        with pytest.raises(error, match=message):
            measure(*arguments, **facts)


def test_greeks_that_do_not_exist_are_named() -> None:
    held = Book.from_columns(id=["now"], underlying=["X"], kind=["call"], quantity=[1.0], strike=[100.0], expiry=[0.0])
    with pytest.raises(NotFinite, match=r"market\[0\]: leaves position 'now' without finite Greeks"):
        value_at_risk(held, Market({"X": 100.0}, volatility=0.3), covariance=[[0.01]])


@pytest.mark.parametrize("measure", MEASURES)
def test_an_option_far_in_the_money_is_its_underlying(measure: Any) -> None:
    held = Book.from_columns(
        id=["it"], underlying=["X"], kind=["call"], quantity=[-1.0], strike=[52.2], expiry=[0.0871]
    )
    now = Market({"X": 100.0}, volatility=0.3, rate=0.03)
    short = Book.from_columns(id=["it"], underlying=["X"], kind=["spot"], quantity=[-1.0])
    for confidence in (0.5, 0.9, 0.95, 0.99):
        found = measure(held, now, covariance=[[7.6e-4]], confidence=confidence)
        assert found.total == pytest.approx(
            measure(short, now, covariance=[[7.6e-4]], confidence=confidence).total, abs=0.05
        )
