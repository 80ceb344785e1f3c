"""Implied volatilities of European options.

References
----------
.. [1] P. Jaeckel, "Let's be rational", Wilmott 75 (2015), doi:10.1002/wilm.10395: normalised price, objectives,
   iteration. Its rational guess is not used here: see `implied_volatility`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray
from engine.pricing import _formulas, _limits
from engine.pricing._batches import SIGNS, batch, raise_first, run, sign_of

if TYPE_CHECKING:
    from engine.pricing._kernels import Kernels

__all__ = ["implied_volatility", "implied_volatility_reason"]

_FLOATS = (float,) * 6
_SECONDS = 4e-8  # an option on one core, by which threads are shared out


def implied_volatility(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
) -> float | FloatArray:
    """Return the volatility at which `european` gives the price.

    Parameters
    ----------
    price : float or array_like
        [currency]
    spot, strike, expiry, rate, dividend, kind
        As of `european`.

    Returns
    -------
    float or ndarray
        Per square root of a year. 0 for the price without volatility, infinity for the upper bound, and nan where no
        volatility gives the price: `implied_volatility_reason` says why.

    Raises
    ------
    InvalidInput, NotFinite
        As of `european`; a price that is outside its bounds, or negative, is not an error.

    Notes
    -----
    Householder's iteration of fourth order on the objectives of Jaeckel [1]_, from a guess that inverts the normal
    price (below half the upper bound) or the distance to the bound (above); where three steps do not settle it, the
    iteration goes on within a bracket, so it always ends.

    The relative error is below 1e-12 wherever rounding of the inputs leaves that much: one unit of rounding of the
    price (for an option in the money, of spot and strike) moves the volatility by that unit over vega.

    Examples
    --------
    >>> from engine.pricing import implied_volatility
    >>> round(implied_volatility(4.759422392871535, 42.0, 40.0, 0.5, 0.10, 0.0, "call"), 12)
    0.2
    """
    kinds = price.__class__, spot.__class__, strike.__class__, expiry.__class__, rate.__class__, dividend.__class__
    if kinds == _FLOATS and kind.__class__ is str and kind in SIGNS:
        one: float = _kernels().implied_one(price, spot, strike, expiry, rate, dividend, SIGNS[kind])
        if one == one:
            return one
    sign = sign_of(kind)
    options = batch(
        _block(), price=price, spot=spot, strike=strike, expiry=expiry, rate=rate, dividend=dividend, kind=sign
    )
    if not options.shape:
        found = float(_kernels().implied_one(*(float(values) for values in options.given.values())))
        if found != found:
            raise_first(options.given)
        return found
    results = np.empty(options.size)
    run(_kernels().implied_block, options, results, _block(), seconds_per_option=_SECONDS)
    if np.isnan(results).any():
        raise_first(options.given)
    return results.reshape(options.shape)


def implied_volatility_reason(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
) -> str | NDArray[np.object_]:
    """Return why `implied_volatility` is nan, in a sentence; an empty one where it is not.

    Parameters
    ----------
    price, spot, strike, expiry, rate, dividend, kind
        As of `implied_volatility`.

    Returns
    -------
    str or ndarray of str

    Raises
    ------
    InvalidInput, NotFinite
        As of `implied_volatility`.

    Examples
    --------
    >>> from engine.pricing import implied_volatility_reason
    >>> implied_volatility_reason(1.0, 42.0, 40.0, 0.5, 0.0, 0.0, "call")
    'the price 1 is below 2, that without volatility'
    """
    found = np.asarray(implied_volatility(price, spot, strike, expiry, rate, dividend, kind))
    arguments = np.broadcast_arrays(price, spot, strike, expiry, rate, dividend, sign_of(kind))
    reasons = np.full(found.shape, "", dtype=object)
    for place in zip(*np.nonzero(np.isnan(np.atleast_1d(found))), strict=True):
        where = place if found.ndim else ()
        reasons[where] = _reason(*(float(values[where]) for values in arguments))
    return reasons if found.ndim else str(reasons[()])


def _reason(price: float, spot: float, strike: float, expiry: float, rate: float, dividend: float, sign: float) -> str:
    if expiry == 0.0:
        return "at expiry the price does not depend on volatility"
    if spot == 0.0:
        return "at a spot of 0 the price does not depend on volatility"
    worth, bound, _ = _bounds()(spot, strike, expiry, rate, dividend, sign)
    if price < worth:
        return f"the price {price:.17g} is below {worth:.17g}, that without volatility"
    return f"the price {price:.17g} is above {bound:.17g}, that of an infinite volatility"


@functools.cache
def _bounds() -> Any:
    """Return the bounds of `engine.pricing._limits` as plain Python: the same source, no compiler."""
    return _limits.make(lambda function: function, _formulas.make(lambda function: function, math.exp, math.log)).bounds


@functools.cache
def _kernels() -> Kernels:
    from engine.pricing._kernels import kernels

    return kernels()


def _block() -> int:
    from engine.pricing._kernels import BLOCK

    return BLOCK
