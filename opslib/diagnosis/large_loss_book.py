"""A04 large-loss, the sums behind it: the whole book valued anew, apart from the service.

The platform's own figures are the suspects here, so nothing is taken from them that can be had elsewhere. A call and a
put of one strike give the spot that their prices imply (put-call parity), whatever the moment they were written at and
whatever model made them; an implied volatility follows from a price alone.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import evidence_of
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

_YEAR = 365.0  # days
_NAMED = 4  # underlyings that a sentence names
_NEEDED = ("spot", "dividend", "rate")  # without which nothing of an underlying can be valued
_FUTURES = ("spot", "future", "volatility", "dividend", "rate")
_MEANWHILE = 0.015  # between the report and the valuation, seconds apart, spots move by so much of themselves at most
_POINTS = 0.5  # ... and volatilities by so many points


@dataclass(frozen=True)
class Valuation:
    """The book valued by the engine, apart from the platform's own model.

    Attributes
    ----------
    pnl_usd : float
        Profit and loss at fresh spots and quoted volatilities, hedges included [USD].
    hedges_usd : float
        The hedges' part of it [USD].
    stale_usd : float
        What the spots that are served hide (negative) or add [USD]: value at them less value at fresh ones.
    model_usd : float
        What the served volatilities add to the value [USD]; nan where no served Greeks were seen.
    shocks_usd : dict
        Profit or loss of options and hedges if every spot moved by so much, by the move.
    by_underlying : DataFrame
        `spot`, `fresh`, `move` (since entry, log), `volatility_x` (now to entry), `pnl_usd`,
        `open_usd` (net delta as the hedger sees it, by served spots and volatilities [USD]), `late_usd` (the same with
        fresh spots), `true_usd` (by fresh spots and quoted volatilities), `gamma_usd_per_pct`, `vega_usd_per_point`.
    explained : DataFrame or None
        Profit and loss by Greeks, a row an underlying and a last one for the book [USD]; None where the market at
        entry is not known.
    evidence : tuple of str
    """

    pnl_usd: float
    hedges_usd: float
    stale_usd: float
    model_usd: float
    shocks_usd: dict[float, float]
    by_underlying: pd.DataFrame
    explained: pd.DataFrame | None
    evidence: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    missing_share: float = 0.0

    @property
    def lacks(self) -> str:
        """What of the book could not be valued, in words; empty where all of it was."""
        if not self.missing:
            return ""
        told = ", ".join(self.missing[:_NAMED]) + (", ..." if len(self.missing) > _NAMED else "")
        return f"{percent(self.missing_share)} of the book could not be valued ({told})"


@dataclass(frozen=True)
class Paper:
    """What of the reported profit and loss is not there when the book is valued apart from the platform.

    Attributes
    ----------
    usd : float
        The report, less the book at quoted prices and the spots that are served [USD]; nan where the report is too old
        or a part of the book was not valued.
    meanwhile_usd : float
        So much of it may be moves between the report and the valuation [USD].
    evidence : tuple of str
    """

    usd: float
    meanwhile_usd: float
    evidence: tuple[str, ...] = ()

    @property
    def sure_usd(self) -> float:
        """That part of it which moves do not explain [USD]."""
        return self.usd - max(-self.meanwhile_usd, min(self.usd, self.meanwhile_usd))


def paper(told: Mapping[str, float], valuation: Valuation, now: dt.datetime, old_s: float) -> Paper:
    """What is on paper only: the reported profit and loss against the valuation.

    Parameters
    ----------
    told : mapping
        The book as its hedger wrote it: `pnl_usd`, and the `time` of its writing [s since 1970].
    valuation : Valuation
    now : datetime
    old_s : float
        A report that is older is not compared [s].
    """
    rows, move = valuation.by_underlying, _MEANWHILE
    bent = abs(float(rows["gamma_usd_per_pct"].sum())) * 100.0 * move * move / 2.0
    meanwhile = float(rows["true_usd"].abs().sum()) * move + bent
    meanwhile += abs(float(rows["vega_usd_per_point"].sum())) * _POINTS
    alike = not valuation.missing and now.timestamp() - told.get("time", -math.inf) <= old_s
    usd = told["pnl_usd"] - valuation.pnl_usd - valuation.stale_usd if alike else math.nan
    return Paper(usd, meanwhile, valuation.evidence)


def market(hashes: Mapping[str, pd.DataFrame | None], now: dt.datetime) -> pd.DataFrame | None:
    """The market data of each underlying that has a spot, a dividend and a rate; None where none was seen.

    Parameters
    ----------
    hashes : mapping of str to DataFrame or None
        By underlying: `field` and `value`, with `spot`, `future` [USD], `volatility` at the money, `dividend`, `rate`
        [per year], `time` and `future_time` [ms since 1970].
    now : datetime

    Returns
    -------
    DataFrame, one row an underlying
        Those figures, `age_s`, `future_age_s` [s], and `basis`: future to spot, less 1.
    """
    import pandas as pd

    rows: dict[str, dict[str, float]] = {}
    marks: list[str] = []
    for name, found in hashes.items():
        if found is None or not len(found):
            continue
        told = dict(zip(found["field"], found["value"], strict=True))
        row = {field: float(told.get(field, "nan")) for field in _FUTURES}
        if not row["spot"] > 0.0 or not all(math.isfinite(row[field]) for field in _NEEDED):
            continue
        for age, field in (("age_s", "time"), ("future_age_s", "future_time")):
            row[age] = max(0.0, now.timestamp() - float(told.get(field, "nan")) / 1000.0)
        rows[name] = row | {"basis": row["future"] / row["spot"] - 1.0}
        marks += evidence_of(found)
    if not rows:
        return None
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.attrs["evidence"] = marks
    return table


def holdings(
    positions: pd.DataFrame, quotes: pd.DataFrame | None, market: pd.DataFrame, pricing: ModuleType
) -> pd.DataFrame | None:
    """The options with their market: one row a position, its implied volatilities at entry and as quoted now.

    None where no position has a market.

    Parameters
    ----------
    positions : DataFrame
        `underlying`, `kind`, `strike`, `expiry_days`, `quantity`, `entry_price`.
    quotes : DataFrame or None
        `field` UNDERLYING|KIND|STRIKE|DAYS and `value`, JSON with the `price`. An option without a quote takes the
        market's volatility at the money.
    market : DataFrame
        As `market` gives it.
    pricing : module
        `engine.pricing`.

    Returns
    -------
    DataFrame, index the id
        The positions, `years`, `sign`, `spot`, `rate`, `dividend`, `entry_spot`, `entry_volatility`, `quote`,
        `quote_spot`, `volatility`; nan where a figure cannot be had. In its attributes what has no market: the
        underlyings `missing`, and their share of what the options cost, `missing_share`.
    """
    there = positions["underlying"].isin(market.index)
    if not there.any():
        return None
    table = positions[there].copy()
    parts = zip(table["underlying"], table["kind"], table["strike"], table["expiry_days"], strict=True)
    table.index = [f"{name}|{kind}|{strike:g}|{days:g}" for name, kind, strike, days in parts]
    table["years"] = table["expiry_days"].astype(float) / _YEAR
    table["sign"] = table["kind"].map({"call": 1.0, "put": -1.0})
    for field in ("spot", "rate", "dividend"):
        table[field] = market.loc[table["underlying"], field].to_numpy()
    told = {} if quotes is None else dict(zip(quotes["field"], quotes["value"], strict=True))
    table["quote"] = [float(json.loads(told[name])["price"]) if name in told else math.nan for name in table.index]
    table["entry_spot"] = _parity(table, "entry_price")
    table["quote_spot"] = _parity(table, "quote").fillna(table["spot"])
    table["entry_volatility"] = _implied(table, "entry_price", "entry_spot", pricing)
    level = market.loc[table["underlying"], "volatility"].to_numpy()
    table["volatility"] = _implied(table, "quote", "quote_spot", pricing).fillna(
        dict(zip(table.index, level, strict=True))
    )
    cost = (positions["quantity"].astype(float) * positions["entry_price"].astype(float)).abs()
    table.attrs["evidence"] = [mark for fact in (positions, quotes, market) for mark in evidence_of(fact)]
    table.attrs["missing"] = sorted(set(positions["underlying"][~there]))
    table.attrs["missing_share"] = float(cost[~there].sum() / cost.sum()) if cost.sum() > 0 else float((~there).mean())
    return table


def _parity(table: pd.DataFrame, price: str) -> pd.Series[float]:
    """The spot that calls and puts of one strike and expiry imply together; elsewhere the median of the underlying."""
    keys = ["underlying", "strike", "years"]
    wide = table.pivot_table(index=keys, columns="kind", values=price, aggfunc="mean")
    facts = table.groupby(keys)[["rate", "dividend"]].first()
    spots: dict[Any, float] = {}
    for at, row in wide.iterrows() if {"call", "put"} <= set(wide.columns) else ():
        _, strike, years = at
        rate, dividend = facts.loc[at, "rate"], facts.loc[at, "dividend"]
        spots[at] = (row["call"] - row["put"] + strike * math.exp(-rate * years)) * math.exp(dividend * years)
    found = table[keys].apply(lambda row: spots.get(tuple(row), math.nan), axis=1).astype(float)
    return found.fillna(found.groupby(table["underlying"]).transform("median"))


def _implied(table: pd.DataFrame, price: str, spot: str, pricing: ModuleType) -> pd.Series[float]:
    """Implied volatilities; nan where price or spot are none that an option can have."""
    import pandas as pd

    fit = table[(table[price] > 0.0) & (table[spot] > 0.0)]
    columns = [fit[name].to_numpy(float) for name in (price, spot, "strike", "years", "rate", "dividend", "sign")]
    values = pricing.implied_volatility(*columns) if len(fit) else []
    return pd.Series(values, index=fit.index, dtype=float).reindex(table.index)


def revalued(
    table: pd.DataFrame,
    hedges: pd.DataFrame,
    market: pd.DataFrame,
    ratios: pd.Series[float] | None,
    pricing: ModuleType,
    risk: ModuleType,
    *,
    stale_s: float,
    shocks: tuple[float, ...] = (-0.05, 0.05),
) -> Valuation:
    """The book valued anew, by the engine: all of it that has a market.

    Parameters
    ----------
    table : DataFrame
        As `holdings` gives it.
    hedges : DataFrame
        `underlying`, `units` and `cost` [USD] of the futures.
    market : DataFrame
        As `market` gives it.
    ratios : Series or None
        Served to quoted volatility, by underlying.
    pricing, risk : module
        `engine.pricing`, `engine.risk`.
    stale_s : float
        A spot that is older is not used where a future is there that is not [s].
    shocks : tuple of float
        Relative moves of every spot.
    """
    import pandas as pd

    held = hedges.set_index("underlying")[["units", "cost"]].astype(float)
    known = held.index.isin(market.index)
    apart = held.index[~known & (held["units"] != 0.0)]
    names = list(dict.fromkeys([*table["underlying"], *held.index[known]]))
    held = held.reindex(names).fillna(0.0)
    spots = market.reindex(names)
    old = (spots["age_s"] > stale_s) & (spots["future_age_s"] <= stale_s)
    fresh = spots["spot"].mask(old, spots["future"])
    book = risk.Book.from_columns(
        id=list(table.index), underlying=list(table["underlying"]), kind=list(table["kind"]),
        quantity=table["quantity"].to_numpy(float), strike=table["strike"].to_numpy(float),
        expiry=table["years"].to_numpy(float),
    )  # fmt: skip
    rates = {"rate": spots["rate"].to_dict(), "dividend": spots["dividend"].to_dict()}
    now = risk.Market(fresh.to_dict(), implied=table["volatility"].to_dict(), **rates)
    level = table.groupby("underlying")["volatility"].median().reindex(names).fillna(0.0)
    scale = pd.Series(1.0, index=names)
    if ratios is not None:
        scale = ratios.reindex(names).fillna(ratios.median())  # where nothing was served, as elsewhere
    shift = level * (scale - 1.0)
    back = spots["spot"] / fresh - 1.0  # from the fresh spot to the served one
    moves = [back, back, *(pd.Series(move, index=names) for move in shocks)]
    shifts = [0.0 * shift, shift, *(0.0 * shift for _ in shocks)]
    scenarios = risk.Scenarios(names, [list(one) for one in moves], [list(one) for one in shifts])
    anew = risk.revalue(book, now, scenarios).total
    gains = held["units"] * spots["future"].fillna(fresh) - held["cost"]
    asked = table["volatility"] * table["underlying"].map(scale)
    rows = _by_underlying(table.assign(asked=asked), held, spots["spot"], fresh, gains, pricing)
    pnl = float(rows["pnl_usd"].sum())
    linear = float((held["units"] * fresh).sum())
    return Valuation(
        pnl_usd=pnl,
        hedges_usd=float(gains.sum()),
        stale_usd=float(anew[0]),
        model_usd=math.nan if ratios is None else float(anew[1] - anew[0]),
        shocks_usd={move: float(value + move * linear) for move, value in zip(shocks, anew[2:], strict=True)},
        by_underlying=rows,
        explained=_explained(table, held, book, now, rates, risk),
        evidence=tuple(mark for fact in (table, hedges, ratios) for mark in evidence_of(fact)),
        missing=tuple(sorted({*table.attrs.get("missing", ()), *apart})),
        missing_share=table.attrs.get("missing_share", 0.0),
    )


def _by_underlying(
    table: pd.DataFrame,
    held: pd.DataFrame,
    served: pd.Series[float],
    fresh: pd.Series[float],
    gains: pd.Series[float],
    pricing: ModuleType,
) -> pd.DataFrame:
    """Each underlying: moves since entry, profit and loss, and what stays open."""
    import numpy as np
    import pandas as pd

    names = table["underlying"]
    fixed = [table[name].to_numpy(float) for name in ("strike", "years", "rate", "dividend")]
    sign, held_now = table["sign"].to_numpy(float), table["quantity"].to_numpy(float)

    def greeks(spot: pd.Series[float], volatility: str) -> Any:
        return pricing.european(names.map(spot).to_numpy(float), *fixed, table[volatility].to_numpy(float), sign)

    def delta(spot: pd.Series[float], volatility: str) -> pd.Series[float]:
        return (summed(held_now * greeks(spot, volatility).delta) + held["units"]) * spot

    def summed(values: Any) -> pd.Series[float]:
        return pd.Series(values, index=table.index).groupby(names).sum().reindex(held.index).fillna(0.0)

    entry = table.groupby("underlying")["entry_spot"].median().reindex(held.index)
    ratio = (table["volatility"] / table["entry_volatility"]).groupby(names).median().reindex(held.index)
    rows = pd.DataFrame({"spot": served, "fresh": fresh, "move": np.log(fresh / entry), "volatility_x": ratio})
    true = greeks(fresh, "volatility")
    rows["pnl_usd"] = summed(held_now * (true.price - table["entry_price"].to_numpy(float))) + gains
    rows["open_usd"], rows["late_usd"] = delta(served, "asked"), delta(fresh, "asked")
    rows["true_usd"] = delta(fresh, "volatility")
    rows["gamma_usd_per_pct"] = summed(held_now * true.gamma) * fresh**2 * 0.01
    rows["vega_usd_per_point"] = summed(held_now * true.vega * 0.01)
    return rows


def _explained(
    table: pd.DataFrame, held: pd.DataFrame, book: Any, now: Any, rates: dict[str, Any], risk: ModuleType
) -> pd.DataFrame | None:
    """Profit and loss since entry by Greeks; the hedges are the new trades."""
    entry = table.groupby("underlying")["entry_spot"].median()
    if entry.isna().any() or table["entry_volatility"].isna().any():
        return None
    before = risk.Market(entry.to_dict(), implied=table["entry_volatility"].to_dict(), **rates)
    traded = held[held["units"] != 0.0]
    after = risk.Book.from_columns(
        id=[*table.index, *(f"hedge of {name}" for name in traded.index)],
        underlying=[*table["underlying"], *traded.index],
        kind=[*table["kind"], *("perpetual" for _ in traded.index)],
        quantity=[*table["quantity"].astype(float), *traded["units"]],
        strike=[*table["strike"].astype(float), *(math.nan for _ in traded.index)],
        expiry=[*table["years"], *(math.nan for _ in traded.index)],
    )
    paid = {f"hedge of {name}": float(cost) for name, cost in traded["cost"].items()}
    found: pd.DataFrame = risk.explain_pnl(book, before, now, after_book=after, paid=paid).frame()
    return found.rename(columns={"new_trades": "hedges"})
