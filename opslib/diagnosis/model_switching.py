"""A10 model-switching: what each cause leaves behind in the log of switches, and how it is told from the others.

A bad threshold between two models sends symbols back to the model before, again and again. In a market that all but
stands still, confidences are noise, and the next model is any of them. An overloaded model server answers late, so
that its switches are slow. Too low a least confidence lets one symbol wander among models that are not sure of it.
Slow switches are set apart first: what remains shows the pattern of the other three.

Where hardly anything remains, since the slow ones leave no symbol with a model for long enough, the other three are
told by what a late answer does not change: how far the confidences scatter that symbols are given to models with, what
is traded, and the rules in force.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

UNSURE = 0.74  # a share that speaks neither for flips nor against them
ONE_OF_MANY = 0.6  # the share of one symbol that speaks neither for it alone nor for all
PRIOR_SWITCHES = 5.0  # their weight: a share of a few switches is drawn towards them
TOO_FEW = "enough switches of one symbol to see a pattern"
ENOUGH_PER_MINUTE = 10.0  # prompt switches below this rate explain no alert
NOISE, PURE_NOISE = 0.018, 0.028  # confidences of one model in one symbol that deviate further follow nothing
NO_SCATTER = "enough switches of a symbol to see how far its confidences scatter"
MOST_INSTANCES = 16  # that the model server may be scaled to
STILL = 0.4  # of its usual volume, below which a market all but stands still
NO_VOLUME = "the traded volume of now"
NO_CONFIDENCE = "how sure the models are of it"
NO_MARGIN = "a margin in the rules"
BELOW = 0.99  # of what a rule should be: under it, it is not as it should be


def two_model_flip(pattern: pd.DataFrame, routing: pd.DataFrame) -> list[Reason]:
    """Symbols go back and forth between two models."""
    if hidden(pattern):
        return _rule_to_flip(pattern, routing)
    (returns, back), (pairs, same) = _share(pattern, "returns"), _share(pattern, "same_pair")
    busy = int((pattern["switches"] - pattern["slow"] >= 2).sum())
    margins = routing["ratio"].reindex(["switch_hysteresis", "band"]).dropna()
    narrow = margins.idxmin() if len(margins) else "band"
    margin = float(margins.min()) if len(margins) else math.nan
    force, wanted = routing.loc[narrow, ["in force", "wanted"]] if len(margins) else (math.nan, math.nan)
    told = f"{narrow.replace('_', ' ')} is {force:g} and should be {wanted:g}"
    rules = routing["ratio"].reindex(["switch_hysteresis", "threshold", "band"]).dropna()
    right = len(rules) > 0 and bool(((rules - 1.0).abs() < 1.0 - BELOW).all())
    return [
        *_enough(pattern),
        reason(_part(back, "switches go back to the model before"), returns, threshold=UNSURE, decisive=0.9),
        reason(_part(same, "switches are between the same two models"), pairs, threshold=UNSURE, decisive=1.0),
        Reason(f"{busy} symbol{'s' if busy != 1 else ''} switched more than once", 0.5 if busy > 1 else -2.5),
        reason(told, margin, threshold=0.5, decisive=0.2, missing=NO_MARGIN),
        *([Reason("threshold, band and hysteresis are as they should be", -2.5)] if right else []),
    ]


def random_across_all(pattern: pd.DataFrame, liquidity: pd.DataFrame) -> list[Reason]:
    """Every symbol goes to any model, while hardly anything trades."""
    counts = pattern["switches"].astype(float) if hidden(pattern) else pattern["per_minute"]
    moving = counts.index[counts > 0].intersection(liquidity.index)
    shares = (liquidity["share"] if moving.empty else liquidity.loc[moving, "share"]).dropna()
    share, still = float(shares.median()) if len(shares) else math.nan, int((shares < STILL).sum())
    often = float(counts.reindex(shares.index).sum()) if len(shares) else math.nan
    calm = float(counts.reindex(shares.index[shares < STILL]).sum()) / often if often else math.nan
    told = f"{still} of the {len(shares)} symbols that switch trade less than {percent(STILL)} of their usual volume"
    return [
        *(_noise_of_all(pattern) if hidden(pattern) else _any_model(pattern, len(liquidity))),
        reason(
            f"volume is {percent(share, 1)} of the usual",
            math.log10(max(share, 1e-6)) if share == share else math.nan,
            threshold=math.log10(STILL),
            decisive=math.log10(0.2),
            missing=NO_VOLUME,
        ),
        *([] if math.isnan(calm) else [Reason(told, 0.3 if calm > 0.5 else -2.5)]),
    ]


def _any_model(pattern: pd.DataFrame, symbols: int) -> list[Reason]:
    """Switches of every symbol, which go to any model."""
    breadth = _effective(pattern["per_minute"]) / max(symbols, 1)
    returns, back = _share(pattern, "returns")
    return [
        *_enough(pattern),
        reason(
            f"the switches spread over {percent(min(breadth, 1.0))} of the symbols",
            breadth,
            threshold=0.5,
            decisive=1.0,
        ),
        reason(_part(back, "switches go back to the model before"), returns, threshold=UNSURE, decisive=0.58),
    ]


def server_overload(pattern: pd.DataFrame, serving: pd.Series) -> list[Reason]:
    """Switches are slow, because the model server answers late."""
    _, slow = _rates(pattern)
    late = float(serving["latency_p95_ms"] / serving["answer_within_ms"])
    crowd = float(serving["in use"] / serving["holds"])
    return [
        reason(f"{slow:.0f} slow switches a minute", slow, threshold=5.0, decisive=20.0),
        reason(
            f"95 % of the answers come within {serving['latency_p95_ms']:.0f} ms "
            f"(needed within {serving['answer_within_ms']:.0f} ms)",
            late,
            threshold=0.7,
            decisive=1.5,
        ),
        reason(
            f"{serving['in use']:.0f} models are in use, {serving['holds']:.0f} are held in memory by "
            f"{serving['instances']:.0f} instances",
            crowd,
            threshold=1.1,
            decisive=1.5,
        ),
    ]


def same_symbol_oscillation(pattern: pd.DataFrame, routing: pd.DataFrame) -> list[Reason]:
    """One symbol wanders among models that are not sure of it."""
    if hidden(pattern):
        return [*_noise_of_one(pattern), _least_confidence(routing)]
    counts = pattern["per_minute"]
    top = counts.idxmax() if len(counts) and counts.max() > 0 else ""
    number, most = (float(n) * pattern.attrs["window_s"] / 60.0 for n in (counts.sum(), counts.max() if top else 0.0))
    share = (most + ONE_OF_MANY * PRIOR_SWITCHES) / (number + PRIOR_SWITCHES) if top else math.nan
    sure = float(pattern.at[top, "confidence"]) if top else math.nan
    wanted = float(routing.at["min_confidence", "wanted"])
    return [
        *_enough(pattern),
        reason(
            f"{percent(most / number) if top else 'no share'} of the switches are those of {top or 'one symbol'}",
            share,
            threshold=ONE_OF_MANY,
            decisive=0.85,
            missing=TOO_FEW,
        ),
        reason(
            f"{top} is given to models with a confidence of {sure:.2f}",
            sure,
            threshold=wanted,
            decisive=wanted - 0.1,
            missing=NO_CONFIDENCE,
        ),
        _least_confidence(routing),
    ]


def _least_confidence(routing: pd.DataFrame) -> Reason:
    """The least confidence in force against what it should be."""
    force, wanted = (float(routing.at["min_confidence", name]) for name in ("in force", "wanted"))
    told = f"the least confidence is {force:g} and should be {wanted:g}"
    return reason(told, force, threshold=wanted - 0.02, decisive=wanted - 0.035)


def hidden(pattern: pd.DataFrame) -> bool:
    """Whether slow switches hide what else would make symbols switch: they are many, and prompt ones few."""
    prompt, slow = _rates(pattern)
    return prompt < ENOUGH_PER_MINUTE <= slow


def _rule_to_flip(pattern: pd.DataFrame, routing: pd.DataFrame) -> list[Reason]:
    """The pair rule alone, where no switch shows what it does: a threshold that was moved, and hardly a band."""
    band, moved = math.nan, math.nan
    told = "no rule between two models"
    if "band" in routing.index:
        band, moved = float(routing.at["band", "ratio"]), abs(1.0 - float(routing.at["threshold", "ratio"]))
        told = " and ".join(
            f"{name} is {routing.at[name, 'in force']:g} and should be {routing.at[name, 'wanted']:g}"
            for name in ("threshold", "band")
        )
    return [
        Reason("no switch shows what the rule does", -2.0),
        _unseen(pattern),
        reason(f"of the rule {routing.attrs.get('rule')} {told}", band, threshold=0.5, decisive=0.2, missing=NO_MARGIN),
        reason(
            f"its threshold is {percent(moved) if moved == moved else 'not'} away from what it should be",
            moved,
            threshold=0.3,
            decisive=0.5,
            missing=NO_MARGIN,
        ),
    ]


def _noise_of_all(pattern: pd.DataFrame) -> list[Reason]:
    """Confidences are noise in most symbols."""
    known = pattern["scatter"].dropna()
    middle = float(known.median()) if len(known) else math.nan
    told = f"confidences of a model in a symbol deviate by {middle:.3f} (noise from {NOISE:g})"
    return [_unseen(pattern), reason(told, middle, threshold=NOISE, decisive=PURE_NOISE, missing=NO_SCATTER)]


def _noise_of_one(pattern: pd.DataFrame) -> list[Reason]:
    """Confidences are noise in one symbol, and in hardly any other."""
    known = pattern["scatter"].dropna().sort_values()
    most, rest = (float(known.iloc[-1]), float(known.iloc[:-1].median())) if len(known) > 1 else (math.nan, math.nan)
    top = known.index[-1] if len(known) else "one symbol"
    return [
        _unseen(pattern),
        reason(
            f"confidences of a model in {top} deviate by {most:.3f} (noise from {NOISE:g})",
            most,
            threshold=NOISE,
            decisive=PURE_NOISE,
            missing=NO_SCATTER,
        ),
        reason(
            f"those in the other symbols by {rest:.3f}",
            most / max(rest, 1e-4),
            threshold=2.0,
            decisive=3.5,
            missing=NO_SCATTER,
        ),
    ]


def _unseen(pattern: pd.DataFrame) -> Reason:
    """Says that slow switches hide the pattern; speaks neither way."""
    prompt, slow = _rates(pattern)
    return Reason(f"{slow:.0f} slow switches a minute hide the pattern of {prompt:.0f} prompt ones", 0.0)


def _rates(pattern: pd.DataFrame) -> tuple[float, float]:
    """Switches that were prompt, and slow ones [1/min]."""
    return float(pattern["per_minute"].sum()), float(pattern["slow"].sum()) * 60.0 / pattern.attrs["window_s"]


def remedy(
    causes: list[str], routing: pd.DataFrame | None, serving: pd.Series | None
) -> list[tuple[str, dict[str, Any]]]:
    """What the playbook proposes for causes that hold: the fix of each, no wider than needed; else a pause.

    Nothing is proposed that is so already: where market-hours mode is all that would mend it and is on, nothing at all.

    Returns
    -------
    list of (str, dict)
        Actions with their arguments.
    """
    actions: list[tuple[str, dict[str, Any]]] = []
    rules: dict[str, Any] = {}
    if routing is not None and "two-model-flip" in causes:
        margins = routing["ratio"].reindex(["switch_hysteresis", "band"]).dropna()
        narrow = margins[(margins < 0.5) | ((margins == margins.min()) & (margins < BELOW))]
        if "band" in narrow:
            values = {name: float(routing.at[name, "wanted"]) for name in ("threshold", "band")}
            rules |= {"rule": routing.attrs["rule"], **values}
        if "switch_hysteresis" in narrow:
            rules["switch_hysteresis"] = float(routing.at["switch_hysteresis", "wanted"])
    if routing is not None and "same-symbol-oscillation" in causes:
        wanted = float(routing.at["min_confidence", "wanted"])
        if routing.at["min_confidence", "in force"] < wanted:
            rules["min_confidence"] = wanted
    if rules:
        actions.append(("crypto.set-router-rules", {**rules, "reason": "model switching"}))
    if "random-across-all" in causes and routing is not None and routing.attrs["market_hours_only"]:
        if causes == ["random-across-all"]:
            return []
    elif "random-across-all" in causes:
        actions.append(("crypto.market-hours", {"on": True, "reason": "market all but still"}))
    if serving is not None and "server-overload" in causes and serving["instances"] < MOST_INSTANCES:
        needed = math.ceil(serving["in use"] / serving["models per instance"])
        instances = int(min(max(needed, serving["instances"] + 1), MOST_INSTANCES))
        actions.append(("crypto.scale-models", {"instances": instances, "reason": "model server overloaded"}))
    why = "cause known, no fix of its own" if any(cause in KEYS for cause in causes) else "cause not known"
    return actions or [("crypto.pause-router", {"reason": f"model switching, {why}"})]


def besides(routing: pd.DataFrame | None, causes: list[str]) -> str:
    """Which rules are not as they should be, though no cause that holds comes of them; empty where there are none.

    A cause that outweighs it may hide what such a rule does, so that it shows only once the other is mended.
    """
    if routing is None or not causes:
        return ""
    of = {"min_confidence": "same-symbol-oscillation"}
    less = routing[routing["ratio"] < BELOW].drop("threshold", errors="ignore")
    found = [name for name in less.index if of.get(name, "two-model-flip") not in causes]
    told = [
        f"{name.replace('_', ' ')} is {less.at[name, 'in force']:g} and should be {less.at[name, 'wanted']:g}"
        for name in found
    ]
    return f"Beside that, rules of the router are not as they should be: {', '.join(told)}" if told else ""


def _enough(pattern: pd.DataFrame) -> list[Reason]:
    """Speaks against a pattern where there are few prompt switches to make one."""
    prompt = float(pattern["per_minute"].sum())
    if prompt >= ENOUGH_PER_MINUTE:
        return []
    return [Reason(f"only {prompt:.0f} switches a minute are prompt ones", -2.5)]


def _share(pattern: pd.DataFrame, column: str) -> tuple[float, float]:
    """A share over the switches of all symbols: drawn towards `UNSURE` as far as they are few, and as it is."""
    told = pattern[pattern[column].notna()]
    weights = told["switches"] - told["slow"] - 1
    part, whole = float((told[column] * weights).sum()), float(weights.sum())
    return (part + UNSURE * PRIOR_SWITCHES) / (whole + PRIOR_SWITCHES), part / whole if whole else math.nan


def _part(share: float, words: str) -> str:
    return f"too few to tell how many {words}" if math.isnan(share) else f"{percent(share)} of the {words}"


def _effective(counts: pd.Series) -> float:
    """How many symbols share the switches: the exponential of the entropy of their shares."""
    import numpy as np

    shares = (counts / counts.sum()).to_numpy(dtype=float) if counts.sum() else np.empty(0)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


CAUSES = (
    Cause(
        "two-model-flip",
        "Do symbols flip between two models?",
        two_model_flip,
        "put the threshold of the routing rule back",
    ),
    Cause(
        "random-across-all",
        "Do all symbols switch at random, in a market that stands still?",
        random_across_all,
        "switch models in market hours only",
    ),
    Cause(
        "server-overload",
        "Are switches slow, because the model server is overloaded?",
        server_overload,
        "scale the model instances",
    ),
    Cause(
        "same-symbol-oscillation",
        "Does one symbol oscillate among models that are not sure of it?",
        same_symbol_oscillation,
        "raise the least confidence",
    ),
)
KEYS = frozenset(cause.key for cause in CAUSES)
