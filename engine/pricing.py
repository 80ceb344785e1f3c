"""Closed-form prices and Greeks of European options, and implied volatilities.

Black-Scholes-Merton: the underlying follows geometric Brownian motion under the risk-neutral measure; rate, dividend
yield and volatility are constants, rates continuously compounded. Prices are of a long option on one unit.

References
----------
.. [1] E. G. Haug, *The Complete Guide to Option Pricing Formulas*, 2nd ed. (2007): price eq. 1.11 and 1.12; Greeks
   ch. 2, of which vanna eq. 2.10, volga eq. 2.72, charm eq. 2.24.
.. [2] J. C. Hull, *Options, Futures, and Other Derivatives*, 10th ed., ch. 15 and 19.
.. [3] P. Jaeckel, "Let's be rational", Wilmott 75 (2015), doi:10.1002/wilm.10395: normalised price, objectives,
   iteration. Its rational guess is not used here: see `implied_volatility`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine import _formulas, _limits
from engine._batches import SIGNS, Batch, DeviceMissing, batch, raise_first, run, sign_of
from engine._checks import FloatArray
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from engine._pricing_kernels import Kernels

__all__ = ["Device", "DeviceMissing", "Greeks", "european", "implied_volatility", "implied_volatility_reason"]

Device = Literal["auto", "cpu", "cuda"]
_DEVICES = ("auto", "cpu", "cuda")
_FLOATS = (float,) * 6
_EUROPEAN, _IMPLIED = 1e-8, 4e-8  # seconds an option on one core, by which threads are shared out


class Greeks(NamedTuple):
    """Price and sensitivities of an option, or of many; per unit of the underlying, time in years.

    Attributes
    ----------
    price : float or ndarray
        [currency]
    delta : float or ndarray
        dV/dS
    gamma : float or ndarray
        d2V/dS2 [1/currency]
    vega : float or ndarray
        dV/dvolatility, per 1.0 of volatility [currency]
    theta : float or ndarray
        dV/dt in calendar time, so that an option that decays has a negative one [currency/year]
    rho : float or ndarray
        dV/drate, per 1.0 of the rate [currency]
    vanna : float or ndarray
        d2V/dS dvolatility
    volga : float or ndarray
        d2V/dvolatility2 [currency]
    charm : float or ndarray
        ddelta/dt in calendar time [1/year]
    """

    price: Any
    delta: Any
    gamma: Any
    vega: Any
    theta: Any
    rho: Any
    vanna: Any
    volga: Any
    charm: Any


def european(
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    volatility: ArrayLike,
    kind: ArrayLike,
    *,
    device: Device = "auto",
) -> Greeks:
    """Return price and Greeks of European options [1]_.

    Parameters
    ----------
    spot : float or array_like
        At least 0 [currency].
    strike : float or array_like
        Above 0 [currency].
    expiry : float or array_like
        Time left, at least 0 [years].
    rate, dividend : float or array_like
        Continuously compounded, per year; any sign.
    volatility : float or array_like
        Per square root of a year, at least 0.
    kind : {"call", "put"} or array_like
        Or +1 for a call and -1 for a put.
    device : {"auto", "cpu", "cuda"}
        Where arrays are computed. "auto" keeps what lies in main memory on the CPU, as carrying it to a card takes
        longer than the work. Scalars are computed on the CPU.

    Returns
    -------
    Greeks
        Floats where every argument is a scalar, else float64 arrays of the broadcast shape.

    Raises
    ------
    InvalidInput
        A value outside its range or shapes that do not broadcast; names the argument, and the place of the first
        offender in it.
    NotFinite
        A nan or an infinity, likewise.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    The price is right to a few units of rounding of discounted spot plus discounted strike, each Greek to as many of
    the terms it is a difference of. Out of the money the price is also right relative to itself, down to the smallest
    float, to 100 units over ``volatility * sqrt(expiry)``.

    With expiry, volatility or spot of 0 the result is the limit. At the money with no time left, delta is +-1/2,
    gamma is infinite, and theta and charm diverge with the sign that is returned. Where both volatility and expiry
    are 0, volatility went first.

    Examples
    --------
    >>> from engine.pricing import european
    >>> greeks = european(42.0, 40.0, 0.5, 0.10, 0.0, 0.20, "call")
    >>> round(greeks.price, 7), round(greeks.delta, 7)
    (4.7594224, 0.7791313)
    >>> european([90.0, 110.0], 100.0, 0.0, 0.0, 0.0, 0.2, "put").price.tolist()
    [10.0, 0.0]
    """
    kinds = spot.__class__, strike.__class__, expiry.__class__, rate.__class__, dividend.__class__, volatility.__class__
    if kinds == _FLOATS and device == "auto" and kind.__class__ is str and kind in SIGNS:
        # one request: no arrays on the way
        one = _one()(spot, strike, expiry, rate, dividend, volatility, SIGNS[kind])
        if one[0] == one[0]:
            return tuple.__new__(Greeks, one)
    if device not in _DEVICES:
        raise InvalidInput("device", f"is {device!r}; must be one of {', '.join(_DEVICES)}")
    sign = sign_of(kind)
    options = batch(
        _block(),
        spot=spot,
        strike=strike,
        expiry=expiry,
        rate=rate,
        dividend=dividend,
        volatility=volatility,
        kind=sign,
    )
    results = np.empty((len(Greeks._fields), options.size))
    if device == "cuda" and options.shape:
        from engine import _cuda

        _cuda.european(options, results)
        invalid = run(_kernels().european_rest, options, results, _block(), seconds_per_option=_EUROPEAN)
    else:
        invalid = run(_kernels().european_block, options, results, _block(), seconds_per_option=_EUROPEAN)
    if invalid:
        raise_first(options.given)
    return Greeks._make(_shaped(row, options) for row in results)


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
    Householder's iteration of fourth order on the objectives of Jaeckel [3]_, from a guess that inverts the normal
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
    run(_kernels().implied_block, options, results, _block(), seconds_per_option=_IMPLIED)
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


def _shaped(values: FloatArray, options: Batch) -> Any:
    return values.reshape(options.shape) if options.shape else float(values[0])


@functools.cache
def _bounds() -> Any:
    """Return the bounds of `engine._limits` as plain Python: the same source, no compiler."""
    return _limits.make(lambda function: function, _formulas.make(lambda function: function, math.exp, math.log)).bounds


@functools.cache
def _kernels() -> Kernels:
    from engine._pricing_kernels import kernels

    return kernels()


@functools.cache
def _one() -> Any:
    return _kernels().european_one


def _block() -> int:
    from engine._pricing_kernels import BLOCK

    return BLOCK
