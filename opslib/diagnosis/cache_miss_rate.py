"""A06 cache-miss-rate: where the results go that are written into the cache and not found again.

What is written every second has to go somewhere: it is evicted, it ends by its own life, or it adds to what is held. A
cache that is full evicts, one that starts empty grows, one whose results live too short lets them end. And a cache
whose names have changed is full of results that nobody asks for any more. So the causes are told apart by that
balance, by the lives of the keys against the time after which a key is asked for again, and by which names are in use.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.cache_miss_rate_seen import (
    Away,
    Rates,
    Traffic,
    asked,
    away,
    info,
    names,
    rates,
    shape,
    told,
    traffic,
)
from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CAUSES",
    "NAMES",
    "Away",
    "Rates",
    "Traffic",
    "asked",
    "away",
    "culprit",
    "fixes",
    "full_again_s",
    "info",
    "marks",
    "names",
    "onset",
    "rates",
    "room",
    "shape",
    "told",
    "traffic",
]

# What a reader is shown of `names`: columns and their headings.
NAMES = {"share": "share of the keys", "life_s": "lives on for [s]", "idle_s": "last used ago [s]",
         "fresh": "share of those in use"}  # fmt: skip
NO_RATES = "how much is asked of the cache"
NO_BALANCE = "what Redis evicts and lets end"
NO_IDLE = "when keys were last used"
NO_REDIS = "Redis itself, which does not answer us"
_DIP = 0.5  # of the way from the usual hit rate to the alert's level; nearer to the usual one all is well
_STAYS = 0.4  # a cache that fills keeps at least this share of what is written
_MANY = 200.0  # keys; of fewer the rates are too coarse
_REMOVED = 0.5  # of the keys that were made since the start: where fewer are held, not all of them were left there
_TICK_S = 2.0  # Redis keeps the time of use in whole seconds
_BEGINS_ANEW = 1.5  # log-odds: a cache that is just being made explains the misses, whatever else is not to be seen
_ANSWERS = Away()
_SHARE_OF_HOST = 0.8  # of the container's memory limit that Redis may take


def memory_full(memory: Mapping[str, Any], rates: Rates) -> list[Reason]:
    """Redis has no room: what is written pushes out what would have been found."""
    used, limit = float(memory.get("used_memory") or 0), float(memory.get("maxmemory") or 0)
    if not limit:
        return [Reason("Redis has no limit of memory", -3.0)]
    share, policy = used / limit, str(memory.get("policy") or "")
    text = f"memory in use is {percent(share)} of its limit of {limit / 1e6:,.1f} MB"
    reasons = [reason(text, share, threshold=0.85, decisive=0.97)]
    if policy == "noeviction" and share > 0.97:
        return [*reasons, Reason("nothing may be evicted, so writes are refused", 2.5)]
    out = rates.share(rates.evicted)
    text = f"{rates.evicted:.0f} keys a second are evicted, {percent(min(out, 1))} of what is written"
    return [*reasons, reason(text, out, threshold=0.15, decisive=0.5, missing=NO_BALANCE)]


def cold_after_restart(uptime_s: float, rates: Rates, away: Away = _ANSWERS) -> list[Reason]:
    """Redis began empty not long ago, and fills; or is just being made anew, and will.

    What does not answer for longer than it takes to fill is not cold but gone, for a reason that its pod knows.
    """
    due = 1.0 - math.exp(-uptime_s / rates.again_s)
    if away.told:
        if uptime_s > rates.again_s:
            return [Reason(away.told, 0.0, NO_REDIS)]
        text = (
            f"{away.told}; nothing is found meanwhile ({percent(rates.hit_pct / 100.0)} over the window of the rates)"
        )
        lately = reason(text, due - rates.hit_pct / 100.0, threshold=0.35, decisive=0.05)
        return [lately, Reason("what begins anew holds nothing, unless it keeps its keys on disk", _BEGINS_ANEW)]
    text = f"Redis started {uptime_s:,.0f} s ago: had it begun empty and filled, {percent(due)} would be found by now"
    reasons = [reason(text, due - rates.hit_pct / 100.0, threshold=0.35, decisive=0.05)]
    stays = 1.0 - rates.share(rates.evicted + rates.ended)
    text = f"{percent(max(0.0, min(stays, 1.0)))} of what is written stays"
    reasons.append(_capped(reason(text, stays, threshold=_STAYS, decisive=0.7, missing=NO_BALANCE)))
    came = rates.misses * uptime_s * min(stays, 1.0)
    if came > _MANY and rates.keys < came:
        text = f"what was missed since then made some {came:,.0f} keys, and Redis holds {rates.keys:,.0f}"
        if rates.keys < _REMOVED * came:
            text += ": something removes them"
        short = reason(text, rates.keys / came, threshold=_REMOVED, decisive=1.67 * _REMOVED)
        reasons.append(replace(short, weight=min(short.weight, 0.0)))
    if not stays < _STAYS and not rates.keys < _REMOVED * came:  # else what is lacking is removed, and not yet to come
        part = rates.keys / rates.usual_keys if rates.usual_keys > 0 else math.nan
        text = f"Redis holds {rates.keys:,.0f} keys of usually {rates.usual_keys:,.0f}"
        lacking = reason(text, part, threshold=0.8, decisive=0.4, missing="how many keys are usual")
        reasons.append(replace(lacking, weight=min(lacking.weight, 2.0)))
    return reasons


def keys_expiring(names: pd.DataFrame, rates: Rates) -> list[Reason]:
    """Results end before they are asked for again."""
    life, again = float(names.attrs["fresh_life_s"]), rates.again_s
    told = "for ever" if math.isinf(life) else f"{life:,.0f} s"
    text = f"keys in use now live on for {told}; each is asked for again after {again:.0f} s"
    ratio = min(life, 1e9) / again
    reasons = [reason(text, ratio, threshold=0.6, decisive=0.25, missing=NO_RATES)]
    timed = _timed(names)
    if timed > 0.3:
        return [
            *reasons,
            Reason(f"but {percent(timed)} of the names in use hold a time: however long they lived", -3.0),
        ]
    out = rates.share(rates.ended)
    text = f"{rates.ended:.0f} keys a second end, {percent(min(out, 1))} of what is written"
    return [*reasons, reason(text, out, threshold=0.3, decisive=0.7, missing=NO_BALANCE)]


def key_pattern_changed(names: pd.DataFrame, rates: Rates, documented: Sequence[str]) -> list[Reason]:
    """What is asked for has other names than what is held."""
    used = names[names["fresh"] > 0]
    in_use = ", ".join(used.sort_values("fresh", ascending=False).index[:2]) or "none"
    reasons = []
    if documented:
        strange = float(used["fresh"][[_plain(one) not in documented for one in used.index]].sum())
        text = f"{percent(strange)} of the names in use are not as documented ({in_use})"
        reasons.append(reason(text, strange if len(used) else math.nan, threshold=0.3, decisive=0.7, missing=NO_IDLE))
    if names["idle_s"].isna().all():
        reasons.append(reason("", math.nan, threshold=0.0, decisive=1.0, missing=NO_IDLE))
    else:
        due = rates.lookups * names.attrs["sampled"] * names["share"] * (names["idle_s"].fillna(0.0) - _TICK_S)
        left = names[due > 10.0]
        share = float(left["share"].sum())
        text = f"{percent(share)} of the keys have names that are asked for no more"
        if len(left):
            first = left.index[0]
            text += f": of {first} none in {left['idle_s'].iloc[0]:.0f} s, where {due[first]:.0f} were due"
        reasons.append(reason(text, share, threshold=0.25, decisive=0.6))
    timed = _timed(names)
    if timed > 0.3:
        reasons.append(
            Reason(f"{percent(timed)} of the names in use hold the time of their writing: none is found again", 2.0)
        )
    return reasons


def _plain(one: str) -> str:
    return re.sub(r"number\.\d+", "number", one)


def _timed(names: pd.DataFrame) -> float:
    """Share of the keys in use whose names hold a time."""
    return float(names["fresh"][["time" in one.split(":") for one in names.index]].sum())


def _capped(found: Reason) -> Reason:
    """Much that stays fits many causes; where little does, an empty beginning is at most a part of the matter."""
    return replace(found, weight=max(-1.5, min(found.weight, 1.0)))


CAUSES = (
    Cause(
        "memory-full",
        "Is the memory full, so that keys are evicted?",
        memory_full,
        "give Redis more memory (maxmemory)",
    ),
    Cause(
        "cold-after-restart",
        "Did Redis start empty a short time ago?",
        cold_after_restart,
        "wait until it has filled; find out why it restarted",
    ),
    Cause(
        "keys-expiring",
        "Do results end before they are asked for again?",
        keys_expiring,
        "roll back the release that let them live so short; where none came right before, find what sets their lives",
    ),
    Cause(
        "key-pattern-changed",
        "Does the service ask for other names than are held?",
        key_pattern_changed,
        "roll back the release that changed the names; where none came right before, find what else writes or asks",
    ),
)


def onset(
    found: pd.DataFrame | None, limit_pct: float, alert_at: dt.datetime | None, now: dt.datetime
) -> tuple[float, float]:
    """Between which moments the misses began [s since 1970]; from -inf where nothing tells when all was well.

    Parameters
    ----------
    found : DataFrame or None
        The hit rate over time [%] in the first column.
    limit_pct : float
        The alert's level [%].
    alert_at : datetime or None
        When the alert began, by which the misses had begun too.
    now : datetime
    """
    latest = now.timestamp() if alert_at is None else min(now.timestamp(), alert_at.timestamp())
    rate = None if found is None else found.iloc[:, 0].dropna()
    if rate is None or not len(rate):
        return -math.inf, latest
    usual = float(rate.quantile(0.9))
    well = rate.index[rate >= max(limit_pct, usual - _DIP * (usual - limit_pct))]
    if not len(well):
        return -math.inf, min(latest, rate.index[0].timestamp())
    after = rate.index[rate.index > well[-1]]
    return well[-1].timestamp(), after[0].timestamp() if len(after) else now.timestamp()


def marks(uptime_s: float | None, history: pd.DataFrame | None, now: dt.datetime) -> dict[str, dt.datetime]:
    """When Redis started and the current release came, as far as it was seen; for the picture."""
    found = {} if uptime_s is None else {"Redis started": now - dt.timedelta(seconds=uptime_s)}
    if history is not None and history["current"].any():
        found["the current release"] = history.loc[history["current"], "created"].iloc[0]
    return found


def culprit(
    history: pd.DataFrame | None,
    now: dt.datetime,
    window_s: float,
    began: tuple[float, float] = (-math.inf, math.inf),
    shows_s: float = math.inf,
) -> tuple[int, int, str] | None:
    """The release to blame: its revision, the one before it, and what it changed; None where none came right before.

    Parameters
    ----------
    history : DataFrame or None
        The revisions of the service, newest first.
    now : datetime
    window_s : float
        An older release is not to blame [s].
    began : (float, float)
        As `onset` gives it: a release that came later, or long before, is not to blame either.
    shows_s : float
        So long after a release the hit rate shows what it changed [s].
    """
    if history is None or not history["current"].any():
        return None
    current = history[history["current"]].iloc[0]
    earlier = history[history["revision"] < current["revision"]]
    came = current["created"].timestamp()
    if not len(earlier) or now.timestamp() - came > window_s:
        return None
    if came > began[1] or came < began[0] - shows_s:
        return None
    return int(current["revision"]), int(earlier["revision"].max()), str(current["change_cause"] or current["changes"])


def room(
    memory: Mapping[str, Any], rates: Rates, earlier_bytes: float, container_bytes: float, growth: float
) -> int | None:
    """How much memory Redis should have [bytes]; None where its container has no room for more.

    What it had before the limit was lowered, where that is known; else what the usual keys need at the size that keys
    have now, a third to spare, and at least `growth` times the limit. Never more than the container can give.
    """
    limit, used = float(memory["maxmemory"]), float(memory["used_memory"])
    if earlier_bytes > 1.05 * limit:
        wanted = earlier_bytes
    else:
        data = float(memory.get("used_memory_dataset") or used)
        need = (used - data) + 1.33 * data * max(1.0, rates.usual_keys / max(rates.keys, 1.0))
        wanted = max(need, growth * limit)
    most = _SHARE_OF_HOST * min(
        value
        for value in (container_bytes, float(memory.get("total_system_memory") or math.inf), math.inf)
        if value > 0
    )
    value = min(wanted, most)
    return int(value) if value > 1.05 * limit else None


def full_again_s(rates: Rates) -> float:
    """How long until the hit rate is above one half again, once nothing removes the keys [s].

    A cache that does not say how many it holds is taken for an empty one.
    """
    known = rates.usual_keys > 0 and not math.isnan(rates.keys)
    part = min(1.0, rates.keys / rates.usual_keys) if known else 0.0
    return max(0.0, rates.again_s * math.log(max(1.0, 2.0 * (1.0 - part))))


def fixes(
    causes: Sequence[str],
    *,
    memory: Mapping[str, Any] | None,
    rates: Rates | None,
    earlier_bytes: float,
    container: pd.DataFrame | None,
    growth: float,
    release: tuple[int, int, str] | None,
    service: str,
) -> list[tuple[str, dict[str, Any]]]:
    """The fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    memory, rates : as seen, or None
    earlier_bytes : float
        The largest limit of memory lately [bytes]; nan where not known.
    container : DataFrame or None
        Redis' containers, with `memory_limit` [bytes].
    growth : float
        How much more memory Redis gets at least, as a factor.
    release : (int, int, str) or None
        As `culprit` gives it.
    service : str
        `deployment/NAME`.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for cause in causes:
        if cause == "memory-full" and memory is not None and rates is not None and memory.get("maxmemory"):
            limits = [] if container is None else [float(one) for one in container["memory_limit"] if one > 0]
            value = room(memory, rates, earlier_bytes, min(limits, default=math.nan), growth)
            if value is not None:
                within_s = float(round(min(3600.0, max(120.0, 3.0 * rates.again_s))))
                change = {"name": "maxmemory", "value": str(value), "until": "alert", "within_s": within_s}
                found.append(("redis.set-configuration", change))
        elif cause in ("keys-expiring", "key-pattern-changed") and release is not None:
            step = ("kubernetes.undo-rollout", {"workload": service, "revision": release[1]})
            if step not in found:
                found.append(step)
    return found
