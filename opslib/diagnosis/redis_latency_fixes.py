"""A12 redis-latency: what is proposed against each cause, and what is left to people because it would do harm."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.redis_latency import programs

if TYPE_CHECKING:
    import pandas as pd

_SHARE_OF_HOST, _SHARE_WITHOUT_LIMIT = 0.8, 0.7  # of host or container, that Redis may be given
_SPARE = 1.05  # times what there is and what is used: less is no room


def fixes(
    causes: Sequence[str],
    *,
    memory: Mapping[str, Any] | None,
    slow: pd.DataFrame | None,
    census: pd.DataFrame | None,
    clients: pd.DataFrame | None,
    platform_clients: Sequence[str],
    growth: float,
    series_points: int,
    series_keep_s: float,
    stand_by: str | None,
    usual: int,
    container: pd.DataFrame | None,
) -> list[tuple[str, dict[str, Any]]]:
    """The seed's fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    memory, slow, census, clients : as seen, or None
    platform_clients : sequence of str
        Names of the platform's own connections, which are never closed.
    growth : float
        How much more memory Redis gets, as a factor.
    series_points : int
        A series with more points than this is cut.
    series_keep_s : float
        What is kept of it [s].
    stand_by : str or None
        Name of the instance to fail over to.
    usual : int
        Connections that are at work on a usual day.
    container : DataFrame or None
        Redis' containers, with `memory_limit` [bytes].
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for cause in causes:
        if cause == "memory-swapping" and memory is not None:
            limits = [] if container is None else [float(one) for one in container["memory_limit"] if one > 0]
            value = room(memory, growth, min(limits, default=math.inf))
            if value is not None:
                found.append(("redis.set-configuration", {"name": "maxmemory", "value": str(value)}))
        elif cause == "slow-commands" and slow is not None and len(slow):
            found += _of_slow(slow.iloc[0], census, platform_clients, series_points, series_keep_s)
        elif cause == "network" and stand_by is not None:
            found.append(("redis.fail-over", {"to": stand_by}))
        elif cause == "too-many-clients" and clients is not None:
            found += _of_crowd(programs(clients), platform_clients, usual)
    return found


def _of_slow(
    worst: pd.Series, census: pd.DataFrame | None, own: Sequence[str], points: int, keep_s: float
) -> list[tuple[str, dict[str, Any]]]:
    """Cut the series that the worst command reads, where they are long; else close the connections of who sends it."""
    key = str(worst["key"])
    pattern = re.sub(r"[^:.]+$", "*", key)
    if census is not None and key:
        long = census[(census["pattern"] == pattern) & (census["largest_elements"].fillna(0) > points)]
        if len(long) and long["type"].isin(["hash", "zset", "stream", "TSDB-TYPE"]).all():
            return [("redis.trim-series", {"pattern": pattern, "keep_s": keep_s})]
    if worst["client"] and worst["client"] not in own:
        return [("redis.kill-clients", {"name": str(worst["client"])})]
    return []


def room(memory: Mapping[str, Any], growth: float, container_bytes: float) -> int | None:
    """How much memory Redis should have [bytes]; None where host or container have no room for more than it holds.

    Parameters
    ----------
    memory : mapping
        As `ops.redis.memory` tells it.
    growth : float
        As a factor of the limit that there is.
    container_bytes : float
        What its container may take [bytes]; infinite where that is not known.
    """
    limit, used = float(memory.get("maxmemory") or 0), float(memory.get("used_memory") or 0)
    most = min(container_bytes, float(memory.get("total_system_memory") or math.inf))
    value = min(growth * limit, _SHARE_OF_HOST * most) if limit else _SHARE_WITHOUT_LIMIT * most
    return int(value) if math.isfinite(value) and value > _SPARE * max(limit, used) else None


def _most_of_crowd(among: pd.DataFrame, usual: int, row: pd.Series) -> bool:
    """Whether one program has at least half of what is above the usual, of those at work and of all connections."""
    return all(
        2 * int(row[column]) >= int(among[column].sum()) - usual and int(row[column]) > usual / 2
        for column in ("active", "connections")
    )


def _of_crowd(among: pd.DataFrame, own: Sequence[str], usual: int) -> list[tuple[str, dict[str, Any]]]:
    """Close the connections of the program that is the crowd; of nobody where that is the platform, or are many."""
    if not len(among) or among.iloc[0]["name"] in own or not among.iloc[0]["host"]:
        return []
    largest = among.iloc[0]
    if not _most_of_crowd(among, usual, largest):
        return []
    return [("redis.kill-clients", {"name": str(largest["name"]), "host": str(largest["host"])})]


def whose_crowd(clients: pd.DataFrame, own: Sequence[str], usual: int) -> str:
    """Whose connections ask, in a sentence, and what that means for closing them."""
    among = programs(clients)
    if not len(among):
        return "Nobody is connected."
    name, at_work = str(among.iloc[0]["name"]), int(among.iloc[0]["active"])
    who = name or "A program without a name"
    told = f"{who} has {at_work} of the {int(among['active'].sum())} connections at work (usual: {usual} in all)"
    if max(int(among["active"].sum()), int(among["connections"].sum())) <= usual:
        return f"{told}: that is no crowd."
    if name in own:
        return f"{told}; it is the platform's own and is not closed here: L2 limits its pool and restarts it."
    if not _of_crowd(among, own, usual):
        return f"{told}: no program is the crowd by itself, so none is closed."
    return f"{told}."
