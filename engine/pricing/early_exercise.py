"""American options: price, Greeks and exercise boundary, with an estimate of the error beside each.

References
----------
.. [1] L. Andersen, M. Lake and D. Offengenden, "High-performance American option pricing", Journal of Computational
   Finance 20 (2016), doi:10.21314/JCF.2016.312: boundary by spectral collocation.
.. [2] I. J. Kim, "The analytic valuation of American options", Review of Financial Studies 3 (1990), eq. 10,
   doi:10.1093/rfs/3.4.547: the premium of early exercise as an integral over the boundary.
.. [3] R. McDonald and M. Schroder, "A parity result for American options", Journal of Computational Finance 1 (1998),
   doi:10.21314/JCF.1998.010: a call is a put with spot and strike, and rate and dividend, exchanged.
.. [4] A. Battauz, M. De Donno and A. Sbuelz, "Real options and American derivatives: the double continuation region",
   Management Science 61 (2015), doi:10.1287/mnsc.2013.1891.
.. [5] R. C. Merton, "Theory of rational option pricing", Bell Journal of Economics 4 (1973), eq. 52,
   doi:10.2307/3003143.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from engine._checks import FloatArray, open_unit
from engine._device import Place
from engine._placed import on_the_processor
from engine.pricing._american import solve
from engine.pricing._american_between import solve as between
from engine.pricing._american_perpetual import Perpetual, perpetual
from engine.pricing._batches import batch, floats, raise_first, sign_of
from engine.pricing.closed_form import european

__all__ = ["American", "american"]

_WORTH_THREADS = 32  # options
_ROUNDING = 4e-16
_RUSH, _SHORT = 1e-10, 1e-8  # rates over variance below which it is worth all but this part of what it can be
_FAR = 1e150
_ENDLESS = 1e-6  # of the tolerance: what expiry takes from a perpetual option at most, where it is taken for one


class American(NamedTuple):
    """Price and sensitivities of an American option, or of many; units and signs are those of `Greeks`.

    Attributes
    ----------
    price : float or ndarray
        [currency]
    early_exercise_premium : float or ndarray
        What it is worth beyond the European option [currency].
    delta, gamma, theta : float or ndarray
        Theta per year of calendar time; 0 where the option is exercised.
    boundary : float or ndarray
        Spot at or beyond which it is exercised now: at or below for a put, at or above for a call; 0 or infinity where
        there is none [currency].
    error_estimate : float or ndarray
        Of `price`: what the last refinement changed, an upper estimate [currency].
    far_boundary : float or ndarray
        Spot beyond which it is kept again, where there are two: below it a put, above it a call; else 0 or infinity
        [currency].
    """

    price: Any
    early_exercise_premium: Any
    delta: Any
    gamma: Any
    theta: Any
    boundary: Any
    error_estimate: Any
    far_boundary: Any


def american(
    spot: ArrayLike,
    strike: ArrayLike,
    expiry: ArrayLike,
    rate: ArrayLike,
    dividend: ArrayLike,
    volatility: ArrayLike,
    kind: ArrayLike,
    *,
    tolerance: float = 1e-8,
    device: Place = "auto",
) -> American:
    """Return price and Greeks of American options [1]_ [2]_.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, volatility, kind : float or array_like
        As for `european`.
    tolerance : float
        The number of collocation points grows until a refinement changes the price by less than this part of the
        strike (of the spot, for a call), strictly between 0 and 1.
    device : {"auto", "cpu", "cuda"}
        Each option is a small solve of its own, on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    American
        Floats where every argument is a scalar, else float64 arrays of the broadcast shape.

    Raises
    ------
    InvalidInput, NotFinite
        As `european`.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    Black-Scholes-Merton, exercise at any time. Where it is never worth while to exercise (a call without dividends, a
    put without interest), price and Greeks are the European's. Within the exercise region the price is the payoff,
    delta +-1, gamma and theta 0. Without volatility the best time of exercise is found in closed form.

    Where the points run out before `tolerance` is met, `error_estimate` says so: it is then above tolerance. Where the
    spot meets the boundary long before expiry or never, as with very little volatility, it is the perpetual option
    [5]_, in closed form. A tolerance below about 1e-13 is never met.

    A put with dividend < rate < 0, and a call with rate < dividend < 0, is exercised between two boundaries only: of so
    negative a rate one would rather hold the strike later [4]_. There the premium is solved on grids and extrapolated,
    to some 1e-7 of the strike in a few tenths of a second, boundaries to 2 % of ``volatility * sqrt(expiry)``;
    `error_estimate` is above a tolerance below that.

    Examples
    --------
    >>> from engine.pricing import american
    >>> put = american(100.0, 100.0, 1.0, 0.05, 0.05, 0.25, "put", tolerance=1e-11)
    >>> round(put.early_exercise_premium, 9), put.error_estimate < 1e-9
    (0.106952703, True)
    >>> american(100.0, [90.0, 110.0], 1.0, 0.05, 0.0, 0.25, "call").early_exercise_premium.tolist()
    [0.0, 0.0]
    """
    spot, strike, expiry, rate, dividend, volatility, kind = on_the_processor(
        "american", device, spot, strike, expiry, rate, dividend, volatility, kind
    )
    part = open_unit("tolerance", tolerance)
    one = floats(kind, spot, strike, expiry, rate, dividend, volatility)
    if one is not None:
        # one request: no arrays on the way; european() refuses what is no option
        option: list[Any] = list(one)
        plain = european(*option)
        return American._make(map(float, _one(option, list(plain), part)))
    options = batch(
        1,
        spot=spot,
        strike=strike,
        expiry=expiry,
        rate=rate,
        dividend=dividend,
        volatility=volatility,
        kind=sign_of(kind),
    )
    raise_first(options.given)
    columns = [np.broadcast_to(values, options.shape).reshape(-1) for values in options.given.values()]
    plain = european(*columns)
    results = np.empty((len(American._fields), options.size))
    _fill(columns, plain, results, part)
    return American._make(row.reshape(options.shape) if options.shape else float(row[0]) for row in results)


def _fill(columns: list[FloatArray], plain: Any, results: FloatArray, part: float) -> None:
    """Solve option by option; many of them on threads of this call."""

    def one(i: int) -> None:
        results[:, i] = _one([float(column[i]) for column in columns], [float(row[i]) for row in plain], part)

    n = results.shape[1]
    if n < _WORTH_THREADS:
        for i in range(n):
            one(i)
        return
    from numba import config

    one(0)
    with ThreadPoolExecutor(vars(config)["NUMBA_NUM_THREADS"]) as pool:
        for _ in pool.map(one, range(1, n)):
            pass


def _one(option: list[float], plain: list[float], part: float) -> tuple[float, ...]:
    """Return the figures of one option, given those of the European."""
    spot, strike, expiry, rate, dividend, volatility, sign = option
    price, delta, gamma, _, theta = plain[:5]
    # as a put on 1: of a call, the spot takes the strike's place
    unit, at = (spot, strike) if sign > 0.0 else (strike, spot)
    interest, paid = (dividend, rate) if sign > 0.0 else (rate, dividend)
    never = math.inf if sign > 0.0 else 0.0
    twice = paid < interest < 0.0
    if (interest < 0.0 and not twice) or (interest == 0.0 and paid >= 0.0) or unit == 0.0:
        return price, 0.0, delta, gamma, theta, never, 0.0, never
    first, last = _at_expiry(interest, paid)
    if expiry == 0.0:
        if price > 0.0 and last <= at / unit <= first:
            theta = 0.0  # exercised, whichever comes first
        return price, 0.0, delta, gamma, theta, _spot_of(strike, first, sign), 0.0, _spot_of(strike, last, sign)
    if volatility == 0.0:
        return _certain(unit, at, expiry, interest, paid, sign, plain)
    if interest > 0.0 and volatility * volatility * _RUSH > max(interest, abs(paid), 1.0 / expiry):
        return _restless(unit, interest, volatility, strike, sign, plain)
    moneyness = min(at / unit, _FAR)
    endless = perpetual(moneyness, expiry, interest, paid, volatility) if interest > 0.0 else None
    if endless is not None and endless.gap <= _ENDLESS * part and at <= _FAR * unit:
        return _endless(unit, moneyness, endless, option, plain)
    # the most that exercise can gain: interest on the strike, and dividends that the holder would owe
    if twice:
        most = -unit * (interest - paid) / interest * math.expm1(-interest * expiry)
        found = between(moneyness, expiry, interest, paid, volatility, most / unit, part)
    else:
        most = -unit * math.expm1(-interest * expiry) + at * max(math.expm1(-paid * expiry), 0.0)
        found = solve(moneyness, expiry, interest, paid, volatility, price / unit, part)
    boundary, far = _spot_of(strike, found.boundary, sign), _spot_of(strike, found.last, sign)
    payoff = max(sign * (spot - strike), 0.0)
    error = min(unit * found.error, most + _ROUNDING * (price + unit))
    if found.exercised and payoff >= price:
        return payoff, payoff - price, sign, 0.0, 0.0, boundary, error, far
    extra, slope, bend = found.premium, found.slope, found.bend
    worth = max(price + min(max(unit * extra, 0.0), most), payoff)
    if endless is not None:
        worth = max(min(worth, unit * endless.worth), price, payoff)
        least = max(unit * (endless.worth - endless.gap), price, payoff)
        error = min(error, max(unit * endless.worth - worth, worth - least) + _ROUNDING * (price + unit))
    if sign > 0.0:
        slope, bend = extra - moneyness * slope, moneyness * (moneyness * bend)
    delta += slope
    gamma += bend / unit
    moved = volatility * spot
    theta = rate * worth - (rate - dividend) * spot * delta - 0.5 * moved * (moved * gamma)
    return worth, max(worth - price, 0.0), delta, gamma, theta, boundary, error, far


def _certain(
    unit: float, at: float, expiry: float, interest: float, paid: float, sign: float, plain: list[float]
) -> tuple[float, ...]:
    """Without volatility: exercised at the best time, now, at expiry or where the gain of waiting ends."""
    times = [0.0, expiry]
    if interest * paid > 0.0 and interest != paid and at > 0.0:
        times.append(min(max(math.log(paid * at / (interest * unit)) / (paid - interest), 0.0), expiry))
    worth, when = max((unit * math.exp(-interest * t) - at * math.exp(-paid * t), -t) for t in times)
    price, delta, gamma, _, theta = plain[:5]
    boundary, far = (_spot_of(at if sign > 0.0 else unit, end, sign) for end in _at_expiry(interest, paid))
    if when == -expiry or worth <= 0.0:
        return price, 0.0, delta, gamma, theta, boundary, 0.0, far
    slope = -math.exp(paid * when) if sign < 0.0 else math.exp(interest * when)
    return worth, max(worth - price, 0.0), slope, 0.0, 0.0, boundary, 0.0, far


def _endless(
    unit: float, moneyness: float, endless: Perpetual, option: list[float], plain: list[float]
) -> tuple[float, ...]:
    """Met long before expiry, or never: the perpetual."""
    spot, strike, sign = option[0], option[1], option[6]
    boundary, never = _spot_of(strike, endless.boundary, sign), math.inf if sign > 0.0 else 0.0
    error = unit * (endless.gap + _ROUNDING)
    payoff = max(sign * (spot - strike), 0.0)
    if moneyness <= endless.boundary:
        return payoff, max(payoff - plain[0], 0.0), sign, 0.0, 0.0, boundary, error, never
    worth, slope, bend = max(unit * endless.worth, plain[0], payoff), endless.slope, endless.bend
    if sign > 0.0:
        slope, bend = endless.worth - moneyness * slope, moneyness * (moneyness * bend)
    return worth, worth - plain[0], slope, bend / unit, 0.0, boundary, error, never


def _restless(
    unit: float, interest: float, volatility: float, strike: float, sign: float, plain: list[float]
) -> tuple[float, ...]:
    """So much volatility that it is worth all it can be: the perpetual's boundary, and what that falls short."""
    price, delta = plain[0], 1.0 if sign > 0.0 else 0.0
    first = 2.0 * interest / volatility / volatility
    never = math.inf if sign > 0.0 else 0.0
    return unit, max(unit - price, 0.0), delta, 0.0, 0.0, _spot_of(strike, first, sign), _SHORT * unit, never


def _at_expiry(interest: float, paid: float) -> tuple[float, float]:
    """Return the ends of the put on 1's region of exercise as expiry comes near."""
    if interest < 0.0:
        return 1.0, interest / paid
    return (min(1.0, interest / paid) if paid > 0.0 else 1.0), 0.0


def _spot_of(strike: float, boundary: float, sign: float) -> float:
    """Return the boundary in currency: of a call, that of the put on 1 stands for strike over spot."""
    if sign < 0.0:
        return strike * boundary
    return strike / boundary if boundary > 0.0 else math.inf
