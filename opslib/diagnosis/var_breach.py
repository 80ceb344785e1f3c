"""A11 var-breach: what each cause leaves behind, and how it is told from the others.

Value at risk of a symbol is position times volatility, so a rise splits into the part that the position brought
and the part that volatility brought: log(VaR/VaR₀) = log(|p|/|p₀|) + log(σ/σ₀). The four causes differ in that
split, in how many symbols it concerns, in the age of the volatility estimates, and in whether a switch to a model
that claims more than it delivers came first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

NOW_POINTS = 3  # "now" is the median of the newest points
QUIET_SHARE = 0.2  # "before" is the median of the quietest part of the window, as far as it is healthy
HEALTHY_SHARE = 0.8  # of the warning level: a breach that wavers about its level is never so far below it
DECAY = 0.95  # weight of a return against the next one in the volatility of the prices
WAYS = ("parametric", "historical", "monte-carlo")  # in which the engine reckons VaR
AGREES = 1.5  # up to so many times the engine's figure the platform's is trusted: 40 returns make it, in the main
RECKONED = 1.25  # VaR over position that rose so many times as much as the prices' volatility is another sum
NO_BASELINE = "a healthy stretch to compare with"


def latest(var: pd.DataFrame | None, status: Mapping[str, Any] | None, symbols: list[str]) -> pd.Series | None:
    """The newest VaR of each symbol [% of NAV]: from the series, else from what the platform says of itself."""
    import pandas as pd

    if var is not None:
        newest = var.ffill().iloc[-1]
        newest.attrs["evidence"] = var.attrs.get("evidence")
        return newest
    if status is None:
        return None
    newest = pd.Series({symbol: float(status["symbols"][symbol]["var_pct"]) for symbol in symbols})
    newest.attrs["evidence"] = getattr(status, "evidence", None)
    return newest


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
        The level of the alert [% of NAV]; healthy is what stays `HEALTHY_SHARE` of it and below.

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
    quiet = (worst <= worst.quantile(QUIET_SHARE)) & (worst <= HEALTHY_SHARE * warning)
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
    table.attrs["evidence"] = [mark for frame in (var, positions, prices) if (mark := frame.attrs.get("evidence"))]
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
        The time of the look.
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
    estimate = pd.Series({symbol: float(fields.get(symbol, "nan")) for symbol in symbols})
    updated = pd.Series({symbol: float(fields.get(f"updated_at:{symbol}", "nan")) for symbol in symbols})
    table = pd.DataFrame(
        {
            "estimate": estimate,
            "realised": realised.reindex(symbols),
            "ratio": realised.reindex(symbols) / estimate,
            "age_s": now.timestamp() - updated / 1000.0,
        }
    )
    table.attrs["stale_after_s"] = stale_after_s
    table.attrs["evidence"] = [mark for frame in (hash_, realised) if (mark := frame.attrs.get("evidence"))]
    return table


def claims(switches: pd.DataFrame, status: Mapping[str, Any], now: dt.datetime, window_s: float) -> pd.DataFrame:
    """The model in charge of each symbol: when it took over, what it claims and what it delivers.

    Parameters
    ----------
    switches : DataFrame
        The stream `model.switch.log`: `time`, `symbol`, `to`.
    status : mapping
        `/api/status`, with `symbols.<symbol>`: `model`, `confidence`, `hit_rate`, and the position limit, in force and
        configured [USD].
    now : datetime
    window_s : float
        How far back a switch may lie to matter [s].

    Returns
    -------
    DataFrame, one row a symbol
        `model`, `confidence`, `hit_rate`, `gap` (claimed less delivered), `since_s` (NaN: no switch in the window),
        `limit_x` (position limit in force to configured).
    """
    import pandas as pd

    facts = pd.DataFrame.from_dict(dict(status["symbols"]), orient="index")
    table = facts[["model", "confidence", "hit_rate"]].copy()
    table["limit_x"] = facts["position_limit_usd"].astype(float) / facts["position_limit_configured_usd"].astype(float)
    table["gap"] = table["confidence"].astype(float) - table["hit_rate"].astype(float)
    table["since_s"] = float("nan")
    for row in switches.sort_values("time").itertuples():
        age = now.timestamp() - row.time.timestamp()
        if age <= window_s and row.symbol in table.index and table.at[row.symbol, "model"] == row.to:
            table.loc[row.symbol, "since_s"] = age
    marks = (switches.attrs.get("evidence"), getattr(status, "evidence", None))
    table.attrs["evidence"] = [mark for mark in marks if mark]
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
    table.attrs["evidence"] = [
        mark for frame in (platform_var, positions, prices) if (mark := frame.attrs.get("evidence"))
    ]
    return table


def doubt(agreement: pd.DataFrame | None, rise: pd.DataFrame | None) -> str:
    """What is said of the platform's own risk figures where they are in doubt; empty where they are not.

    They are where none of the engine's ways comes near them, and where value at risk rose over what is held while the
    prices did not: then the net asset value or a parameter of the sum changed.
    """
    found = []
    if agreement is not None:
        rows = agreement[agreement["platform"].notna()]
        ratio = rows[list(WAYS)].rdiv(rows["platform"], axis=0).median()
        if (ratio > AGREES).all() or (ratio < 1.0 / AGREES).all():
            found.append(f"VaR is {ratio.min():.2f} to {ratio.max():.2f} times the engine's in the median")
    if rise is not None:
        by_var, by_prices = _median(rise["volatility_x"]), _median(rise["realised_x"])
        if by_var > AGREES * by_prices:
            found.append(
                f"VaR over position rose {by_var:.2f} times, the volatility of the prices {by_prices:.2f} times"
            )
    return f"the platform's risk figures are in doubt, call Risk: {'; '.join(found)}" if found else ""


def single_symbol(rise: pd.DataFrame, models: pd.DataFrame) -> list[Reason]:
    """One position outgrew the others."""
    grown = rise["position_x"].dropna()
    top = rise["var"].idxmax() if grown.empty else grown.idxmax()
    others = _median(rise["position_x"].drop(top))
    excess = float(rise.at[top, "position_x"]) / others
    share = float(rise.at[top, "position"] / rise["position"].sum())
    reasons = [
        reason(
            f"position of {top} is {rise.at[top, 'position_x']:.2f} times what it was, the others' {others:.2f} times, "
            f"and {percent(share)} of the book",
            excess,
            threshold=1.4,
            decisive=1.8,
            missing=NO_BASELINE,
        ),
        reason(
            f"{top} is {'the' if rise['var'].idxmax() == top else 'not the'} symbol with the highest VaR",
            1.0 if rise["var"].idxmax() == top else 0.0,
            threshold=0.5,
            decisive=1.5,
        ),
    ]
    wider = float(models.at[top, "limit_x"])
    text = f"its position limit is {wider:.2f} times the configured one"
    reasons.append(reason(text, wider, threshold=1.1, decisive=1.6))
    if _overclaims(models.loc[top]):
        reasons.append(Reason(f"its position follows a switch to {models.at[top, 'model']}, which over-claims", -3.0))
    return reasons


def all_symbols(rise: pd.DataFrame, volatility: pd.DataFrame) -> list[Reason]:
    """The market's volatility rose for all, and the estimates follow it."""
    risen = rise[["volatility_x", "realised_x"]].min(axis=1, skipna=False)
    median, by_var, by_prices = (_median(one) for one in (risen, rise["volatility_x"], rise["realised_x"]))
    lifted = float((risen.dropna() > 1.25).mean()) if risen.notna().any() else float("nan")
    age, stale_after = _age(volatility)
    reasons = [
        reason(
            f"volatility is {by_prices:.2f} times what it was by the prices, {by_var:.2f} times by VaR over position",
            median,
            threshold=1.35,
            decisive=1.8,
            missing=NO_BASELINE,
        ),
        reason(
            f"it rose for {percent(lifted)} of the symbols", lifted, threshold=0.55, decisive=0.9, missing=NO_BASELINE
        ),
        reason(
            f"the estimates are {age:.1f} s old (stale from {stale_after:g} s)", age, threshold=stale_after, decisive=0
        ),
    ]
    apart = _median(rise["volatility_x"] / rise["realised_x"])
    if apart > RECKONED:
        text = f"VaR over position rose {apart:.2f} times as much as the prices' volatility: the sum changed"
        reasons.append(reason(text, apart, threshold=RECKONED, decisive=1.0))
    if age > stale_after:
        ratio = float(volatility["ratio"].median())
        text = f"and stand still while realised volatility is {ratio:.2f} times them"
        reasons.append(reason(text, ratio, threshold=1.2, decisive=0.9))
    return reasons


def after_model_switch(rise: pd.DataFrame, models: pd.DataFrame) -> list[Reason]:
    """Positions grew after the router gave symbols to a model that claims more than it delivers."""
    switched = models.index[models["since_s"].notna()]
    if len(switched) == 0:
        return [Reason("no switch of a model now in charge lies within the window", -3.0)]
    grown = _median(rise["position_x"].reindex(switched))
    usual = models["gap"].drop(switched).median() if len(switched) < len(models) else 0.0
    worst = models.loc[switched, "gap"].idxmax()
    gap = float(models.at[worst, "gap"])
    return [
        reason(
            f"{models.at[worst, 'model']} claims {models.at[worst, 'confidence']:.2f} and hits "
            f"{models.at[worst, 'hit_rate']:.2f} (a gap of {gap:+.2f}, the others {usual:+.2f})",
            gap,
            threshold=0.15,
            decisive=0.25,
        ),
        reason(
            f"positions of {', '.join(switched)} are {grown:.2f} times what they were before the switch "
            f"{models.loc[switched, 'since_s'].max():.0f} s ago",
            grown,
            threshold=1.25,
            decisive=1.6,
            missing=NO_BASELINE,
        ),
    ]


def stale_volatility(rise: pd.DataFrame, volatility: pd.DataFrame) -> list[Reason]:
    """Positions are sized by estimates that no longer follow the market."""
    median = _median(rise["volatility_x"])
    age, stale_after = _age(volatility)
    text = f"the estimates are {age:.1f} s old (stale from {stale_after:g} s)"
    reasons = [reason(text, age, threshold=stale_after, decisive=1.5 * stale_after)]
    if age > stale_after:
        ratio = float(volatility["ratio"].median())
        reasons.append(reason(f"realised volatility is {ratio:.2f} times them", ratio, threshold=1.2, decisive=1.6))
    text = f"volatility is {median:.2f} times what it was in the median"
    reasons.append(reason(text, median, threshold=1.2, decisive=1.8, missing=NO_BASELINE))
    return reasons


def _median(values: pd.Series) -> float:
    """The median of what is there; nan of nothing."""
    return float(values.median()) if values.notna().any() else float("nan")


def _overclaims(model: pd.Series) -> bool:
    return bool(model["gap"] > 0.15 and model["since_s"] == model["since_s"])


def _age(volatility: pd.DataFrame) -> tuple[float, float]:
    """Age of the estimates, and the age from which they are stale [s]."""
    return float(volatility["age_s"].median()), float(volatility.attrs["stale_after_s"])


CAUSES = (
    Cause(
        "single-symbol",
        "Did one position outgrow the others?",
        single_symbol,
        "reduce now, then lower the position limit of that symbol",
    ),
    Cause(
        "all-symbols",
        "Did volatility rise for all, with estimates that follow it?",
        all_symbols,
        "reduce now, then hold the global Kelly fraction at 0.15 until volatility falls",
    ),
    Cause(
        "after-model-switch",
        "Did a new model over-claim?",
        after_model_switch,
        "reduce now, then put a confidence penalty on the new model",
    ),
    Cause(
        "stale-volatility",
        "Are positions sized by stale volatility estimates?",
        stale_volatility,
        "reduce now, then refresh the volatility estimates",
    ),
)
