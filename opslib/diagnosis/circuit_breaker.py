"""A20 circuit-breaker: which of its two triggers opened the breaker, and whether that is still there.

The breaker opens when value at risk of a symbol or the median latency of a step passes its limit, and stays open until
it is reset by hand. So the question is asked twice of each trigger: was it over its limit when the breaker opened or
since, and is it now? Only when neither is over now may the breaker be reset; and as long as the one that opened it is
near its limit its fix comes first, or the breaker would open again at once.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.diagnosis.circuit_breaker_seen import FRESH_S, Watched
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

BEFORE_S = 1.0  # what opened the breaker lies at most so far before it opened
LONG_BEFORE_S = 60.0  # ... and so far before it was first seen open, where it does not state when it opened
MEDIAN_POINTS = 20  # the breaker judges the median latency of so many steps
CLEARLY = 0.9  # of the limit: what is below it is not over the limit by another way of measuring
AHEAD_S = 2.0  # a point that lies further ahead of the platform's clock is none of its own
WAIT_S = 30.0  # a reset that follows a fix waits so long for the effect of the fix
LONGEST = 200  # characters of a stated reason
_STATED = {"var": ("var_breaker_pct", "VaR"), "latency": ("latency_ms", "latency")}  # of `limits` in `/api/status`
NOT_MEASURED = "what was measured when it opened"


def since(
    status: Mapping[str, Any] | None, began: dt.datetime | None, watched: Watched | None = None
) -> dt.datetime | None:
    """When the breaker opened: as the platform states it, else as Prometheus saw it, else when the alert began."""
    stated = None if status is None else _time(status["circuit_breaker"].get("since"))
    return stated or (None if watched is None else watched.opened) or began


def symptom(status: Mapping[str, Any] | None, opened: dt.datetime | None) -> tuple[bool | None, str]:
    """Whether the breaker is open, and the sentence that says so; the day is told where it is not that of now."""
    if status is None:
        return None, "the state of the circuit breaker could not be seen"
    breaker = status["circuit_breaker"]
    state, why = str(breaker["state"]), " ".join(str(breaker.get("reason") or "").split())
    told = f"the circuit breaker is {state}"
    if opened is not None:
        now = _time(status.get("time"))
        form = "%H:%M:%S" if now is None or now.date() == opened.date() else "%Y-%m-%d %H:%M:%S"
        told = f"the circuit breaker has been {state} since {opened:{form}} UTC"
    why = why or ("no reason is stated" if state == "OPEN" else "")
    return state == "OPEN", f"{told} ({why[:LONGEST]})" if why else told


def trial(status: Mapping[str, Any] | None) -> str:
    """What a half-open breaker lets through; empty where it is not half open."""
    breaker: Mapping[str, Any] = {} if status is None else status["circuit_breaker"]
    if breaker.get("state") != "HALF_OPEN":
        return ""
    share, made, most = (breaker.get(name) for name in ("half_open_share", "clean_trades", "clean_trades_to_close"))
    told = "Trading is on trial" if share is None else f"Trading goes on with {percent(float(share))} of the usual size"
    return told if made is None or most is None else f"{told}, {made} of {most} clean trades are made"


def in_force(status: Mapping[str, Any] | None, limits: Mapping[str, float]) -> tuple[dict[str, float], str]:
    """The limits that the breaker judges by, and what is said of one that is lower than it should be; else empty.

    Parameters
    ----------
    status : mapping or None
        `/api/status`, with `limits`: `var_breaker_pct` and `latency_ms`.
    limits : mapping
        What they should be: `var` [% of NAV] and `latency` [ms].
    """
    stated = (status or {}).get("limits")
    stated = stated if isinstance(stated, Mapping) else {}
    found, lower = dict(limits), []
    for name, (key, what) in _STATED.items():
        value = stated.get(key)
        if isinstance(value, int | float) and 0.0 < value < math.inf:
            found[name] = float(value)
            if value < limits[name]:
                lower.append(f"the limit of {what} in force is {value:g}, and should be {limits[name]:g}")
    told = "; ".join(lower)
    return found, f"{told[:1].upper()}{told[1:]}: put it back before the breaker is reset" if told else ""


def triggers(
    var: pd.DataFrame | None,
    latency: pd.DataFrame | None,
    status: Mapping[str, Any] | None,
    opened: dt.datetime | None,
    limits: Mapping[str, float],
    *,
    watched: Watched | None = None,
    now: dt.datetime | None = None,
    judged: bool = False,
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
    watched : Watched, optional
        What Prometheus sees of now, for what neither the platform nor a series tells.
    now : datetime, optional
        Our time, where the platform does not state its own: a series that ends a minute before it tells nothing of now.
    judged : bool
        Whether `latency` is the median that the breaker judges, not that of each step.

    Returns
    -------
    DataFrame, rows `var` and `latency`
        `limit`, `at worst` (the highest since it opened; nan where nothing tells it) and `now`.
    """
    import pandas as pd

    breaker: Mapping[str, Any] = {} if status is None else status["circuit_breaker"]
    tripped = breaker.get("tripped_by") or {}
    clock = None if status is None else _time(status.get("time"))
    whole = None if var is None else _until(var, clock)
    middle = None
    if latency is not None and len(latency.columns):
        until = _until(latency, clock)
        middle = until.iloc[:, 0] if judged else steps(until).iloc[:, 1]
    before_s = BEFORE_S if breaker.get("since") else LONG_BEFORE_S
    stated = {"var": None, "latency": breaker.get("latency_ms")}
    if status is not None:
        stated["var"] = max(float(symbol["var_pct"]) for symbol in status["symbols"].values())
    # What some symbol lacks is enough to be over the limit, but not to be under it.
    series = {
        "var": (None, None) if whole is None else (whole.max(axis=1), whole.max(axis=1, skipna=False)),
        "latency": (middle, middle),
    }
    rows = {}
    for name, key in (("var", "var_pct"), ("latency", "latency_ms")):
        seen, complete = series[name]
        at = _newest(seen, complete, limits[name], now) if stated[name] is None else float(stated[name])  # type: ignore[arg-type]
        at = getattr(watched, name) if math.isnan(at) and watched is not None else at
        measured = None if _denied(complete, opened, limits[name]) else tripped.get(key)
        worst = _worst(seen, opened, measured, before_s)
        worst = at if at > limits[name] and not worst >= at else worst
        rows[name] = {"limit": limits[name], "at worst": worst, "now": at}
    table = pd.DataFrame.from_dict(rows, orient="index")
    marks = [frame.attrs.get("evidence") for frame in (var, latency) if frame is not None]
    marks += [getattr(status, "evidence", None), *(() if watched is None else watched.evidence)]
    table.attrs["evidence"] = [mark for mark in marks if mark]
    return table


def _newest(seen: pd.Series | None, complete: pd.Series | None, limit: float, now: dt.datetime | None) -> float:
    """The value of now: of some symbols where it is above the limit, else of all; nan where that is an old one."""
    for series in (seen, complete):
        known = None if series is None else series.dropna()
        if known is None or known.empty or (now is not None and abs((now - known.index[-1]).total_seconds()) > FRESH_S):
            continue
        if series is complete or known.iloc[-1] > limit:
            return float(known.iloc[-1])
    return math.nan


def steps(latency: pd.DataFrame) -> pd.DataFrame:
    """The latency of each step and the median of the newest ones, which the breaker goes by [ms], over time."""
    import pandas as pd

    each = latency.iloc[:, 0].where(latency.iloc[:, 0].abs() < math.inf)
    median = each.rolling(MEDIAN_POINTS, min_periods=10).median()
    return pd.DataFrame({"each step": each, f"median of {MEDIAN_POINTS}": median})


def _time(value: Any) -> dt.datetime | None:
    """A time out of what is stated; None where it is none."""
    import pandas as pd

    found = pd.to_datetime(value, utc=True, errors="coerce") if isinstance(value, str) and value else pd.NaT
    return None if pd.isna(found) else found.to_pydatetime()


def _until(series: pd.DataFrame, now: dt.datetime | None) -> pd.DataFrame:
    """A series without what is no number, and without points that lie ahead of the platform's clock."""
    finite = series.where(series.abs() < math.inf)
    return finite if now is None else finite[finite.index <= now + dt.timedelta(seconds=AHEAD_S)]


def _denied(series: pd.Series | None, opened: dt.datetime | None, limit: float) -> bool:
    """Whether the series was clearly under the limit in the very moment of the opening.

    What the breaker measured when it opened is then that of an earlier opening.
    """
    if series is None or opened is None:
        return False
    about = series[abs(series.index - opened) <= dt.timedelta(seconds=BEFORE_S)].dropna()
    return bool(len(about) > 0 and about.index[-1] >= opened and (about <= CLEARLY * limit).all())


def _worst(
    series: pd.Series | None, opened: dt.datetime | None, tripped: float | None, before_s: float = BEFORE_S
) -> float:
    """The highest value since the breaker opened; where the series does not reach back, what the breaker measured."""
    found = [] if tripped is None else [float(tripped)]
    if series is not None and opened is not None and len(series) and series.index[0] <= opened:
        after = series[series.index >= opened - dt.timedelta(seconds=before_s)].dropna()
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
            f"{what} was up to {_told(worst, limit)} {unit} since it opened (limit {limit:g})",
            then,
            threshold=0.5,
            decisive=0.85,
            missing=NOT_MEASURED,
        )
    ]
    if not math.isnan(now):
        reasons.append(Reason(f"{what} is {_told(now, limit)} {unit} now", 2.5 if now > limit else -0.3))
    return reasons


def _told(value: float, limit: float) -> str:
    """A value with three digits that count; with more where it would else read as the limit itself."""
    if value >= 1000:
        return f"{value:,.0f}"
    short = f"{value:.3g}"
    return f"{value:.6g}" if short == f"{limit:.3g}" else short


def stage(status: Mapping[str, Any] | None) -> str:
    """Which stage of a step takes the most of its time; empty where nothing tells it."""
    if status is None or not status.get("latency_by_stage_ms"):
        return ""
    took = stages(status).iloc[0]
    return f"The stage {took.name} takes {percent(took['share'])} of a step, {took['ms']:,.0f} ms in the last one"


def remedy(
    causes: list[str],
    triggers: pd.DataFrame | None,
    status: Mapping[str, Any] | None,
    kelly: float,
    wanted_scenarios: int,
    calm: Mapping[str, float] | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """What the playbook proposes: the fix of each trigger that is not calm, then the reset, which waits for that.

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
    calm : mapping, optional
        `var` [% of NAV] and `latency` [ms]: above it a trigger that held is mended even where it is under its limit
        now, since after a reset it would soon be over it again. None: the limits.

    Returns
    -------
    list of (str, dict)
        Actions with their arguments; empty where a person has to find out first.
    """
    known = [cause for cause in causes if triggers is not None and cause in triggers.index]
    if not known or triggers is None or status is None or triggers["now"].isna().any():
        return []
    now, limit = triggers["now"], triggers["limit"]
    left = set(triggers.index[now > limit])
    near = {name for name in known if now[name] > (limit if calm is None else calm)[name]}
    actions: list[tuple[str, dict[str, Any]]] = []
    if "var" in near and kelly < status["kelly_fraction"]:
        actions.append(("crypto.emergency-reduce", {"kelly_fraction": kelly, "reason": "circuit breaker open"}))
        left.discard("var")
    busiest = stages(status).index[0] if status.get("latency_by_stage_ms") else ""
    if "latency" in near and busiest == "scenarios" and status["stress"]["scenarios"] > wanted_scenarios:
        facts = {"scenarios": wanted_scenarios, "reason": "circuit breaker open"}
        actions.append(("crypto.set-scenarios", facts))
        left.discard("latency")
    if left:
        return actions
    if actions:
        return [*actions, ("crypto.reset-breaker", {"wait_s": WAIT_S, "reason": "the cause is mended"})]
    return [("crypto.reset-breaker", {"reason": f"{' and '.join(known)} back under the limit"})]


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
