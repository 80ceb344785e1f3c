"""A04 large-loss, what is seen beside the book: the Greeks that were served, undone, and the auto-hedger at work.

Delta and vega of a served option betray the spot and the volatility that the service had in mind, whenever that was.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import evidence_of

if TYPE_CHECKING:
    import pandas as pd

_YEAR = 365.0  # days
_CENTRE = 1.0  # only options within so many standard deviations of the money are undone: elsewhere vega says little
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Hedger:
    """The auto-hedger, as its switch, its log, its trades and its last figures show it.

    Attributes
    ----------
    on : bool
        Whether it may trade.
    age_s : float
        Of the figures that it wrote last [s].
    trades, off, failed : int
        Lines of its log lately: hedges done, hedges left undone since it is switched off, failures.
    last_trade_s : float
        Time since the last hedge [s]; nan where there was none.
    evidence : tuple of str
    """

    on: bool
    age_s: float
    trades: int
    off: int
    failed: int
    last_trade_s: float
    evidence: tuple[str, ...] = ()


def figures(book: pd.DataFrame | None, stats: Mapping[str, Any] | None) -> dict[str, float] | None:
    """The book as its hedger wrote it last: of Redis, else as the service passes it on; None where neither tells."""
    if book is not None:
        return {row.field: float(row.value) for row in book.itertuples()}
    told = (stats or {}).get("book")
    return {name: float(value) for name, value in told.items()} if told else None


def served(
    rows: pd.DataFrame,
    table: pd.DataFrame,
    market: pd.DataFrame,
    now: dt.datetime,
    pricing: ModuleType,
    *,
    checked: int,
) -> pd.DataFrame:
    """The Greeks that the service gave out lately: the spot and volatility they betray, and whether they agree.

    Parameters
    ----------
    rows : DataFrame
        `timestamp`, `underlying`, `kind`, `strike`, `days`, `price`, `delta`, `gamma`, `vega` (per 1.0), `theta` (per
        year), newest first.
    table, market : DataFrame
        As `holdings` and `market` give them.
    now : datetime
    pricing : module
        `engine.pricing`.
    checked : int
        So many of them are checked in three ways (closed form, finite differences, simulation): every underlying once
        before any is checked again.

    Returns
    -------
    DataFrame
        `underlying`, `kind`, `strike`, `days`, `age_s`, `spot`, `volatility`, `market` (the quoted volatility),
        `ratio`, `spot_x` (to the market's spot), `verdict`, `sentence`.
    """
    import pandas as pd

    quoted = table.groupby("underlying")["volatility"].median().reindex(market.index).fillna(market["volatility"])
    found: list[dict[str, Any]] = []
    told: int = rows["underlying"].nunique()
    seen: set[str] = set()
    for one in rows.itertuples():
        if one.underlying not in market.index:
            continue
        facts, years, level = market.loc[one.underlying], one.days / _YEAR, float(quoted[one.underlying])
        if abs(math.log(one.strike / facts["spot"])) > _CENTRE * level * math.sqrt(years):
            continue
        row = {"underlying": one.underlying, "kind": one.kind, "strike": one.strike, "days": one.days, "market": level}
        row["age_s"] = max(0.0, now.timestamp() - one.timestamp.timestamp())
        checks = sum(earlier["verdict"] != "not-checked" for earlier in found) < checked
        checks = checks and (one.underlying not in seen or len(seen) == told)
        row |= _undone(one, facts, years, pricing, verify=pricing.verify_greeks if checks else None)
        if row["verdict"] != "not-checked":
            seen.add(one.underlying)
        row |= {"ratio": row["volatility"] / level, "spot_x": row["spot"] / facts["spot"]}
        found.append(row)
    columns = ["underlying", "kind", "strike", "days", "age_s", "spot", "volatility", "market", "ratio", "spot_x"]
    frame = pd.DataFrame(found, columns=[*columns, "verdict", "sentence"])
    frame.attrs["evidence"] = [mark for fact in (rows, market) for mark in evidence_of(fact)]
    return frame


def _undone(
    one: Any, facts: pd.Series[float], years: float, pricing: ModuleType, verify: Callable[..., Any] | None
) -> dict[str, Any]:
    """Spot and volatility behind one served option: d1 from its delta, the spot from its vega, then its price's."""
    sign = 1.0 if one.kind == "call" else -1.0
    rate, dividend = float(facts["rate"]), float(facts["dividend"])
    inside = sign * one.delta * math.exp(dividend * years)
    row: dict[str, Any] = {"spot": math.nan, "volatility": math.nan, "verdict": "not-checked", "sentence": ""}
    if not 0.0 < inside < 1.0 or not one.vega > 0.0:
        return row | {
            "verdict": "differs",
            "sentence": f"delta {one.delta:.4g}, vega {one.vega:.4g}: no {one.kind} has these",
        }
    density = _NORMAL.pdf(_NORMAL.inv_cdf(inside))
    row["spot"] = one.vega / (math.exp(-dividend * years) * density * math.sqrt(years))
    if one.price > 0.0:
        inputs = (one.price, row["spot"], one.strike, years, rate, dividend, sign)
        row["volatility"] = float(pricing.implied_volatility(*inputs))
    if not row["volatility"] > 0.0:
        return row | {
            "verdict": "differs",
            "sentence": f"no volatility gives the price {one.price:.5g} with these Greeks",
        }
    if verify is not None:
        request = {"spot": row["spot"], "strike": one.strike, "expiry": years, "rate": rate, "dividend": dividend,
                   "volatility": row["volatility"], "kind": one.kind}  # fmt: skip
        given = {name: getattr(one, name) for name in ("price", "delta", "gamma", "vega", "theta")}
        told = verify(given, request, tolerance=2e-3, n_paths=8192)
        row |= {"verdict": told.verdict, "sentence": told.sentence}
    return row


def hedger(
    book: Mapping[str, float] | None,
    switch: tuple[bool, Any] | None,
    log: pd.DataFrame | None,
    trades: pd.DataFrame | None,
    now: dt.datetime,
) -> Hedger | None:
    """What the hedger does; None where neither its switch nor its log was seen, or nothing that it wrote.

    Parameters
    ----------
    book : mapping or None
        As `figures` gives it, with the `time` of its writing [s since 1970].
    switch : (bool, Any) or None
        Whether it may trade, and what that was read from.
    log : DataFrame or None
        Counts of lines: index `hedged`, `off`, `failed`; `count`, `last_seen`.
    trades : DataFrame or None
        The hedges by underlying: `recent` and `last`.
    now : datetime
    """
    if book is None or "time" not in book or (switch is None and log is None):
        return None
    counts = dict.fromkeys(("hedged", "off", "failed"), 0) | ({} if log is None else log["count"].astype(int).to_dict())
    on = switch[0] if switch is not None else True
    if switch is None and log is not None and counts["off"]:
        last = log["last_seen"]
        on = bool(counts["hedged"] and last["hedged"] > last["off"])
    done = trades["last"].max() if trades is not None and len(trades) else None
    last_s = math.nan if done is None or done != done else max(0.0, now.timestamp() - done.timestamp())
    recent = int(trades["recent"].sum()) if trades is not None and len(trades) else 0
    marks = [mark for fact in (switch and switch[1], log, trades) for mark in evidence_of(fact)]
    age_s = max(0.0, now.timestamp() - float(book["time"]))
    return Hedger(on, age_s, max(recent, counts["hedged"]), counts["off"], counts["failed"], last_s, tuple(marks))
