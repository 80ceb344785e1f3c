"""Value at risk and expected shortfall of a book, three ways; each with what every position brings.

References
----------
.. [1] F. E. Harrell and C. E. Davis, "A new distribution-free quantile estimator", Biometrika 69 (1982), eq. 1 and 2,
   doi:10.1093/biomet/69.3.635.
.. [2] J. S. Maritz and R. G. Jarrett, "A note on estimating the variance of the sample median", JASA 73 (1978),
   doi:10.1080/01621459.1978.10480027 (standard error of a quantile, sections 2 and 3).
.. [3] B. J. Manistre and G. H. Hancock, "Variance of the CTE estimator", North American Actuarial Journal 9 (2005),
   eq. 2.3, doi:10.1080/10920277.2005.10596207 (standard error of the expected shortfall).
.. [4] D. Tasche, "Risk contributions and performance measurement", TU Munich (1999), eq. 5.7 and 5.9: a contribution is
   the mean loss of a position where the book loses its VaR, or more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray, covariance_matrix, numeric, positive
from engine._dask import check_client, spread
from engine._device import Place
from engine.errors import InvalidInput, NotFinite
from engine.risk._linear import quantile_weights, second_moments, shortfall_weights, square_root, tail_needed
from engine.risk._quadratic import Quadratic, Tail, tail_of
from engine.risk._sensitivities import sensitivities
from engine.risk.book import Book
from engine.risk.market import Market
from engine.risk.revaluation import Shards, contributions, loaded, revalue, shards_of
from engine.risk.scenarios import MOST_SCENARIOS, Scenarios, whole

__all__ = ["Figures", "book_figures"]

_DAYS_A_YEAR = 365.0
_NEGLIGIBLE = 1e-14  # weight of an order statistic below which its scenario is not looked at


class Figures(NamedTuple):
    """One measure of a book; the fields are those of `engine.risk.RiskMeasure`."""

    total: float
    standalone: FloatArray
    contributions: FloatArray
    n_observations: int | None
    underlyings: tuple[str, ...]
    positions: NDArray[np.object_]
    position_contributions: FloatArray
    standard_error: float | None
    integration_error: float | None


def book_figures(
    book: Book | Shards,
    market: Market,
    scenarios: Scenarios | None,
    *,
    covariance: ArrayLike | None,
    interval: float,
    horizon: float,
    level: float,
    method: str,
    decay: float | None,
    expected: bool,
    n_scenarios: int,
    seed: int,
    device: Place,
    client: Any | None,
) -> Figures:
    """Check the arguments and compute one measure by one method."""
    if not isinstance(market, Market):
        raise InvalidInput("market", f"is of type {type(market).__name__}; a Book needs a Market as second argument")
    if scenarios is not None and not isinstance(scenarios, Scenarios):
        raise InvalidInput("scenarios", f"is of type {type(scenarios).__name__}; must be Scenarios")
    if (scenarios is None) == (covariance is None):
        raise InvalidInput("scenarios", "give either scenarios or covariance, and not both")
    check_client(client)
    if method == "historical":
        if scenarios is None or decay is not None:
            raise InvalidInput("method", "'historical' takes scenarios, and neither covariance nor decay")
        tail_needed(len(scenarios), level)
        moves = scenarios.scaled(horizon)
        weights = shortfall_weights(len(moves), level) if expected else quantile_weights(len(moves), level)
        return _empirical(book, market, moves, weights, None, device, client)
    if scenarios is not None:
        names, elapsed = scenarios.underlyings, _one_time(scenarios)
        moments = _second_moments(scenarios, decay, logarithms=method == "monte-carlo")
        matrix = moments * (positive("horizon", horizon) / scenarios.interval)
    else:
        names, elapsed = tuple(market.spot), 0.0
        matrix = _given(covariance, len(names)) * (positive("horizon", horizon) / positive("interval", interval))
    if method == "monte-carlo":
        count = whole("n_scenarios", n_scenarios, 2, MOST_SCENARIOS)
        tail_needed(count, level)
        if not matrix[len(names) :].any():
            matrix = matrix[: len(names), : len(names)]  # nothing but spots moves
        moves = Scenarios.simulated(names, matrix, count, seed, elapsed=elapsed, interval=horizon)
        weights = shortfall_weights(count, level) if expected else _smooth_weights(count, level)
        return _empirical(book, market, moves, weights, (level, expected), device, client)
    found = _delta_gamma(book, market, names, matrix, elapsed / _DAYS_A_YEAR, level, expected, client)
    return found._replace(n_observations=None if scenarios is None else len(scenarios))


def _empirical(
    book: Book | Shards,
    market: Market,
    moves: Scenarios,
    weights: FloatArray,
    sampled: tuple[float, bool] | None,
    device: Place,
    client: Any | None,
) -> Figures:
    """Full revaluation in equally likely scenarios; `weights` are those of the largest losses, in descending order."""
    found = revalue(book, market, moves, device=device, client=client)
    count = weights.size
    losses = -found.total
    tail = np.argpartition(losses, losses.size - count)[losses.size - count :]
    tail = tail[np.argsort(losses[tail])[::-1]]
    own = np.partition(-found.by_underlying, losses.size - count, axis=1)[:, losses.size - count :]
    standalone = np.sort(own, axis=1)[:, ::-1] @ weights
    parts = -found.by_underlying[:, tail] @ weights
    felt = np.flatnonzero(weights)
    worst, shares = moves.rows(tail[felt]), weights[felt]
    if isinstance(book, Book):
        by_position = -contributions(book, market, worst, shares, device)
    else:
        common = (market, worst, shares, device)
        by_position = -np.concatenate(spread(_contributions, shards_of(book), client, common=common))
    error = None if sampled is None else _standard_error(losses[tail], weights, losses.size, *sampled)
    return Figures(
        float(parts.sum()), standalone, parts, len(moves), found.underlyings, found.ids, by_position, error, None
    )


def _contributions(
    load: Callable[[], Book], market: Market, worst: Scenarios, shares: FloatArray, device: Place
) -> FloatArray:
    return contributions(loaded(load), market, worst, shares, device)


def _standard_error(largest: FloatArray, weights: FloatArray, count: int, level: float, expected: bool) -> float:
    if expected:
        excess = largest[: max(2, math.ceil(count * (1.0 - level)))]
        spread_ = float(np.var(excess, ddof=1)) + level * float(excess.mean() - excess[-1]) ** 2
        return math.sqrt(spread_ / (count * (1.0 - level)))
    mean = float(weights @ largest)
    return math.sqrt(float(weights @ (largest - mean) ** 2))


def _smooth_weights(count: int, level: float) -> FloatArray:
    """Weights of the largest losses, in descending order, of Harrell and Davis's estimate of the quantile."""
    from scipy.special import betainc

    edges = np.arange(count + 1) / count
    weights = np.diff(betainc((count + 1) * (1.0 - level), (count + 1) * level, edges))
    weights[weights < _NEGLIGIBLE] = 0.0
    last = int(np.flatnonzero(weights)[-1])
    return np.asarray(weights[: last + 1] / weights[: last + 1].sum())


def _second_moments(scenarios: Scenarios, decay: float | None, *, logarithms: bool) -> FloatArray:
    """Covariance around zero of spot moves, changes of volatility and changes of rate, in that order."""
    spot = scenarios.spot
    if logarithms:
        if (spot == -1.0).any():
            row = int(np.argmax((spot == -1.0).any(axis=1)))
            raise InvalidInput("scenarios", "takes a spot to 0, which has no log return to simulate from", (row,))
        spot = np.log1p(spot)
    return second_moments(np.hstack([spot, scenarios.volatility, scenarios.rate[:, None]]), decay)


def _one_time(scenarios: Scenarios) -> float:
    if (scenarios.elapsed != scenarios.elapsed[0]).any():
        row = int(np.argmax(scenarios.elapsed != scenarios.elapsed[0]))
        problem = "passes another time than the first; only the historical method takes scenarios of several lengths"
        raise InvalidInput("scenarios", problem, (row,))
    return float(scenarios.elapsed[0])


def _given(covariance: ArrayLike | None, n: int) -> FloatArray:
    """A checked covariance of n, 2n or 2n + 1 factors, as one of 2n + 1."""
    size = len(np.atleast_1d(numeric("covariance", covariance)))
    wanted = size if size in (2 * n, 2 * n + 1) else n
    matrix = np.zeros((2 * n + 1, 2 * n + 1))
    matrix[:wanted, :wanted] = covariance_matrix(covariance, wanted)
    return matrix


def _delta_gamma(
    book: Book | Shards,
    market: Market,
    names: tuple[str, ...],
    matrix: FloatArray,
    years: float,
    level: float,
    expected: bool,
    client: Any | None,
) -> Figures:
    """The exact distribution of the second-order expansion under normal moves."""
    if isinstance(book, Book):
        shards = [_second_order(book, market, years)]
    else:
        shards = spread(_second_order_of, shards_of(book), client, common=(market, years))
    underlyings = tuple(dict.fromkeys(name for shard in shards for name in shard[0]))
    missing = [name for name in underlyings if name not in names]
    if missing:
        raise InvalidInput("scenarios", f"has no moves of {', '.join(map(repr, missing[:5]))}, which the book holds")
    n = len(underlyings)
    places = {name: place for place, name in enumerate(underlyings)}
    group = np.concatenate([np.array([places[name] for name in shard[0]])[shard[1]] for shard in shards])
    ids = np.concatenate([shard[2] for shard in shards])
    terms = np.concatenate([shard[3] for shard in shards], axis=1)
    columns = np.array([names.index(name) for name in underlyings])
    chosen = np.concatenate([columns, columns + len(names), [2 * len(names)]])
    covariance = matrix[np.ix_(chosen, chosen)]
    sums: FloatArray = np.stack([np.bincount(group, weights=row, minlength=n) for row in terms]).astype(np.float64)
    tail, factor = _tail(sums, covariance, level)
    alone = np.empty(n)
    for place in range(n):
        single = np.array([place, n + place, 2 * n])
        figure = _tail(sums[:, [place]], covariance[np.ix_(single, single)], level)[0]
        alone[place] = figure.shortfall if expected else figure.quantile
    mean, moment = (tail.mean_beyond, tail.moment_beyond) if expected else (tail.mean_at, tail.moment_at)
    expectations = _expectations(factor, mean, moment, n)
    by_position = (terms * expectations[:, group]).sum(axis=0)
    parts = (sums * expectations).sum(axis=0)
    total = tail.shortfall if expected else tail.quantile
    return Figures(total, alone, parts, None, underlyings, ids, by_position, None, tail.error)


def _second_order_of(load: Callable[[], Book], market: Market, years: float) -> Any:
    return _second_order(loaded(load), market, years)


def _second_order(
    book: Book, market: Market, years: float
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.object_], FloatArray]:
    """Terms of the loss by position: constant, spot, volatility, rate, spot twice, spot and volatility, vol twice."""
    held = sensitivities(book, market)
    spot, greeks, weight = held.spot, held.greeks, book.weight
    passed = np.minimum(years, held.time) if years else 0.0
    with np.errstate(invalid="ignore"):
        terms = -weight * np.stack(
            [
                greeks.theta * passed,
                greeks.delta * spot,
                greeks.vega,
                greeks.rho,
                0.5 * greeks.gamma * spot**2,
                greeks.vanna * spot,
                0.5 * greeks.volga,
            ]
        )
    wrong = ~np.isfinite(terms).all(axis=0)
    if wrong.any():
        place = int(np.argmax(wrong))
        problem = f"leaves position {book.ids[place]!r} without finite Greeks (at the money, nothing left to move it)"
        raise NotFinite("market", f"{problem}; use the historical or the Monte Carlo method", (place,))
    return book.underlyings, book.group, book.ids, terms


def _tail(sums: FloatArray, covariance: FloatArray, level: float) -> tuple[Tail, FloatArray]:
    """Tail of the loss, and the matrix that takes its independent normal variables to the factors."""
    n = sums.shape[1]
    constant, by_spot, by_volatility, by_rate, twice, cross, level_twice = sums
    slope = np.concatenate([by_spot, by_volatility, [by_rate.sum()]])
    curvature = np.zeros((2 * n + 1, 2 * n + 1))
    index = np.arange(n)
    curvature[index, index] = 2.0 * twice
    curvature[n + index, n + index] = 2.0 * level_twice
    curvature[index, n + index] = curvature[n + index, index] = cross
    root = square_root(covariance)
    bends, turns = np.linalg.eigh(root.T @ curvature @ root) if root.size else (np.zeros(0), np.zeros((0, 0)))
    # what is rounding of the largest is none at all
    bends = np.where(np.abs(bends) > 1e-14 * np.abs(bends).max(initial=0.0), bends, 0.0)
    factor = root @ turns
    return tail_of(Quadratic(float(constant.sum()), factor.T @ slope, bends), 1.0 - level), factor


def _expectations(factor: FloatArray, mean: FloatArray, moment: FloatArray, n: int) -> FloatArray:
    """Mean of what each term of `_second_order` multiplies, by underlying."""
    first = factor @ mean
    products = factor @ moment
    twice = np.einsum("ij,ij->i", products, factor)
    cross = np.einsum("ij,ij->i", products[:n], factor[n : 2 * n])
    return np.stack(
        [np.ones(n), first[:n], first[n : 2 * n], np.full(n, first[-1]), twice[:n], cross, twice[n : 2 * n]]
    )
