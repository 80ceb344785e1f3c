"""A23 dashboard-no-data: what is proposed against each cause, and what is left to people because it cannot be aimed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MODULE = "ts."  # what the commands of the TimeSeries module begin with
# What takes keys away, the plainest first; whoever looks for keys need not remove them.
_REMOVING = ("unlink", "del", "flushdb", "flushall", "getdel", "rename", "renamenx", "move", "migrate")
_EXPIRING = ("expire", "pexpire", "expireat", "pexpireat", "getex", "hdel", "hexpire", "hpexpire", "hgetdel")
_OVERWRITING = ("set", "mset", "setex", "psetex", "getset", "copy", "restore", "rename", "rpush", "lpush", "sadd")
_HIDING = ("eval", "evalsha", "fcall", "exec")  # what they run is not seen by its name, Redis counts it all the same


def fixes(
    causes: Sequence[str],
    *,
    versions: Sequence[Mapping[str, Any]] | None,
    dashboard: str,
    elsewhere: pd.DataFrame | None,
    address: str,
    clients: pd.DataFrame | None,
    commands: pd.DataFrame | None,
    memory: Mapping[str, Any] | None,
    platform_clients: Sequence[str],
    ran: Collection[str] = (),
    overwritten: bool = False,
) -> list[tuple[str, dict[str, Any]]]:
    """The fix of each cause that holds; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    versions : sequence of mapping or None
        Of the dashboard, the newest first: `version`, `queries`.
    dashboard : str
        Its uid.
    elsewhere : DataFrame or None
        Datasources that lead somewhere else.
    address : str
        Where the platform's Redis is, `host:port`.
    clients, memory : as seen, or None
    commands : DataFrame or None
        What `ops.redis.commands` saw each program send.
    platform_clients : sequence of str
        Names of the platform's own connections, which are never closed.
    ran, overwritten : as `removers` takes them
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for cause in causes:
        if cause == "writer-down":
            found.append(("crypto.set-series-writer", {"running": True}))
        elif cause == "redis-empty":
            removing = removers(clients, commands, platform_clients, ran, overwritten=overwritten)
            found += _of_empty(removing, memory)
        elif cause == "module-missing":
            earlier = [one for one in (versions or ())[1:] if not any(MODULE in query for query in one["queries"])]
            if earlier:
                found.append(("dashboards.restore-version", {"uid": dashboard, "version": int(earlier[0]["version"])}))
        elif cause == "datasource-wrong" and elsewhere is not None and address:
            found += [
                ("dashboards.set-datasource", {"uid": uid, "url": f"redis://{address}/0"})
                for uid in elsewhere["datasource"]
            ]
    return found


def _of_empty(removing: Sequence[dict[str, str]], memory: Mapping[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Close the connections of who removes the keys; where Redis itself evicts them, give it more memory."""
    if memory is not None and memory.get("maxmemory") and memory["used_memory"] > 0.9 * memory["maxmemory"]:
        value = str(max(2 * int(memory["maxmemory"]), 64_000_000))
        return [("redis.set-configuration", {"name": "maxmemory", "value": value, "until": "dashboard-data"})]
    if len(removing) != 1:
        return []
    return [("redis.kill-clients", {**one, "until": "dashboard-data"}) for one in removing]


def removers(
    clients: pd.DataFrame | None,
    commands: pd.DataFrame | None,
    own: Sequence[str],
    ran: Collection[str] = (),
    *,
    overwritten: bool = False,
) -> list[dict[str, str]]:
    """The programs, not the platform's own, that were seen to remove keys; of several none is known to be the one.

    Whoever removes keys outright comes first, then who lets them expire, then who sends scripts and transactions: those
    only while Redis runs commands that remove, and nobody is seen to send them. Of each the programs with a name come
    first; one without is told by its host and user.

    Parameters
    ----------
    clients : DataFrame or None
        With the last command of each; an idle connection's tells nothing of now.
    commands : DataFrame or None
        What `ops.redis.commands` saw each program send.
    own : sequence of str
    ran : collection of str
        The commands that Redis ran meanwhile by its own count, those of scripts and transactions included.
    overwritten : bool
        Whether something else is written in the place of the series.

    Returns
    -------
    list of dict
        `name`, or `name` (empty), `host` and `user`: what tells the program's connections from others.
    """
    sent: set[tuple[str, str, str, str]] = set()
    for seen in (None if clients is None else clients[clients["active"] > 0], commands):
        for one in [] if seen is None else seen[seen["kind"] == "normal"].to_dict("records"):
            name, verb = str(one["name"] or ""), str(one["command"]).partition("|")[0]
            if name not in own:
                sent.add((name, str(one.get("host") or ""), str(one.get("user") or ""), verb))
    ways: list[tuple[str, ...]] = [_OVERWRITING] if overwritten else []
    ways += [_REMOVING, _EXPIRING]
    if {str(name).lower() for name in ran} & {name for way in ways for name in way}:
        ways.append(_HIDING)
    for way in ways:
        if named := sorted({name for name, *_, verb in sent if verb in way and name}):
            return [{"name": name} for name in named]
        if places := sorted({(host, user) for name, host, user, verb in sent if verb in way and not name and host}):
            return [{"name": "", "host": host, "user": user} for host, user in places]
    return []


def ran(own: Mapping[str, Any] | None) -> list[str]:
    """The commands that Redis ran by its own count, out of what `ops.redis.latency` answered; none where it did not."""
    return sorted(((own or {}).get("server") or {}).get("mean_ms") or ())


def told(removing: Sequence[Mapping[str, str]]) -> str:
    """Who was seen to remove keys, as `removers` gives it, in words."""
    who = [one["name"] or f"a program without a name at {one['host']} (user {one['user']})" for one in removing]
    return ", ".join(who) or "nobody"
