"""Implied volatilities of European options.

References
----------
.. [1] P. Jaeckel, "Let's be rational", Wilmott 75 (2015), doi:10.1002/wilm.10395: normalised price, objectives,
   iteration. Its rational guess is not used here: see `implied_volatility`.
.. [2] J. C. Hull, *Options, Futures, and Other Derivatives*, 10th ed., ch. 11.3: the bounds of a price.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray
from engine._device import Place, choose, worth_a_card
from engine._memory import uncleared
from engine._placed import at_home
from engine.pricing import _formulas, _limits
from engine.pricing._batches import batch, floats, named, raise_first, run, sign_of

if TYPE_CHECKING:
    from engine.pricing._kernels import Kernels

__all__ = ["implied_volatility", "implied_volatility_reason"]

_NUMBERS = 8  # an option takes with it to a card and back
_SECONDS = 2.6e-8  # an option on one core, by which threads are shared out
_AUTO = "auto"


def implied_volatility(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
    *,
    device: Place = "auto",
) -> float | FloatArray:
    """Return the volatility at which `european` gives the price.

    Parameters
    ----------
    price : float or array_like
        [currency]
    spot, strike, expiry, rate, dividend, kind, device
        As of `european`.

    Returns
    -------
    float or ndarray
        Per square root of a year. 0 for the price without volatility, infinity for the upper bound, and nan where no
        volatility gives the price: `implied_volatility_reason` says why.

    Raises
    ------
    InvalidInput, NotFinite, DeviceMissing
        As of `european`; a price that is outside its bounds, or negative, is not an error.

    Notes
    -----
    Householder's iteration of fourth order on the objectives of Jaeckel [1]_, from a guess that inverts the normal
    price (below half the upper bound) or the distance to the bound (above); where two steps do not settle it, the
    iteration goes on within a bracket, so it always ends.

    The relative error is below 1e-12 wherever rounding of the inputs leaves that much: one unit of rounding of the
    price (for an option in the money, of spot and strike) moves the volatility by that unit over vega.

    Examples
    --------
    >>> from engine.pricing import implied_volatility
    >>> round(implied_volatility(4.759422392871535, 42.0, 40.0, 0.5, 0.10, 0.0, "call"), 12)
    0.2
    """
    if device is _AUTO:  # the default; the word from elsewhere takes the next way
        found: float | None = _request(price, spot, strike, expiry, rate, dividend, kind)
        if found is not None:
            return found
    if (
        isinstance(device, str)
        and device in ("auto", "cpu")
        and (values := floats(kind, price, spot, strike, expiry, rate, dividend))
    ):
        found = _request(*values)
        if found is not None:
            return found
    where = choose(device, price, spot, strike, expiry, rate, dividend, kind)
    signs = sign_of(kind)
    if where == "on a card":
        resident: FloatArray = _resident(price, spot, strike, expiry, rate, dividend, signs)
        return resident
    options = batch(
        _block(), price=price, spot=spot, strike=strike, expiry=expiry, rate=rate, dividend=dividend, kind=signs
    )
    if not options.shape:
        found = _request(*map(float, options.given.values()))
        if found is None:
            raise_first(options.given)
        return math.nan if found is None else found
    results = uncleared(options.size)
    if where == "to a card" or (device == "auto" and worth_a_card(options.size, _SECONDS, _NUMBERS)):
        from engine.pricing import _cuda

        missing = _cuda.implied(options, results.reshape(1, -1))
    else:
        missing = run(_kernels().implied_block, options, results, _block(), seconds_per_option=_SECONDS)
    if missing:
        raise_first(options.given)
    return results.reshape(options.shape)


def _resident(*arguments: Any) -> Any:
    """Compute on the card, where an argument lies."""
    import cupy

    from engine.pricing import _cuda

    results, missing = _cuda.resident("implied", cupy, arguments, 1)
    if missing:
        raise_first(named(arguments, cupy.asnumpy, "price"))
    return results[0]


def implied_volatility_reason(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
    *,
    device: Place = "auto",
) -> str | NDArray[np.object_]:
    """Return why `implied_volatility` is nan, mostly a bound [2]_, in a sentence; an empty one where it is not.

    Parameters
    ----------
    price, spot, strike, expiry, rate, dividend, kind, device
        As of `implied_volatility`; the reasons are words, and lie in main memory.

    Returns
    -------
    str or ndarray of str

    Raises
    ------
    InvalidInput, NotFinite, DeviceMissing
        As of `implied_volatility`.

    Examples
    --------
    >>> from engine.pricing import implied_volatility_reason
    >>> implied_volatility_reason(1.0, 42.0, 40.0, 0.5, 0.0, 0.0, "call")
    'the price 1 is below 2, that without volatility'
    """
    volatility = implied_volatility(price, spot, strike, expiry, rate, dividend, kind, device=device)
    found, price, spot, strike, expiry, rate, dividend, kind = at_home(
        volatility, price, spot, strike, expiry, rate, dividend, kind
    )
    found = np.asarray(found)
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


def _first_request(*arguments: Any) -> Any:
    """Compile or load the function for one request, and put it in the place of this one."""
    from engine.pricing._requests import implied_request

    global _request
    _request = implied_request()
    return _request(*arguments)


_request: Any = _first_request


@functools.cache
def _kernels() -> Kernels:
    from engine.pricing._kernels import kernels

    return kernels()


def _block() -> int:
    from engine.pricing._kernels import BLOCK

    return BLOCK
