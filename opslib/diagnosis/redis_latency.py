"""A12 redis-latency: what each cause leaves behind, and how it is told from the others.

Redis does one thing at a time. So a slow percentile has a reason that can be measured as a share of time: the share in
which commands, or evictions, kept everybody else waiting; the length of the queue when all who are connected ask at
once; and, where Redis itself was idle, the way to it and back. The 99th percentile is slow as soon as one hundredth
of the time is lost, so the thresholds lie at small shares.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import BOUND, Cause, Reason, evidence_of, reason
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

NO_INFO = "what Redis did meanwhile"
_ANSWER_US = 30.0  # what Redis spends on a call beside the command: reading, writing, turning to the next [us]
_USUALLY_FAST_MS = 2.0  # a command with a smaller mean is in the slow log by accident
_BUSY = 0.4  # above this share of the time a queue before Redis is Redis' own: half of all calls may wait there
_STARVED = 2.0  # commands that take so many times longer than they work have to wait for a CPU
_ENOUGH_CALLS = 20  # among so many at least one is served at once, unless the way itself is slow
_OWN_WAIT_MS = 1.0  # a longer wait of this run for a CPU is told
_PERCENTILE_S = 15.0  # over which the platform takes its percentiles [s]
_FELT = 0.002  # the share of time from which the 99th percentile may feel it
_OF_CAUSES = ("eviction-cycle", "eviction-del", "command", "fast-command")  # events that the causes look at
_KEY = re.compile(r"^[\w.-]+:[\w.:-]+$")
_SIZES = {"used_memory": "in use", "used_memory_dataset": "of it data", "used_memory_peak": "in use at most so far",
          "used_memory_rss": "taken from the machine", "maxmemory": "limit (0: none)",
          "total_system_memory": "of the machine"}  # fmt: skip
_NAMES = {"redis_latency_p50": "p50_ms", "redis_latency_p99": "p99_ms"}


def percentiles(metrics: pd.DataFrame | None, own: Mapping[str, Any] | None) -> pd.DataFrame | None:
    """The latency as the platform finds it and as this run does: `p50_ms` and `p99_ms` [ms], a row each.

    Parameters
    ----------
    metrics : DataFrame or None
        `name` and `value`, with the gauges `redis_latency_p50` and `redis_latency_p99` [us].
    own : mapping or None
        What `ops.redis.latency` answered.
    """
    import pandas as pd

    rows: dict[str, dict[str, float]] = {}
    if metrics is not None and (metrics["name"] == "redis_latency_p99").any():
        told = metrics[metrics["name"].isin(_NAMES)].set_index("name")["value"].astype(float) / 1000.0
        rows["the platform"] = {_NAMES[name]: value for name, value in told.items()}
    if own is not None:
        rows["this run"] = {name: float(own[name]) for name in ("p50_ms", "p99_ms")}
    if not rows:
        return None
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["p50_ms", "p99_ms"])
    table.attrs["evidence"] = [mark for fact in (metrics, own) for mark in evidence_of(fact)]
    return table


def slow_commands_of(slowlog: pd.DataFrame, own: Mapping[str, Any] | None, now: dt.datetime, window_s: float) -> Any:
    """The commands of the slow log that are slow as a rule, grouped, those that took most time first.

    Parameters
    ----------
    slowlog : DataFrame
        `time`, `took_us`, `command`, `name`.
    own : mapping or None
        What `ops.redis.latency` answered: a command that is fast on average is in the slow log by accident.
    now : datetime
    window_s : float
        How far back it is looked [s].

    Returns
    -------
    DataFrame
        `command`, `key` (the first word that looks like one), `client`, `calls`, `mean_ms`, `share` (of the time since
        the first of all of them).
    """
    import pandas as pd

    recent = slowlog[slowlog["time"] >= pd.Timestamp(now) - pd.Timedelta(seconds=window_s)]
    means = (server_of(own) or {}).get("mean_ms", {})
    rows = []
    for one in recent.itertuples():
        verb, *words = str(one.command).split() or [""]
        if float(means.get(verb.upper(), _USUALLY_FAST_MS)) >= _USUALLY_FAST_MS:
            key = next((word for word in words if _KEY.match(word)), "")
            rows.append((verb.upper(), key, one.name, one.took_us / 1000.0))
    table = pd.DataFrame(rows, columns=["command", "key", "client", "took_ms"])
    grouped = table.groupby(["command", "key", "client"])["took_ms"].agg(["count", "mean", "sum"]).reset_index()
    grouped = grouped.rename(columns={"count": "calls", "mean": "mean_ms"})
    # Over the time that they have been there, or that the log reaches back, but no less than the percentile does.
    began = recent["time"].min() if len(recent) else pd.NaT
    span_s = window_s if pd.isna(began) else (pd.Timestamp(now) - began).total_seconds()
    spent_s = grouped.pop("sum") / 1000.0
    grouped["share"] = (spent_s / min(max(span_s, _PERCENTILE_S), window_s)).clip(upper=1.0)
    grouped = grouped.sort_values("share", ascending=False, ignore_index=True)
    grouped.attrs["evidence"] = list(evidence_of(slowlog))
    return grouped


def blocked(
    events: pd.DataFrame | None, own: Mapping[str, Any] | None, now: dt.datetime, window_s: float
) -> pd.DataFrame:
    """The share of time in which Redis kept everybody waiting, by what it did.

    Of commands it is measured now; of other events it is what Redis' latency monitor saw in the last `window_s` [s].
    """
    import pandas as pd

    rows: dict[str, float] = {}
    server = server_of(own)
    if server is not None:
        rows |= {one["command"]: float(one["share"]) for one in server["slow"]}
    if events is not None:
        recent = events[events["time"] >= pd.Timestamp(now) - pd.Timedelta(seconds=window_s)]
        others = recent[~recent["event"].isin(["command", "fast-command", "eviction-del"])]
        rows |= dict(others.groupby("event")["took_ms"].sum() / 1000.0 / window_s)
    table = pd.DataFrame({"share": pd.Series(rows, dtype=float)}).sort_values("share", ascending=False)
    table.attrs["evidence"] = [mark for fact in (events, own) for mark in evidence_of(fact)]
    return table


def other_waits(waits: pd.DataFrame) -> str:
    """What Redis did that kept everybody waiting and belongs to none of the causes: a fork, its file; else empty."""
    felt = [(str(name), float(share)) for name, share in waits["share"].items() if share >= _FELT]
    others = [(name, share) for name, share in felt if name.islower() and name not in _OF_CAUSES]
    told = [f"{name} {percent(share, 1)}" for name, share in others[:3]]
    return f"Redis itself kept all waiting by {', '.join(told)} of the last minute" if told else ""


def crowd(
    clients: pd.DataFrame | None, metrics: pd.DataFrame | None, own: Mapping[str, Any] | None
) -> pd.DataFrame | None:
    """Who is connected; where Redis lets nobody look, as many as the platform counted.

    `attrs["call_us"]` is the mean time of a usual command [us]; nan where it is not known.
    """
    import pandas as pd

    found = clients
    if found is None:
        count = gauge(metrics, "redis_connected_clients")
        if math.isnan(count):
            return None
        row = {"name": "", "host": "", "kind": "normal", "connections": int(count), "active": int(count)}
        found = pd.DataFrame([row])
    table = found.copy()
    seen = (metrics if clients is None else clients, own)
    table.attrs["evidence"] = [mark for fact in seen for mark in evidence_of(fact)]
    table.attrs["call_us"] = float((server_of(own) or {}).get("call_us") or "nan")
    return table


def gauge(metrics: pd.DataFrame | None, name: str) -> float:
    """A gauge of the platform without labels; nan where it is not there."""
    if metrics is None or not (metrics["name"] == name).any():
        return float("nan")
    return float(metrics.loc[metrics["name"] == name, "value"].iloc[0])


def sizes(memory: Mapping[str, Any]) -> pd.DataFrame:
    """The sizes of Redis' memory that count, in words: `mb`, a row each; those that it does not tell are left out."""
    import pandas as pd

    told = {text: float(memory[name]) / 1e6 for name, text in _SIZES.items() if name in memory}
    return pd.DataFrame({"mb": told}, index=list(told), dtype=float)


def programs(clients: pd.DataFrame) -> pd.DataFrame:
    """The client programs, by name and host: `connections` and `active`, most of them first."""
    normal = clients[clients["kind"] == "normal"]
    table = normal.groupby(["name", "host"], dropna=False)[["connections", "active"]].sum().reset_index()
    table = table.sort_values(["active", "connections"], ascending=False, ignore_index=True)
    table.attrs["evidence"] = list(evidence_of(clients))
    return table


def server_of(own: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What the server did while its latency was measured; None where it could not be asked."""
    return None if own is None else own.get("server")


def starved(own: Mapping[str, Any] | None) -> float:
    """How many times longer commands took than the CPU worked for Redis: 1, or more where it had to wait for a CPU."""
    server = server_of(own) or {}
    worked, took = float(server.get("cpu_share") or 0.0), float(server.get("command_share") or 0.0)
    return max(1.0, took / max(worked, 0.001))


def memory_swapping(memory: Mapping[str, Any], blocked: pd.DataFrame, own: Mapping[str, Any]) -> list[Reason]:
    """The data do not fit the memory: to take something in, something has to go, and everybody waits for that."""
    used, limit, host = (float(memory.get(name) or 0) for name in ("used_memory", "maxmemory", "total_system_memory"))
    resident = float(memory.get("used_memory_rss") or 0)
    full, of = (
        (used / limit, f"its limit of {limit / 1e6:,.0f} MB") if limit else (resident / max(host, 1), "the host's")
    )
    evicting = float(blocked["share"].get("eviction-cycle", 0.0))
    rate = float((server_of(own) or {}).get("evicted_per_s", float("nan")))
    reasons = [
        reason(f"memory in use is {percent(full)} of {of}", full, threshold=0.75, decisive=0.95),
        reason(f"{rate:.1f} keys a second are evicted", rate, threshold=0.2, decisive=1.0, missing=NO_INFO),
        reason(
            f"evictions kept everybody waiting for {percent(evicting, 1)} of the last minute",
            evicting,
            threshold=0.004,
            decisive=0.02,
        ),
    ]
    if used > 20e6 and resident < 0.9 * used:
        reasons.append(
            Reason(f"{percent(1 - resident / used)} of the data are not in memory: they are swapped out", 2.5)
        )
    return reasons


def slow_commands(own: Mapping[str, Any], slow: pd.DataFrame) -> list[Reason]:
    """Some commands take so long that all others wait for them."""
    server, waited = server_of(own), starved(own)
    logged, text = float(slow["share"].sum()), "the slow log of the last minute holds next to nothing"
    if logged > 0.001:
        first = slow.iloc[0]
        who = first["client"] or "a client without a name"
        lately = f"{percent(logged, 1)} of the time since these began"
        what = f"{first['command']} {first['key']}".rstrip()
        text = f"{what} of {who} is first in the slow log, {lately}"
    reasons = [reason(text, logged / waited, threshold=0.01, decisive=0.04)]
    if server is None:
        return [*reasons, reason("", float("nan"), threshold=0.0, decisive=1.0, missing=NO_INFO)]
    share = sum(float(one["share"]) for one in server["slow"])
    verbs = ", ".join(f"{one['command']} ({one['mean_ms']:.0f} ms each)" for one in server["slow"][:3])
    which = verbs or "of which there are none"
    text = f"commands of 2 ms and more, {which}, keep all waiting {percent(share, 1)} of the time"
    if waited > _STARVED:
        text += f" (but they mostly wait for a CPU themselves: they take {waited:.0f} times as long as they work)"
    return [reason(text, share / waited, threshold=0.02, decisive=0.06), *reasons]


def network(calls: pd.DataFrame, own: Mapping[str, Any]) -> list[Reason]:
    """The time is lost on the way: even a typical call is slow, though Redis is idle."""
    typical, who = float(calls["p50_ms"].max()), str(calls["p50_ms"].idxmax())
    reasons = [reason(f"a typical call of {who} takes {typical:.1f} ms", typical, threshold=1.0, decisive=4.0)]
    repeated = 100.0 * float(own.get("retransmits") or 0) / max(1, int(own["calls"]))
    if repeated:
        text = f"{repeated:.1f} of 100 segments had to be sent again"
        reasons.append(reason(text, repeated, threshold=0.5, decisive=1.0))
    if typical <= 1.0:
        return reasons
    server = server_of(own)
    # A command keeps all others waiting for as long as it takes, whether it works or waits for a CPU itself.
    busy = math.nan if server is None else max(float(server[name]) for name in ("cpu_share", "command_share"))
    on_the_way = _on_the_way(own, typical)
    measured = float(own["p50_ms"]) >= typical / 3 and any(one.weight > 1.0 for one in on_the_way)
    if busy > _BUSY and not measured:
        text = f"Redis itself is busy for {percent(busy)} of the time: calls wait for their turn there"
        return [*reasons, Reason(text, -BOUND)]
    text = f"though Redis is busy for {percent(busy)} of the time only"
    reasons.append(reason(text, busy, threshold=_BUSY, decisive=-2 * _BUSY, missing=NO_INFO))
    reasons += on_the_way
    if (waited := starved(own)) > _STARVED:
        text = f"Redis waits for a CPU: its commands take {waited:.0f} times as long as they work"
        reasons.append(Reason(text, -2.0))
    return reasons


def _on_the_way(own: Mapping[str, Any], typical: float) -> list[Reason]:
    """Whether this run has another way, or is kept by the answers' way itself."""
    mine = float(own["p50_ms"])
    if mine < typical / 3:
        return [Reason(f"this run, on a path of its own, has its answers in {mine:.2f} ms", 1.5)]
    if own.get("way_back_ms") is None:
        return []
    share = float(own["way_back_ms"]) / mine
    text = f"the answer alone is on its way for {own['way_back_ms']:.1f} of {mine:.1f} ms"
    told = reason(text, share, threshold=0.3, decisive=0.45)
    # Among a few calls perhaps none was served at once: then half of a long wait for Redis looks like the way.
    few = min(1.0, int(own["calls"]) / _ENOUGH_CALLS) if told.weight > 0 else 1.0
    return [Reason(text, few * told.weight)]


def short_of_cpu(own: Mapping[str, Any] | None) -> str:
    """What is said where Redis, or this run itself, had to wait for a CPU; else empty."""
    found = []
    if (waited := starved(own)) > _STARVED and float((server_of(own) or {})["command_share"]) >= _FELT:
        found.append(f"Redis' commands take {waited:.0f} times as long as the CPU works for them")
    mine = float((own or {}).get("own_wait_ms") or 0.0)
    if mine >= _OWN_WAIT_MS:
        found.append(f"this run itself waited {mine:.1f} ms for one in a typical call, which is not counted as latency")
    return f"CPUs are short: {'; '.join(found)}" if found else ""


def too_many_clients(clients: pd.DataFrame, usual: int, most: float) -> list[Reason]:
    """So many ask at once that each waits for all the others."""
    among = programs(clients)
    active, all_ = int(among["active"].sum()), int(among["connections"].sum())
    name, held = (
        (str(among.at[0, "name"]) or "a program without a name", among.at[0, "connections"]) if all_ else ("", 0)
    )
    queue_ms = active * (float(clients.attrs["call_us"]) + _ANSWER_US) / 1000.0
    text = f"{active} connections ask at the same time, {held} of them {name}'s (usual: {usual} in all)"
    reasons = [
        reason(text, active, threshold=4.0 * usual, decisive=10.0 * usual),
        reason(
            f"when they all ask at once the last waits {queue_ms:.1f} ms",
            queue_ms,
            threshold=3.0,
            decisive=8.0,
            missing=NO_INFO,
        ),
    ]
    if most and all_ > 0.7 * most:
        text = f"{all_} of the {most:.0f} connections that Redis takes are taken"
        reasons.append(reason(text, all_ / most, threshold=0.7, decisive=0.95))
    return reasons


CAUSES = (
    Cause(
        "memory-swapping",
        "Does Redis run out of memory?",
        memory_swapping,
        "give Redis more memory (maxmemory), then find out who stores so much",
    ),
    Cause(
        "slow-commands",
        "Do slow commands keep the others waiting?",
        slow_commands,
        "cut the series down to their retention, or close the connections of who reads them whole",
    ),
    Cause(
        "network",
        "Is the time lost on the way to Redis?",
        network,
        "fail over to the instance that is near, then have the network looked at",
    ),
    Cause(
        "too-many-clients",
        "Do too many clients ask at once?",
        too_many_clients,
        "close the surplus connections, then lower the limit of that program's pool",
    ),
)
