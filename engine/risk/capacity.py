"""When does it run full? Usage of a disk, of memory, of a limit, carried forward with an interval.

References
----------
.. [1] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), eq. 2.6 and 2.7,
   doi:10.1080/01621459.1968.10480934 (the slope and its interval, by `engine.trend`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, evenly, finite_array, flag, increasing, open_unit, positive
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, TooFewObservations
from engine.volatility import Trend, trend

__all__ = ["CapacityForecast", "forecast_capacity"]

Verdict = Literal["reached", "reaches", "never", "not-known"]

_LEAST = 8
_PHASES = 24  # parts of a season, each with a level of its own
_JUMP = 12.0  # times the usual step between two values: a clean-up or a move, not growth
_TO_DEVIATION = 1.4826  # of a normal variable, from the median of its absolute values


@dataclass(frozen=True, slots=True)
class CapacityForecast:
    """When a series reaches its limit.

    Attributes
    ----------
    verdict : {"reached", "reaches", "never", "not-known"}
        "never" where the trend leads away from the limit or is flat; "not-known" where neither is certain.
    remaining : float or None
        Time from the last observation until trend and season reach the limit [unit of the times]; 0 where they have,
        None where they never do on this trend.
    earliest, latest : float or None
        Bounds of `remaining` at the stated confidence; None where that bound of the trend never gets there.
    level : float
        Of the trend at the last observation [unit of the series].
    peak : float
        How far the season rises above the trend towards the limit; 0 without a season.
    trend : Trend
        Of the observations from `since` on, without the season.
    since : int
        First observation that counts: the one after the last jump.
    confidence : float
    """

    verdict: Verdict
    remaining: float | None
    earliest: float | None
    latest: float | None
    level: float
    peak: float
    trend: Trend
    since: int
    confidence: float


def forecast_capacity(
    series: ArrayLike,
    limit: float | None = None,
    *,
    times: ArrayLike | None = None,
    interval: float = 1.0,
    season: float | None = None,
    falling: bool = False,
    confidence: float = 0.95,
    device: Place = "auto",
) -> CapacityForecast:
    """Return when a series reaches a limit if it goes on as it did.

    Parameters
    ----------
    series : array_like, shape (n,)
        Usage, oldest first; n at least 8.
    limit : float, optional
        In the unit of the series. It may be left out where these are shares from 0 to 1: full is 1, or 0 if `falling`.
    times : array_like, shape (n,), optional
        Increasing, in any unit, which is that of the answer; evenly spaced by `interval` where it is not given.
    interval : float
        Time between two values.
    season : float, optional
        Length of a cycle, such as a day, in the unit of the times; the series has to span two of them.
    falling : bool
        The limit lies below (free space that runs out) rather than above.
    confidence : float
        Of the interval, strictly between 0 and 1.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    CapacityForecast

    Raises
    ------
    InvalidInput
        A nan, no limit of what is no share, times that do not increase, a confidence outside (0, 1), a season shorter
        than two values.
    TooFewObservations
        Fewer than 8 values, or less than two seasons.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    A robust straight line [1]_: outliers do not move it, and its interval is widened for serial correlation. A step
    much larger than the usual, after which the series stays, is taken for a clean-up or a move: what came before is
    left out, if 8 values remain. The interval is that of the trend and the season, not of single outliers, and
    holds as long as growth goes on as it did: growth that speeds up arrives sooner.

    Examples
    --------
    >>> from engine.risk import forecast_capacity
    >>> used = [50.0, 51.1, 51.9, 53.0, 54.1, 55.0, 56.0, 56.9, 58.1, 59.0]
    >>> found = forecast_capacity(used, 80.0)
    >>> found.verdict, round(found.remaining, 1), found.earliest < found.remaining < found.latest
    ('reaches', 21.0, True)
    >>> round(forecast_capacity([share / 80.0 for share in used]).remaining, 1)  # shares of what there is
    21.0
    >>> forecast_capacity([5.0, 5.1, 4.9, 5.0, 5.1, 4.9, 5.0, 5.1, 4.9, 5.0], 80.0).verdict
    'not-known'
    """
    series, times = on_the_processor("forecast_capacity", device, series, times)
    downwards = flag("falling", falling)
    values = finite_array("series", series, 1)
    level = open_unit("confidence", confidence)
    ceiling = _of_shares(values, downwards) if limit is None else float(finite_array("limit", limit, 0))
    if values.size < _LEAST:
        raise TooFewObservations(int(values.size), _LEAST, "a forecast of capacity")
    step = positive("interval", interval)
    clock = evenly(step, values.size) if times is None else increasing("times", times, values.size)
    if downwards:
        values, ceiling = -values, -ceiling
    since = _last_jump(values)
    clock, values = clock[since:], values[since:]
    profile = np.zeros(1)
    if season is not None:
        cycle = positive("season", season)
        if cycle < 2.0 * float(np.median(np.diff(clock))):
            raise InvalidInput("season", f"is {season}; must be at least twice the time between two values")
        if not math.isfinite(2.0 * cycle / float(np.median(np.diff(clock)))):
            raise InvalidInput("season", f"is {season}; no series spans two of them")
        if clock[-1] - clock[0] < 2.0 * cycle * (1.0 - 1e-9):
            needed = math.ceil(2.0 * cycle / float(np.median(np.diff(clock)))) + 1
            raise TooFewObservations(
                int(values.size), needed, "a forecast with a season (two of them)", instead="leave season out"
            )
        profile, phases = _season(clock, values, cycle)
        values = values - profile[phases]
    found = trend(values, times=clock, confidence=level)
    span = float(clock[-1] - clock[0])
    here = found.intercept + found.slope * span
    margin = _margin(values - found.intercept - found.slope * (clock - clock[0]), found.correlation, level)

    def arrival(start: float, slope: float) -> float | None:
        return _arrival(ceiling - start, slope, profile, float(clock[-1]), season)

    remaining, earliest = arrival(here, found.slope), arrival(here + margin, found.high)
    latest = arrival(here - margin, found.low)
    now = profile[_phase(clock[-1:], season, profile.size)[0]]
    if here + now >= ceiling:
        verdict: Verdict = "reached"
        remaining, earliest = 0.0, 0.0
    elif found.low > 0.0:
        verdict = "reaches"
    elif found.high <= 0.0:
        verdict, remaining, earliest, latest = "never", None, None, None
    else:
        verdict = "not-known"
    if downwards:
        found = Trend(-found.slope, -found.high, -found.low, level, -found.intercept, found.p_value, found.correlation)
        here = -here
    peak = float(profile.max())
    return CapacityForecast(verdict, remaining, earliest, latest, here, peak, found, since, level)


def _of_shares(values: FloatArray, falling: bool) -> float:
    """Return the limit of a series of shares."""
    outside = (values < 0.0) | (values > 1.0)
    if outside.any():
        first = int(np.argmax(outside))
        problem = f"must be given: series[{first}] is {values[first]}, and only of shares from 0 to 1 is it known"
        raise InvalidInput("limit", problem)
    return 0.0 if falling else 1.0


def _last_jump(values: FloatArray) -> int:
    """First place after the last step that is far beyond the usual and after which the series stays."""
    steps = np.diff(values)
    usual = float(np.median(steps))
    size = _JUMP * max(_TO_DEVIATION * float(np.median(np.abs(steps - usual))), abs(usual))
    for place in (np.flatnonzero(np.abs(steps - usual) > size) + 1)[::-1]:
        after = values[place : place + 5]
        if values.size - place < _LEAST:
            continue
        moved = float(np.median(after) - np.median(values[max(0, place - 5) : place]))
        if abs(moved) > 0.5 * abs(steps[place - 1]) and size > 0.0:
            return int(place)
    return 0


def _phase(clock: FloatArray, season: float | None, parts: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if season is None:
        return np.zeros(clock.size, dtype=np.int64)
    return np.minimum((np.mod(clock, season) / season * parts).astype(np.int64), parts - 1)


def _season(
    clock: FloatArray, values: FloatArray, cycle: float
) -> tuple[FloatArray, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Median of each part of the cycle around the trend, of mean 0; and the part of each value."""
    parts = int(min(_PHASES, max(2, cycle // float(np.median(np.diff(clock))))))
    phases = _phase(clock, cycle, parts)
    profile = np.zeros(parts)
    for _ in range(3):
        line = trend(values - profile[phases], times=clock)
        around = values - line.intercept - line.slope * (clock - clock[0])
        filled = np.array([float(np.median(around[phases == part])) if (phases == part).any() else np.nan
                           for part in range(parts)])  # fmt: skip
        known = np.flatnonzero(~np.isnan(filled))
        filled = np.interp(np.arange(parts), known, filled[known], period=parts)
        profile = filled - filled.mean()
    return profile, phases


def _margin(residuals: FloatArray, correlation: float, level: float) -> float:
    """Half the width of the interval of the level at the end of a line through so many values."""
    deviation = _TO_DEVIATION * float(np.median(np.abs(residuals - np.median(residuals))))
    count = residuals.size * (1.0 - correlation) / (1.0 + correlation)
    return NormalDist().inv_cdf(0.5 + level / 2.0) * 2.0 * deviation / math.sqrt(max(count, 1.0))


def _arrival(room: float, slope: float, profile: FloatArray, now: float, season: float | None) -> float | None:
    """Time until a line and its season first fill the room; None where they never do."""
    if season is None:
        if room <= 0.0:
            return 0.0
        return room / slope if slope > 0.0 else None
    best = None
    width = season / profile.size
    for part, height in enumerate(profile):
        if slope <= 0.0 and room - height > 0.0:
            continue
        ready = max((room - height) / slope, 0.0) if slope > 0.0 else 0.0
        into = (now + ready) % season
        begin, end = part * width, (part + 1) * width
        wait = 0.0 if begin <= into < end else (begin - into) % season
        if slope < 0.0 and room - height - slope * (ready + wait) > 0.0:
            continue
        best = ready + wait if best is None else min(best, ready + wait)
    return best
