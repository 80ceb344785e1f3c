"""Impact of orders on the price, estimated from what was executed.

References
----------
.. [1] R. Almgren and N. Chriss, "Optimal execution of portfolio transactions", Journal of Risk 3 (2000), eq. 6 and 7
   (linear permanent and temporary impact), doi:10.21314/JOR.2001.041.
.. [2] R. Almgren, C. Thum, E. Hauptmann and H. Li, "Direct estimation of equity market impact", Risk 18 (2005), eq. 3
   and 4 (the two regressions, of which the second takes half of the permanent impact off).
.. [3] J. G. MacKinnon and H. White, "Some heteroskedasticity-consistent covariance matrix estimators with improved
   finite sample properties", Journal of Econometrics 29 (1985), eq. 12 (HC3), doi:10.1016/0304-4076(85)90158-7.
.. [4] W. K. Newey and K. D. West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
   covariance matrix", Econometrica 55 (1987), eq. 5, doi:10.2307/1913610.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine._checks import FloatArray, is_whole, number, open_unit
from engine._device import Place
from engine._placed import on_the_processor
from engine.errors import InvalidInput, TooFewObservations
from engine.execution._frames import as_of, column, numbers, reject, sides, symbols, times
from engine.execution.fill_costs import mids_of

__all__ = ["Estimate", "ImpactFit", "calibrate_impact", "parent_orders"]

_LEAST = 10
_DAY = 86_400.0


class Estimate(NamedTuple):
    """A coefficient and its confidence interval.

    Attributes
    ----------
    value, low, high, standard_error : float
    """

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class ImpactFit:
    """Impact in the units that `optimal_trajectory` takes.

    Attributes
    ----------
    permanent : Estimate
        Lasting change of the price per share traded [currency / share per share].
    temporary : Estimate
        Passing change per rate of trading, to the power of `exponent` [currency / share per share / day].
    fixed_cost : Estimate
        What even the slowest trade pays: half the spread and fees [currency / share].
    confidence : float
    exponent : float
    n_orders : int
    """

    permanent: Estimate
    temporary: Estimate
    fixed_cost: Estimate
    confidence: float
    exponent: float
    n_orders: int


def calibrate_impact(
    fills: Any, *, confidence: float = 0.95, exponent: float = 1.0, lags: int = 0, device: Place = "auto"
) -> ImpactFit:
    """Return permanent and temporary impact with confidence intervals [1]_, by the two regressions of [2]_.

    With s the side, the price moves by ``s * (after - before) = permanent * quantity``, and an order pays
    ``s * (price - before) - s * (after - before) / 2 = fixed_cost + temporary * (quantity / duration)**exponent``.

    Parameters
    ----------
    fills : DataFrame
        A row for each order whose fills belong together (see `parent_orders`), oldest first: ``side`` ("buy" or
        "sell", or +1 and -1), ``quantity`` above 0 [shares], ``duration`` above 0 [days], and three prices above 0
        [currency]: ``before``, the mid at the start; ``price``, the mean of the fills; ``after``, the mid once passing
        impact has gone. ``volatility`` above 0, of the price [currency / sqrt(day)], where orders differ in it.
    confidence : float
        Of the intervals, strictly between 0 and 1.
    exponent : float
        Above 0; 1 is linear, 3/5 is what [2]_ found for large stocks.
    lags : int
        How many orders later errors may still be related: overlapping or following closely on each other.
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    ImpactFit
        Values are not forced above 0: one below says that the data show none.

    Raises
    ------
    InvalidInput
        A column that is missing, a value outside its range, orders that are all alike so that nothing can be told.
    NotFinite
        A nan or an infinity, with its column and row.
    TooFewObservations
        Fewer than 10 orders, or than 4 for each lag.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    Least squares with weights 1 / (volatility**2 * duration), the inverse variance of a price that diffuses while the
    order works. Where that is not so, the intervals hold all the same: they are of HC3 [3]_, with Student's quantile,
    and with `lags` of Newey and West [4]_ on the same residuals, which are narrow where lags are many beside orders.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from engine.execution import calibrate_impact
    >>> quantity, duration = np.linspace(1e3, 1e5, 40), np.tile([0.1, 0.5], 20)
    >>> moved = 2.5e-7 * quantity
    >>> price = 50.0 + 0.5 * moved + 0.01 + 2.5e-6 * quantity / duration
    >>> orders = pd.DataFrame({"side": "buy", "quantity": quantity, "duration": duration, "before": 50.0,
    ...                        "price": price, "after": 50.0 + moved})
    >>> fit = calibrate_impact(orders)
    >>> float(f"{fit.permanent.value:.6g}"), float(f"{fit.temporary.value:.6g}"), round(fit.fixed_cost.value, 6)
    (2.5e-07, 2.5e-06, 0.01)
    """
    (fills,) = on_the_processor("calibrate_impact", device, fills)
    level = open_unit("confidence", confidence)
    power = number("exponent", exponent, above=0.0)
    if not is_whole(lags) or lags < 0:
        raise InvalidInput("lags", f"is {lags!r}; must be a whole number of at least 0")
    sign = sides("fills", fills)
    quantity, duration, before, price, after = (
        numbers("fills", fills, name, above=0.0) for name in ("quantity", "duration", "before", "price", "after")
    )
    needed = max(_LEAST, 4 * int(lags))
    if sign.size < needed:
        raise TooFewObservations(sign.size, needed, "a calibration of impact (in orders)")
    spread = np.sqrt(duration)
    if "volatility" in fills.columns:
        spread = spread * numbers("fills", fills, "volatility", above=0.0)
    moved = sign * (after - before)
    paid = sign * (price - before) - 0.5 * moved
    with np.errstate(over="ignore"):
        rate = (quantity / duration) ** power
    if not np.isfinite(rate).all():
        raise InvalidInput("exponent", f"is {exponent}; a rate of trading to that power overflows")
    if np.ptp(rate) <= 1e-9 * rate.max():
        raise InvalidInput(
            "fills", "trade at one rate throughout: fixed cost and temporary impact cannot be told apart"
        )
    (permanent,) = _regress(quantity[:, None], moved, spread, level, int(lags))
    fixed, temporary = _regress(np.column_stack([np.ones_like(rate), rate]), paid, spread, level, int(lags))
    return ImpactFit(permanent, temporary, fixed, level, power, int(sign.size))


def _regress(design: FloatArray, response: FloatArray, spread: FloatArray, level: float, lags: int) -> list[Estimate]:
    """Weighted least squares, with intervals that hold where the weights are wrong."""
    # columns of one size, so that the inverse keeps its digits
    size = np.abs(design / spread[:, None]).max(axis=0)
    columns, target = design / spread[:, None] / size, response / spread
    inverse = np.linalg.inv(columns.T @ columns)
    found = inverse @ (columns.T @ target)
    leverage = np.einsum("ij,jk,ik->i", columns, inverse, columns)
    reject("fills['quantity']", design[:, -1], leverage > 1.0 - 1e-9, "alone decides a coefficient: more orders needed")
    scores = columns * ((target - columns @ found) / (1.0 - leverage))[:, None]
    middle = scores.T @ scores
    for lag in range(1, lags + 1):
        crossed = scores[lag:].T @ scores[:-lag]
        middle += (1.0 - lag / (lags + 1.0)) * (crossed + crossed.T)
    errors = np.sqrt(np.maximum(np.diagonal(inverse @ middle @ inverse), 0.0)) / size
    from scipy.special import stdtrit

    wide = float(stdtrit(len(target) - columns.shape[1], 0.5 + 0.5 * level))
    return [
        Estimate(float(value), float(value - wide * error), float(value + wide * error), float(error))
        for value, error in zip(found / size, errors, strict=True)
    ]


def parent_orders(fills: Any, quotes: Any, *, settle: float, day: float = _DAY, device: Place = "auto") -> Any:
    """Put the fills of each order together, with the mids before and after it, as `calibrate_impact` takes them [2]_.

    Parameters
    ----------
    fills : DataFrame
        ``order`` (name of the order), ``time`` (datetime, or number [s]), ``side``, ``quantity``, ``price``, and
        ``symbol`` where there are several; any order of rows. ``decided`` is the start, where it is known: without
        it the first fill is.
    quotes : DataFrame
        As for `slippage`.
    settle : float
        Time after the last fill until passing impact has gone, at least 0 [s].
    day : float
        Length of a trading day [s].
    device : {"auto", "cpu", "cuda"}
        Computed on the CPU, where "auto" brings what lies on a card; "cuda" is refused.

    Returns
    -------
    DataFrame
        A row for each order that has both mids and took time, oldest first, indexed by order.

    Raises
    ------
    InvalidInput
        As `slippage`; an order with two sides or two symbols; no order that can be used.
    NotFinite
        A nan, an infinity or a missing time.
    DeviceMissing
        ``device="cuda"`` without a card; with one, InvalidInput.

    Notes
    -----
    The mid after an order is the last at or before its end and the time to settle; an order which the quotes do not
    outlast is left out, so that a stale mid never counts as one after it.

    Examples
    --------
    >>> import pandas as pd
    >>> from engine.execution import parent_orders
    >>> fills = pd.DataFrame({"order": "A", "time": [10.0, 20.0], "side": "sell", "quantity": 50.0, "price": 9.9})
    >>> quotes = pd.DataFrame({"time": [0.0, 25.0, 60.0], "bid": [9.9, 9.7, 9.8], "ask": [10.1, 9.9, 10.0]})
    >>> parent_orders(fills, quotes, settle=30.0, day=100.0).loc["A", ["duration", "before", "after"]].tolist()
    [0.1, 10.0, 9.8]
    """
    from pandas import DataFrame

    fills, quotes = on_the_processor("parent_orders", device, fills, quotes)
    wait, length_of_day = number("settle", settle, least=0.0), number("day", day, above=0.0)
    moments = times("fills", fills)
    table = DataFrame(
        {
            "order": column("fills", fills, "order").to_numpy(),
            "begun": times("fills", fills, "decided") if "decided" in fills.columns else moments,
            "time": moments,
            "side": sides("fills", fills),
            "quantity": numbers("fills", fills, "quantity", above=0.0),
            "price": numbers("fills", fills, "price", above=0.0),
            "symbol": symbols("fills", fills),
        }
    )
    reject("fills['order']", table["order"].to_numpy(), table["order"].isna().to_numpy(), "every order must be named")
    table["paid"] = table["quantity"] * table["price"]
    groups = table.groupby("order", sort=False)
    for name in ("side", "symbol"):
        several = groups[name].nunique() > 1
        if several.any():
            raise InvalidInput(f"fills[{name!r}]", f"differs within order {several.idxmax()!r}")
    found = groups.agg(
        side=("side", "first"), symbol=("symbol", "first"), quantity=("quantity", "sum"), paid=("paid", "sum"),
        begun=("begun", "min"), over=("time", "max"),
    ).sort_values("begun", kind="stable")  # fmt: skip
    known, names = times("quotes", quotes), symbols("quotes", quotes)
    mids, wanted = mids_of(quotes), found["symbol"].to_numpy()
    begun, over = found["begun"].to_numpy(), found["over"].to_numpy()
    dated = over.dtype.kind == "M"
    end = over + (np.timedelta64(round(wait * 1e9), "ns") if dated else wait)
    first = as_of(begun, wanted, known, names, "quotes['time']")
    last = as_of(end, wanted, known, names, "quotes['time']")
    length = (over - begun) / np.timedelta64(1, "s") if dated else over - begun
    # the last quote of each symbol: a mid after the order only where quotes go on that long
    newest = as_of(np.full(len(wanted), known.max()), wanted, known, names, "quotes['time']")
    outlasted = (newest >= 0) & (known[newest] >= end)
    with np.errstate(over="ignore"):
        days = np.asarray(length / length_of_day, dtype=np.float64)
    if not np.isfinite(days).all():
        raise InvalidInput("day", f"is {day}; so short that the length of an order overflows")
    result = DataFrame(
        {
            "side": found["side"].to_numpy(),
            "quantity": found["quantity"].to_numpy(),
            "duration": days,
            "before": mids[first],
            "price": (found["paid"] / found["quantity"]).to_numpy(),
            "after": mids[last],
        },
        index=found.index,
    )[(first >= 0) & (length > 0.0) & outlasted]
    if result.empty:
        raise InvalidInput("fills", "holds no order that took time and has quotes before and after it")
    return result
