"""Trend and jump of a series over time, by the tests of `engine`, which the notebook hands over; gaps are left out."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 6  # values that a trend needs; two series in common; either side of a step
_MOST_ALIKE = 0.6  # beyond, what is alike in neighbours is the shape of the rise itself
_MOST = 400  # of them, that are compared pair by pair


@dataclass(frozen=True)
class Trend:
    """Whether values rise over time.

    Attributes
    ----------
    slope : float
        [unit/s]; nan where there are too few values.
    p : float
        Probability of so strong a trend, up or down, without one; 1 where there are too few values.
    first, last : float
        The line at both ends [unit].
    """

    slope: float
    p: float
    first: float
    last: float

    @property
    def rises(self) -> bool:
        """Whether it rises beyond what chance gives once in a hundred times."""
        return self.slope > 0 and self.p < 0.01


@dataclass(frozen=True)
class Step:
    """Where the level of a series changed most.

    Attributes
    ----------
    at : datetime or None
        The first value of the new level; None where there are too few values.
    p : float
        Probability of such a change by chance; 1 where there are too few values.
    before, after : float
        Levels of both sides [unit].
    gradual : bool
        It took more than a quarter of what is seen: a slope, no jump.
    """

    at: dt.datetime | None
    p: float
    before: float
    after: float
    gradual: bool


def chance(p: float) -> str:
    """A probability for a reader, who needs no more than its first digit."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.1g}"


def trend(series: pd.Series[float], engine: Any) -> Trend:
    """Test a series for a trend by `engine.trend`."""
    seconds, values = _known(series)
    if len(values) < _LEAST:
        return Trend(math.nan, 1.0, math.nan, math.nan)
    found = engine.trend(values, times=seconds, most_correlated=_MOST_ALIKE)
    last = found.intercept + found.slope * float(seconds[-1])
    return Trend(found.slope, found.p_value, found.intercept, last)


def step(series: pd.Series[float], engine: Any) -> Step:
    """Find where the level of a series changed most by `engine.change_point`."""
    _, values = _known(series)
    if len(values) < 2 * _LEAST:
        return Step(None, 1.0, math.nan, math.nan, gradual=False)
    found = engine.change_point(values)
    at: Any = series.dropna().index[found.index]
    return Step(at.to_pydatetime(), found.p_value, found.before, found.after, found.rise > len(values) / 4)


def together(one: pd.Series[float], other: pd.Series[float]) -> float:
    """Kendall's tau of two series where both have a value: 1 where they rise and fall together; nan for too few."""
    import numpy as np
    import pandas as pd

    both = pd.concat([one, other], axis=1, join="inner").dropna().to_numpy(float)[-_MOST:]
    if len(both) < _LEAST:
        return math.nan
    first, second = np.triu_indices(len(both), 1)
    signs = np.sign(both[second] - both[first])
    untied = math.sqrt(float((signs[:, 0] != 0).sum()) * float((signs[:, 1] != 0).sum()))
    return float((signs[:, 0] * signs[:, 1]).sum()) / untied if untied else math.nan


def _known(series: pd.Series[float]) -> tuple[Any, Any]:
    """Seconds since the first value, and the values."""
    known = series.dropna()
    index: Any = known.index
    return (index - index[0]).total_seconds().to_numpy(float) if len(known) else known.to_numpy(float), known.to_numpy(
        float
    )
