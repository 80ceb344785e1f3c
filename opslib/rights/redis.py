"""The commands of Redis that each probe and each action needs, and the least users for a runbook, as lines of ACL."""

from __future__ import annotations

from collections.abc import Iterable

SYSTEM = "redis"
_COUNTS = ("hlen", "llen", "scard", "strlen", "xlen", "zcard")

# Commands, some with their first word behind a bar; none of them changes a key.
READS: dict[str, tuple[str, ...]] = {
    "redis.census": ("scan", "type", "memory|usage", "ttl", *_COUNTS),
    "redis.clients": ("client|id", "client|list"),
    "redis.commands": ("client|id", "client|list"),
    "redis.configuration": ("config|get",),
    "redis.events": ("latency|latest", "latency|history"),
    "redis.hash": ("type", "hlen", "hgetall"),
    "redis.info": ("info",),
    "redis.keys": ("scan", "type"),
    "redis.latency": ("time", "info"),
    "redis.latest": ("hmget", "type", "get"),
    "redis.lives": ("dbsize", "scan", "type", "ttl", "object|idletime"),
    "redis.memory": ("info",),
    "redis.modules": ("module|list",),
    "redis.ping": ("ping",),
    "redis.replication": ("info",),
    "redis.series": ("hlen", "hgetall"),
    "redis.slowlog": ("slowlog|get",),
    "redis.stream": ("xrevrange",),
    "redis.streams": ("scan", "xinfo|stream"),
    "redis.text": ("type", "strlen", "ttl", "get"),
}
# What previewing an action reads (its condition too), and what making it needs besides.
OBSERVES: dict[str, tuple[str, ...]] = {
    "redis.fail-over": ("info", "dbsize", "ping"),
    "redis.flush-pattern": ("scan", "ttl", "memory|usage", "info", "ping"),
    "redis.kill-clients": ("client|id", "client|list", "info", "ping"),
    "redis.set-configuration": ("config|get", "info", "ping"),
    "redis.trim-series": ("scan", "type", "hscan", "zscan", "xrange", "info", "ping"),
}
CHANGES: dict[str, tuple[str, ...]] = {
    "redis.fail-over": ("client|setname", "replicaof"),
    "redis.flush-pattern": ("client|setname", "unlink"),
    "redis.kill-clients": ("client|setname", "client|kill"),
    "redis.set-configuration": ("client|setname", "config|set"),
    "redis.trim-series": ("client|setname", "hdel", "zrem", "xdel"),
}
# The same of the TimeSeries module: a server without it knows no such commands and refuses a line that names them.
OF_THE_MODULE: dict[str, tuple[str, ...]] = {
    "redis.latest": ("ts.get",),
    "redis.series": ("ts.revrange",),
    "redis.trim-series": ("ts.range",),
}
CHANGES_OF_THE_MODULE: dict[str, tuple[str, ...]] = {"redis.trim-series": ("ts.alter", "ts.del")}
# Commands that name no key, whatever keys a user may touch.
_WITHOUT_KEYS = frozenset(
    {
        *("client|id", "client|kill", "client|list", "client|setname", "config|get", "config|set", "dbsize", "info"),
        *("latency|history", "latency|latest", "module|list", "ping", "replicaof", "scan", "slowlog|get", "time"),
    }
)
_WIDE = {
    "client|kill": "closes any connection: Redis cannot be told whose",
    "config|set": "changes any setting: Redis cannot be told which",
    "replicaof": "makes the server the replica of any other: Redis cannot be told of which",
    "scan": "shows the names of all keys, whatever the patterns",
}


def of_recorder(reads: Iterable[str], proposes: Iterable[str]) -> tuple[list[str], list[str]]:
    """The commands that the recorder needs for a runbook's probes and previews, and those of the TimeSeries module."""
    probes, actions = list(reads), list(proposes)
    return (
        _together((READS, probes), (OBSERVES, actions)),
        _together((OF_THE_MODULE, [*probes, *actions])),
    )


def of_applier(proposes: Iterable[str]) -> tuple[list[str], list[str]]:
    """What the applier needs for a runbook's actions: to look again, and to make the change."""
    actions = list(proposes)
    return (
        _together((OBSERVES, actions), (CHANGES, actions)),
        _together((OF_THE_MODULE, actions), (CHANGES_OF_THE_MODULE, actions)),
    )


def lines(user: str, commands: list[str], of_the_module: list[str], keys: Iterable[str]) -> list[str]:
    """The lines that let a user do this, each with a comment before it; those of several runbooks add up.

    Parameters
    ----------
    user : str
    commands, of_the_module : list of str
        Of `of_recorder` or `of_applier`.
    keys : iterable of str
        The patterns of the keys that may be touched.
    """
    if not commands:
        return []
    patterns = [f"~{pattern}" for pattern in keys] if set(commands) - _WITHOUT_KEYS else []
    wide = [f"# {command} {_WIDE[command]}" for command in commands if command in _WIDE]
    found = [*wide, " ".join(["ACL SETUSER", user, "on", "resetchannels", *patterns, *_given(commands)])]
    if of_the_module:
        found.append("# where the TimeSeries module is loaded; other servers refuse this line, and need it not")
        found.append(" ".join(["ACL SETUSER", user, *_given(of_the_module)]))
    return found


def _given(commands: Iterable[str]) -> list[str]:
    return [f"+{command}" for command in commands]


def _together(*wanted: tuple[dict[str, tuple[str, ...]], list[str]]) -> list[str]:
    """The commands of all that is wanted, sorted, each once."""
    return sorted({command for table, names in wanted for name in names for command in table.get(name, ())})
