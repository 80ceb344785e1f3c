"""Value at risk, expected shortfall and Kelly sizing of a book of linear positions.

Losses are positive numbers in the book's currency; the horizon is in days.

References
----------
.. [1] P. Jorion, *Value at Risk*, 3rd ed., ch. 5 and 7: delta-normal VaR (eq. 5.5) and component VaR (eq. 7.29).
.. [2] C. Acerbi and D. Tasche, "On the coherence of expected shortfall", Journal of Banking & Finance 26 (2002),
   eq. 4.1 (definition used for the historical method), doi:10.1016/S0378-4266(02)00283-2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, covariance_matrix, finite_array, open_unit, positive
from engine.errors import InvalidInput, TooFewObservations

__all__ = ["Method", "RiskMeasure", "expected_shortfall", "value_at_risk"]

Method = Literal["parametric", "historical"]

_NORMAL = NormalDist()
_LARGE = 100_000  # returns from which loading numba pays


@dataclass(frozen=True, slots=True)
class RiskMeasure:
    """A risk figure of a book, per symbol and in total.

    Attributes
    ----------
    measure : str
        ``"value_at_risk"`` or ``"expected_shortfall"``.
    total : float
        Figure of the whole book [USD]; positive is a loss.
    standalone : ndarray, shape (n_symbols,)
        Figure of each symbol held alone [USD].
    contributions : ndarray, shape (n_symbols,)
        Part of `total` that each symbol brings (Euler allocation) [USD]; they add up to `total`.
    method : str
        ``"parametric"`` or ``"historical"``.
    confidence : float
    horizon : float
        [days]
    n_observations : int or None
        Number of returns used; None where a covariance was given.
    symbols : tuple of str
        Names in the order of the arrays.
    """

    measure: str
    total: float
    standalone: FloatArray
    contributions: FloatArray
    method: Method
    confidence: float
    horizon: float
    n_observations: int | None
    symbols: tuple[str, ...]

    @property
    def diversification(self) -> float:
        """What holding the symbols together saves against holding each alone [USD]."""
        return float(self.standalone.sum()) - self.total


def value_at_risk(
    exposures: ArrayLike,
    returns: ArrayLike | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    symbols: Sequence[str] | None = None,
) -> RiskMeasure:
    """Return the loss that is not exceeded over the horizon with the stated confidence.

    Parameters
    ----------
    exposures : array_like, shape (n_symbols,)
        Signed value of each position [USD].
    returns : array_like, shape (n_obs, n_symbols), optional
        Simple returns per interval, oldest first.
    covariance : array_like, shape (n_symbols, n_symbols), optional
        Covariance of returns per interval, in place of `returns`; parametric method only.
    interval : float
        Length of one return [days].
    horizon : float
        [days]; returns are scaled by the square root of time.
    confidence : float
        Strictly between 0 and 1.
    method : {"parametric", "historical"}
        Delta-normal with zero mean [1]_, or the empirical quantile (linear between order statistics).
    decay : float, optional
        Weight of a return relative to the one after it (RiskMetrics lambda), parametric method only; equal weights
        where it is not given.
    symbols : sequence of str, optional
        Names of the columns.

    Returns
    -------
    RiskMeasure
        All figures in the currency of `exposures`. A negative figure (historical method alone) is a gain.

    Raises
    ------
    InvalidInput
        A nan, a shape that does not match, a confidence outside (0, 1), a matrix that is no covariance.
    TooFewObservations
        Fewer than 2 returns, or for the historical method fewer than 1 / (1 - confidence).

    Notes
    -----
    Valid for positions that are linear in their price; an option needs revaluation. Square-root scaling assumes
    returns without serial correlation.

    Examples
    --------
    >>> from engine import value_at_risk
    >>> round(value_at_risk([1_000_000.0], covariance=[[0.02**2]]).total, 2)
    46526.96
    """
    return _measure(
        "value_at_risk", exposures, returns, covariance, interval, horizon, confidence, method, decay, symbols
    )


def expected_shortfall(
    exposures: ArrayLike,
    returns: ArrayLike | None = None,
    *,
    covariance: ArrayLike | None = None,
    interval: float = 1.0,
    horizon: float = 1.0,
    confidence: float = 0.99,
    method: Method = "parametric",
    decay: float | None = None,
    symbols: Sequence[str] | None = None,
) -> RiskMeasure:
    """Return the mean loss over the worst 1 - `confidence` of outcomes.

    Parameters, errors and validity are those of `value_at_risk`. The historical method is the coherent estimator of
    Acerbi and Tasche [2]_, so it is subadditive also where the tail is a fraction of an observation.

    Returns
    -------
    RiskMeasure

    Examples
    --------
    >>> from engine import expected_shortfall
    >>> round(expected_shortfall([1.0], covariance=[[1.0]], confidence=0.975).total, 7)
    2.3378028
    """
    return _measure(
        "expected_shortfall", exposures, returns, covariance, interval, horizon, confidence, method, decay, symbols
    )


def _measure(
    measure: str,
    exposures: ArrayLike,
    returns: ArrayLike | None,
    covariance: ArrayLike | None,
    interval: float,
    horizon: float,
    confidence: float,
    method: Method,
    decay: float | None,
    symbols: Sequence[str] | None,
) -> RiskMeasure:
    """Check the arguments and compute one measure by one method."""
    positions = finite_array("exposures", exposures, 1)
    level = open_unit("confidence", confidence)
    days = positive("horizon", horizon)
    scale = days / positive("interval", interval)
    names = tuple(symbols) if symbols is not None else tuple(str(place) for place in range(positions.size))
    if len(names) != positions.size:
        raise InvalidInput("symbols", f"has {len(names)} names for {positions.size} exposures")
    if method not in ("parametric", "historical"):
        raise InvalidInput("method", f"is {method!r}; choose 'parametric' or 'historical'")
    if (returns is None) == (covariance is None):
        raise InvalidInput("returns", "give either returns or covariance, and not both")
    observations: FloatArray | None = None
    if returns is not None:
        observations = finite_array("returns", returns, 2)
        if observations.shape[1] != positions.size:
            raise InvalidInput("returns", f"has {observations.shape[1]} columns for {positions.size} exposures")
    expected = measure == "expected_shortfall"
    if method == "historical":
        if observations is None or decay is not None:
            raise InvalidInput("method", "'historical' takes returns, and neither covariance nor decay")
        figures = _historical(positions, observations, math.sqrt(scale), level, expected)
    else:
        if observations is not None:
            matrix = _second_moments(observations, decay)
        else:
            matrix = covariance_matrix(covariance, positions.size)
        figures = _parametric(positions, matrix * scale, level, expected)
    total, standalone, contributions = figures
    count = None if observations is None else observations.shape[0]
    return RiskMeasure(measure, total, standalone, contributions, method, level, days, count, names)


def _second_moments(returns: FloatArray, decay: float | None) -> FloatArray:
    """Return the covariance around zero, equally or exponentially weighted."""
    n_obs = returns.shape[0]
    if n_obs < 2:
        raise TooFewObservations(n_obs, 2, "a covariance")
    if decay is None:
        return np.asarray(returns.T @ returns / n_obs)
    weights = open_unit("decay", decay) ** np.arange(n_obs - 1, -1, -1, dtype=np.float64)
    return np.asarray((returns * (weights / weights.sum())[:, None]).T @ returns)


def _parametric(
    positions: FloatArray, covariance: FloatArray, level: float, expected: bool
) -> tuple[float, FloatArray, FloatArray]:
    """Total, standalone and contributions of the delta-normal method."""
    quantile = _NORMAL.inv_cdf(level)
    multiple = _NORMAL.pdf(quantile) / (1.0 - level) if expected else quantile
    marginal = covariance @ positions
    deviation = math.sqrt(max(float(positions @ marginal), 0.0))
    standalone = multiple * np.abs(positions) * np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    if deviation == 0.0:
        return 0.0, standalone, np.zeros_like(positions)
    return multiple * deviation, standalone, multiple * positions * marginal / deviation


def _historical(
    positions: FloatArray, returns: FloatArray, scale: float, level: float, expected: bool
) -> tuple[float, FloatArray, FloatArray]:
    """Total, standalone and contributions from the empirical distribution."""
    n_obs = returns.shape[0]
    needed = max(2, math.ceil(1.0 / (1.0 - level) - 1e-9))
    if n_obs < needed:
        raise TooFewObservations(n_obs, needed, f"a historical figure at confidence {level}")
    weights = _shortfall_weights(n_obs, level) if expected else _quantile_weights(n_obs, level)
    count = weights.size
    standalone = scale * (_largest_losses(positions, returns, count) @ weights)
    losses = -(returns @ positions)
    tail = np.argpartition(losses, n_obs - count)[n_obs - count :]
    tail = tail[np.argsort(losses[tail])[::-1]]
    contributions = -scale * positions * (weights @ returns[tail])
    return float(contributions.sum()), standalone, contributions


def _largest_losses(positions: FloatArray, returns: FloatArray, count: int) -> FloatArray:
    """The largest losses of each symbol in descending order, shape (n_symbols, count)."""
    if returns.size > _LARGE:
        from engine.risk._kernels import largest_losses

        return largest_losses(returns, positions, count)
    losses = np.partition(-returns * positions, returns.shape[0] - count, axis=0)[returns.shape[0] - count :]
    return np.ascontiguousarray(np.sort(losses, axis=0)[::-1].T)


def _quantile_weights(n_obs: int, level: float) -> FloatArray:
    """Weights of the largest losses, in descending order, that give the quantile (type 7 of Hyndman and Fan)."""
    place = (n_obs - 1) * level
    below = min(int(place), n_obs - 2)
    weights = np.zeros(n_obs - below)
    weights[-1] = 1.0 - (place - below)
    weights[-2] = place - below
    return weights


def _shortfall_weights(n_obs: int, level: float) -> FloatArray:
    """Weights of the largest losses, in descending order, that give the expected shortfall."""
    tail = n_obs * (1.0 - level)
    whole = math.floor(tail + 1e-9)
    rest = max(tail - whole, 0.0)
    weights = np.ones(whole if rest < 1e-9 else whole + 1)
    if rest >= 1e-9:
        weights[-1] = rest
    return np.asarray(weights / weights.sum())
