"""A20 circuit-breaker where the platform itself does not answer: what Prometheus still sees of it.

A query gives a sample for five minutes after it was taken. So each is asked for with its age, and what is older than a
minute tells of then, not of now. Why the breaker opened is not in Prometheus; the values that it judges are.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FRESH_S = 60.0  # a sample that is older tells nothing of now
MINUTES, STEP_S = 60.0, 15.0  # what is looked back over, and how finely
STATES = {0: "CLOSED", 1: "HALF_OPEN", 2: "OPEN"}
OPEN = 2
BY_HAND = "No plan is made: every fix goes through the platform, which does not answer"
WHY = "why is not known, since the platform itself does not answer"


def _fresh(metric: str) -> str:
    return f"({metric} unless time() - timestamp({metric}) > {FRESH_S:g})"


def _each(queries: dict[str, str]) -> str:
    return " or ".join(f'label_replace({query}, "what", "{what}", "", "")' for what, query in queries.items())


NOW = _each(
    {
        "state": f"max({_fresh('circuit_breaker_state')})",
        "seen": "max(timestamp(circuit_breaker_state))",
        "var": f"max({_fresh('var_pct')})",
        "symbols": f"count(count by (symbol) ({_fresh('var_pct')}))",
        "latency": f"max({_fresh('step_latency_ms')})",
    }
)
STATE = f"max({_fresh('circuit_breaker_state')})"
VAR = f"max by (symbol) ({_fresh('var_pct')})"
LATENCY = f"max({_fresh('step_latency_ms')})"


@dataclass(frozen=True)
class Watched:
    """What Prometheus sees of the breaker.

    Attributes
    ----------
    state : str or None
        `CLOSED`, `HALF_OPEN` or `OPEN` now; None where the newest sample is too old, or there is none.
    opened : datetime or None
        The first moment at which it was seen OPEN this time; None where it is not, or was so for the whole time.
    last : str
        The latest state of the time that was looked back over, and when that was, in words; empty where none is known.
    var, latency : float
        Of now [% of NAV, ms]; nan where it is not known. VaR of some symbols counts where it is above the limit.
    evidence : tuple of str
    """

    state: str | None = None
    opened: dt.datetime | None = None
    last: str = ""
    var: float = math.nan
    latency: float = math.nan
    evidence: tuple[str, ...] = ()


def watched(
    now: pd.DataFrame | None, states: pd.DataFrame | None, symbols: Sequence[str], limit_var: float
) -> Watched | None:
    """What Prometheus says, by the query `NOW` and the range of `STATE`; None where it was not asked or says nothing.

    Parameters
    ----------
    now, states : DataFrame or None
    symbols : sequence of str
        Those of the book: VaR is known to be under its limit where each has one.
    limit_var : float
        At which the breaker opens [% of NAV].
    """
    if now is None and states is None:
        return None
    facts: dict[str, float] = {}
    if now is not None and "what" in now:
        facts = {str(what): float(value) for what, value in zip(now["what"], now["value"], strict=True)}
    marks = tuple(frame.attrs["evidence"] for frame in (now, states) if frame is not None and "evidence" in frame.attrs)
    var = facts.get("var", math.nan)
    if facts.get("symbols", 0.0) < len(symbols) and not var > limit_var:
        var = math.nan
    past = None if states is None or states.empty else states.iloc[:, 0].dropna()
    state, last = STATES.get(int(facts.get("state", -1))), ""
    if past is not None and len(past):
        at, newest = past.index[-1], STATES.get(int(past.iloc[-1]), "of no known state")
        last = f"{newest} at {at:%H:%M:%S} UTC"
    if state is None and not last and "seen" in facts:
        last = f"told of at {dt.datetime.fromtimestamp(facts['seen'], dt.UTC):%H:%M:%S} UTC"
    return Watched(state, _opened(past) if state == "OPEN" else None, last, var, facts.get("latency", math.nan), marks)


def _opened(past: pd.Series | None) -> dt.datetime | None:
    """When the open state of now was first seen; None where it was open all the time."""
    if past is None or past.empty or int(past.iloc[-1]) != OPEN:
        return None
    other = past[past != OPEN]
    if other.empty:
        return None
    found: dt.datetime = past[past.index > other.index[-1]].index[0].to_pydatetime()
    return found


def symptom(seen: Watched | None, opened: dt.datetime | None) -> tuple[bool | None, str]:
    """Whether the breaker is open, by what Prometheus sees, and the sentence that says so."""
    unseen = "the state of the circuit breaker could not be seen"
    if seen is None:
        return None, unseen
    if seen.state is None:
        return None, f"{unseen}; the latest that Prometheus has of it is {seen.last}" if seen.last else unseen
    since = f"has been {seen.state} since {opened:%H:%M:%S} UTC" if opened is not None else f"is {seen.state}"
    if seen.state != "OPEN":
        return False, f"the circuit breaker is {seen.state}, as Prometheus sees it"
    return True, f"the circuit breaker {since}, as Prometheus sees it ({WHY})"


def old(series: pd.DataFrame | None, now: dt.datetime) -> bool:
    """Whether a series tells nothing of now: it is not there, or its newest point is not of the last minute."""
    return series is None or series.empty or abs((now - series.index[-1]).total_seconds()) > FRESH_S


def either(held: pd.DataFrame | None, asked: pd.DataFrame | None, symbols: Sequence[str] = ()) -> pd.DataFrame | None:
    """What Prometheus was asked for, in place of what Redis holds; where it has nothing, what Redis holds.

    A symbol of which it has nothing is a column of nan, so that the others do not stand for it.
    """
    if asked is None or asked.empty:
        return held
    if len(symbols) == 1 == len(asked.columns):
        return asked.set_axis(list(symbols), axis=1)
    return asked.reindex(columns=[*asked.columns, *(name for name in symbols if name not in asked.columns)])
