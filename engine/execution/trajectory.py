"""Optimal liquidation of a position against linear impact.

References
----------
.. [1] R. Almgren and N. Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2000): cost eq. 4 to
   8, trajectory eq. 16 to 20, doi:10.21314/JOR.2001.041.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray, is_whole, number
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, NotFinite

__all__ = ["Trajectory", "optimal_trajectory", "urgency"]

_MOST = 10_000_000
_AT_ONCE = 1e4  # urgency times period from which the whole position goes in the first


class Trajectory(NamedTuple):
    """How a position is worked off.

    Attributes
    ----------
    holdings : ndarray, shape (n_periods + 1,)
        What is left at the start and after each period [shares].
    expected_cost : float
        Against the price at the start [currency].
    cost_std : float
        Standard deviation of the cost [currency].
    """

    holdings: FloatArray
    expected_cost: float
    cost_std: float


def optimal_trajectory(
    shares: float,
    horizon: float,
    n_periods: int,
    volatility: float,
    permanent: float,
    temporary: float,
    fixed_cost: float,
    risk_aversion: float,
    *,
    device: Place = "auto",
) -> Trajectory:
    """Return the trades of least expected cost plus risk aversion times its variance [1]_.

    Parameters
    ----------
    shares : float
        Position to sell; one below 0 is bought back [shares].
    horizon : float
        Time until nothing is left [days]; any unit will do that volatility and impact share.
    n_periods : int
        Number of trades, evenly spaced, at least 1.
    volatility : float
        Of the price, not of returns, at least 0 [currency / share / sqrt(day)].
    permanent : float
        Lasting change of the price, at least 0 [currency / share per share].
    temporary : float
        Change of the price by the rate of trading [currency / share per share / day]; above
        ``permanent * horizon / n_periods / 2``.
    fixed_cost : float
        Half the spread and fees, at least 0 [currency / share].
    risk_aversion : float
        At least 0 [1 / currency]; 0 trades evenly.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    Trajectory
        A position of 0 gives zeros. A risk aversion without bound trades everything in the first period.

    Raises
    ------
    InvalidInput
        A value outside its range, or an impact so small beside the permanent one that no trajectory is best.
    NotFinite
        A nan or an infinity, or values whose cost overflows.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    Price without drift; impact linear in the rate and, where permanent, in the quantity.

    Examples
    --------
    >>> from engine.execution import optimal_trajectory
    >>> plan = optimal_trajectory(1e6, 5.0, 5, 0.95, 2.5e-7, 2.5e-6, 0.0625, 1e-6)
    >>> plan.holdings.round().tolist()
    [1000000.0, 541956.0, 289854.0, 147897.0, 62142.0, 0.0]
    >>> round(plan.expected_cost), round(plan.cost_std)
    (911227, 603431)
    """
    on_the_processor("optimal_trajectory", device)
    size = number("shares", shares)
    spread = number("fixed_cost", fixed_cost, least=0.0)
    pressed = _per_period(horizon, n_periods, volatility, permanent, temporary, risk_aversion)
    period = float(horizon) / n_periods
    left = np.arange(n_periods, -1.0, -1.0)
    with np.errstate(over="ignore"):
        if pressed == 0.0:
            shares_left = left / n_periods
        else:
            # sinh(a) / sinh(b) without its overflow
            decay = np.exp(-pressed * (n_periods - left))
            shares_left = decay * np.expm1(-2.0 * pressed * left) / np.expm1(-2.0 * pressed * n_periods)
        shares_left[0] = 1.0
        holdings = size * shares_left
        holdings[-1] = 0.0
        trades = -np.diff(holdings)
        lasting = float(permanent)
        effective = float(temporary) - 0.5 * lasting * period
        cost = (
            0.5 * lasting * size * size
            + spread * float(np.abs(trades).sum())
            + effective / period * float(trades @ trades)
        )
        deviation = float(volatility) * math.sqrt(period) * float(np.sqrt(holdings[1:] @ holdings[1:]))
    if not (math.isfinite(cost) and math.isfinite(deviation)):
        raise NotFinite("shares", f"is {shares}; the cost overflows")
    return Trajectory(holdings, float(cost), deviation)


def urgency(
    horizon: float,
    n_periods: int,
    volatility: float,
    permanent: float,
    temporary: float,
    risk_aversion: float,
    *,
    device: Place = "auto",
) -> float:
    """Return the rate at which an optimal trajectory decays, the kappa of Almgren and Chriss [1]_.

    Its reciprocal is the time in which a position without a horizon would fall by the factor e.

    Parameters
    ----------
    horizon, n_periods, volatility, permanent, temporary, risk_aversion, device
        As for `optimal_trajectory`.

    Returns
    -------
    float
        [1 / day]

    Raises
    ------
    InvalidInput, NotFinite, DeviceMissing
        As `optimal_trajectory`.

    Examples
    --------
    >>> from engine.execution import urgency
    >>> round(urgency(5.0, 5, 0.95, 2.5e-7, 2.5e-6, 1e-6), 6)
    0.607076
    """
    on_the_processor("urgency", device)
    pressed = _per_period(horizon, n_periods, volatility, permanent, temporary, risk_aversion, bounded=False)
    return pressed * n_periods / float(horizon)


def _per_period(
    horizon: Any,
    n_periods: Any,
    volatility: Any,
    permanent: Any,
    temporary: Any,
    risk_aversion: Any,
    *,
    bounded: bool = True,
) -> float:
    """Check all arguments but two, and return urgency times period."""
    if not is_whole(n_periods) or not 1 <= n_periods <= _MOST:
        raise InvalidInput("n_periods", f"is {n_periods!r}; must be a whole number from 1 to {_MOST:,}")
    period = number("horizon", horizon, above=0.0) / n_periods
    if period == 0.0:
        raise InvalidInput("horizon", f"is {horizon}; too short to be cut into {n_periods} periods")
    spread = number("volatility", volatility, least=0.0)
    lasting = number("permanent", permanent, least=0.0)
    passing = number("temporary", temporary, above=0.0)
    aversion = number("risk_aversion", risk_aversion, least=0.0)
    effective = passing - 0.5 * lasting * period
    if effective <= 0.0:
        raise InvalidInput(
            "temporary",
            f"is {temporary}; must be above permanent * horizon / n_periods / 2 = {0.5 * lasting * period:.6g}",
        )
    # acosh(1 + u), right also where u is tiny
    risk = spread * math.sqrt(aversion) * period
    u = 0.5 * risk / effective * risk
    if not math.isfinite(u):
        return _AT_ONCE if bounded else math.inf
    pressed = math.log1p(u + math.sqrt(u) * math.sqrt(u + 2.0))
    return min(pressed, _AT_ONCE) if bounded else pressed
