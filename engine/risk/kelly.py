"""Kelly sizing of positions.

References
----------
.. [1] E. O. Thorp, "The Kelly criterion in blackjack, sports betting, and the stock market", ch. 9 of *Handbook of
   Asset and Liability Management* (2006), eq. 7.4 and 8.2, doi:10.1016/B978-044453248-0.50015-0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, covariance_matrix, finite_array, number, numeric, positive, positive_array
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, NotFinite

__all__ = ["kelly_for_var", "kelly_fraction"]

_SINGULAR = 1e-12  # of a correlation's lowest eigenvalue, each symbol: below it is nothing but rounding


def kelly_fraction(
    expected_return: ArrayLike, variance: ArrayLike, *, fraction: float = 1.0, device: Place = "auto"
) -> float | FloatArray:
    """Return the growth-optimal share of capital, mean over variance [1]_.

    Parameters
    ----------
    expected_return : float or array_like, shape (n_symbols,)
        Expected excess return per period.
    variance : float or array_like
        Variance of the return over the same period: a scalar, one per symbol (symbols sized each alone), or a
        covariance of shape (n_symbols, n_symbols) (sized together).
    fraction : float
        Share of full Kelly to bet, above 0.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float or ndarray
        A scalar for scalars. Negative is short; above 1 is leverage. Nothing is capped.

    Raises
    ------
    InvalidInput
        A nan, a variance that is not above 0, shapes that do not match, a covariance that is singular, exactly or to
        rounding.
    NotFinite
        A fraction beyond the largest float.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine import kelly_fraction
    >>> kelly_fraction(0.01, 0.04)
    0.25
    """
    expected_return, variance = on_the_processor("kelly_fraction", device, expected_return, variance)
    share = positive("fraction", fraction)
    spread = numeric("variance", variance)
    if spread.ndim == 2:
        mean = finite_array("expected_return", expected_return, 1)
        matrix = covariance_matrix(spread, mean.size)
        return _finite(share * _together(matrix, mean))
    mean = numeric("expected_return", expected_return)
    mean = finite_array("expected_return", mean, mean.ndim)
    spread = positive_array("variance", spread, spread.ndim)
    if mean.ndim and spread.ndim and mean.shape != spread.shape:
        raise InvalidInput("variance", f"has shape {spread.shape}, expected_return has {mean.shape}")
    with np.errstate(over="ignore"):
        result = _finite(share * mean / spread)
    return float(result) if result.ndim == 0 else result


def kelly_for_var(limit: float, var: ArrayLike, kelly: float, *, margin: float = 0.0, device: Place = "auto") -> float:
    """Return the Kelly fraction at which every VaR is at most the limit.

    Positions, and with them VaR, are proportional to the fraction while nothing else caps them, so the largest VaR
    decides: ``kelly * limit * (1 - margin) / max(var)``.

    Parameters
    ----------
    limit : float
        Highest VaR allowed, in the unit of `var`.
    var : float or array_like
        VaR at present, per symbol or in total; at least one above 0.
    kelly : float
        Fraction in force while `var` was measured, above 0.
    margin : float
        Share of the limit to leave free, from 0 up to but not 1.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    float
        May exceed `kelly` where there is room; cap it by policy.

    Raises
    ------
    InvalidInput
        A figure out of its range, or no VaR above 0.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Examples
    --------
    >>> from engine import kelly_for_var
    >>> kelly_for_var(2.0, [1.0, 4.0], 0.25)
    0.125
    """
    (var,) = on_the_processor("kelly_for_var", device, var)
    ceiling = positive("limit", limit)
    current = positive("kelly", kelly)
    if number("margin", margin, least=0.0) >= 1.0:
        raise InvalidInput("margin", f"is {margin}; must be at least 0 and below 1")
    worst = float(finite_array("var", np.atleast_1d(numeric("var", var)), 1).max())
    if worst <= 0.0:
        raise InvalidInput("var", f"has no value above 0 (largest is {worst}); there is no loss to bound")
    found = current * ceiling * (1.0 - margin) / worst
    if not math.isfinite(found):
        raise NotFinite("var", f"is {worst} at most, so far below the limit of {limit} that the fraction overflows")
    return found


def _together(covariance: FloatArray, mean: FloatArray) -> FloatArray:
    """Solve in units of the deviations, in which a covariance that is singular shows whatever its sizes."""
    deviations = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    if not deviations.all():
        place = int(np.argmin(deviations))
        raise InvalidInput("variance", "is 0: drop the symbol, it has no risk to size it by", (place, place))
    correlation = covariance / deviations / deviations[:, None]
    if float(np.linalg.eigvalsh(correlation)[0]) <= _SINGULAR * mean.size:
        raise InvalidInput("variance", "is singular: drop a symbol that repeats another, or a mix of others")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.linalg.solve(correlation, mean / deviations) / deviations, dtype=np.float64)


def _finite(fractions: FloatArray | np.floating) -> FloatArray:
    found = np.asarray(fractions, dtype=np.float64)
    if not np.isfinite(found).all():
        raise NotFinite("variance", "is so small beside the expected return that a fraction overflows")
    return found
