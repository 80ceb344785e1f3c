"""A06 cache-miss-rate, what is seen: how much is asked of the cache, and what its keys are called and how they live."""

from __future__ import annotations

import ast
import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import evidence_of

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"-?\d+(?:\.(\d+))?")
_VERSION = re.compile(r"v?\d+(?:\.\d+)*", re.IGNORECASE)
_DAY_S = 86_400.0
_DECIMALS = 3  # a number with so many is written in another way than one with fewer
_FEW = 0.02  # names of which there are fewer are not the cache's
_TOUCHED_S = 3.0  # keys used within so many seconds are those in use now
_SAME_POD_S = 0.3  # two pods do not start as close to each other


@dataclass(frozen=True)
class Away:
    """Redis while it does not answer itself, as its containers show it.

    Attributes
    ----------
    told : str
        How they are, in a sentence without a full stop; empty where Redis answers, or they were not seen.
    age_s : float or None
        Since the oldest of them was begun anew [s]; None where that is not known.
    evidence : tuple of str
    """

    told: str = ""
    age_s: float | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traffic:
    """What is asked of the cache.

    Attributes
    ----------
    lookups, misses : float
        Results asked for, and not found [1/s].
    evidence : tuple of str
    """

    lookups: float
    misses: float
    evidence: tuple[str, ...]

    @property
    def hit_pct(self) -> float:
        """Share of what is asked for that is found [%]."""
        return 100.0 * (1.0 - self.misses / self.lookups)


@dataclass(frozen=True)
class Rates(Traffic):
    """What is asked of the cache, and what becomes of what it is given.

    Attributes
    ----------
    evicted, ended : float
        Keys removed to make room, and at the end of their lives [1/s]; nan where Redis could not be asked.
    keys : float
        That Redis holds; nan where it does not say.
    usual_keys : float
        That it held before.
    """

    evicted: float
    ended: float
    keys: float
    usual_keys: float

    @property
    def again_s(self) -> float:
        """After what time a key is asked for again, on average [s]."""
        return self.usual_keys / self.lookups

    @property
    def told(self) -> str:
        """How many keys are held, and after what time one is asked for again."""
        told = "It was not seen how many keys are held" if math.isnan(self.keys) else f"{self.keys:,.0f} keys are held"
        return f"{told}, usually {self.usual_keys:,.0f}.\nA key is asked for again after {self.again_s:.0f} s."

    def share(self, rate: float) -> float:
        """A rate over that of what is written, which is what was missed."""
        return rate / self.misses if self.misses > 0 else math.nan


def asked(looks: Sequence[tuple[dt.datetime, Mapping[str, Any] | None]]) -> tuple[float, float] | None:
    """Results asked for and missed [1/s] between looks at the service's own counters, by the pods seen twice.

    Each look is a moment and `/stats/engines` of some pod, which is known again by the time of its start. None where no
    pod was seen twice, with lookups in between.
    """
    seen: dict[float, list[tuple[float, float, float]]] = {}
    for at, one in looks:
        if one is None or not one.get("cache"):
            continue
        hits, misses, up = float(one["cache"]["hits"]), float(one["cache"]["misses"]), float(one["uptime_s"])
        start = at.timestamp() - up
        key = next((known for known in seen if abs(known - start) < _SAME_POD_S), start)
        seen.setdefault(key, []).append((up, hits, misses))
    lookups = missed = 0.0
    for points in seen.values():
        (first, hits, misses), (last, more_hits, more_misses) = points[0], points[-1]
        if last - first > _SAME_POD_S and more_hits >= hits and more_misses >= misses:
            missed += (more_misses - misses) / (last - first)
            lookups += (more_hits - hits + more_misses - misses) / (last - first)
    return (lookups, missed) if lookups > 0 else None


def told(found: pd.DataFrame | None, otherwise: float = math.nan) -> float:
    """The one value of an instant query; `otherwise` where there is none."""
    value = float(found["value"].iloc[0]) if found is not None and len(found) else math.nan
    return value if value == value else float(otherwise)


def info(found: pd.DataFrame | None) -> dict[str, str]:
    """What `INFO` says, by field."""
    return {} if found is None else dict(zip(found["field"], found["value"], strict=True))


def away(server: Mapping[str, str], containers: pd.DataFrame | None, now: dt.datetime) -> Away:
    """What Redis' containers tell while it does not answer itself: one that is just being made is empty for that.

    Parameters
    ----------
    server : mapping
        As `info` gives it: empty where Redis did not answer.
    containers : DataFrame or None
        Of its pods: `pod`, `state`, `reason`, `since`, `created`, `last_finished`.
    now : datetime
    """
    if server or containers is None:
        return Away()
    if not len(containers):
        return Away("Redis does not answer us, and has no pod", evidence=evidence_of(containers))
    parts, ages = [], []
    for row in containers.to_dict("records"):
        begun = [row.get(name) for name in ("since", "created", "last_finished")]
        known = [one.timestamp() for one in begun if one is not None and one == one]
        state = str(row["state"] or "not begun") + (f", {row['reason']}" if row["reason"] else "")
        ages.append(max(0.0, now.timestamp() - max(known)) if known else math.inf)
        parts.append(f"{row['pod']} ({state}{f', begun {ages[-1]:,.0f} s ago' if known else ''})")
    oldest = max(ages)
    told = f"Redis does not answer us: {'; '.join(parts[:3])}"
    return Away(told, oldest if math.isfinite(oldest) else None, evidence_of(containers))


def held(server: Mapping[str, str]) -> float:
    """How many keys Redis holds, of all its databases; nan where it does not say."""
    counts = []
    for field, value in server.items():
        if re.fullmatch(r"db\d+", field):
            try:
                counts.append(float(ast.literal_eval(value)["keys"]))
            except (ValueError, SyntaxError, KeyError, TypeError):
                continue
    return sum(counts) if counts else (0.0 if server else math.nan)


def rates(
    traffic: Traffic | None,
    server: Mapping[str, str],
    own: Mapping[str, Any] | None,
    gone: Mapping[str, pd.DataFrame | None],
    usual_keys: float,
) -> Rates | None:
    """Everything about the balance of the cache; None where it was not seen what is asked of it.

    Parameters
    ----------
    traffic : Traffic or None
    server : mapping
        As `info` gives it.
    own : mapping or None
        What `ops.redis.latency` answered: used where the longer look of `gone` is not there, since a server that is
        short of memory evicts by fits and starts.
    gone : mapping of str to DataFrame or None
        Instant queries of keys `evicted` and `expired` [1/s].
    usual_keys : float
        That Redis held before.
    """
    if traffic is None:
        return None
    work = (own or {}).get("server") or {}
    evicted, ended = (told(gone.get(how), float(work.get(f"{how}_per_s", math.nan))) for how in ("evicted", "expired"))
    marks = (*traffic.evidence, *(mark for fact in (own, *gone.values()) for mark in evidence_of(fact)))
    return Rates(traffic.lookups, traffic.misses, marks, evicted, ended, held(server), usual_keys)


def traffic(
    lookups: pd.DataFrame | None,
    misses: pd.DataFrame | None,
    looks: Sequence[tuple[dt.datetime, Mapping[str, Any] | None]],
) -> Traffic | None:
    """What is asked of the cache: out of two instant queries, else out of looks at the service's own counters."""
    asks, lost = told(lookups), told(misses)
    if asks > 0 and lost == lost:
        return Traffic(asks, lost, (*evidence_of(lookups), *evidence_of(misses)))
    counted = asked(looks)
    if counted is None:
        return None
    return Traffic(*counted, tuple(mark for _, one in looks for mark in evidence_of(one)))


def shape(name: str, now_s: float) -> str:
    """What a key's name is made of: words as `word`, numbers as `number`, times as `time`; versions as they are.

    Examples
    --------
    >>> shape("greeks:SPX:call:5200:60:5180.5", 1.8e9), shape("greeks:v2:SPX:1800000000", 1.8e9)
    ('greeks:word:word:number:number:number', 'greeks:v2:word:time')
    """
    first, *parts = name.split(":")
    return ":".join([first, *(_part(part, now_s) for part in parts)])


def _part(part: str, now_s: float) -> str:
    number = _NUMBER.fullmatch(part)
    if number is None:
        return part if _VERSION.fullmatch(part) else "word"
    value = float(part)
    if any(abs(value / unit - now_s) < _DAY_S for unit in (1.0, 1e3, 1e6)):
        return "time"
    decimals = len(number[1] or "")
    return "number" if decimals < _DECIMALS else f"number.{decimals}"


def names(lives: pd.DataFrame, now: dt.datetime) -> pd.DataFrame:
    """The names of the cache's keys by what they are made of: how many, how long they live, when they were used.

    Parameters
    ----------
    lives : DataFrame
        A sample: `key`, `type`, `life_s`, `idle_s`, `of`.
    now : datetime

    Returns
    -------
    DataFrame, index the shape, most keys first
        `share` (of the keys), `life_s` (median of what is left), `idle_s` (since the last of them was used; nan where
        that is not kept), `fresh` (share of those that were used in the last seconds). `attrs` tell the median life of
        keys in use `fresh_life_s` [s], and which share of the keys was `sampled`.
    """
    import pandas as pd

    texts = lives[lives["type"] == "string"]
    table = texts.assign(shape=[shape(str(key), now.timestamp()) for key in texts["key"]])
    table[["life_s", "idle_s"]] = table[["life_s", "idle_s"]].astype(float)
    table["life_s"] = table["life_s"].fillna(math.inf)
    groups = table.groupby("shape")
    found = pd.DataFrame(
        {
            "share": groups.size() / max(1, len(table)),
            "life_s": groups["life_s"].median(),
            "idle_s": groups["idle_s"].min(),
        }
    )
    touched = table[table["idle_s"] <= _TOUCHED_S]
    found["fresh"] = (touched.groupby("shape").size() / max(1, len(touched))).reindex(found.index).fillna(0.0)
    found.attrs["fresh_life_s"] = (
        float((touched if len(touched) else table)["life_s"].median()) if len(table) else math.nan
    )
    found.attrs["sampled"] = min(1.0, len(lives) / max(1, int(lives["of"].iloc[0]))) if len(lives) else 1.0
    found.attrs["evidence"] = list(evidence_of(lives))
    return found[found["share"] >= _FEW].sort_values("share", ascending=False)
