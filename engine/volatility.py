"""Realised volatility, one change point and a robust slope of a series.

References
----------
.. [1] J.P. Morgan/Reuters, *RiskMetrics - Technical Document*, 4th ed. (1996), eq. 5.2 (exponential weights).
.. [2] A. N. Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28 (1979), eq. 2.2
   and 3.2, doi:10.2307/2346729.
.. [3] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), eq. 2.6 and 2.7,
   doi:10.1080/01621459.1968.10480934.
.. [4] K. H. Hamed and A. R. Rao, "A modified Mann-Kendall trend test for autocorrelated data", Journal of Hydrology 204
   (1998), eq. 13 and 14, doi:10.1016/S0022-1694(97)00125-X.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, evenly, finite_array, increasing, open_unit, positive, positive_array
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, TooFewObservations

__all__ = ["ChangePoint", "Trend", "change_point", "realised_volatility", "trend"]

_LEAST_FOR_CHANGE = 8
_LEAST_FOR_TREND = 4
_MOST_FOR_PAIRS = 1_000
_ONE_SIDED = 1.6448536269514722  # normal quantile of 95 %
_MOST_CORRELATED = 0.98


def realised_volatility(
    values: ArrayLike,
    interval: float,
    *,
    kind: Literal["prices", "returns"] = "prices",
    decay: float | None = None,
    device: Place = "auto",
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
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

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
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine import realised_volatility
    >>> round(realised_volatility([0.01, -0.01, 0.01, -0.01], 0.25, kind="returns"), 12)
    0.02
    """
    (values,) = on_the_processor("realised_volatility", device, values)
    days = positive("interval", interval)
    if not isinstance(kind, str) or kind not in ("prices", "returns"):
        raise InvalidInput("kind", f"is {kind!r}; choose 'prices' or 'returns'")
    if kind == "prices":
        returns = np.diff(np.log(positive_array("values", values, 1)))
    else:
        returns = finite_array("values", values, 1)
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
        Probability of so strong a change in noise, whose serial correlation around `before` and `after` is allowed
        for; small means changed. A slow wander is still taken for a change: look at `before` and `after` as well.
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


def change_point(series: ArrayLike, *, device: Place = "auto") -> ChangePoint:
    """Return the one most likely change of level (Pettitt's rank test [2]_), robust against outliers.

    The test's own place lies towards the middle where the new level is young, or the old one drifts; so the place is
    where both sides are closest to their medians.

    Parameters
    ----------
    series : array_like, shape (n,)
        Evenly spaced, oldest first; n at least 8.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

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
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine import change_point
    >>> found = change_point([1.0, 1.1, 0.9, 1.0, 1.1, 5.0, 5.1, 4.9, 5.0, 5.1])
    >>> found.index, found.before, found.gradual
    (5, 1.0, False)
    """
    (series,) = on_the_processor("change_point", device, series)
    values = finite_array("series", series, 1)
    size = int(values.size)
    if size < _LEAST_FOR_CHANGE:
        raise TooFewObservations(size, _LEAST_FOR_CHANGE, "a change point")
    statistic = 2.0 * np.cumsum(_mid_ranks(values)) - np.arange(1, size + 1) * (size + 1.0)
    strength = float(np.abs(statistic[:-1]).max())
    index = int(np.argmin(_scatter(values)[:-1] + _scatter(values[::-1])[-2::-1])) + 1
    before = float(np.median(values[:index]))
    tail = values[index:]
    around = np.concatenate([values[:index] - before, tail - np.median(tail)])
    correlation = _serial_correlation(around)
    inflation = (1.0 + correlation) / (1.0 - correlation)
    p_value = min(1.0, 2.0 * math.exp(-6.0 * strength**2 / ((size**3 + size**2) * inflation)))
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
    p_value : float
        Probability of so strong a trend, up or down, in a series without one (Mann and Kendall).
    correlation : float
        Of neighbouring residuals, as far as it is not by chance; the interval and `p_value` allow for it.
    """

    slope: float
    low: float
    high: float
    confidence: float
    intercept: float
    p_value: float
    correlation: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes a slope of zero."""
        return self.low > 0.0 or self.high < 0.0


def trend(
    series: ArrayLike,
    interval: float = 1.0,
    *,
    times: ArrayLike | None = None,
    confidence: float = 0.95,
    most_correlated: float = 0.98,
    device: Place = "auto",
) -> Trend:
    """Return the Theil-Sen slope of a series with Sen's confidence interval [3]_.

    Parameters
    ----------
    series : array_like, shape (n,)
        Oldest first; n at least 4. Beyond 1,000 values, medians of neighbours stand for them.
    interval : float
        Time between two values, in the unit in which the slope is wanted.
    times : array_like, shape (n,), optional
        Increasing; in place of `interval` where values are not evenly spaced.
    confidence : float
        Strictly between 0 and 1.
    most_correlated : float
        Strictly between 0 and 1: the most serial correlation that is allowed for. Where a rise is not straight, its own
        shape makes neighbours alike, and a lower value keeps it from being taken for chance.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    Trend

    Raises
    ------
    InvalidInput
        A nan, an interval not above 0, times that do not increase, a confidence or correlation outside (0, 1).
    TooFewObservations
        Fewer than 4 values.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    Up to 29 % of the values may be outliers. The interval is widened for the serial correlation of the residuals, as of
    an autoregressive series of first order [4]_, where there is more of it than chance would give. At a confidence
    of 95 % it then covers the slope in 92 to 96 % of series of 100 values with a correlation of up to 0.8; with 30
    values, or with 0.95, in 79 to 90 %: little is known of a correlation from so few, and none from a random walk.

    Examples
    --------
    >>> from engine import trend
    >>> trend([1.0, 3.0, 5.0, 100.0, 9.0, 11.0], 0.5).slope
    4.0
    """
    series, times = on_the_processor("trend", device, series, times)
    values = finite_array("series", series, 1)
    step = positive("interval", interval)
    level, most = open_unit("confidence", confidence), open_unit("most_correlated", most_correlated)
    if values.size < _LEAST_FOR_TREND:
        raise TooFewObservations(int(values.size), _LEAST_FOR_TREND, "a trend")
    clock = evenly(step, values.size) if times is None else increasing("times", times, values.size)
    start = float(clock[0])
    clock, values = _thinned(clock - start, values)
    size = int(values.size)
    first, second = np.triu_indices(size, 1)
    with np.errstate(over="ignore"):
        slopes = np.sort((values[second] - values[first]) / (clock[second] - clock[first]))
    if not np.isfinite(slopes[[0, -1]]).all():
        raise InvalidInput("series", "has differences beyond the largest float; state it in a larger unit")
    pairs = slopes.size
    slope = float(np.median(slopes))
    residuals = values - slope * clock
    correlation = min(_serial_correlation(residuals), most)
    deviation = math.sqrt(_kendall_variance(values) * _inflation(size, correlation))
    spread = NormalDist().inv_cdf(0.5 + level / 2.0) * deviation
    lowest = max(math.floor((pairs - spread) / 2.0), 0)
    highest = min(math.ceil((pairs + spread) / 2.0), pairs - 1)
    score = abs(float(np.sign(slopes).sum()))
    p_value = math.erfc(max(score - 1.0, 0.0) / deviation / math.sqrt(2.0)) if deviation > 0.0 else 1.0
    intercept = float(np.median(residuals))
    return Trend(slope, float(slopes[lowest]), float(slopes[highest]), level, intercept, p_value, correlation)


def _thinned(clock: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Medians of groups of neighbours, where there are more values than all pairs of them can be looked at."""
    group = -(-values.size // _MOST_FOR_PAIRS)
    if group == 1:
        return clock, values
    whole = values.size // group * group
    # the oldest are left over, if any
    times = clock[values.size - whole :].reshape(-1, group).mean(axis=1)
    return times, np.median(values[values.size - whole :].reshape(-1, group), axis=1)


def _serial_correlation(residuals: FloatArray) -> float:
    """Rank correlation of neighbours, 0 where chance alone would give as much; corrected for its bias."""
    size = residuals.size
    ranks = _mid_ranks(residuals) - (size + 1) / 2.0
    whole = float(ranks @ ranks)
    if whole == 0.0:
        return 0.0
    found = float(ranks[1:] @ ranks[:-1]) / whole
    if found <= _ONE_SIDED / math.sqrt(size):
        return 0.0
    return min(found + (1.0 + 4.0 * found) / size, _MOST_CORRELATED)


def _inflation(size: int, correlation: float) -> float:
    """Variance of Kendall's score over that without serial correlation."""
    if correlation == 0.0:
        return 1.0
    lags = np.arange(1, size - 2, dtype=np.float64)
    left = size - lags
    weights = left * (left - 1.0) * (left - 2.0)
    return 1.0 + 2.0 * float(weights @ correlation**lags) / (size * (size - 1.0) * (size - 2.0))


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


def _scatter(values: FloatArray) -> FloatArray:
    """Sum of the distances from the median, of the first 1, 2, ... n values."""
    found = np.empty(values.size)
    below: list[float] = []  # the smaller half, negated
    above: list[float] = []
    low = high = 0.0
    for place, value in enumerate(values.tolist()):
        moved = -heapq.heappushpop(below, -value)
        heapq.heappush(above, moved)
        low, high = low + value - moved, high + moved
        if len(above) > len(below):
            moved = heapq.heappop(above)
            heapq.heappush(below, -moved)
            low, high = low + moved, high - moved
        found[place] = high - low - below[0] * (len(below) - len(above))
    return found


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
