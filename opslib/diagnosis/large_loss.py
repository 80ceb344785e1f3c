"""A04 large-loss: whether the loss is real, and where it comes from.

A loss on paper has three possible makers. The model: served volatilities or Greeks that are not the market's, so that
the book, valued apart from it, has lost next to nothing. The data: spots that stand still while their futures move on.
The market: then the loss is there at independent prices too, and the question is whether the hedges were traded. What
decides is US dollars: how much of the alert's limit each of the three brings, by full revaluation.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, evidence_of, reason
from opslib.diagnosis.large_loss_book import Paper, Valuation, holdings, market, paper, revalued
from opslib.diagnosis.large_loss_seen import Hedger, figures, hedger, served
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BOOK",
    "CAUSES",
    "MARKET",
    "OPEN",
    "SERVED",
    "Hedger",
    "Paper",
    "Release",
    "Valuation",
    "began_s",
    "figures",
    "fixes",
    "hedger",
    "holdings",
    "in_force",
    "market",
    "message",
    "paper",
    "ratios",
    "release",
    "revalued",
    "served",
    "summary",
]

NO_RELEASES = "the releases of the service"
NO_REPORT = "a report as fresh as the valuation"
NO_WHOLE = "the market of the whole book"
NO_ENTRY = "the market when the book was taken"
_A_DAY = math.sqrt(252.0)  # trading days of a year
_A_POINT = 0.05  # a change of every volatility by so much of itself counts like a day's move of the spots
_NEAR = 0.08  # a served volatility so close to the quoted one [log] is the market's
_FAR = 0.12  # a served volatility so far from the quoted one [log] is not explained by smile and term structure
_A_PART = 0.2  # of the results, from which on those far away are taken for the model in force
_COMMON = 0.75  # the most that a reason weighs for a cause that it does not tell from its neighbour [log-odds]
_MUCH_STALE = 0.3  # with more of the underlyings stale, nothing that rests on their spots can be trusted


# What a reader is shown of the served results, the market, and the valuation: columns and their headings.
SERVED = {"underlying": "", "kind": "", "strike": "", "days": "", "age_s": "", "volatility": "served volatility",
          "market": "quoted volatility", "ratio": "served / quoted", "spot_x": "spot / market's",
          "verdict": "checked in three ways"}  # fmt: skip
MARKET = {"spot": "", "age_s": "", "future": "", "future_age_s": "", "basis": "apart"}
BOOK = {"move_pct": "spot moved [%]", "volatility_x": "times its volatility", "pnl_usd": "profit and loss [USD]",
        "open_usd": "open by served Greeks [USD]", "true_usd": "open [USD]"}  # fmt: skip
TOLD = {"pnl_usd": "profit and loss [USD]", "pnl_options_usd": "of options [USD]", "pnl_hedges_usd": "of hedges [USD]",
        "net_delta_usd": "delta [USD]", "gamma_usd_per_pct": "gamma [USD per 1 %]",
        "vega_usd_per_point": "vega [USD per point]"}  # fmt: skip
OPEN = {"true_usd": "delta [USD]", "gamma_usd_per_pct": "gamma [USD per 1 %]",
        "vega_usd_per_point": "vega [USD per point]"}  # fmt: skip


@dataclass(frozen=True)
class Release:
    """The newest release of the service, as its revisions tell.

    Attributes
    ----------
    revision, before : int or None
        The current one and the one that ran before it.
    age_s : float
        Since its first pod [s]; nan where the revisions were not seen.
    what : str
        What it changed, in words.
    evidence : tuple of str
    """

    revision: int | None = None
    before: int | None = None
    age_s: float = math.nan
    what: str = ""
    evidence: tuple[str, ...] = ()


def release(history: pd.DataFrame | None, now: dt.datetime) -> Release:
    """The current release, out of the revisions of its Deployment, newest first."""
    if history is None or not history["current"].any():
        return Release()
    current = history[history["current"]].iloc[0]
    earlier = history[history["revision"] < current["revision"]]
    age_s = max(0.0, now.timestamp() - current["created"].timestamp())
    what = str(current["change_cause"] or current["changes"])
    before = int(earlier["revision"].max()) if len(earlier) else None
    return Release(int(current["revision"]), before, age_s, what[:120], evidence_of(history))


def began_s(history: pd.DataFrame | None, limit_usd: float, now: dt.datetime, usual_s: float) -> float:
    """How long ago the book began to lose [s]: since it was last within a fifth of the limit, and a tenth more.

    Parameters
    ----------
    history : DataFrame or None
        Profit and loss over time [USD], the whole book's in the first column.
    limit_usd : float
        The alert's level [USD], below 0.
    now : datetime
    usual_s : float
        What is told where history does not reach back so far.
    """
    if history is None or not len(history):
        return usual_s
    calm = history.index[history.iloc[:, 0] > 0.2 * limit_usd]
    return 1.1 * (now.timestamp() - calm[-1].timestamp()) + 5.0 if len(calm) else usual_s


def in_force(served: pd.DataFrame) -> pd.DataFrame:
    """The served results that tell: those far from the market, where they are a part, as in the midst of a roll-out."""
    usable = served[served["ratio"] > 0.0]
    far = usable[usable["ratio"].map(lambda ratio: abs(math.log(ratio))) > _FAR]
    return far if len(far) > _A_PART * len(usable) else usable


def ratios(served: pd.DataFrame | None) -> pd.Series[float] | None:
    """Served to quoted volatility by underlying; None where nothing was served that tells."""
    if served is None or not len(in_force(served)):
        return None
    found = in_force(served).groupby("underlying")["ratio"].median()
    found.attrs["evidence"] = list(evidence_of(served))
    return found


def summary(told: Mapping[str, float], valuation: Valuation) -> pd.DataFrame:
    """Where the reported profit and loss comes from [USD]: the market, the served spots, the model, and the rest."""
    import pandas as pd

    model = 0.0 if math.isnan(valuation.model_usd) else valuation.model_usd
    parts = {
        "at quoted prices and fresh spots": valuation.pnl_usd,
        "by spots that stand still": valuation.stale_usd,
        "by served volatilities": model,
    }
    left = "not explained (moves meanwhile)"
    if valuation.missing:
        left = f"not explained ({valuation.lacks})"
    parts[left] = told["pnl_usd"] - sum(parts.values())
    return pd.DataFrame({"usd": {**parts, "as the platform reports it": told["pnl_usd"]}}).round(0)


def wrong_greeks(
    served: pd.DataFrame,
    valuation: Valuation,
    paper: Paper,
    market: pd.DataFrame,
    release: Release,
    *,
    limit_usd: float,
    window_s: float,
    stale_s: float,
) -> list[Reason]:
    """The service's model is wrong: its volatilities are not the market's, or its Greeks not those of its prices.

    A model has other inputs than volatilities, such as dividends and rates: those show in a loss that is not there when
    the book is valued apart, and in served Greeks that an independent method does not find.
    """
    telling = in_force(served)
    ratio = float(telling["ratio"].median()) if len(telling) else math.nan
    judged = served[served["verdict"] != "not-checked"]
    wrong = judged[judged["verdict"] == "differs"]
    text = f"served volatilities are {ratio:.2f} times the quoted ones ({len(telling)} of {len(served)} results)"
    far = abs(math.log(ratio)) if ratio > 0 else math.nan
    reasons = [reason(text, far, threshold=_NEAR, decisive=0.2, missing="a served result near the money")]
    if len(wrong):  # then usual volatilities do not clear the model
        reasons = [replace(reasons[0], weight=max(0.0, reasons[0].weight))]
        text = f"{len(wrong)} of {len(judged)} served results are not Black-Scholes' at their own price: "
        text += str(wrong["sentence"].iloc[0])
        reasons.append(reason(text[:300], len(wrong) / len(judged), threshold=0.2, decisive=0.6))
    elif len(judged) > 1 and far < _NEAR:
        text = f"the {len(judged)} served results that were checked are Black-Scholes' at their own price"
        reasons.append(Reason(text, -1.5))
    less = "less" if paper.usd < 0 else "more"
    text = f"valued apart, the book has lost {abs(paper.usd):,.0f} USD {less} than is reported"
    if paper.meanwhile_usd >= abs(paper.usd):
        text += f" (moves meanwhile: up to {paper.meanwhile_usd:,.0f} USD)"
    if not math.isnan(valuation.model_usd):
        text += f"; the served volatilities alone change it by {valuation.model_usd:+,.0f} USD"
    missing = NO_WHOLE if valuation.missing else NO_REPORT
    found = reason(text, paper.sure_usd / limit_usd, threshold=0.3, decisive=0.8, missing=missing)
    stale = float((market["age_s"] > stale_s).mean()) > _MUCH_STALE
    reasons.append(replace(found, weight=min(found.weight, 0.0)) if stale else found)
    if release.age_s <= window_s:
        text = f"revision {release.revision} came {release.age_s:.0f} s ago ({release.what})"
        reasons.append(Reason(text, 0.7))
    return reasons


def stale_market_data(market: pd.DataFrame, stale_s: float) -> list[Reason]:
    """Spots stand still while their futures move: options are marked by the past, hedges by the present."""
    old = market[market["age_s"] > stale_s]
    share = len(old) / len(market)
    oldest = float(market["age_s"].max())
    text = (
        f"the spots of {len(old)} of {len(market)} underlyings are older than {stale_s:g} s (the oldest {oldest:.0f} s)"
    )
    reasons = [reason(text, share, threshold=0.1, decisive=0.4)]
    if len(old) and not (old["future_age_s"] <= stale_s).any():
        return [*reasons, Reason("their futures are as old: no market data come in at all", 1.5)]
    basis = old["basis"][old["future_age_s"] <= stale_s].abs() if len(old) else market["basis"].abs()
    apart = float(basis.median())
    whose = "their" if len(old) else "the"
    text = f"{whose} futures are {percent(apart, 1)} away from them"
    return [*reasons, reason(text, apart, threshold=0.01, decisive=0.03, missing="the futures")]


def market_move_hedged(
    valuation: Valuation,
    market: pd.DataFrame,
    hedger: Hedger,
    limit_usd: float,
    band_usd: float,
    stale_s: float,
    hedger_stale_s: float,
) -> list[Reason]:
    """The market moved, the hedger traded, and a loss remains that a hedge in steps cannot avoid."""
    beyond, count = _beyond(valuation.by_underlying["late_usd"], band_usd)
    text = f"{beyond:.0f} of {count} underlyings have more delta open than the hedger leaves ({band_usd:,.0f} USD)"
    reasons = [
        *_real(valuation, market, limit_usd, stale_s),
        reason(text, beyond / count, threshold=0.25, decisive=0.0),
    ]
    if not hedger.on:
        reasons.append(Reason("the hedger is switched off", -3.0))
    elif hedger.age_s > hedger_stale_s:
        reasons.append(Reason(f"the hedger last wrote its figures {hedger.age_s:.0f} s ago", -3.0))
    elif hedger.trades:
        reasons.append(Reason(f"{hedger.trades} hedges were traded, the last {hedger.last_trade_s:.0f} s ago", 1.0))
    if hedger.off and hedger.on:
        reasons.append(Reason(f"it was switched off before: {hedger.off} lines of its log say so", -1.5))
    return reasons


def market_move_hedge_missed(
    valuation: Valuation,
    market: pd.DataFrame,
    hedger: Hedger,
    limit_usd: float,
    band_usd: float,
    stale_s: float,
    hedger_stale_s: float,
) -> list[Reason]:
    """The market moved and the hedges were not traded."""
    beyond, count = _beyond(valuation.by_underlying["open_usd"], band_usd)
    net = float(valuation.by_underlying["open_usd"].sum())
    text = f"{beyond:.0f} of {count} underlyings have more delta open than the hedger leaves, {net:+,.0f} USD in all"
    reasons = [
        *_real(valuation, market, limit_usd, stale_s),
        reason(text, beyond / count, threshold=0.25, decisive=0.6),
    ]
    if not hedger.on:
        reasons.append(Reason("the hedger is switched off", 2.5))
    elif hedger.age_s > hedger_stale_s:
        reasons.append(Reason(f"the hedger last wrote its figures {hedger.age_s:.0f} s ago", 2.5))
    elif beyond / count > 0.25:
        reasons.append(Reason(f"the hedger is on, {hedger.trades} hedges and {hedger.failed} failures in its log", 0.5))
    else:
        reasons.append(Reason("the hedger is on and at work", -2.0))
    if hedger.off and hedger.on:
        reasons.append(Reason(f"it was switched off before: {hedger.off} lines of its log say so", 2.0))
    return reasons


def _real(valuation: Valuation, market: pd.DataFrame, limit_usd: float, stale_s: float) -> list[Reason]:
    """Whether the market made the loss: it is there at independent prices, and the market moved far enough."""
    text = f"at quoted prices and fresh spots the book has {_result(valuation.pnl_usd)} (alert at {limit_usd:,.0f} USD)"
    found = _half(reason(text, valuation.pnl_usd / limit_usd, threshold=0.6, decisive=0.9))
    if valuation.missing:  # what was not valued may have lost the rest
        found = Reason(f"{text}; {valuation.lacks}", max(0.0, found.weight), NO_WHOLE if found.weight < 0 else "")
    reasons = [found]
    rows = valuation.by_underlying
    days = (rows["move"].abs() / (market["volatility"].reindex(rows.index) / _A_DAY)).dropna()
    points = rows["volatility_x"].map(lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.nan).dropna() / _A_POINT
    moved, text = math.nan, ""
    if len(days) and len(points):
        moved = max(float(days.median()), float(points.median()))
        spots, volatilities = rows["move"].median(), rows["volatility_x"].median()
        text = f"spots are {100.0 * spots:+z.1f} % from entry, volatilities {volatilities:.2f} times"
    reasons.append(_half(reason(text, moved, threshold=1.0, decisive=3.0, missing=NO_ENTRY)))
    stale = float((market["age_s"] > stale_s).mean())
    if stale > _MUCH_STALE:
        reasons.append(
            Reason(f"but {percent(stale)} of the spots stand still: the hedger works with what is past", -3.0)
        )
    return reasons


def _half(found: Reason) -> Reason:
    """What two causes have in common speaks for neither of them strongly; against both it counts whole."""
    return replace(found, weight=min(found.weight, _COMMON))


def _beyond(open_usd: pd.Series[float], band_usd: float) -> tuple[float, int]:
    """How many underlyings have more than twice the hedger's band open, and of how many."""
    return float((open_usd.abs() > 2.0 * band_usd).sum()), max(1, len(open_usd))


def _result(usd: float) -> str:
    return f"{'lost' if usd < 0 else 'gained'} {abs(usd):,.0f} USD"


_STOP = "stop auto-trading; hedges go on"
CAUSES = (
    Cause(
        "wrong-greeks",
        "Are the served Greeks wrong?",
        wrong_greeks,
        f"{_STOP}. Once that is done, roll the release back; tell the clients which Greeks not to use",
    ),
    Cause(
        "stale-market-data",
        "Do market data stand still?",
        stale_market_data,
        f"{_STOP}. Call the source of the market data; mark by the futures until it is back",
    ),
    Cause(
        "market-move-hedged",
        "Did the market move, with hedges that were traded?",
        market_move_hedged,
        f"{_STOP}. The loss is real: the desk decides on gamma and vega that stay open",
    ),
    Cause(
        "market-move-hedge-missed",
        "Did the market move while hedges were missed?",
        market_move_hedge_missed,
        f"{_STOP}. Have the hedger started, or the open delta hedged by hand, at once",
    ),
)


def fixes(
    causes: Sequence[str], trading: Mapping[str, Any] | None, release: Release, *, service: str, window_s: float
) -> list[tuple[str, dict[str, Any]]]:
    """The next step: new risk is stopped first, whatever the cause; then a release that brought wrong Greeks goes back.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    trading : mapping or None
        Whether new risk is `enabled`; None where that was not seen.
    release : Release
    service : str
        `deployment/NAME`.
    window_s : float
        An older release is not rolled back [s].
    """
    if trading is None or trading.get("enabled", True):
        reason = f"large loss: {', '.join(causes) or 'cause not known yet'}"
        return [("derivatives.stop-auto-trading", {"reason": reason})]
    if "wrong-greeks" in causes and release.before is not None and release.age_s <= window_s:
        return [("kubernetes.undo-rollout", {"workload": service, "revision": release.before})]
    return []


def message(cause: str | None, told: Mapping[str, float] | None, valuation: Valuation | None) -> str:
    """What the clients are told, in three sentences; a draft, that a person sends."""
    if told is None:
        return "Nothing for the clients yet: the book's figures were not seen."
    known = {
        "wrong-greeks": "Greeks that our service returned lately are wrong: do not trade on them",
        "stale-market-data": "Part of our market data stands still: Greeks and prices of these underlyings are old",
        "market-move-hedged": "Our Greeks and prices were checked by independent methods and are right",
        "market-move-hedge-missed": "Our Greeks and prices were checked by independent methods and are right",
    }
    first = known.get(
        cause or "", "We are examining an unusual result of our own book; nothing is known to be wrong with Greeks"
    )
    checked = "" if valuation is None else " The whole book was valued anew, apart from the service."
    if valuation is not None and valuation.missing:
        checked = " Most of the book was valued anew, apart from the service." if valuation.missing_share < 0.5 else ""
    return f"{first}.{checked} New automatic trades are stopped meanwhile. We will write again within 30 minutes."
