"""A10 model-switching, what is seen: the log of switches and its pattern, volume, the router's rules, the model server.

Anybody may write into the log, and it may be cut short: an entry that tells no switch is left out, and how many
switches the log holds is held against how many the platform counts itself.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.figures import figure

if TYPE_CHECKING:
    import pandas as pd

MOST = 1000  # newest entries of the log that are read, and that it keeps
FEW = 2  # switches of a symbol from which its pattern can be told
SOME = 3  # switches of a symbol to one model from which it can be told how far its confidences scatter
AHEAD_S = 2.0  # an entry that lies further ahead of the platform's clock is none of its own
STALE_S = 60.0  # volume whose newest point is older tells nothing of now
QUIET = 0.8  # without a stated usual volume, it is this quantile of what the window shows
LACKING = 0.5  # a log that holds less than this share of the switches that the platform counts lacks some
APART = 5.0  # ... and by so many a minute at least
TELLING = 10.0  # a log that lacks entries tells a pattern where it holds so many a minute
TEXTS, NUMBERS = ("symbol", "from", "to"), ("confidence", "took_ms")
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
    "scatter": "its scatter",
    "took_ms": "",
}
LIQUIDITY = {"now": "now [USD]", "usual": "usual [USD]", "share": ""}
SERVING = {"latency_p95_ms": "95 % of the answers within [ms]", "answer_within_ms": "needed within [ms]"}


def clock(status: Mapping[str, Any] | None, now: dt.datetime) -> dt.datetime:
    """The time by the platform's own clock, which the log is dated by; else ours."""
    import pandas as pd

    stated = None if status is None else status.get("time")
    found = pd.to_datetime(stated, utc=True, errors="coerce") if isinstance(stated, str) and stated else pd.NaT
    return now if pd.isna(found) else found.to_pydatetime()


def log(stream: pd.DataFrame, now: dt.datetime) -> pd.DataFrame:
    """The switches that the log holds, oldest first.

    Parameters
    ----------
    stream : DataFrame
        `model.switch.log` as it was read: `time`, and a column of text for each field that any entry has.
    now : datetime
        By the platform's clock.

    Returns
    -------
    DataFrame
        `time`, `symbol`, `from`, `to`, `confidence`, `took_ms`; numbers that are none are nan. In its attributes
        `odd`: how many entries were left out, since they name no symbol or model or lie ahead of the clock; `cut`:
        whether there may be older entries than were read.
    """
    import pandas as pd

    texts = {name: stream[name] if name in stream else pd.Series(None, stream.index, dtype=object) for name in TEXTS}
    numbers = {name: pd.to_numeric(stream[name], errors="coerce") if name in stream else math.nan for name in NUMBERS}
    table = pd.DataFrame({"time": stream["time"], **texts, **numbers}, index=stream.index)
    named = (table[list(TEXTS)].notna() & (table[list(TEXTS)] != "")).all(axis=1)
    good = table[named & (table["time"] <= now + dt.timedelta(seconds=AHEAD_S))].reset_index(drop=True)
    good.attrs = {**stream.attrs, "odd": len(table) - len(good), "cut": len(stream) >= MOST}
    return good


def rate(
    switches: pd.DataFrame | None, status: Mapping[str, Any] | None, now: dt.datetime, window_s: float
) -> float | None:
    """Switches of all symbols [1/min]: counted in the log over the window; where it lacks some, as the platform says.

    Of a log that is full within the window, over the time that it covers.
    """
    stated = None if status is None else float(status["router"]["switches_per_minute"])
    if switches is None or (stated is not None and lacks(switches, status, now)):
        return stated
    return len(within(switches, now, window_s)) * 60.0 / _covered_s(switches, now, window_s)


def lacks(switches: pd.DataFrame, status: Mapping[str, Any] | None, now: dt.datetime) -> bool:
    """Whether the log lacks switches that the platform counts."""
    counted, stated = _both(switches, status, now)
    return counted < LACKING * stated and stated - counted > APART


def trusted(switches: pd.DataFrame | None, status: Mapping[str, Any] | None, now: dt.datetime) -> bool:
    """Whether the log can tell the pattern of the switches: it is there, and holds enough of them."""
    if switches is None:
        return False
    return not lacks(switches, status, now) or _both(switches, status, now)[0] >= TELLING


def doubts(switches: pd.DataFrame | None, status: Mapping[str, Any] | None, now: dt.datetime) -> list[str]:
    """What speaks against the log: entries that are no switches, and another count than the platform's own."""
    if switches is None:
        return []
    found = []
    if odd := int(switches.attrs.get("odd", 0)):
        told = "1 entry of the log of switches is" if odd == 1 else f"{odd} entries of the log of switches are"
        found.append(f"{told} left out: no symbol or model, or a time that is still to come")
    counted, stated = _both(switches, status, now)
    other = counted > APART + stated / LACKING
    if other or lacks(switches, status, now):
        found.append(
            f"The log of switches holds {figure(counted)} a minute, the platform itself counts {figure(stated)}: "
            + ("look who else writes into the log" if other else "the log lacks entries")
        )
    return found


def _both(switches: pd.DataFrame, status: Mapping[str, Any] | None, now: dt.datetime) -> tuple[float, float]:
    """Switches a minute in the log and as the platform counts them, over its own window; nan where it says none."""
    router: Mapping[str, Any] = {} if status is None else status["router"]
    if router.get("window_s") is None or router.get("switches_per_minute") is None:
        return math.nan, math.nan
    window_s = float(router["window_s"])
    counted = len(within(switches, now, window_s)) * 60.0 / _covered_s(switches, now, window_s)
    return counted, float(router["switches_per_minute"])


def _covered_s(switches: pd.DataFrame, now: dt.datetime, window_s: float) -> float:
    """How much of the window the log covers [s]: less than all of it where older entries were cut off."""
    if not switches.attrs.get("cut") or switches.empty:
        return window_s
    return min(window_s, max(float((now - switches["time"].min()).total_seconds()), 1.0))


def within(switches: pd.DataFrame, now: dt.datetime, window_s: float) -> pd.DataFrame:
    """The switches of the window."""
    return switches[switches["time"] > now - dt.timedelta(seconds=window_s)]


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
    told = f"{figure(rate)} model switches a minute against an alert level of {level:g}"
    near = alerted and usual < rate <= level
    return rate > (usual if alerted else level), f"{told}; under {usual:g} is normal" if near else told


def pattern(switches: pd.DataFrame, now: dt.datetime, window_s: float, slow_ms: float) -> pd.DataFrame:
    """How each symbol switched within the window.

    Parameters
    ----------
    switches : DataFrame
        As `log` returns them.
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
        `confidence` (median of the model switched to); of all: `scatter` (standard deviation of the confidences that
        it is given to one and the same model with, the median over models), `took_ms` (median). nan for too few.
    """
    import pandas as pd

    recent, covered_s = within(switches, now, window_s), _covered_s(switches, now, window_s)
    rows = {}
    for symbol, mine in recent.groupby("symbol", sort=True):
        took = mine["took_ms"]
        prompt = mine[~(took > slow_ms)]
        pairs = [" and ".join(sorted(pair)) for pair in zip(prompt["from"], prompt["to"], strict=True)]
        before = list(prompt["from"])
        back = [went == came for went, came in zip(list(prompt["to"])[1:], before, strict=False)]
        counts = pd.Series(pairs, dtype=object).value_counts()
        told = len(prompt) >= FEW
        rows[symbol] = {
            "switches": len(mine),
            "slow": int((took > slow_ms).sum()),
            "per_minute": len(prompt) * 60.0 / covered_s,
            "models": len(set(before) | set(prompt["to"])),
            "returns": sum(back) / len(back) if told else math.nan,
            "pair": counts.index[0] if told else "",
            "same_pair": (int(counts.iloc[0]) - 1) / (len(prompt) - 1) if told else math.nan,
            "confidence": _median(prompt["confidence"]) if told else math.nan,
            "scatter": _scatter(mine),
            "took_ms": _median(took),
        }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(PATTERN))
    table.attrs["window_s"] = covered_s
    table.attrs["evidence"] = switches.attrs.get("evidence")
    return table


def liquidity(volume: pd.DataFrame, status: Mapping[str, Any] | None, now: dt.datetime) -> pd.DataFrame:
    """Traded volume of each symbol now beside the usual: as the platform states it, else as the window shows it.

    Parameters
    ----------
    volume : DataFrame, one column a symbol
        Volume [USD], a row an observation.
    status : mapping or None
        `/api/status`, with `symbols.<symbol>`: `volume_usual_usd`, and `volume_usd` for a series that stands still.
    now : datetime
        By the platform's clock.

    Returns
    -------
    DataFrame, one row a symbol
        `now`, `usual` [USD] and `share`; nan where nothing tells it.
    """
    import pandas as pd

    told: Mapping[str, Any] = {} if status is None else status["symbols"]
    known = volume[volume.index <= now + dt.timedelta(seconds=AHEAD_S)]
    fresh = known[known.index > now - dt.timedelta(seconds=STALE_S)]
    rows = {}
    for symbol in volume.columns:
        facts = told.get(symbol) or {}
        seen = fresh[symbol].dropna().tail(8)
        at = float(seen.median()) if len(seen) else float(facts.get("volume_usd") or math.nan)
        usual = float(facts.get("volume_usual_usd") or known[symbol].quantile(QUIET))
        rows[symbol] = {"now": at, "usual": usual, "share": at / usual if usual > 0 else math.nan}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["now", "usual", "share"])
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
        pair rule with the narrowest band, whose name is in `attrs["rule"]`; `attrs["market_hours_only"]`: that mode.
    """
    import pandas as pd

    router = status["router"]
    force = {name: float(router[name]) for name in ("min_confidence", "switch_hysteresis")}
    narrowest = min(router.get("pair_rules", []), key=lambda rule: float(rule["band"]), default=None)
    if narrowest is not None:
        force |= {name: float(narrowest[name]) for name in ("threshold", "band")}
    table = pd.DataFrame({"in force": pd.Series(force), "wanted": pd.Series(dict(wanted)).reindex(list(force))})
    table["ratio"] = table["in force"] / table["wanted"]
    table.attrs["market_hours_only"] = bool(router.get("market_hours_only"))
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


def _scatter(switches: pd.DataFrame) -> float:
    """How far the confidences of one model scatter, in the middle of the models; nan where no model has enough."""
    of_model = switches.groupby("to")["confidence"]
    return _median(of_model.std()[of_model.count() >= SOME])


def _median(values: pd.Series) -> float:
    """The median of what is there; nan of nothing."""
    return float(values.median()) if values.notna().any() else math.nan
