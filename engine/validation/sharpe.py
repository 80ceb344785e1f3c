"""Sharpe ratios, and how far to believe one that was chosen among many.

All ratios here are per period, not annualised: the mean return of a period over its standard deviation. Skewness and
kurtosis are those of the returns per period; the kurtosis of a normal distribution is 3.

References
----------
.. [1] A. W. Lo, "The statistics of Sharpe ratios", Financial Analysts Journal 58 (2002), eq. 2,
   doi:10.2469/faj.v58.n4.2453.
.. [2] D. H. Bailey and M. Lopez de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15 (2012), eq. 11,
   doi:10.21314/JOR.2012.255.
.. [3] D. H. Bailey and M. Lopez de Prado, "The deflated Sharpe ratio", Journal of Portfolio Management 40 (2014),
   eq. 1 and 2, doi:10.3905/jpm.2014.40.5.094.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, number, numeric, unmasked
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, NotFinite, TooFewObservations
from engine.validation._features import raise_for_values, sample

__all__ = [
    "deflated_sharpe_ratio",
    "expected_maximum_sharpe",
    "probabilistic_sharpe_ratio",
    "sharpe_ratio",
]


_MOST = 1e100


def sharpe_ratio(returns: Any, *, risk_free: float = 0.0, device: Place = "auto") -> Any:
    """Return the mean return above the risk-free one over the standard deviation, per period [1]_.

    Parameters
    ----------
    returns : array_like, shape (n_periods,) or (n_periods, n_strategies), or DataFrame
        Simple returns, one a period.
    risk_free : float
        Return of a period without risk.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float, ndarray of shape (n_strategies,) or Series
        Multiply by the square root of the periods of a year for a yearly figure, where returns are independent. The
        standard deviation is that of the sample (n_periods - 1).

    Raises
    ------
    InvalidInput
        Returns that do not vary: the ratio is not defined.
    NotFinite
        A nan or an infinity, with its column and row.
    TooFewObservations
        Fewer than 2 periods.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine.validation import sharpe_ratio
    >>> round(sharpe_ratio([0.01, 0.03, -0.01, 0.02]), 6)
    0.731925
    """
    (returns,) = on_the_processor("sharpe_ratio", device, returns)
    free = number("risk_free", risk_free)
    if hasattr(returns, "columns"):
        from pandas import Series

        ratios = [_one(f"returns[{name!r}]", values, free) for name, values in returns.items()]
        return Series(ratios, index=returns.columns, name="sharpe_ratio", dtype=float)
    try:
        values = unmasked(returns)
    except ValueError as problem:
        raise InvalidInput("returns", f"must be an array ({problem})") from problem
    if values.ndim == 2:
        return np.array([_one(f"returns[:, {place}]", values[:, place], free) for place in range(values.shape[1])])
    if values.ndim != 1:
        raise InvalidInput("returns", f"must have 1 or 2 dimensions, has {values.ndim}")
    return _one("returns", values, free)


def probabilistic_sharpe_ratio(
    sharpe: ArrayLike,
    benchmark: ArrayLike,
    n_observations: ArrayLike,
    skewness: ArrayLike = 0.0,
    kurtosis: ArrayLike = 3.0,
    *,
    device: Place = "auto",
) -> Any:
    """Return the probability that the true Sharpe ratio is above a benchmark [2]_.

    Parameters
    ----------
    sharpe, benchmark : float or array_like
        Observed ratio, and the one to beat; per period, not annualised.
    n_observations : int or array_like
        Number of periods, at least 2.
    skewness : float or array_like
        0 is symmetric.
    kurtosis : float or array_like
        3 is normal; at least 1 + skewness**2, as of any distribution, and above it for a defined result.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float or ndarray
        Of the broadcast shape.

    Raises
    ------
    InvalidInput
        Fewer than 2 observations, moments that no distribution has, shapes that do not broadcast.
    NotFinite
        A nan or an infinity.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    Normal approximation for long series of independent returns.

    Examples
    --------
    >>> from engine.validation import probabilistic_sharpe_ratio
    >>> round(probabilistic_sharpe_ratio(0.458, 0.0, 24, -2.448, 10.164), 6)
    0.913361
    """
    sharpe, benchmark, n_observations, skewness, kurtosis = on_the_processor(
        "probabilistic_sharpe_ratio", device, sharpe, benchmark, n_observations, skewness, kurtosis
    )
    ratio, target, count, skew, tails = _broadcast(
        sharpe=sharpe, benchmark=benchmark, n_observations=n_observations, skewness=skewness, kurtosis=kurtosis
    )
    _reject("n_observations", count, count < 2.0, "must be at least 2")
    for name, values in (("sharpe", ratio), ("skewness", skew)):
        _reject(name, values, np.abs(values) > _MOST, f"must be within {_MOST:g} of 0")
    spread = 1.0 - skew * ratio + 0.25 * (tails - 1.0) * ratio * ratio
    wrong = (tails < 1.0 + skew * skew) | (spread <= 0.0)
    _reject("kurtosis", tails, wrong, "must be above 1 + skewness**2; 3 is normal, so this may be an excess")
    from scipy.special import ndtr

    with np.errstate(over="ignore"):  # far enough from 0 to be certain
        return _unwrapped(ndtr((ratio - target) * np.sqrt((count - 1.0) / spread)))


def deflated_sharpe_ratio(
    sharpe: ArrayLike,
    n_observations: ArrayLike,
    n_trials: ArrayLike,
    trials_variance: ArrayLike,
    skewness: ArrayLike = 0.0,
    kurtosis: ArrayLike = 3.0,
    *,
    device: Place = "auto",
) -> Any:
    """Return the probability that a Sharpe ratio is above what the best of so many useless trials would show [3]_.

    It is `probabilistic_sharpe_ratio` against `expected_maximum_sharpe`.

    Parameters
    ----------
    sharpe : float or array_like
        Observed ratio of the strategy that was chosen; per period, not annualised.
    n_observations : int or array_like
        Number of periods, at least 2.
    n_trials : float or array_like
        Number of independent strategies that were tried, at least 1.
    trials_variance : float or array_like
        Variance of their ratios, per period: that of annualised ratios over the periods of a year.
    skewness, kurtosis : float or array_like
        Of the returns of the chosen one; 3 is normal.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float or ndarray
        Of the broadcast shape; above 0.95 is taken for a discovery at 5 %.

    Raises
    ------
    InvalidInput
        As `probabilistic_sharpe_ratio` and `expected_maximum_sharpe`.
    NotFinite
        A nan or an infinity.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    Five years of days, annual ratio 2.5, the best of 100 trials:

    >>> from engine.validation import deflated_sharpe_ratio
    >>> round(deflated_sharpe_ratio(2.5 / 250**0.5, 1250, 100, 0.5 / 250, -3.0, 10.0), 6)
    0.900397
    """
    sharpe, n_observations, n_trials, trials_variance, skewness, kurtosis = on_the_processor(
        "deflated_sharpe_ratio", device, sharpe, n_observations, n_trials, trials_variance, skewness, kurtosis
    )
    target = expected_maximum_sharpe(n_trials, trials_variance)
    return probabilistic_sharpe_ratio(sharpe, target, n_observations, skewness, kurtosis)


def expected_maximum_sharpe(n_trials: ArrayLike, trials_variance: ArrayLike, *, device: Place = "auto") -> Any:
    """Return the expected highest Sharpe ratio among independent trials whose true ratio is 0 [3]_.

    Parameters
    ----------
    n_trials : float or array_like
        At least 1; for a single trial, which nobody chose, the result is 0. An effective number need not be whole.
    trials_variance : float or array_like
        Variance of the ratios of the trials, at least 0, per period.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float or ndarray
        Per period, of the broadcast shape. An approximation for many trials: 8 % too low at 2, 2.6 % too high at 5, 1 %
        at 100.

    Raises
    ------
    InvalidInput
        Fewer than 1 trial, a negative variance.
    NotFinite
        A nan or an infinity.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine.validation import expected_maximum_sharpe
    >>> round(expected_maximum_sharpe(100, 0.5 / 250), 6)
    0.113172
    """
    n_trials, trials_variance = on_the_processor("expected_maximum_sharpe", device, n_trials, trials_variance)
    count, variance = _broadcast(n_trials=n_trials, trials_variance=trials_variance)
    _reject("n_trials", count, count < 1.0, "must be at least 1")
    _reject("trials_variance", variance, variance < 0.0, "must be at least 0")
    from scipy.special import ndtri

    several = np.maximum(count, 1.0 + 1e-9)
    # upper tails by symmetry, so that nothing is lost for very many trials
    highest = -(1.0 - np.euler_gamma) * ndtri(1.0 / several) - np.euler_gamma * ndtri(1.0 / several / math.e)
    return _unwrapped(np.where(count == 1.0, 0.0, np.sqrt(variance) * np.maximum(highest, 0.0)))


def _one(argument: str, given: Any, risk_free: float) -> float:
    values = sample(argument, given)
    raise_for_values(argument, values)
    if values.size < 2:
        raise TooFewObservations(values.size, 2, "a Sharpe ratio")
    if values.min() == values.max():
        raise InvalidInput(argument, f"is {values[0]} throughout; a ratio needs returns that vary")
    # scaled, so that neither very small nor very large returns lose their squares, and seen from one of them, so that
    # returns that hardly vary keep theirs
    size = math.ldexp(1.0, math.frexp(float(np.abs(values).max()))[1] - 1)
    scaled = values / size
    away = scaled - scaled[0]
    return float((scaled[0] + away.mean() - risk_free / size) / away.std(ddof=1))


def _broadcast(**arguments: ArrayLike) -> list[FloatArray]:
    """Return the arguments as finite float64 arrays of one shape."""
    arrays = []
    for name, values in arguments.items():
        array = numeric(name, values, kinds="iufO")
        _reject(name, array, ~np.isfinite(array), "every value must be finite", NotFinite)
        arrays.append(array)
    try:
        return list(np.broadcast_arrays(*arrays))
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise InvalidInput(next(iter(arguments)), f"and the others do not broadcast: shapes {shapes}") from None


def _reject(name: str, values: FloatArray, wrong: Any, rule: str, error: type[InvalidInput] = InvalidInput) -> None:
    if np.any(wrong):
        first = np.unravel_index(int(np.argmax(wrong)), values.shape)
        raise error(name, f"is {values[first]}; {rule}", tuple(int(place) for place in first) or None)


def _unwrapped(values: Any) -> Any:
    return float(values) if np.ndim(values) == 0 else values
