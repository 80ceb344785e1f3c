"""Calibration of Heston's model to quoted prices.

References
----------
.. [1] Y. Cui, S. del Bano Rollin, G. Germano, "Full and fast calibration of the Heston stochastic volatility model",
   European Journal of Operational Research 263 (2017), doi:10.1016/j.ejor.2017.05.018: analytic gradient (eq. 23),
   Levenberg and Marquardt's method (section 5).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray, finite_array
from engine._device import Place, choose
from engine._placed import at_home
from engine.errors import InvalidInput
from engine.pricing._batches import batch, raise_first, sign_of
from engine.pricing._calibration_search import HIGH, LOW, descend, search, spread, undetermined
from engine.pricing._calibration_surface import Surface, surface
from engine.pricing._heston_slices import MODEL, Options, checked
from engine.pricing.implied import implied_volatility

__all__ = ["HestonFit", "calibrate_heston"]

_ROUNDING = 1e-12  # of spot plus strike: how far a price may be outside its bounds
_MOST_WEIGHT = 1e100
_LEAST_EXPIRY = 1e-12  # years; nearer to 0 there is no smile to fit, and the integrand gets ever longer
_INTEGRATION = 1e-10  # of spot plus strike: an integration error that is small whatever the residuals


class HestonFit(NamedTuple):
    """Parameters of Heston's model, and how far to trust them.

    Attributes
    ----------
    v0, kappa, theta, sigma, rho : float
        As of `heston_price`.
    rmse : float
        Root of `sse` over the number of quotes with a weight above 0 [currency, times that of the weights].
    sse : float
        Sum of the squares of weight times (model less price).
    converged : bool
        Whether this is the optimum, and the quotes determine it; see `calibrate_heston` for what has to hold.
    feller : bool
        Whether 2 kappa theta >= sigma^2, so that variance does not reach 0.
    integration_error : float
        Largest difference of a price from that by another contour with half the step, at these parameters [currency].
    n_starts : int
        Number of starts that were followed.
    """

    v0: float
    kappa: float
    theta: float
    sigma: float
    rho: float
    rmse: float
    sse: float
    converged: bool
    feller: bool
    integration_error: float
    n_starts: int


def calibrate_heston(
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    kind: ArrayLike,
    price: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    start: ArrayLike | None = None,
    device: Place = "auto",
) -> HestonFit:
    """Return the parameters of Heston's model that fit quoted prices best [1]_.

    Parameters
    ----------
    spot, strike : float or array_like
        Above 0 [currency].
    expiry : float or array_like
        Time left, at least 1e-12 [years].
    rate, dividend : float or array_like
        Continuously compounded, per year; any sign.
    kind : {"call", "put"} or array_like
        Or +1 for a call and -1 for a put; an array holds either.
    price : float or array_like
        Quotes, within what no arbitrage allows [currency].
    weights : float or array_like, optional
        What each residual, not its square, is multiplied with; at least 0. A quote of weight 0 is left out.
    start : array_like or HestonFit, optional
        v0, kappa, theta, sigma, rho to start from, rather than from a guess by the implied variances.
    device : {"auto", "cpu", "cuda"}
        Where the integrals of the model are computed; the search is on the CPU. "auto" leaves what lies in main memory
        there, where a surface of hundreds of quotes is quicker; of quotes on a card they are computed on it.

    Returns
    -------
    HestonFit

    Raises
    ------
    InvalidInput
        A value outside its range, a price outside what no arbitrage allows, or no quote with a weight; names the
        argument, and the place of the first offender.
    NotFinite
        A nan or an infinity, likewise.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    Levenberg and Marquardt's method with the gradient under the integral, from the first start, and from more that are
    spread over the parameters of markets, until two end at the same optimum, or one fits to rounding.

    The search is within v0 and theta from 1e-7 to 10, kappa from 1e-4 to 100, sigma from 1e-4 to 20 and rho within
    +-0.9999. `converged` is true only where all of this holds:

    - no direction improves the fit: a linear step would explain less than 1e-8 of the squared residuals;
    - another start has come to the same optimum, and none as good lies elsewhere; or nothing but rounding is left;
    - no parameter sits on a bound;
    - the integration error is below a hundredth of the root mean square residual, or 1e-10 of spot plus strike;
    - the quotes determine each parameter: at least five of them, at more than one expiry (one smile alone does not tell
      `kappa` from `theta`), and a standard error below the parameter itself, for `rho` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.pricing import calibrate_heston, heston_price
    >>> strike, expiry = np.meshgrid([80.0, 90.0, 100.0, 110.0, 120.0], [0.25, 0.5, 1.0, 2.0])
    >>> price = heston_price(100.0, strike, expiry, 0.02, 0.0, "call", 0.04, 1.5, 0.06, 0.5, -0.7)
    >>> fit = calibrate_heston(100.0, strike, expiry, 0.02, 0.0, "call", price)
    >>> [round(value, 8) for value in fit[:5]], fit.converged, fit.feller
    ([0.04, 1.5, 0.06, 0.5, -0.7], True, False)
    """
    where = choose(device, spot, strike, expiry, rate, dividend, kind, price, weights, start)
    if where == "on a card":
        spot, strike, expiry, rate, dividend, kind, price, weights, start = at_home(
            spot, strike, expiry, rate, dividend, kind, price, weights, start
        )
    contract = {"spot": spot, "strike": strike, "expiry": expiry, "rate": rate, "dividend": dividend}
    quotes = batch(1, **contract, kind=sign_of(kind), price=price, weights=1.0 if weights is None else weights)
    raise_first(quotes.given)
    for name in ("spot", "expiry"):
        _require(name, quotes.given[name], quotes.given[name] > 0.0, "must be above 0")
    _require("expiry", quotes.given["expiry"], quotes.given["expiry"] >= _LEAST_EXPIRY, "must be at least 1e-12 years")
    _require("weights", quotes.given["weights"], quotes.given["weights"] >= 0.0, "must be at least 0")
    _require("weights", quotes.given["weights"], quotes.given["weights"] <= _MOST_WEIGHT, "squares of it overflow")
    size = math.prod(quotes.shape)
    if size == 0:
        raise InvalidInput("price", "is empty")
    contract["strike"] = np.broadcast_to(quotes.given["strike"], quotes.shape)  # of one shape with the quotes
    options = checked("cpu", quotes.given["kind"], **contract, **dict.fromkeys(MODEL, 0.5))
    options = options._replace(shape=quotes.shape, trivial=np.abs(options.x) > 300.0, where=where)
    weight = np.broadcast_to(quotes.given["weights"], quotes.shape).reshape(-1)
    quoted = np.broadcast_to(quotes.given["price"], quotes.shape).reshape(-1)
    _within_bounds(options, quoted, weight)
    asked = surface(options, quoted, weight)
    if asked.weights.size == 0:
        raise InvalidInput("weights", "leaves no quote to fit: at least one must be above 0")
    return _fit(asked, options, _starts(asked, start))


def _fit(asked: Surface, options: Options, starts: Iterator[FloatArray]) -> HestonFit:
    found, confirmed = search(asked.residuals, starts, asked.floor)
    best, n = found[0], asked.weights.size
    rmse = math.sqrt(best.cost / n)
    size = float(np.max(options.own) + np.max(options.owed))
    allowed = max(0.01 * rmse / float(np.max(asked.weights)), _INTEGRATION * size)
    error = asked.disagreement(best.model)
    if not error <= allowed:  # go on with the finer rule
        best = descend(lambda model: asked.residuals(model, another=True), best.model, asked.floor)
        rmse, error = math.sqrt(best.cost / n), asked.disagreement(best.model)
    v0, kappa, theta, sigma, rho = (float(value) for value in best.model)
    converged = (
        confirmed
        and best.stationary
        and not best.bound
        and error <= allowed
        and np.unique(asked.slices.models[0]).size > 1
        and not undetermined(best, asked.floor)
    )
    feller = 2.0 * kappa * theta >= sigma * sigma
    return HestonFit(v0, kappa, theta, sigma, rho, rmse, best.cost, converged, feller, error, len(found))


def _starts(asked: Surface, start: ArrayLike | None) -> Iterator[FloatArray]:
    """Yield the start that was given or a guess, then starts spread about the level of the implied variances."""
    expiries, variances = _levels(asked)
    level = float(np.median(variances))
    if start is None:
        first = np.array([variances[np.argmin(expiries)], 2.0, variances[np.argmax(expiries)], 0.5, -0.5])
    elif isinstance(start, HestonFit):
        first = np.array(start[:5])
    else:
        first = finite_array("start", start, 1)
        if first.size != len(MODEL):
            raise InvalidInput("start", f"has {first.size} values; must be {', '.join(MODEL)}")
        _require("start", first, (first >= LOW) & (first <= HIGH), "is outside what is searched")
    return itertools.chain([first], spread(level))


def _levels(asked: Surface) -> tuple[FloatArray, FloatArray]:
    """Return the expiries, and the implied variance of the quote nearest to the forward at each."""
    slices = asked.slices
    pairs = list(itertools.pairwise(slices.starts.tolist()))
    nearest = np.array([begin + int(np.argmin(np.abs(slices.x[begin:end]))) for begin, end in pairs])
    x, expiries = slices.x[nearest], slices.models[0]
    value = asked.time_value[nearest] / asked.scale[nearest]
    volatility = implied_volatility(
        value, np.exp(0.5 * x), np.exp(-0.5 * x), expiries, 0.0, 0.0, np.where(x > 0.0, -1.0, 1.0)
    )
    variances = np.asarray(volatility) ** 2
    known = np.isfinite(variances) & (variances > 1e-6)
    return expiries, np.clip(np.where(known, variances, 0.04), 1e-4, 4.0)


def _within_bounds(options: Options, price: FloatArray, weights: FloatArray) -> None:
    low = np.broadcast_to(np.maximum(options.sign * (options.own - options.owed), 0.0), price.shape)
    high = np.broadcast_to(np.where(options.sign > 0.0, options.own, options.owed), price.shape)
    slack = _ROUNDING * (options.own + options.owed)
    wrong = ((price < low - slack) | (price > high + slack)) & (weights > 0.0)
    if wrong.any():
        at = int(np.argmax(wrong))
        place = tuple(int(i) for i in np.unravel_index(at, options.shape)) or None
        rule = f"no arbitrage allows {low[at]:.10g} to {high[at]:.10g}"
        raise InvalidInput("price", f"is {price[at]}; {rule}", place)


def _require(name: str, values: FloatArray, right: NDArray[np.bool_], rule: str) -> None:
    if not np.all(right):
        place = tuple(int(i) for i in np.unravel_index(int(np.argmin(right)), values.shape)) or None
        raise InvalidInput(name, f"is {values[place or ()]}; {rule}", place)
