"""A11 var-breach: what was seen of value at risk, positions, volatility and models, made ready to be judged.

What is missing, no number, or older than the platform's own figures is never taken for a calm book.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import evidence_of
from opslib.diagnosis.model_switching_seen import clock

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DECAY", "NOW_POINTS", "above", "agreement", "claims", "clock", "doubt", "estimates", "growth",
    "latest", "median", "raised", "stands_still", "whole",
]  # fmt: skip

NOW_POINTS = 3  # "now" is the median of the newest points
DECAY = 0.95  # weight of a return against the next one in the volatility of the prices
_QUIET_SHARE = 0.2  # "before" is the median of the quietest part of the window, as far as it is healthy
_HEALTHY_SHARE = 0.8  # of the warning level: a breach that wavers about its level is never so far below it
_WAYS = ("parametric", "historical", "monte-carlo")  # in which the engine reckons VaR
_AGREES = 1.5  # up to so many times the engine's figure the platform's is trusted: 40 returns make it, in the main
_OF_SYMBOL = ("confidence", "hit_rate", "position_limit_usd", "position_limit_configured_usd", "var_pct")
_APART = 1.1  # a Kelly fraction so many times the configured one is told


def latest(
    var: pd.DataFrame | None,
    status: Mapping[str, Any] | None,
    symbols: list[str],
    now: dt.datetime,
    stale_after_s: float,
) -> pd.Series | None:
    """The newest VaR of each symbol [% of NAV]; None where nothing tells any.

    Parameters
    ----------
    var : DataFrame or None
        The series, one column a symbol.
    status : mapping or None
        `/api/status`, with `symbols.<symbol>.var_pct`: what counts where a series stands still or has no number.
    symbols : list of str
    now : datetime
        By the platform's clock.
    stale_after_s : float
        A series whose newest point is older stands still [s].

    Returns
    -------
    Series
        Nan of a symbol of which nothing tells it.
    """
    import pandas as pd

    found, facts = pd.Series(float("nan"), index=symbols), list[Any]()
    if var is not None and len(var):
        reached = pd.to_datetime(var.apply(pd.Series.last_valid_index), utc=True)
        moves = (pd.Timestamp(now) - reached).dt.total_seconds() <= stale_after_s
        found = var.ffill().iloc[-1].where(moves).reindex(symbols)
        facts.append(var)
    if found.isna().any():
        told = _of_symbols(status, symbols)["var_pct"]
        found = found.fillna(told)
        facts.append(status)
    found.attrs["evidence"] = [mark for fact in facts for mark in evidence_of(fact)]
    return found if found.notna().any() else None


def above(latest: pd.Series, warning: float) -> tuple[bool | None, str]:
    """Whether the alert is true, None where a symbol is missing that could tell it, and the symptom in words."""
    top = latest.idxmax()
    symptom = f"VaR of {top} is {latest[top]:.2f} % of NAV against a warning level of {warning:g} %"
    missing = list(latest.index[latest.isna()])
    if latest[top] > warning or not missing:
        return bool(latest[top] > warning), symptom
    return None, f"VaR of {', '.join(missing)} could not be seen; of the others the highest is: {symptom}"


def whole(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """A series whose every row has a number of every symbol, what was not written yet taken from the row before.

    None where there is no such row.
    """
    if frame is None:
        return None
    found = frame.ffill().dropna()
    found.attrs.update(frame.attrs)
    return found if len(found) else None


def stands_still(frame: pd.DataFrame | None, now: dt.datetime, stale_after_s: float) -> str:
    """What is said of a series to which nothing is added any more; else empty."""
    if frame is None:
        return ""
    age_s = now.timestamp() - frame.index[-1].timestamp() if len(frame) else float("inf")
    return f"the series in Redis stand still since {age_s:.0f} s" if age_s > stale_after_s else ""


def growth(var: pd.DataFrame, positions: pd.DataFrame, prices: pd.DataFrame, warning: float) -> pd.DataFrame:
    """How VaR, position and volatility of each symbol compare with the quiet part of the window.

    Volatility is told twice: by VaR over position, where a change of the sum that VaR is made by, or of the net asset
    value, looks like volatility too; and by the prices, which know nothing of either.

    A breach that is older than the window leaves nothing healthy to compare with: the ratios are then nan.

    Parameters
    ----------
    var : DataFrame, one column a symbol
        VaR [% of NAV], a row an observation.
    positions : DataFrame, one column a symbol
        Positions [USD] over the same window.
    prices : DataFrame, one column a symbol
        Prices [USD] over the same window.
    warning : float
        The level of the alert [% of NAV]; healthy is what stays `_HEALTHY_SHARE` of it and below.

    Returns
    -------
    DataFrame, one row a symbol
        `var` and `position` now, and `var_x`, `position_x`, `volatility_x` (VaR over position) and `realised_x` (of the
        prices): the ratios now to before.
    """
    import numpy as np
    import pandas as pd

    held = positions.abs().reindex(var.index, method="nearest")
    moved = prices.pct_change().pow(2).ewm(alpha=1.0 - DECAY).mean().pow(0.5).reindex(var.index, method="nearest")
    worst = var.max(axis=1)
    quiet = (worst <= worst.quantile(_QUIET_SHARE)) & (worst <= _HEALTHY_SHARE * warning)
    now, held_now = var.tail(NOW_POINTS).median(), held.tail(NOW_POINTS).median()
    before = held_before = moved_before = pd.Series(np.nan, index=var.columns)
    if quiet.sum() >= NOW_POINTS:
        before, held_before, moved_before = var[quiet].median(), held[quiet].median(), moved[quiet].median()
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.DataFrame(
            {
                "var": now,
                "position": held_now,
                "var_x": now / before,
                "position_x": held_now / held_before,
                "volatility_x": (now / held_now) / (before / held_before),
                "realised_x": moved.tail(NOW_POINTS).median() / moved_before,
            }
        )
    table = table.replace([np.inf, -np.inf], np.nan)
    table.attrs["evidence"] = [mark for frame in (var, positions, prices) for mark in evidence_of(frame)]
    return table


def estimates(
    hash_: pd.DataFrame, realised: pd.Series, now: dt.datetime, symbols: list[str], stale_after_s: float
) -> pd.DataFrame:
    """The volatility estimates beside what the prices did.

    Parameters
    ----------
    hash_ : DataFrame
        Fields and values of `volatility_estimates`: a symbol's estimate, and `updated_at:<symbol>` [ms of the epoch].
    realised : Series
        Volatility of each symbol computed from its prices, in the unit of the estimates.
    now : datetime
        By the platform's clock.
    symbols : list of str
    stale_after_s : float
        Age from which estimates are stale [s].

    Returns
    -------
    DataFrame, one row a symbol
        `estimate`, `realised`, `ratio` (realised to estimate) and `age_s` [s].
    """
    import pandas as pd

    fields = dict(zip(hash_["field"], hash_["value"], strict=True))
    estimate = pd.Series({symbol: _number(fields.get(symbol)) for symbol in symbols})
    updated = pd.Series({symbol: _number(fields.get(f"updated_at:{symbol}")) for symbol in symbols})
    table = pd.DataFrame(
        {
            "estimate": estimate,
            "realised": realised.reindex(symbols),
            "ratio": realised.reindex(symbols) / estimate,
            "age_s": (now.timestamp() - updated / 1000.0).clip(lower=0.0),
        }
    )
    table.attrs["stale_after_s"] = stale_after_s
    table.attrs["evidence"] = [mark for fact in (hash_, realised) for mark in evidence_of(fact)]
    return table


def claims(
    switches: pd.DataFrame, status: Mapping[str, Any], now: dt.datetime, symbols: list[str], window_s: float
) -> pd.DataFrame:
    """The model in charge of each symbol: when it took over, what it claims and what it delivers.

    Parameters
    ----------
    switches : DataFrame
        The stream `model.switch.log`: `time`, `symbol`, `to`.
    status : mapping
        `/api/status`, with `symbols.<symbol>`: `model`, `confidence`, `hit_rate`, and the position limit, in force and
        configured [USD].
    now : datetime
    symbols : list of str
    window_s : float
        How far back a switch may lie to matter [s].

    Returns
    -------
    DataFrame, one row a symbol
        `model`, `confidence`, `hit_rate`, `gap` (claimed less delivered), `since_s` (NaN: no switch in the window),
        `limit_x` (position limit in force to configured).
    """
    facts = _of_symbols(status, symbols)
    table = facts[["model", "confidence", "hit_rate"]].copy()
    table["limit_x"] = facts["position_limit_usd"] / facts["position_limit_configured_usd"]
    table["gap"] = table["confidence"] - table["hit_rate"]
    table["since_s"] = float("nan")
    for row in switches.sort_values("time").to_dict("records"):
        age, symbol = now.timestamp() - row["time"].timestamp(), row.get("symbol")
        if age <= window_s and symbol in table.index and table.at[symbol, "model"] == row.get("to"):
            table.loc[symbol, "since_s"] = max(0.0, age)
    table.attrs["evidence"] = [mark for fact in (switches, status) for mark in evidence_of(fact)]
    return table


def agreement(
    platform_var: pd.Series,
    risk: ModuleType,
    positions: pd.Series,
    prices: pd.DataFrame,
    interval: float,
    nav: float,
    *,
    n_scenarios: int = 20_000,
) -> pd.DataFrame:
    """The platform's VaR beside the engine's, three ways, and the expected shortfall.

    Parameters
    ----------
    platform_var : Series
        VaR of each symbol as the platform states it [% of NAV].
    risk : module
        `engine.risk`.
    positions : Series
        [USD], by symbol.
    prices : DataFrame, one column a symbol
        [USD], a row an observation.
    interval : float
        Time between two prices [days].
    nav : float
        Net asset value [USD].
    n_scenarios : int
        Of the simulation, whose seed is fixed: the same facts give the same figures.

    Returns
    -------
    DataFrame, one row a symbol and one for the book
        `platform`, `parametric`, `historical`, `monte-carlo`, `shortfall`, all in % of NAV, one day, 99 %.
    """
    import pandas as pd

    symbols = list(positions.index)
    returns, last = prices[symbols].pct_change().dropna(), prices[symbols].ffill().iloc[-1]
    facts = {"exposures": positions.to_numpy(), "returns": returns.to_numpy(), "interval": interval}
    units = (positions / last).to_numpy(float)
    book = risk.Book.from_columns(id=symbols, underlying=symbols, kind=["spot"] * len(symbols), quantity=units)
    moves = risk.Scenarios.from_returns(returns, interval=interval)
    drawn = {"method": "monte-carlo", "decay": DECAY, "n_scenarios": n_scenarios, "seed": 0, "device": "cpu"}
    measures = {
        "parametric": risk.value_at_risk(**facts, decay=DECAY),
        "historical": risk.value_at_risk(**facts, method="historical"),
        "monte-carlo": risk.value_at_risk(book, risk.Market(last.to_dict()), moves, **drawn),
        "shortfall": risk.expected_shortfall(**facts, decay=DECAY),
    }
    table = pd.DataFrame({name: [*item.standalone, item.total] for name, item in measures.items()}) * 100.0 / nav
    table.insert(0, "platform", [*platform_var.reindex(symbols), float("nan")])
    table.index = pd.Index([*symbols, "book"])
    table.attrs["evidence"] = [mark for fact in (platform_var, positions, prices) for mark in evidence_of(fact)]
    return table


def doubt(agreement: pd.DataFrame | None, rise: pd.DataFrame | None) -> str:
    """What is said of the platform's own risk figures where they are in doubt; empty where they are not.

    They are where none of the engine's ways comes near them, and where value at risk rose over what is held while the
    prices did not: then the net asset value or a parameter of the sum changed.
    """
    found = []
    if agreement is not None:
        rows = agreement[agreement["platform"].notna()]
        ratio = rows[list(_WAYS)].rdiv(rows["platform"], axis=0).median()
        if (ratio > _AGREES).all() or (ratio < 1.0 / _AGREES).all():
            found.append(f"VaR is {ratio.min():.2f} to {ratio.max():.2f} times the engine's in the median")
    if rise is not None:
        by_var, by_prices = median(rise["volatility_x"]), median(rise["realised_x"])
        if by_var > _AGREES * by_prices:
            found.append(
                f"VaR over position rose {by_var:.2f} times, the volatility of the prices {by_prices:.2f} times"
            )
    return f"the platform's risk figures are in doubt, call Risk: {'; '.join(found)}" if found else ""


def raised(status: Mapping[str, Any] | None) -> str:
    """What is said of a Kelly fraction above the configured one, by which every position is larger; else empty."""
    now, usual = (_number((status or {}).get(name)) for name in ("kelly_fraction", "kelly_fraction_configured"))
    if not now > _APART * usual > 0.0:
        return ""
    return f"the Kelly fraction in force is {now:g}, {now / usual:.2f} times the configured {usual:g}"


def median(values: pd.Series) -> float:
    """The median of what is there; nan of nothing."""
    return float(values.median()) if values.notna().any() else float("nan")


def _of_symbols(status: Mapping[str, Any] | None, symbols: list[str]) -> pd.DataFrame:
    """What the platform says of each symbol, a row each; nan where it says nothing, or what is no number."""
    import pandas as pd

    told = (status or {}).get("symbols")
    rows = {name: told.get(name) if isinstance(told, Mapping) else None for name in symbols}
    known = [one if isinstance(one, Mapping) else {} for one in rows.values()]
    facts = {name: [_number(one.get(name)) for one in known] for name in _OF_SYMBOL}
    return pd.DataFrame({"model": [one.get("model") for one in known], **facts}, index=symbols)


def _number(value: object) -> float:
    """A number, or a text that is one; else nan."""
    try:
        found = float(value)  # type: ignore[arg-type]  # whatever it is, that is what is tried
    except (TypeError, ValueError):
        return float("nan")
    return found if math.isfinite(found) else float("nan")
