"""A20 circuit-breaker: which of its two triggers opened the breaker, and whether that is still there.

The breaker opens when value at risk of a symbol or the median latency of a step passes its limit, and stays open until
it is reset by hand. So the question is asked twice of each trigger: was it over its limit when the breaker opened or
since, and is it now? Only when neither is over now may the breaker be reset.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason

if TYPE_CHECKING:
    import pandas as pd

BEFORE_S = 1.0  # what opened the breaker lies at most so far before it opened
MEDIAN_POINTS = 20  # the breaker judges the median latency of so many steps
WAIT_S = 30.0  # a reset that follows a fix waits so long for the effect of the fix
NOT_MEASURED = "what was measured when it opened"


def since(status: Mapping[str, Any] | None, alert: Mapping[str, Any]) -> dt.datetime | None:
    """When the breaker opened: as the platform states it, else when the alert began."""
    import pandas as pd

    stated = None if status is None else status["circuit_breaker"].get("since")
    told = stated or alert.get("startsAt")
    return pd.to_datetime(told, utc=True).to_pydatetime() if told else None


def triggers(
    var: pd.DataFrame | None,
    latency: pd.DataFrame | None,
    status: Mapping[str, Any] | None,
    opened: dt.datetime | None,
    limits: Mapping[str, float],
) -> pd.DataFrame:
    """Both triggers against their limits, when the breaker opened and now.

    Parameters
    ----------
    var : DataFrame, one column a symbol, or None
        VaR [% of NAV] over time.
    latency : DataFrame, one column, or None
        Latency of a step [ms] over time.
    status : mapping or None
        `/api/status`: what the breaker measured when it opened, and the values of now.
    opened : datetime or None
        When it opened.
    limits : mapping
        `var` [% of NAV] and `latency` [ms].

    Returns
    -------
    DataFrame, rows `var` and `latency`
        `limit`, `at worst` (the highest since it opened; nan where nothing tells it) and `now`.
    """
    import pandas as pd

    breaker: Mapping[str, Any] = {} if status is None else status["circuit_breaker"]
    tripped = breaker.get("tripped_by") or {}
    largest = None if var is None else var.max(axis=1)
    middle = None if latency is None else latency.iloc[:, 0].rolling(MEDIAN_POINTS, min_periods=10).median()
    stated = {"var": None, "latency": breaker.get("latency_ms")}
    if status is not None:
        stated["var"] = max(float(symbol["var_pct"]) for symbol in status["symbols"].values())
    rows = {}
    for name, series, key in (("var", largest, "var_pct"), ("latency", middle, "latency_ms")):
        newest = math.nan if series is None or series.dropna().empty else float(series.dropna().iloc[-1])
        now = newest if stated[name] is None else float(stated[name])  # type: ignore[arg-type]
        worst = _worst(series, opened, tripped.get(key))
        worst = now if now > limits[name] and not worst >= now else worst
        rows[name] = {"limit": limits[name], "at worst": worst, "now": now}
    table = pd.DataFrame.from_dict(rows, orient="index")
    marks = [frame.attrs.get("evidence") for frame in (var, latency) if frame is not None]
    table.attrs["evidence"] = [mark for mark in [*marks, getattr(status, "evidence", None)] if mark]
    return table


def _worst(series: pd.Series | None, opened: dt.datetime | None, tripped: float | None) -> float:
    """The highest value since the breaker opened; where the series does not reach back, what the breaker measured."""
    found = [] if tripped is None else [float(tripped)]
    if series is not None and opened is not None and len(series) and series.index[0] <= opened:
        after = series[series.index >= opened - dt.timedelta(seconds=BEFORE_S)].dropna()
        found += [float(after.max())] if len(after) else []
    return max(found, default=math.nan)


def gone(triggers: pd.DataFrame) -> bool:
    """Whether both triggers are known to be under their limits now."""
    return bool((triggers["now"] <= triggers["limit"]).all())


def stages(status: Mapping[str, Any]) -> pd.DataFrame:
    """Where the time of a step goes: `ms` and `share`, by stage."""
    import pandas as pd

    took = pd.Series(dict(status["latency_by_stage_ms"]), dtype=float).sort_values(ascending=False)
    table = pd.DataFrame({"ms": took, "share": took / max(float(took.sum()), 1e-9)})
    table.attrs["evidence"] = getattr(status, "evidence", None)
    return table


def var(triggers: pd.DataFrame) -> list[Reason]:
    """Value at risk passed the breaker's limit."""
    return _over(triggers, "var", "VaR", "% of NAV")


def latency(triggers: pd.DataFrame) -> list[Reason]:
    """A step takes longer than the breaker allows."""
    return _over(triggers, "latency", "median latency", "ms")


def _over(triggers: pd.DataFrame, row: str, what: str, unit: str) -> list[Reason]:
    limit, worst, now = (float(triggers.at[row, name]) for name in ("limit", "at worst", "now"))
    then = math.nan if math.isnan(worst) else float(worst > limit)
    reasons = [
        reason(
            f"{what} was up to {worst:.3g} {unit} since it opened (limit {limit:g})",
            then,
            threshold=0.5,
            decisive=0.85,
            missing=NOT_MEASURED,
        )
    ]
    if not math.isnan(now):
        over = now > limit
        reasons.append(Reason(f"it is {now:.3g} {unit} now", 2.5 if over else -0.3))
    return reasons


def remedy(
    causes: list[str],
    triggers: pd.DataFrame | None,
    status: Mapping[str, Any] | None,
    kelly: float,
    wanted_scenarios: int,
) -> list[tuple[str, dict[str, Any]]]:
    """What the playbook proposes: the fix of each trigger that is over its limit, then the reset, which waits for that.

    Parameters
    ----------
    causes : list of str
        Those that hold.
    triggers : DataFrame or None
    status : mapping or None
    kelly : float
        The Kelly fraction that brings VaR under its warning level.
    wanted_scenarios : int
        Scenarios that a step should simulate.

    Returns
    -------
    list of (str, dict)
        Actions with their arguments; empty where a person has to find out first.
    """
    known = [cause for cause in causes if triggers is not None and cause in triggers.index]
    if not known or triggers is None or status is None:
        return []
    if gone(triggers):
        return [("crypto.reset-breaker", {"reason": f"{' and '.join(known)} back under the limit"})]
    actions: list[tuple[str, dict[str, Any]]] = []
    mended = set()
    over = triggers["now"] > triggers["limit"]
    if over["var"] and kelly < status["kelly_fraction"]:
        actions.append(("crypto.emergency-reduce", {"kelly_fraction": kelly, "reason": "circuit breaker open"}))
        mended.add("var")
    busiest = stages(status).index[0] if status.get("latency_by_stage_ms") else ""
    if over["latency"] and busiest == "scenarios" and status["stress"]["scenarios"] > wanted_scenarios:
        facts = {"scenarios": wanted_scenarios, "reason": "circuit breaker open"}
        actions.append(("crypto.set-scenarios", facts))
        mended.add("latency")
    if mended == set(over.index[over]):
        actions.append(("crypto.reset-breaker", {"wait_s": WAIT_S, "reason": "the cause is mended"}))
    return actions


CAUSES = (
    Cause(
        "var",
        "Did value at risk open it?",
        var,
        "reduce the book, then reset the breaker to HALF_OPEN",
    ),
    Cause(
        "latency",
        "Did latency open it?",
        latency,
        "make the slow stage quick again, then reset the breaker to HALF_OPEN",
    ),
)
