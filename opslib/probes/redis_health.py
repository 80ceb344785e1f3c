"""How Redis is: what it says of itself, what slowed it, who is connected, what it is short of. Reads only.

What our identity may not ask, or an older server does not know, is None or an empty table, never a guess.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from opslib.probes.redis_client import connected, number_of, permitted, table, text_of
from opslib.probes.registry import ROWS, Frame, Target, probe

if TYPE_CHECKING:
    from redis import Redis

_LONGEST_COMMAND = 500
_LONGEST_WATCH_S = 3.0
_LOOKS_APART_S = 0.004
# What may be asked of `CONFIG GET`: settings that bear on latency and memory, none that can hold a secret.
CONFIGURATION = (
    "activedefrag",
    "appendfsync",
    "appendonly",
    "hz",
    "latency-monitor-threshold",
    "lazyfree-lazy-eviction",
    "maxclients",
    "maxmemory",
    "maxmemory-policy",
    "maxmemory-samples",
    "save",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "tcp-keepalive",
    "timeout",
)
_MEMORY = (
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_dataset",
    "maxmemory",
    "total_system_memory",
    "mem_fragmentation_ratio",
    "mem_clients_normal",
    "lazyfree_pending_objects",
)


@probe("redis.info")
def info(target: Target, section: str | None = None) -> Frame:
    """What `INFO` says: `field`, `value`, both text."""
    with connected(target) as client:
        found = client.info(section) if section else client.info()
    rows = [{"field": field, "value": str(value)} for field, value in found.items()]
    return table(rows, field="string", value="string")


@probe("redis.slowlog")
def slowlog(target: Target, n: int = 20) -> Frame:
    """The slowest commands, newest first: `time` (UTC), `took_us`, `command`, `client` (address), `name`."""
    with connected(target) as client:
        found = client.slowlog_get(min(max(n, 1), 1000))
    rows = [
        {
            "time": int(row["start_time"]),
            "took_us": int(row["duration"]),
            "command": text_of(row["command"])[:_LONGEST_COMMAND],
            "client": text_of(row.get("client_address")),
            "name": text_of(row.get("client_name")),
        }
        for row in found
    ]
    return table(rows, time="s", took_us="int64", command="string", client="string", name="string")


@probe("redis.events")
def events(target: Target) -> Frame:
    """What Redis' own latency monitor saw: `event`, `time` (UTC), `took_ms` (the worst in that second), oldest first.

    Empty where the monitor is off: `latency-monitor-threshold` of `redis.configuration` tells.
    """
    rows: list[dict[str, Any]] = []
    with connected(target) as client:
        for latest in permitted(client, "LATENCY", "LATEST") or []:
            name = text_of(latest[0])
            history = permitted(client, "LATENCY", "HISTORY", name) or []
            rows += [{"event": name, "time": int(at), "took_ms": float(took)} for at, took in history]
    rows.sort(key=lambda row: row["time"])
    return table(rows[-ROWS:], event="string", time="s", took_ms="float64")


@probe("redis.clients")
def clients(target: Target, active_within_s: int = 1) -> Frame:
    """Who is connected, grouped by name, host, user and last command, the largest group first.

    Columns `name`, `host`, `user`, `command`, `kind` (normal, replica, master, pubsub), `connections`, `active` (asked
    something within `active_within_s` [s]), `oldest_s`, `newest_s` [s], `output_bytes`, `addresses` (up to five).
    Our own connection is left out.
    """
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    with connected(target) as client:
        own = text_of(str(permitted(client, "CLIENT", "ID") or ""))
        found = client.client_list()
    for one in found:
        if one.get("id") == own:
            continue
        host = one.get("addr", "").rpartition(":")[0]
        key = (one.get("name", ""), host, one.get("user", ""), one.get("cmd", ""), _kind(one.get("flags", "")))
        groups.setdefault(key, []).append(one)
    rows = [
        {
            **dict(zip(("name", "host", "user", "command", "kind"), key, strict=True)),
            "connections": len(members),
            "active": sum(int(one["idle"]) <= active_within_s for one in members),
            "oldest_s": max(int(one["age"]) for one in members),
            "newest_s": min(int(one["age"]) for one in members),
            "output_bytes": sum(int(one.get("omem", 0)) for one in members),
            "addresses": " ".join(one.get("addr", "") for one in members[:5]),
        }
        for key, members in groups.items()
    ]
    rows.sort(key=lambda row: -int(str(row["connections"])))
    types = dict.fromkeys(("name", "host", "user", "command", "kind"), "string")
    types |= dict.fromkeys(("connections", "active", "oldest_s", "newest_s", "output_bytes"), "int64")
    return table(rows[:ROWS], **types, addresses="string")


@probe("redis.commands")
def commands(target: Target, for_s: float = 1.0) -> Frame:
    """Which commands each program sends, looked at again and again, since a connection shows the last one alone.

    Columns `name`, `host`, `user`, `kind` (as of `redis.clients`), `command`, and `seen`: in how many of the looks,
    most first. Of commands that alternate quickly each is likely to be seen, none is certain to. Ours are left out.

    Parameters
    ----------
    target : Target
    for_s : float
        How long it is looked [s], at most 3.
    """
    if not 0 < for_s <= _LONGEST_WATCH_S:
        raise target.error(f"for_s must be above 0 and at most {_LONGEST_WATCH_S:g}")
    counts: Counter[tuple[str, ...]] = Counter()
    with connected(target) as client:
        own = text_of(str(permitted(client, "CLIENT", "ID") or ""))
        until = time.monotonic() + for_s
        while True:
            began = time.monotonic()
            found = [one for one in client.client_list() if one.get("id") != own]
            counts.update({(*_program(one), one.get("cmd", "")) for one in found})
            if time.monotonic() > until:
                break
            time.sleep(max(_LOOKS_APART_S, 4.0 * (time.monotonic() - began)))  # a fifth of its time at most
    names = ("name", "host", "user", "kind", "command")
    rows = [{**dict(zip(names, key, strict=True)), "seen": count} for key, count in counts.most_common(ROWS)]
    return table(rows, **dict.fromkeys(names, "string"), seen="int64")


def _program(one: dict[str, str]) -> tuple[str, str, str, str]:
    """Whose connection it is: name, host, user, and what it is for."""
    return one.get("name", ""), one.get("addr", "").rpartition(":")[0], one.get("user", ""), _kind(one.get("flags", ""))


def _kind(flags: str) -> str:
    """What a connection is for, by its flags."""
    known = {"S": "replica", "M": "master", "P": "pubsub"}
    return next((word for flag, word in known.items() if flag in flags), "normal")


@probe("redis.memory")
def memory(target: Target) -> dict[str, Any]:
    """Memory in bytes, its limit (0: none) and policy, and how many keys were evicted since the start."""
    with connected(target) as client:
        told = client.info("memory")
        evicted = client.info("stats").get("evicted_keys")
    figures = {name: told[name] for name in _MEMORY if name in told}
    return {**figures, "policy": told.get("maxmemory_policy"), "evicted_keys": evicted}


@probe("redis.configuration")
def configuration(target: Target, names: list[str] | None = None) -> dict[str, Any]:
    """Settings by name, as text; those alone that bear on latency and memory, never one that can hold a secret."""
    wanted = list(CONFIGURATION) if names is None else names
    if unknown := sorted(set(wanted) - set(CONFIGURATION)):
        raise target.error(f"{', '.join(unknown)} may not be asked; what may: {', '.join(CONFIGURATION)}")
    with connected(target) as client:
        found: dict[str, str] = {}
        for name in wanted:
            found.update({text_of(key): text_of(value) for key, value in client.config_get(name).items()})
    return {name: found[name] for name in wanted if name in found}


@probe("redis.replication")
def replication(target: Target) -> dict[str, Any]:
    """`role`; of a replica `link_up`, `master`, `seconds_since_heard`; of a primary `replicas` with lag [bytes]."""
    with connected(target) as client:
        told = client.info("replication")
    offset = int(told.get("master_repl_offset", 0))
    if told.get("role") == "slave":
        return {
            "role": "replica",
            "link_up": told.get("master_link_status") == "up",
            "master": f"{told.get('master_host')}:{told.get('master_port')}",
            "seconds_since_heard": told.get("master_last_io_seconds_ago"),
            "offset": int(told.get("slave_repl_offset", 0)),
        }
    replicas = [
        {
            "address": f"{one['ip']}:{one['port']}",
            "state": one["state"],
            "lag_bytes": offset - int(one["offset"]),
            "lag_s": one.get("lag"),
        }
        for name, one in told.items()
        if name.startswith("slave") and isinstance(one, dict)
    ]
    return {"role": "primary", "offset": offset, "replicas": replicas}


@probe("redis.modules")
def modules(target: Target) -> dict[str, Any]:
    """`modules` by name and version (None where we may not ask), and `time_series`: whether its commands are known."""
    with connected(target) as client:
        listed = permitted(client, "MODULE", "LIST")
        return {"modules": _module_names(listed), "time_series": has_time_series(client)}


def has_time_series(client: Redis) -> bool:
    """Whether the server knows the commands of the TimeSeries module, even where we may not use them."""
    import redis

    try:
        client.execute_command("TS.INFO", "")  # type: ignore[no-untyped-call]
    except redis.ResponseError as error:
        return "unknown command" not in str(error).lower()
    return True


def _module_names(listed: Any) -> dict[str, int] | None:
    """Modules by name with their versions, out of what `MODULE LIST` answers."""
    if listed is None:
        return None
    names = {}
    for entry in listed:
        pairs = entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=False))
        facts = {text_of(key): value for key, value in pairs.items()}
        names[text_of(facts.get("name"))] = int(number_of(str(facts.get("ver", 0))))
    return names
