"""Did value at risk hold? Tests of how often, and how clustered, losses exceeded it.

References
----------
.. [1] P. H. Kupiec, "Techniques for verifying the accuracy of risk measurement models", Journal of Derivatives 3
   (1995), eq. 2 (proportion of failures), doi:10.3905/jod.1995.407942.
.. [2] P. F. Christoffersen, "Evaluating interval forecasts", International Economic Review 39 (1998), section 3
   (independence and conditional coverage), doi:10.2307/2527341.
.. [3] P. Jorion, *Value at Risk*, 3rd ed., ch. 6: eq. 6.5 to 6.8 and table 6-2.
.. [4] Basel Committee on Banking Supervision, *Supervisory framework for the use of backtesting in conjunction with the
   internal models approach to market risk capital requirements* (1996), table 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import finite_array, flag, numeric, open_unit
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, TooFewObservations

__all__ = ["Backtest", "LikelihoodRatio", "Zone", "backtest_var"]

Zone = Literal["green", "yellow", "red"]

_YELLOW, _RED = 0.95, 0.9999  # cumulative probabilities at which the zones begin


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """A likelihood-ratio test.

    Attributes
    ----------
    statistic : float
        Chi-squared for a VaR that is right, of as many degrees of freedom as the test has.
    p_value : float
        Probability of so large a statistic if VaR is right; below 0.05, say, it is not.
    """

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Backtest:
    """Exceedances of VaR, and what they say of it.

    Attributes
    ----------
    n_observations, n_exceedances : int
    expected : float
        Exceedances that a right VaR has on average.
    exceedances : ndarray of int
        Places at which the loss exceeded VaR.
    frequency : LikelihoodRatio
        Kupiec's proportion of failures: too many or too few? 1 degree of freedom.
    independence : LikelihoodRatio
        Christoffersen: does an exceedance make the next more likely? 1 degree of freedom.
    coverage : LikelihoodRatio
        Both at once: the sum of the two statistics, 2 degrees of freedom.
    zone : {"green", "yellow", "red"}
        Basel's traffic light, for any length and confidence by the probability that it stands for: yellow from where
        95 %, red from where 99.99 % of right models have at most so many exceedances. It looks for too many alone, so
        none is green, however short the series.
    confidence : float
        Of VaR.
    """

    n_observations: int
    n_exceedances: int
    expected: float
    exceedances: NDArray[np.int64]
    frequency: LikelihoodRatio
    independence: LikelihoodRatio
    coverage: LikelihoodRatio
    zone: Zone
    confidence: float


def backtest_var(
    pnl: ArrayLike,
    var: ArrayLike,
    confidence: float = 0.99,
    *,
    allow_negative: bool = False,
    device: Place = "auto",
) -> Backtest:
    """Return how profit and loss compares with the value at risk that was stated for it [1]_ [2]_ [4]_.

    Parameters
    ----------
    pnl : array_like, shape (n,)
        Profit (positive) or loss of each period, oldest first [currency or share of capital].
    var : float or array_like, shape (n,)
        VaR stated before each period, as a positive loss in the same unit; one for all, or one each.
    confidence : float
        Of VaR, strictly between 0 and 1.
    allow_negative : bool
        Whether a VaR below 0 is meant: that of a book that gains even where it does worst, exceeded where it gains
        less. The usual cause is a loss written with the other sign, so that it is an error unless this is said.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    Backtest

    Raises
    ------
    InvalidInput
        A nan, another number of figures, a VaR below 0, a confidence outside (0, 1).
    TooFewObservations
        Fewer than 2 periods.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    A loss equal to VaR does not exceed it. No exceedance, or only exceedances, gives the limit of the statistics: 0 for
    independence. The statistics are chi-squared for long series only: at 250 days and 99 % the frequency test rejects a
    right VaR in 9.5 % of cases at the level of 5 %, as exceedances are whole numbers. It takes years of days to tell a
    VaR that is exceeded on 1 day in 50 from one on 1 day in 100.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.risk import backtest_var
    >>> pnl = np.ones(255)
    >>> pnl[[10, 60, 110, 160, 170, 180, 190]] = -2.0
    >>> found = backtest_var(pnl, 1.0)
    >>> found.n_exceedances, round(found.frequency.statistic, 2), round(found.frequency.p_value, 3), found.zone
    (7, 5.32, 0.021, 'yellow')
    """
    pnl, var = on_the_processor("backtest_var", device, pnl, var)
    gains = finite_array("pnl", pnl, 1)
    level = open_unit("confidence", confidence)
    n = int(gains.size)
    figures = numeric("var", var)
    stated = finite_array("var", np.atleast_1d(figures), 1)
    if stated.size not in (1, n):
        raise InvalidInput("var", f"has {stated.size} figures for {n} of pnl")
    below = stated < 0.0
    if not flag("allow_negative", allow_negative) and below.any():
        first = int(np.argmax(below))
        problem = f"is {stated[first]}; VaR is a loss and positive: change its sign, or say allow_negative=True"
        raise InvalidInput("var", problem, (first,) if figures.ndim else None)
    if n < 2:
        raise TooFewObservations(n, 2, "a backtest of VaR")
    exceeded = gains < -stated
    hits = int(exceeded.sum())
    share = 1.0 - level
    frequency = 2.0 * (_log_likelihood(n - hits, hits, hits / n) - _log_likelihood(n - hits, hits, share))
    before, after = exceeded[:-1], exceeded[1:]
    calm, calm_hit = int((~before & ~after).sum()), int((~before & after).sum())
    hit_calm, hit_hit = int((before & ~after).sum()), int((before & after).sum())
    together = (calm_hit + hit_hit) / (n - 1)
    apart = _log_likelihood(calm, calm_hit, calm_hit / max(calm + calm_hit, 1)) + _log_likelihood(
        hit_calm, hit_hit, hit_hit / max(hit_calm + hit_hit, 1)
    )
    independence = 2.0 * (apart - _log_likelihood(calm + hit_calm, calm_hit + hit_hit, together))
    frequency, independence = max(frequency, 0.0), max(independence, 0.0)
    both = frequency + independence
    return Backtest(
        n,
        hits,
        n * share,
        np.flatnonzero(exceeded),
        LikelihoodRatio(frequency, math.erfc(math.sqrt(0.5 * frequency))),
        LikelihoodRatio(independence, math.erfc(math.sqrt(0.5 * independence))),
        LikelihoodRatio(both, math.exp(-0.5 * both)),
        _zone(n, hits, share),
        level,
    )


def _log_likelihood(misses: int, hits: int, probability: float) -> float:
    """Of independent trials; 0 log 0 is 0."""
    total = 0.0
    if misses:
        total += misses * math.log1p(-probability) if probability < 1.0 else -math.inf
    if hits:
        total += hits * math.log(probability) if probability > 0.0 else -math.inf
    return total


def _zone(n: int, hits: int, share: float) -> Zone:
    if hits == 0 or share == 1.0:
        return "green"
    cumulative = 0.0
    for k in range(hits + 1):
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        cumulative += math.exp(ways + k * math.log(share) + (n - k) * math.log1p(-share))
    if cumulative >= _RED:
        return "red"
    return "yellow" if cumulative >= _YELLOW else "green"
