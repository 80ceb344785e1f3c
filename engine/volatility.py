"""Realised volatility, one change point and a robust slope of a series.

References
----------
.. [1] J.P. Morgan/Reuters, *RiskMetrics - Technical Document*, 4th ed. (1996), eq. 5.2 (exponential weights).
.. [2] A. N. Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28 (1979), eq. 2.2
   and 3.2, doi:10.2307/2346729.
.. [3] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), eq. 2.6 and 2.7,
   doi:10.1080/01621459.1968.10480934.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, finite_array, open_unit, positive, positive_array
from engine.errors import InvalidInput, TooFewObservations

__all__ = ["ChangePoint", "Trend", "change_point", "realised_volatility", "trend"]

_LEAST_FOR_CHANGE = 8
_LEAST_FOR_TREND = 4


def realised_volatility(
    values: ArrayLike,
    interval: float,
    *,
    kind: Literal["prices", "returns"] = "prices",
    decay: float | None = None,
) -> float:
    """Return the volatility per square root of a day, around a mean of zero.

    Parameters
    ----------
    values : array_like, shape (n,)
        Prices (above 0) or returns, oldest first, evenly spaced.
    interval : float
        Time between two values [days].
    kind : {"prices", "returns"}
        Prices are turned into log returns first.
    decay : float, optional
        Weight of a return relative to the one after it [1]_; equal weights where it is not given.

    Returns
    -------
    float
        Multiply by ``sqrt(365)`` (markets that never close) or ``sqrt(252)`` for a year.

    Raises
    ------
    InvalidInput
        A nan, a price that is not above 0, a decay outside (0, 1).
    TooFewObservations
        Fewer than 2 returns.

    Examples
    --------
    >>> from engine import realised_volatility
    >>> round(realised_volatility([0.01, -0.01, 0.01, -0.01], 0.25, kind="returns"), 12)
    0.02
    """
    days = positive("interval", interval)
    if kind == "prices":
        returns = np.diff(np.log(positive_array("values", values, 1)))
    elif kind == "returns":
        returns = finite_array("values", values, 1)
    else:
        raise InvalidInput("kind", f"is {kind!r}; choose 'prices' or 'returns'")
    if returns.size < 2:
        raise TooFewObservations(int(returns.size), 2, "a volatility (in returns)")
    squares = returns * returns
    if decay is None:
        mean = float(squares.mean())
    else:
        weights = open_unit("decay", decay) ** np.arange(returns.size - 1, -1, -1, dtype=np.float64)
        mean = float(squares @ weights / weights.sum())
    return math.sqrt(mean / days)


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a series changed its level, and how.

    Attributes
    ----------
    index : int
        First position after the change.
    before, after : float
        Median on either side, in the unit of the series; `after` is the median of the last fifth of what follows, so
        that a slow rise counts in full.
    p_value : float
        Probability of so strong a change in independent noise; small means changed. Serial correlation makes it too
        small: use it to rank, with `before` and `after` beside it.
    rise : int
        Number of observations between leaving 10 % and reaching 90 % of the way: short for a step, long for a
        gradual change.
    gradual : bool
        A straight rise fits the change better than a step does.
    """

    index: int
    before: float
    after: float
    p_value: float
    rise: int
    gradual: bool


def change_point(series: ArrayLike) -> ChangePoint:
    """Return the one most likely change of level (Pettitt's rank test [2]_), robust against outliers.

    Parameters
    ----------
    series : array_like, shape (n,)
        Evenly spaced, oldest first; n at least 8.

    Returns
    -------
    ChangePoint
        For a constant series `p_value` is 1.

    Raises
    ------
    InvalidInput
        A nan or an infinity.
    TooFewObservations
        Fewer than 8 values.

    Examples
    --------
    >>> from engine import change_point
    >>> found = change_point([1.0, 1.1, 0.9, 1.0, 1.1, 5.0, 5.1, 4.9, 5.0, 5.1])
    >>> found.index, found.before, found.gradual
    (5, 1.0, False)
    """
    values = finite_array("series", series, 1)
    size = int(values.size)
    if size < _LEAST_FOR_CHANGE:
        raise TooFewObservations(size, _LEAST_FOR_CHANGE, "a change point")
    statistic = 2.0 * np.cumsum(_mid_ranks(values)) - np.arange(1, size + 1) * (size + 1.0)
    last = int(np.argmax(np.abs(statistic[:-1])))
    strength = float(abs(statistic[last]))
    p_value = min(1.0, 2.0 * math.exp(-6.0 * strength**2 / (size**3 + size**2)))
    index = last + 1
    before = float(np.median(values[:index]))
    tail = values[index:]
    after = float(np.median(tail[-max(1, tail.size // 5) :]))
    gradual, rise = _shape(values, before, after)
    return ChangePoint(index, before, after, p_value, rise, gradual)


@dataclass(frozen=True, slots=True)
class Trend:
    """Robust slope of a series.

    Attributes
    ----------
    slope : float
        Median of the slopes of all pairs [unit of the series per interval].
    low, high : float
        Bounds of the confidence interval of the slope.
    confidence : float
    intercept : float
        Level at the first observation that goes with the slope.
    """

    slope: float
    low: float
    high: float
    confidence: float
    intercept: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes a slope of zero."""
        return self.low > 0.0 or self.high < 0.0


def trend(series: ArrayLike, interval: float = 1.0, *, confidence: float = 0.95) -> Trend:
    """Return the Theil-Sen slope of a series with Sen's confidence interval [3]_.

    Parameters
    ----------
    series : array_like, shape (n,)
        Evenly spaced, oldest first; n at least 4. Time and memory grow with n squared (n = 3000: 36 MB).
    interval : float
        Time between two values, in the unit in which the slope is wanted.
    confidence : float
        Strictly between 0 and 1.

    Returns
    -------
    Trend

    Raises
    ------
    InvalidInput
        A nan, an interval not above 0, a confidence outside (0, 1).
    TooFewObservations
        Fewer than 4 values.

    Notes
    -----
    The interval is for errors without serial correlation; it is too narrow for a smoothed series.

    Examples
    --------
    >>> from engine import trend
    >>> trend([1.0, 3.0, 5.0, 100.0, 9.0, 11.0], 0.5).slope
    4.0
    """
    values = finite_array("series", series, 1)
    step = positive("interval", interval)
    level = open_unit("confidence", confidence)
    size = int(values.size)
    if size < _LEAST_FOR_TREND:
        raise TooFewObservations(size, _LEAST_FOR_TREND, "a trend")
    first, second = np.triu_indices(size, 1)
    slopes = np.sort((values[second] - values[first]) / (second - first)) / step
    pairs = slopes.size
    spread = NormalDist().inv_cdf(0.5 + level / 2.0) * math.sqrt(_kendall_variance(values))
    lowest = max(math.floor((pairs - spread) / 2.0), 0)
    highest = min(math.ceil((pairs + spread) / 2.0), pairs - 1)
    slope = float(np.median(slopes))
    intercept = float(np.median(values - slope * step * np.arange(size)))
    return Trend(slope, float(slopes[lowest]), float(slopes[highest]), level, intercept)


def _kendall_variance(values: FloatArray) -> float:
    """Variance of Kendall's score, corrected for ties."""
    size = values.size
    ties = np.unique(values, return_counts=True)[1].astype(np.float64)
    corrected = size * (size - 1.0) * (2.0 * size + 5.0) - float((ties * (ties - 1.0) * (2.0 * ties + 5.0)).sum())
    return corrected / 18.0


def _mid_ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse])


def _shape(values: FloatArray, before: float, after: float) -> tuple[bool, int]:
    """Whether a ramp fits better than a step (sum of absolute residuals), and the 10 to 90 % rise."""
    size = values.size
    if before == after:
        return False, 0
    smooth = np.array([float(np.median(values[max(0, place - 2) : place + 3])) for place in range(size)])
    way = (smooth - before) / (after - before)
    reached = np.flatnonzero(way >= 0.9)
    stop = int(reached[0]) if reached.size else size - 1
    below = np.flatnonzero(way[: stop + 1] <= 0.1)
    start = int(below[-1]) if below.size else 0
    places = np.arange(size)
    best_step = min(
        float(np.abs(values - np.where(places < split, before, after)).sum()) for split in range(start, stop + 2)
    )
    width = max(stop - start, 1)
    ramp = before + (after - before) * np.clip(0.1 + 0.8 * (places - start) / width, 0.0, 1.0)
    gradual = width > 2 and float(np.abs(values - ramp).sum()) < best_step
    return gradual, stop - start
