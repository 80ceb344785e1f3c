"""Risk of linear positions from returns, and the weights of order statistics that every method shares."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from engine._checks import FloatArray, fixed, open_unit
from engine.errors import NotFinite, TooFewObservations

__all__ = [
    "historical",
    "parametric",
    "quantile_weights",
    "second_moments",
    "shortfall_weights",
    "square_root",
    "tail_needed",
]

_NORMAL = NormalDist()
_TAIL = "a figure from scenarios at confidence {}"
_LARGE = 100_000  # returns from which loading numba pays


def second_moments(returns: FloatArray, decay: float | None) -> FloatArray:
    """Return the covariance around zero, equally or exponentially weighted."""
    n_obs = returns.shape[0]
    if n_obs < 2:
        raise TooFewObservations(n_obs, 2, "a covariance")
    weighted = returns
    if decay is not None:
        weights = open_unit("decay", decay) ** np.arange(n_obs - 1, -1, -1, dtype=np.float64)
        weighted = returns * (weights / weights.sum())[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        moments = np.asarray(weighted.T @ returns / (n_obs if decay is None else 1.0))
    if not np.isfinite(moments).all():
        raise NotFinite("returns", "are so large that their squares overflow")
    return moments


def square_root(covariance: FloatArray) -> FloatArray:
    """A matrix whose product with its transpose is the covariance, of as many columns as this has rank."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        # without full rank there is no Cholesky factor; ten times as long
        values, vectors = np.linalg.eigh(covariance)
        kept = values > 1e-14 * max(float(values[-1]), 0.0)
        return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def parametric(
    positions: FloatArray, covariance: FloatArray, scale: float, level: float, expected: bool
) -> tuple[float, FloatArray, FloatArray]:
    """Total, standalone and contributions of the delta-normal method; the covariance is to be scaled."""
    quantile = _NORMAL.inv_cdf(level)
    multiple = _NORMAL.pdf(quantile) / (1.0 - level) if expected else quantile
    with np.errstate(over="ignore", invalid="ignore"):
        covariance = covariance * scale
        marginal = covariance @ positions
        deviation = math.sqrt(max(_finite(float(positions @ marginal)), 0.0))
        standalone = multiple * np.abs(positions) * np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    if deviation == 0.0:
        return 0.0, standalone, np.zeros_like(positions)
    return multiple * deviation, standalone, multiple * positions * marginal / deviation


def historical(
    positions: FloatArray, returns: FloatArray, scale: float, level: float, expected: bool
) -> tuple[float, FloatArray, FloatArray]:
    """Total, standalone and contributions from the empirical distribution."""
    n_obs = returns.shape[0]
    tail_needed(n_obs, level)
    weights = shortfall_weights(n_obs, level) if expected else quantile_weights(n_obs, level)
    count = weights.size
    with np.errstate(over="ignore", invalid="ignore"):
        standalone = scale * (_largest_losses(positions, returns, count) @ weights)
        losses = -(returns @ positions)
    _finite(float(np.abs(losses).max()) * scale)
    tail = np.argpartition(losses, n_obs - count)[n_obs - count :]
    tail = tail[np.argsort(losses[tail])[::-1]]
    contributions = -scale * positions * (weights @ returns[tail])
    return float(contributions.sum()), standalone, contributions


def _finite(figure: float) -> float:
    if not math.isfinite(figure):
        raise NotFinite("exposures", "and their returns are so large that the figure overflows; use a larger unit")
    return figure


def tail_needed(n_obs: int, level: float) -> None:
    """Raise where so few observations have no tail at this confidence."""
    needed = max(2, math.ceil(1.0 / (1.0 - level) - 1e-9))
    if n_obs < needed:
        raise TooFewObservations(n_obs, needed, _TAIL.format(level), instead="ask for a lower confidence")


def _largest_losses(positions: FloatArray, returns: FloatArray, count: int) -> FloatArray:
    """The largest losses of each symbol in descending order, shape (n_symbols, count)."""
    if returns.size > _LARGE:
        from engine.risk._kernels import largest_losses

        return largest_losses(fixed(returns), fixed(positions), count)
    losses = np.partition(-returns * positions, returns.shape[0] - count, axis=0)[returns.shape[0] - count :]
    return np.ascontiguousarray(np.sort(losses, axis=0)[::-1].T)


def quantile_weights(n_obs: int, level: float) -> FloatArray:
    """Weights of the largest losses, in descending order, that give the quantile (type 7 of Hyndman and Fan)."""
    place = (n_obs - 1) * level
    below = min(int(place), n_obs - 2)
    weights = np.zeros(n_obs - below)
    weights[-1] = 1.0 - (place - below)
    weights[-2] = place - below
    return weights


def shortfall_weights(n_obs: int, level: float) -> FloatArray:
    """Weights of the largest losses, in descending order, that give the expected shortfall."""
    tail = n_obs * (1.0 - level)
    whole = math.floor(tail + 1e-9)
    rest = max(tail - whole, 0.0)
    weights = np.ones(whole if rest < 1e-9 else whole + 1)
    if rest >= 1e-9:
        weights[-1] = rest
    return np.asarray(weights / weights.sum())
