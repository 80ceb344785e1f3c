"""A11 var-breach, what comes after the reduction: the lasting fix of each cause, with its figures.

The reduction goes alone into its plan: it is what may be approved at once, or in advance. The lasting fix is made once
value at risk is under its level again, by a plan of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.var_breach import outgrown

if TYPE_CHECKING:
    import pandas as pd

GLOBAL_KELLY = 0.15  # held while volatility is high
# What a reader is shown of `growth`, `claims` and `estimates` of `var_breach`: columns and their headings.
RISE = {"var": "VaR [% of NAV]", "position": "position [k USD]", "var_x": "VaR, times before",
        "position_x": "position, times before", "volatility_x": "VaR over position, times before",
        "realised_x": "prices' volatility, times before"}  # fmt: skip
MODELS = {"model": "model in charge", "confidence": "claims", "hit_rate": "hits", "gap": "gap",
          "since_s": "switched [s ago]", "limit_x": "position limit, times the configured"}  # fmt: skip
VOLATILITY = {"estimate": "estimate a day", "realised": "realised a day", "ratio": "realised / estimate",
              "age_s": "age of the estimate [s]"}  # fmt: skip
_SPARE = 0.1  # of the warning level, left free under a new position limit


def lasting(
    causes: Sequence[str],
    rise: pd.DataFrame | None,
    models: pd.DataFrame | None,
    status: Mapping[str, Any],
    warning: float,
) -> list[str]:
    """What is done about each cause once the reduction has worked, in words, with the action that does it.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    rise : DataFrame or None
        As `growth` gives it.
    models : DataFrame or None
        As `claims` gives it.
    status : mapping
        `/api/status`, with `symbols.<symbol>`: the position limit, in force and configured [USD].
    warning : float
        The level of the alert [% of NAV].
    """
    found = []
    for cause in causes:
        if cause == "single-symbol" and rise is not None:
            found += [_limit(rise, status, symbol, warning) for symbol in outgrown(rise)]
        elif cause == "all-symbols":
            found.append(
                f"hold the global Kelly fraction at {GLOBAL_KELLY:g} until volatility falls (crypto.set-kelly)"
            )
        elif cause == "after-model-switch" and models is not None and models["since_s"].notna().any():
            worst = models["gap"].where(models["since_s"].notna()).idxmax()
            model, gap = models.at[worst, "model"], float(models.at[worst, "gap"])
            found.append(f"take {gap:.2f} off the confidence of {model} (crypto.penalise-model)")
        elif cause == "stale-volatility":
            found.append("refresh the volatility estimates (crypto.refresh-volatility)")
    return found


def _limit(rise: pd.DataFrame, status: Mapping[str, Any], top: str, warning: float) -> str:
    """The limit at which a position that outgrew the others keeps under the warning level, at most as configured."""
    facts = status["symbols"][top]
    enough = float(rise.at[top, "position"]) * warning * (1.0 - _SPARE) / float(rise.at[top, "var"])
    limit, now = min(float(facts["position_limit_configured_usd"]), enough), float(facts["position_limit_usd"])
    if limit >= now:
        return (
            f"find what drives the signal of {top}: its position limit of {now:,.0f} USD is no wider than it should be"
        )
    return f"lower the position limit of {top} from {now:,.0f} to {limit:,.0f} USD (crypto.lower-position-limit)"
