"""A11 var-breach: what each cause leaves behind, and how it is told from the others.

Value at risk of a symbol is position times volatility, so a rise splits into the part that the position brought
and the part that volatility brought: log(VaR/VaR₀) = log(|p|/|p₀|) + log(σ/σ₀). The four causes differ in that
split, in how many symbols it concerns, in the age of the volatility estimates, and in whether a switch to a model
that claims more than it delivers came first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.diagnosis.var_breach_seen import (
    above,
    agreement,
    claims,
    clock,
    doubt,
    estimates,
    growth,
    latest,
    median,
    raised,
    stands_still,
    whole,
)
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CAUSES", "above", "after_model_switch", "agreement", "all_symbols", "claims", "clock", "doubt", "estimates",
    "growth", "latest", "outgrown", "raised", "single_symbol", "stale_volatility", "stands_still", "whole",
]  # fmt: skip

NO_BASELINE = "a healthy stretch to compare with"
NO_AGE = "how old the volatility estimates are"
_RECKONED = 1.25  # VaR over position that rose so many times as much as the prices' volatility is another sum
_ROSE = 1.2  # a rise of so many times is split into what brought it
_BROUGHT, _LITTLE = 0.5, 0.3  # the part of it that volatility brings where it is the cause; where it is not at all
_OUTGREW = 1.4  # times as much as the others grew
_OVERCLAIMS = 0.15  # what a model claims above what it delivers
_ALIKE = 0.4  # of what the volatility that rose most did: less is not the same rise


def outgrown(rise: pd.DataFrame) -> list[str]:
    """The symbols whose positions outgrew the others', what grew most first; at least one.

    Compared with the half that grew least; where no growth is known, it is the symbol with the highest VaR.
    """
    grown = rise["position_x"].dropna().sort_values(ascending=False)
    if grown.empty:
        return [str(rise["var"].idxmax())]
    usual = float(grown.iloc[len(grown) // 2 :].median())
    return [str(name) for name in grown.index if name == grown.index[0] or grown[name] > _OUTGREW * usual]


def single_symbol(rise: pd.DataFrame, models: pd.DataFrame) -> list[Reason]:
    """One position outgrew the others, or a few did."""
    those = outgrown(rise)
    top, one = those[0], len(those) == 1
    others = median(rise["position_x"].drop(those))
    excess = float(rise.at[top, "position_x"]) / others
    share = float(rise.loc[those, "position"].sum() / rise["position"].sum())
    highest = float(rise.loc[those, "var"].max() / rise["var"].max())
    times = " and ".join(f"{rise.at[name, 'position_x']:.2f}" for name in those)
    grown = (
        f"{'position' if one else 'positions'} of {' and '.join(those)} {'is' if one else 'are'} {times} times what "
    )
    wider = float(models.loc[those, "limit_x"].max())
    reasons = [
        reason(
            f"{grown}{'it was' if one else 'they were'}, the others' {others:.2f} times, "
            f"and {percent(share)} of the book",
            excess,
            threshold=_OUTGREW,
            decisive=1.8,
            missing=NO_BASELINE,
        ),
        reason(
            f"the VaR of {top if one else 'what outgrew the others'} is {percent(highest)} of the highest of all",
            highest,
            threshold=1.0,
            decisive=1.5,
        ),
        reason(
            f"the position limit of {' or '.join(those)} is {wider:.2f} times the configured one",
            wider,
            threshold=1.1,
            decisive=1.6,
        ),
    ]
    if _overclaims(models.loc[top]):
        reasons.append(Reason(f"{top} was given to {models.at[top, 'model']}, which over-claims", -3.0))
    return reasons


def all_symbols(rise: pd.DataFrame, volatility: pd.DataFrame) -> list[Reason]:
    """The market's volatility rose for all, and the estimates follow it."""
    risen = rise[["volatility_x", "realised_x"]].min(axis=1, skipna=False)
    middle, by_var, by_prices = (median(one) for one in (risen, rise["volatility_x"], rise["realised_x"]))
    with_most = risen.dropna() > max(1.25, _ALIKE * float(risen.max()))
    lifted = float(with_most.mean()) if len(with_most) else float("nan")
    age, stale_after = median(volatility["age_s"]), float(volatility.attrs["stale_after_s"])
    spread = f"volatility rose for {percent(lifted)} of the symbols"
    rose = f"volatility is {by_prices:.2f} times what it was by the prices, {by_var:.2f} times by VaR over position"
    told = [
        reason(rose, middle, threshold=1.35, decisive=1.8, missing=NO_BASELINE),
        reason(spread, lifted, threshold=0.55, decisive=0.9, missing=NO_BASELINE),
    ]
    share = volatility_share(rise)
    if share < _BROUGHT:  # that it rose as well speaks the less for it, the less of the rise it brought
        counts = max(0.0, (share - _LITTLE) / (_BROUGHT - _LITTLE))
        text = f"volatility brought {percent(max(share, 0.0))} of the rise of VaR, positions the rest"
        told = [replace(one, weight=min(one.weight, counts * one.weight)) for one in told]
        told.append(reason(text, share, threshold=_BROUGHT, decisive=0.6))
    reasons = [
        *told,
        reason(
            f"the estimates are {age:.1f} s old (stale from {stale_after:g} s)",
            age,
            threshold=stale_after,
            decisive=0.5 * stale_after if age > stale_after else -3.0 * stale_after,  # that they are fresh is no sign
            missing=NO_AGE,
        ),
    ]
    apart = median(rise["volatility_x"] / rise["realised_x"])
    if apart > _RECKONED:
        text = f"VaR over position rose {apart:.2f} times as much as the prices' volatility: the sum changed"
        reasons.append(reason(text, apart, threshold=_RECKONED, decisive=1.0))
    if age > stale_after:
        ratio = median(volatility["ratio"])
        text = f"the estimates stand still while realised volatility is {ratio:.2f} times them"
        reasons.append(reason(text, ratio, threshold=1.2, decisive=0.9))
    return reasons


def volatility_share(rise: pd.DataFrame) -> float:
    """Which part of the rise of VaR volatility brought, in the median of the symbols whose VaR rose; else nan.

    log(VaR/VaR₀) is the sum of what the position and what volatility brought; where positions shrank it is above 1.
    """
    import numpy as np

    risen = rise[rise["var_x"] > _ROSE]
    return median(np.log(risen["volatility_x"]) / np.log(risen["var_x"]))


def after_model_switch(rise: pd.DataFrame, models: pd.DataFrame) -> list[Reason]:
    """Positions grew after the router gave symbols to a model that claims more than it delivers."""
    switched = models.index[models["since_s"].notna()]
    if len(switched) == 0:
        return [Reason("no switch of a model now in charge lies within the window", -3.0)]
    others = models["gap"].drop(switched)
    claiming = switched[models.loc[switched, "gap"] > _OVERCLAIMS]
    switched = claiming if len(claiming) else switched  # beside them a switch to an honest model is noise
    grown = median(rise["position_x"].reindex(switched))
    usual = float(others.median()) if len(others) else 0.0
    gaps = models.loc[switched, "gap"]
    if gaps.isna().all():
        return [reason("", float("nan"), threshold=0.0, decisive=1.0, missing="what the models claim and deliver")]
    worst = gaps.idxmax()
    gap = float(models.at[worst, "gap"])
    return [
        reason(
            f"{models.at[worst, 'model']} claims {models.at[worst, 'confidence']:.2f} and hits "
            f"{models.at[worst, 'hit_rate']:.2f} (a gap of {gap:+.2f}, the others {usual:+.2f})",
            gap,
            threshold=_OVERCLAIMS,
            decisive=0.2,
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
    """Positions are sized by estimates that no longer follow the market: of all symbols, or of some."""
    stale_after = float(volatility.attrs["stale_after_s"])
    stale = volatility.index[volatility["age_s"] > stale_after]
    all_ = len(stale) in (0, len(volatility))
    concerned = volatility.index if all_ else stale
    age, middle = median(volatility.loc[concerned, "age_s"]), median(rise["volatility_x"].reindex(concerned))
    of = "" if all_ else f" of {', '.join(concerned)}"
    text = f"the estimates{of} are {age:.1f} s old (stale from {stale_after:g} s)"
    told = min(age, 1.375 * stale_after)  # that they are old is no harm as long as the market is as they say
    reasons = [reason(text, told, threshold=stale_after, decisive=1.5 * stale_after, missing=NO_AGE)]
    if len(stale):
        ratio = median(volatility.loc[concerned, "ratio"])
        told_by = f"realised volatility is {ratio:.2f} times them"
        if middle > ratio:  # the prices of a window tell later than VaR does
            ratio, told_by = middle, f"{told_by}, VaR over position {middle:.2f} times what it was"
        reasons.append(reason(told_by, ratio, threshold=1.35, decisive=1.6))
    text = f"volatility{of} is {middle:.2f} times what it was in the median"
    reasons.append(reason(text, middle, threshold=1.2, decisive=1.8, missing=NO_BASELINE))
    if (top := str(rise["var"].idxmax())) not in concerned:
        reasons.append(Reason(f"VaR is highest for {top}, whose estimate is fresh", -3.0))
    return reasons


def _overclaims(model: pd.Series) -> bool:
    return bool(model["gap"] > _OVERCLAIMS and model["since_s"] == model["since_s"])


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
