"""Closed-form prices and Greeks of European options.

Black-Scholes-Merton: the underlying follows geometric Brownian motion under the risk-neutral measure; rate, dividend
yield and volatility are constants, rates continuously compounded. Prices are of a long option on one unit.

References
----------
.. [1] E. G. Haug, *The Complete Guide to Option Pricing Formulas*, 2nd ed. (2007): price eq. 1.11 and 1.12; Greeks
   ch. 2, of which vanna eq. 2.10, volga eq. 2.72, charm eq. 2.24.
.. [2] J. C. Hull, *Options, Futures, and Other Derivatives*, 10th ed., ch. 15 and 19.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray
from engine.errors import InvalidInput
from engine.pricing._batches import SIGNS, Batch, batch, raise_first, run, sign_of

if TYPE_CHECKING:
    from engine.pricing._kernels import Kernels

__all__ = ["Device", "Greeks", "european"]

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
        from engine.pricing import _cuda

        _cuda.european(options, results)
        invalid = run(_kernels().european_rest, options, results, _block(), seconds_per_option=_EUROPEAN)
    else:
        invalid = run(_kernels().european_block, options, results, _block(), seconds_per_option=_EUROPEAN)
    if invalid:
        raise_first(options.given)
    return Greeks._make(_shaped(row, options) for row in results)


def _shaped(values: FloatArray, options: Batch) -> Any:
    return values.reshape(options.shape) if options.shape else float(values[0])


@functools.cache
def _kernels() -> Kernels:
    from engine.pricing._kernels import kernels

    return kernels()


@functools.cache
def _one() -> Any:
    return _kernels().european_one


def _block() -> int:
    from engine.pricing._kernels import BLOCK

    return BLOCK
