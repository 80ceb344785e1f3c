"""A10 model-switching: what each cause leaves behind in the log of switches, and how it is told from the others.

A bad threshold between two models sends symbols back to the model before, again and again. In a market that all but
stands still, confidences are noise, and the next model is any of them. An overloaded model server answers late, so
that its switches are slow. Too low a least confidence lets one symbol wander among models that are not sure of it.
Slow switches are set apart first: what remains shows the pattern of the other three.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

FEW = 2  # switches of a symbol from which its pattern can be told
UNSURE = 0.74  # a share that speaks neither for flips nor against them
ONE_OF_MANY = 0.6  # the share of one symbol that speaks neither for it alone nor for all
PRIOR_SWITCHES = 5.0  # their weight: a share of a few switches is drawn towards them
TOO_FEW = "enough switches of one symbol to see a pattern"
ENOUGH_PER_MINUTE = 10.0  # prompt switches below this rate explain no alert
# The columns of the tables, and their headings.
PATTERN = {
    "switches": "",
    "slow": "",
    "per_minute": "prompt ones [1/min]",
    "models": "",
    "returns": "share that returns",
    "pair": "commonest pair",
    "same_pair": "share of that pair",
    "confidence": "",
    "took_ms": "",
}
LIQUIDITY = {"now": "now [USD]", "usual": "usual [USD]", "share": ""}
SERVING = {"latency_p95_ms": "95 % of the answers within [ms]", "answer_within_ms": "needed within [ms]"}
QUIET = 0.8  # without a stated usual volume, it is this quantile of what the window shows


def rate(
    switches: pd.DataFrame | None, status: Mapping[str, Any] | None, now: dt.datetime, window_s: float
) -> float | None:
    """Switches of all symbols [1/min]: counted in the log over the window, else as the platform states it."""
    if switches is not None:
        return float(len(_within(switches, now, window_s)) * 60.0 / window_s)
    return None if status is None else float(status["router"]["switches_per_minute"])


def symptom(rate: float | None, level: float, usual: float, *, alerted: bool) -> tuple[bool | None, str]:
    """Whether symbols switch too often, and the sentence that says so.

    An alert that has come is over when the rate is usual again: Prometheus extrapolates a rate over its window, so that
    one switch less in the log than the level asks for is enough for it.

    Parameters
    ----------
    rate : float or None
        Switches of all symbols [1/min]; None where they could not be seen.
    level, usual : float
        The alert's level, and what is usual [1/min].
    alerted : bool
        Whether an alert has come; where it has not, the level counts.
    """
    if rate is None:
        return None, "the switches of the router could not be seen"
    told = f"{rate:.0f} model switches a minute against an alert level of {level:g}"
    near = alerted and usual < rate <= level
    return rate > (usual if alerted else level), f"{told}; under {usual:g} is normal" if near else told


def pattern(switches: pd.DataFrame, now: dt.datetime, window_s: float, slow_ms: float) -> pd.DataFrame:
    """How each symbol switched within the window.

    Parameters
    ----------
    switches : DataFrame
        The stream `model.switch.log`: `time`, `symbol`, `from`, `to`, `confidence`, `took_ms`.
    now : datetime
    window_s : float
        How far back to look [s].
    slow_ms : float
        A switch that took longer is slow [ms].

    Returns
    -------
    DataFrame, one row a symbol
        `switches`, `slow`: counts; of those that were not slow: `per_minute`, `models` (different ones), `returns`
        (share that go back to the model before), `pair` (its commonest models), `same_pair` (share between them),
        `confidence` (median of the model switched to); `took_ms` (median of all). The pattern is nan for too few.
    """
    import pandas as pd

    recent = _within(switches, now, window_s)
    rows = {}
    for symbol, mine in recent.groupby("symbol", sort=True):
        took = mine["took_ms"].astype(float) if "took_ms" in mine else pd.Series(math.nan, index=mine.index)
        prompt = mine[~(took > slow_ms)]
        pairs = [" and ".join(sorted(pair)) for pair in zip(prompt["from"], prompt["to"], strict=True)]
        before = list(prompt["from"])
        back = [went == came for went, came in zip(list(prompt["to"])[1:], before, strict=False)]
        counts = pd.Series(pairs, dtype=object).value_counts()
        told = len(prompt) >= FEW
        rows[symbol] = {
            "switches": len(mine),
            "slow": int((took > slow_ms).sum()),
            "per_minute": len(prompt) * 60.0 / window_s,
            "models": len(set(before) | set(prompt["to"])),
            "returns": sum(back) / len(back) if told else math.nan,
            "pair": counts.index[0] if told else "",
            "same_pair": (int(counts.iloc[0]) - 1) / (len(prompt) - 1) if told else math.nan,
            "confidence": float(prompt["confidence"].astype(float).median()) if told else math.nan,
            "took_ms": float(took.median()),
        }
    columns = ["switches", "slow", "per_minute", "models", "returns", "pair", "same_pair", "confidence", "took_ms"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.attrs["window_s"] = window_s
    table.attrs["evidence"] = switches.attrs.get("evidence")
    return table


def liquidity(volume: pd.DataFrame, status: Mapping[str, Any] | None) -> pd.DataFrame:
    """Traded volume of each symbol now beside the usual: as the platform states it, else as the window shows it.

    Parameters
    ----------
    volume : DataFrame, one column a symbol
        Volume [USD], a row an observation.
    status : mapping or None
        `/api/status`, with `symbols.<symbol>.volume_usual_usd`.

    Returns
    -------
    DataFrame, one row a symbol
        `now`, `usual` [USD] and `share`.
    """
    import pandas as pd

    usual = volume.quantile(QUIET).astype(float)
    if status is not None:
        stated = {symbol: facts.get("volume_usual_usd") for symbol, facts in status["symbols"].items()}
        usual = pd.Series({symbol: float(stated.get(symbol) or usual[symbol]) for symbol in volume.columns})
    now = volume.tail(8).median()
    table = pd.DataFrame({"now": now, "usual": usual, "share": now / usual})
    marks = (volume.attrs.get("evidence"), getattr(status, "evidence", None))
    table.attrs["evidence"] = [mark for mark in marks if mark]
    return table


def routing(status: Mapping[str, Any], wanted: Mapping[str, float]) -> pd.DataFrame:
    """The router's rules in force beside what they should be.

    Parameters
    ----------
    status : mapping
        `/api/status`, with `router`.
    wanted : mapping
        `min_confidence`, `switch_hysteresis`, `threshold`, `band` of the platform's parameters.

    Returns
    -------
    DataFrame, one row a rule
        `in force`, `wanted` and `ratio`; rows `min_confidence`, `switch_hysteresis`, and `threshold` and `band` of the
        pair rule with the narrowest band, whose name is in `attrs["rule"]`.
    """
    import pandas as pd

    router = status["router"]
    force = {name: float(router[name]) for name in ("min_confidence", "switch_hysteresis")}
    narrowest = min(router.get("pair_rules", []), key=lambda rule: float(rule["band"]), default=None)
    if narrowest is not None:
        force |= {name: float(narrowest[name]) for name in ("threshold", "band")}
    table = pd.DataFrame({"in force": pd.Series(force), "wanted": pd.Series(dict(wanted)).reindex(list(force))})
    table["ratio"] = table["in force"] / table["wanted"]
    table.attrs["rule"] = None if narrowest is None else narrowest["name"]
    table.attrs["evidence"] = getattr(status, "evidence", None)
    return table


def serving(status: Mapping[str, Any]) -> pd.Series:
    """The model server: `instances`, `holds` and `in use` (models), `latency_p95_ms`, `answer_within_ms`."""
    import pandas as pd

    server = status["model_server"]
    facts = {
        "instances": server["instances"],
        "models per instance": server["models_per_instance"],
        "holds": server["instances"] * server["models_per_instance"],
        "in use": server["models_in_use"],
        "latency_p95_ms": server["latency_p95_ms"],
        "answer_within_ms": status["router"]["answer_within_ms"],
    }
    series = pd.Series(facts, name="model server", dtype=float)
    series.attrs["evidence"] = getattr(status, "evidence", None)
    return series


def two_model_flip(pattern: pd.DataFrame, routing: pd.DataFrame) -> list[Reason]:
    """Symbols go back and forth between two models."""
    returns, pairs = _share(pattern, "returns"), _share(pattern, "same_pair")
    busy = int((pattern["switches"] - pattern["slow"] >= 2).sum())
    margins = routing["ratio"].reindex(["switch_hysteresis", "band"]).dropna()
    narrow = margins.idxmin() if len(margins) else "band"
    margin = float(margins.min()) if len(margins) else math.nan
    force, wanted = routing.loc[narrow, ["in force", "wanted"]] if len(margins) else (math.nan, math.nan)
    told = f"{narrow.replace('_', ' ')} is {force:g} and should be {wanted:g}"
    return [
        *_enough(pattern),
        reason(
            f"{percent(returns)} of the switches go back to the model before", returns, threshold=UNSURE, decisive=0.9
        ),
        reason(
            f"{percent(pairs)} of a symbol's switches are between the same two models",
            pairs,
            threshold=UNSURE,
            decisive=0.9,
        ),
        Reason(f"{busy} symbol{'s' if busy != 1 else ''} switched more than once", 0.5 if busy > 1 else -2.5),
        reason(told, margin, threshold=0.5, decisive=0.2),
    ]


def random_across_all(pattern: pd.DataFrame, liquidity: pd.DataFrame) -> list[Reason]:
    """Every symbol goes to any model, while hardly anything trades."""
    counts = pattern["per_minute"]
    breadth = _effective(counts) / max(len(liquidity), 1)
    returns = _share(pattern, "returns")
    moving = counts.index[counts > 0].intersection(liquidity.index)
    shares = liquidity["share"] if moving.empty else liquidity.loc[moving, "share"]
    share = float(shares.median())
    return [
        *_enough(pattern),
        reason(f"the switches spread over {percent(breadth)} of the symbols", breadth, threshold=0.5, decisive=1.0),
        reason(f"{percent(returns)} of them go back to the model before", returns, threshold=UNSURE, decisive=0.58),
        reason(
            f"volume is {percent(share, 1)} of the usual",
            math.log10(max(share, 1e-6)),
            threshold=math.log10(0.4),
            decisive=math.log10(0.2),
        ),
    ]


def server_overload(pattern: pd.DataFrame, serving: pd.Series) -> list[Reason]:
    """Switches are slow, because the model server answers late."""
    slow = float(pattern["slow"].sum()) * 60.0 / pattern.attrs["window_s"]
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
    counts = pattern["per_minute"]
    top = counts.idxmax() if len(counts) and counts.max() > 0 else ""
    number, most = (float(n) * pattern.attrs["window_s"] / 60.0 for n in (counts.sum(), counts.max() if top else 0.0))
    share = (most + ONE_OF_MANY * PRIOR_SWITCHES) / (number + PRIOR_SWITCHES) if top else math.nan
    sure = float(pattern.at[top, "confidence"]) if top else math.nan
    force, wanted = (float(routing.at["min_confidence", name]) for name in ("in force", "wanted"))
    return [
        *_enough(pattern),
        reason(
            f"{percent(share)} of the switches are those of {top}",
            share,
            threshold=ONE_OF_MANY,
            decisive=0.85,
            missing=TOO_FEW,
        ),
        reason(
            f"it is given to models with a confidence of {sure:.2f}",
            sure,
            threshold=wanted,
            decisive=wanted - 0.1,
        ),
        reason(
            f"the least confidence is {force:g} and should be {wanted:g}",
            force,
            threshold=wanted - 0.04,
            decisive=wanted - 0.12,
        ),
    ]


def remedy(
    causes: list[str], routing: pd.DataFrame | None, serving: pd.Series | None
) -> list[tuple[str, dict[str, Any]]]:
    """What the playbook proposes for causes that hold: the fix of each, no wider than needed; else a pause.

    Returns
    -------
    list of (str, dict)
        Actions with their arguments.
    """
    actions: list[tuple[str, dict[str, Any]]] = []
    rules: dict[str, Any] = {}
    if routing is not None and "two-model-flip" in causes:
        narrow = routing["ratio"] < 0.5
        if narrow.get("band", False):
            values = {name: float(routing.at[name, "wanted"]) for name in ("threshold", "band")}
            rules |= {"rule": routing.attrs["rule"], **values}
        if narrow.get("switch_hysteresis", False):
            rules["switch_hysteresis"] = float(routing.at["switch_hysteresis", "wanted"])
    if routing is not None and "same-symbol-oscillation" in causes:
        wanted = float(routing.at["min_confidence", "wanted"])
        if routing.at["min_confidence", "in force"] < wanted:
            rules["min_confidence"] = wanted
    if rules:
        actions.append(("crypto.set-router-rules", {**rules, "reason": "model switching"}))
    if "random-across-all" in causes:
        actions.append(("crypto.market-hours", {"on": True, "reason": "market all but still"}))
    if serving is not None and "server-overload" in causes:
        needed = math.ceil(serving["in use"] / serving["models per instance"])
        instances = int(max(needed, serving["instances"] + 1))
        actions.append(("crypto.scale-models", {"instances": instances, "reason": "model server overloaded"}))
    return actions or [("crypto.pause-router", {"reason": "model switching, cause not known"})]


def _within(switches: pd.DataFrame, now: dt.datetime, window_s: float) -> pd.DataFrame:
    """The switches of the window; an empty log has no columns."""
    import pandas as pd

    if switches.empty:
        return pd.DataFrame(columns=["time", "symbol", "from", "to", "confidence", "took_ms"])
    return switches[switches["time"] > now - dt.timedelta(seconds=window_s)]


def _enough(pattern: pd.DataFrame) -> list[Reason]:
    """Speaks against a pattern where there are few prompt switches to make one."""
    prompt = float(pattern["per_minute"].sum())
    if prompt >= ENOUGH_PER_MINUTE:
        return []
    return [Reason(f"only {prompt:.0f} switches a minute are prompt ones", -2.5)]


def _share(pattern: pd.DataFrame, column: str) -> float:
    """A share over the switches of all symbols, drawn towards `UNSURE` as far as they are few."""
    told = pattern[pattern[column].notna()]
    weights = told["switches"] - told["slow"] - 1
    drawn = (told[column] * weights).sum() + UNSURE * PRIOR_SWITCHES
    return float(drawn / (weights.sum() + PRIOR_SWITCHES))


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
