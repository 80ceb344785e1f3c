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
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import ArrayLike

from engine._device import Place, choose, worth_a_card
from engine._memory import uncleared
from engine.pricing._batches import batch, floats, named, raise_first, run, sign_of

if TYPE_CHECKING:
    from engine.pricing._kernels import Kernels

__all__ = ["Device", "Greeks", "european"]

Device = Place
_NUMBERS = 16  # an option takes with it to a card and back
_SECONDS = 9e-9  # an option on one core, by which threads are shared out
_AUTO = "auto"


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
    device: Place = "auto",
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
        Or +1 for a call and -1 for a put; an array holds either.
    device : {"auto", "cpu", "cuda"}
        Where arrays are computed. "auto" leaves them where they are: arrays of cupy stay on the card, and so do the
        results; what lies in main memory stays on the CPU unless a card is quicker with the way there and back. "cuda"
        carries them to a card, in blocks, and the results back. Plain numbers are computed on the CPU.

    Returns
    -------
    Greeks
        Floats where every argument is a scalar, else float64 arrays of the broadcast shape. Memory of large results
        is used again once nothing refers to it.

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
    float, to 200 units over ``volatility * sqrt(expiry)``, or over 1 where that is more. Spots far from the strike add
    what rounding of their logarithm does: Greeks and the wings are right to so many units times
    ``1 + (|log(spot / strike)| + |rate - dividend| * expiry) / min(volatility * sqrt(expiry), 1)``.

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
    if device is _AUTO:  # the default; the word from elsewhere takes the next way
        found: Greeks | None = _request(spot, strike, expiry, rate, dividend, volatility, kind)
        if found is not None:
            return found
    return _of_any_kind(spot, strike, expiry, rate, dividend, volatility, kind, device)


def _of_any_kind(
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    volatility: ArrayLike,
    kind: ArrayLike,
    device: Place,
) -> Greeks:
    """Return what `european` does for arguments of any kind; apart, as a short function is called sooner."""
    if (
        isinstance(device, str)
        and device in ("auto", "cpu")
        and (values := floats(kind, spot, strike, expiry, rate, dividend, volatility))
    ):
        found: Greeks | None = _request(*values)
        if found is not None:
            return found
    where = choose(device, spot, strike, expiry, rate, dividend, volatility, kind)
    signs = sign_of(kind)
    if where == "on a card":
        return _resident(spot, strike, expiry, rate, dividend, volatility, signs)
    options = batch(
        _block(),
        spot=spot,
        strike=strike,
        expiry=expiry,
        rate=rate,
        dividend=dividend,
        volatility=volatility,
        kind=signs,
    )
    if not options.shape:
        one: Greeks | None = _request(*map(float, options.given.values()))
        if one is not None:
            return one
        raise_first(options.given)
    results = uncleared(len(Greeks._fields), options.size)
    if where == "to a card" or (device == "auto" and worth_a_card(options.size, _SECONDS, _NUMBERS)):
        from engine.pricing import _cuda

        invalid = _cuda.european(options, results)
    else:
        invalid = run(_kernels().european_block, options, results, _block(), seconds_per_option=_SECONDS)
    if invalid:
        raise_first(options.given)
    return Greeks._make(row.reshape(options.shape) for row in results)


def _resident(*arguments: Any) -> Greeks:
    """Compute on the card, where an argument lies."""
    import cupy

    from engine.pricing import _cuda

    results, invalid = _cuda.resident("european", cupy, arguments, len(Greeks._fields))
    if invalid:
        raise_first(named(arguments, cupy.asnumpy))
    return Greeks._make(results)


@functools.cache
def _kernels() -> Kernels:
    from engine.pricing._kernels import kernels

    return kernels()


def _first_request(*arguments: Any) -> Any:
    """Compile or load the function for one request, and put it in the place of this one."""
    from engine.pricing._requests import european_request

    global _request
    _request = european_request(Greeks)
    return _request(*arguments)


_request: Any = _first_request


def _block() -> int:
    from engine.pricing._kernels import BLOCK

    return BLOCK
