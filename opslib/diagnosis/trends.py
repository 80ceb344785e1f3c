"""Whether a series rises, since when, and whether it crept or jumped: rank tests, which outliers do not move.

References
----------
.. [1] H. B. Mann, "Nonparametric tests against trend", Econometrica 13 (1945), doi:10.2307/1907187.
.. [2] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", J. Am. Stat. Assoc. 63 (1968),
   doi:10.1080/01621459.1968.10480934.
.. [3] A. N. Pettitt, "A non-parametric approach to the change-point problem", Appl. Stat. 28 (1979),
   doi:10.2307/2346729.
.. [4] G. V. Bayley and J. M. Hammersley, "The 'effective' number of independent observations in an autocorrelated time
   series", Suppl. J. R. Stat. Soc. 8 (1946), doi:10.2307/2983560.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LEAST = 6  # values that a test needs
_MOST = 400  # values that are compared pair by pair; of more, as many means are taken
_MOST_ALIKE = 0.6  # beyond, what is alike in neighbours is the shape of the rise itself
_SETTLED = 5  # values that each side of a step has at least


@dataclass(frozen=True)
class Trend:
    """Whether values rise over time.

    Attributes
    ----------
    slope : float
        Median of the slopes between all pairs of values (Theil and Sen) [unit/s]; nan where there are too few values.
    p : float
        Probability of so much order, up or down, without a trend (Mann and Kendall, for as many values as are
        independent); 1 where there are too few.
    tau : float
        Kendall's: 1 where every later value is higher, -1 where every later one is lower.
    first, last : float
        The line at both ends [unit].
    """

    slope: float
    p: float
    tau: float
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
        Probability of such a change by chance, approximately (Pettitt); 1 where there are too few values.
    before, after : float
        Medians of both sides [unit].
    explains : float
        Share of the variance that two levels explain, less the share that a straight line explains: above 0 a jump,
        below 0 a slope.
    """

    at: dt.datetime | None
    p: float
    before: float
    after: float
    explains: float

    @property
    def ratio(self) -> float:
        """After over before; nan where there was nothing before."""
        return self.after / self.before if self.before > 0 else math.nan


def trend(series: pd.Series[float]) -> Trend:
    """Test a series for a trend.

    Parameters
    ----------
    series : Series
        Indexed by time; gaps are left out.
    """
    import numpy as np

    seconds, values = _prepared(series)
    n = len(values)
    if n < _LEAST:
        return Trend(math.nan, 1.0, math.nan, math.nan, math.nan)
    above, right = np.triu_indices(n, 1)
    rise, run = values[right] - values[above], seconds[right] - seconds[above]
    slope = float(np.median(rise / run))
    middle = float(np.median(values - slope * seconds))
    score = float(np.sign(rise).sum())
    ties = np.unique(values, return_counts=True)[1]
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18.0
    variance *= _dependence(values - slope * seconds)
    z = 0.0 if variance <= 0 else (score - math.copysign(1.0, score) if score else 0.0) / math.sqrt(variance)
    tau = score / (n * (n - 1) / 2)
    return Trend(
        slope,
        math.erfc(abs(z) / math.sqrt(2.0)),
        tau,
        middle + slope * float(seconds[0]),
        middle + slope * float(seconds[-1]),
    )


def step(series: pd.Series[float]) -> Step:
    """Find where the level of a series changed most: the two sides are closest to their medians there.

    Pettitt's own place is that of most ranks, which lies towards the middle where the new level is young.

    Parameters
    ----------
    series : Series
        Indexed by time; gaps are left out.
    """
    import numpy as np
    import pandas as pd

    seconds, values = _prepared(series)
    n = len(values)
    if n < 2 * _SETTLED:
        return Step(None, 1.0, math.nan, math.nan, math.nan)
    ranks = pd.Series(values).rank().to_numpy()
    places = np.arange(1, n)
    statistic = 2.0 * np.cumsum(ranks)[:-1] - places * (n + 1)
    inner = np.abs(statistic[_SETTLED - 1 : n - _SETTLED])
    place = min(range(_SETTLED, n - _SETTLED + 1), key=lambda at: _apart(values[:at]) + _apart(values[at:]))
    p = min(1.0, 2.0 * math.exp(-6.0 * float(inner.max()) ** 2 / (n**3 + n**2)))
    whole = float(((values - values.mean()) ** 2).sum())
    before, after = values[:place], values[place:]
    left = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
    line = np.polyval(np.polyfit(seconds, values, 1), seconds)
    off = float(((values - line) ** 2).sum())
    at = (_begin(series) + pd.Timedelta(seconds=float(seconds[place]))).to_pydatetime()
    explains = (off - left) / whole if whole > 0 else 0.0
    return Step(at, p, float(np.median(before)), float(np.median(after)), explains)


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


def _begin(series: pd.Series[float]) -> Any:
    return series.dropna().index[0]


def _prepared(series: pd.Series[float]) -> tuple[Any, Any]:
    """Seconds since the first value, and the values; where there are very many, means of neighbours."""
    import numpy as np

    known = series.dropna()
    if not len(known):
        return np.empty(0), np.empty(0)
    index: Any = known.index
    seconds = (index - index[0]).total_seconds().to_numpy(float)
    values = known.to_numpy(float)
    if len(values) > _MOST:
        parts = np.array_split(np.arange(len(values)), _MOST)
        seconds = np.array([seconds[part].mean() for part in parts])
        values = np.array([values[part].mean() for part in parts])
    return seconds, values


def _apart(values: Any) -> float:
    """How far values are from their median, all together."""
    import numpy as np

    return float(np.abs(values - np.median(values)).sum())


def _dependence(rest: Any) -> float:
    """By how much neighbours that are alike make a variance larger than that of as many independent values."""
    import numpy as np

    centred = rest - rest.mean()
    whole = float((centred**2).sum())
    if whole <= 0:
        return 1.0
    alike = min(max(float(np.sum(centred[1:] * centred[:-1])) / whole, 0.0), _MOST_ALIKE)
    return (1.0 + alike) / (1.0 - alike)
