"""Prices and sensitivities of European options under Heston's stochastic volatility.

Under the risk-neutral measure ``dS = (rate - dividend) S dt + sqrt(v) S dW`` and
``dv = kappa (theta - v) dt + sigma sqrt(v) dZ``, with ``dW dZ = rho dt`` and ``v = v0`` today. `v0` and `theta` are
variances (0.04 is a volatility of 20 %), `sigma` is the volatility of variance. Prices are of a long option on one
unit; rates are continuously compounded.

References
----------
.. [1] S. Heston, "A closed-form solution for options with stochastic volatility", Review of Financial Studies 6 (1993),
   doi:10.1093/rfs/6.2.327: the model, eq. 1 and 4.
.. [2] Y. Cui, S. del Bano Rollin, G. Germano, "Full and fast calibration of the Heston stochastic volatility model",
   European Journal of Operational Research 263 (2017), doi:10.1016/j.ejor.2017.05.018: characteristic function
   (eq. 18) and its gradient (eq. 23).
.. [3] S. Boyarchenko, S. Levendorskii, "Sinh-acceleration", Int. J. of Theoretical and Applied Finance 22 (2019),
   doi:10.1142/S0219024919500110: the contour of integration.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray
from engine._device import Place
from engine._placed import sent_back
from engine.pricing._heston_contour import FULL, PRICE
from engine.pricing._heston_slices import Options, checked, evaluate

__all__ = ["HestonGreeks", "heston_greeks", "heston_price"]


class HestonGreeks(NamedTuple):
    """Price and sensitivities of an option under Heston's model, or of many; per unit of the underlying.

    Attributes
    ----------
    price : float or ndarray
        [currency]
    delta : float or ndarray
        dV/dS at the same variance
    gamma : float or ndarray
        d2V/dS2 [1/currency]
    vega : float or ndarray
        dV/dsqrt(v0), per 1.0 of today's volatility: twice its root times `d_v0` [currency]
    theta : float or ndarray
        dV/dt in calendar time at the same spot and variance, negative where the option decays [currency/year]; not
        the model's long-run variance, whose sensitivity is `d_theta`
    rho : float or ndarray
        dV/drate, per 1.0 of the rate [currency]; not the correlation, whose sensitivity is `d_rho`
    d_v0, d_kappa, d_theta, d_sigma, d_rho : float or ndarray
        dV/dv0 and so on, per 1.0 of each parameter of the model [currency]
    """

    price: Any
    delta: Any
    gamma: Any
    vega: Any
    theta: Any
    rho: Any
    d_v0: Any
    d_kappa: Any
    d_theta: Any
    d_sigma: Any
    d_rho: Any


def heston_price(
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
    v0: ArrayLike,
    kappa: ArrayLike,
    theta: ArrayLike,
    sigma: ArrayLike,
    rho: ArrayLike,
    *,
    device: Place = "auto",
) -> float | FloatArray:
    """Return the price of European options under Heston's model [1]_.

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
    kind : {"call", "put"} or array_like
        Or +1 for a call and -1 for a put; an array holds either.
    v0 : float or array_like
        Variance today, at least 0 [1/year].
    kappa : float or array_like
        Speed at which variance returns to `theta`, at least 0 [1/year].
    theta : float or array_like
        Variance in the long run, at least 0 [1/year].
    sigma : float or array_like
        Volatility of variance, at least 0 [1/year]; 0 is the model of Black and Scholes with the integrated variance.
    rho : float or array_like
        Correlation of spot and variance, from -1 to 1.
    device : {"auto", "cpu", "cuda"}
        Where the integrals are computed. "auto" leaves them where the arguments lie: with an array of cupy they are
        computed on the card, and the results are arrays of cupy; what lies in main memory stays on the CPU.

    Returns
    -------
    float or ndarray
        A float where every argument is a scalar, else a float64 array of the broadcast shape [currency].

    Raises
    ------
    InvalidInput
        A value outside its range or shapes that do not broadcast; names the argument, and the place of the first
        offender in it.
    NotFinite
        A nan or an infinity, likewise.
    EngineError
        The integral did not settle: parameters of 1e300, say. None are known for which this happens in the range below.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    The error is below 1e-11 of discounted spot plus discounted strike for expiries from a second to 100 years, v0 and
    theta from 0 to 4, kappa from 0 to 50, sigma from 0 to 10 and every correlation, whether Feller's condition holds or
    not; it is absolute, so in the far wings a price has fewer digits. A call less a put is the forward, exactly; no
    price is below its payoff or above its bound. Each integral is computed by two rules, and again with half the step
    until they agree.

    Options with the same expiry and parameters share the characteristic function: give them in one call.

    Examples
    --------
    >>> from engine.pricing import heston_price
    >>> round(heston_price(100.0, 100.0, 1.0, 0.0319, 0.0, "call", 0.010201, 6.21, 0.019, 0.61, -0.7), 8)
    6.80611331
    >>> heston_price(100.0, [90.0, 110.0], 0.0, 0.0, 0.0, "put", 0.04, 1.0, 0.04, 0.5, -0.7).tolist()
    [0.0, 10.0]
    """
    options = checked(
        device, kind, spot=spot, strike=strike, expiry=expiry, rate=rate, dividend=dividend, v0=v0, kappa=kappa,
        theta=theta, sigma=sigma, rho=rho,
    )  # fmt: skip
    return _shaped(_price(options, evaluate(options, PRICE)[0]), options)  # type: ignore[no-any-return]


def heston_greeks(
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
    v0: ArrayLike,
    kappa: ArrayLike,
    theta: ArrayLike,
    sigma: ArrayLike,
    rho: ArrayLike,
    *,
    device: Place = "auto",
) -> HestonGreeks:
    """Return price, Greeks and sensitivities to the model of European options, all from integrals of derivatives [2]_.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, kind, v0, kappa, theta, sigma, rho, device
        As of `heston_price`.

    Returns
    -------
    HestonGreeks
        Floats where every argument is a scalar, else float64 arrays of the broadcast shape.

    Raises
    ------
    InvalidInput, NotFinite, EngineError, DeviceMissing
        As of `heston_price`.

    Notes
    -----
    With no time left, or no variance now or later, the result is the limit: the delta of the payoff, and zeros. Exactly
    at the money delta is then +-1/2, gamma infinite, and what else diverges is infinite with the sign of its limit.

    Examples
    --------
    >>> from engine.pricing import heston_greeks
    >>> greeks = heston_greeks(100.0, 100.0, 1.0, 0.0319, 0.0, "call", 0.010201, 6.21, 0.019, 0.61, -0.7)
    >>> round(greeks.price, 8), round(greeks.delta, 6), round(greeks.d_rho, 6)
    (6.80611331, 0.695814, -0.005212)
    """
    options = checked(
        device, kind, spot=spot, strike=strike, expiry=expiry, rate=rate, dividend=dividend, v0=v0, kappa=kappa,
        theta=theta, sigma=sigma, rho=rho,
    )  # fmt: skip
    rows = evaluate(options, FULL)
    price = _price(options, rows[0])
    growth, scale = np.exp(-options.dividend * options.expiry), options.scale
    # scale over spot, where neither can be 0 or overflow
    per_spot = growth * np.exp(-0.5 * np.where(options.trivial, 0.0, options.x))
    spot_worth = np.where(options.sign * options.x > 0.0, options.sign * growth, 0.0)
    # at the money it is the call that is taken as out of it
    spot_worth = spot_worth - np.where((options.x == 0.0) & (options.sign < 0.0), growth, 0.0)
    delta = per_spot * rows[7] + spot_worth
    gamma = per_spot * rows[8] / np.where(options.spot > 0.0, options.spot, 1.0)
    held = options.spot * delta
    *model, to_expiry = scale * rows[1:7]
    theta_t = options.dividend * held + options.rate * (price - held) - to_expiry
    root = np.sqrt(options.model[0])
    vega = 2.0 * root * np.where(root == 0.0, 0.0, model[0])
    figures = (price, delta, gamma, vega, theta_t, options.expiry * (held - price), *model)
    return HestonGreeks._make(_shaped(figure, options) for figure in figures)


def _price(options: Options, time_value: FloatArray) -> FloatArray:
    """Return payoff plus time value, the latter within what no arbitrage allows."""
    extra = np.clip(options.scale * time_value, 0.0, np.minimum(options.own, options.owed))
    return np.maximum(options.sign * (options.own - options.owed), 0.0) + extra


def _shaped(values: FloatArray, options: Options) -> Any:
    flat = np.broadcast_to(values, (options.size,))
    if not options.shape:
        return float(flat[0])
    shaped = np.array(flat).reshape(options.shape)
    return sent_back(shaped) if options.where == "on a card" else shaped
