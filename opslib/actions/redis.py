"""Actions on Redis itself: change a setting, close connections, fail over to the replica."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from opslib.actions.action import Action, Check, Context, Description, MayGoBack, Observation
from opslib.actions.documents import Bounds, Target, Undo
from opslib.actions.redis_access import (
    RedisArguments,
    changing,
    firing,
    instance,
    not_more_than_approved,
    reading,
)
from opslib.errors import ActionFailed, PlanError, ProbeError

MORE = 1.05  # live quantities may grow by so much between preview and apply
EFFECT_S = 60.0  # percentiles look back some seconds; by then they show the change
_MOST_OF_THE_HOST = 0.8  # of the host's memory that `maxmemory` may take
_LAG_BYTES = 1_000_000  # more than this not yet copied: a replica is no way out
_MOST_NAMES = 10

_NUMBER = re.compile(r"\d{1,15}")
_YES_NO = re.compile(r"yes|no")
# What may be set, and what its value looks like. Nothing that opens a door, loads code or writes a file.
SETTINGS: dict[str, re.Pattern[str]] = {
    "activedefrag": _YES_NO,
    "hz": re.compile(r"[1-9]\d{0,2}"),
    "latency-monitor-threshold": _NUMBER,
    "lazyfree-lazy-eviction": _YES_NO,
    "maxclients": re.compile(r"[1-9]\d{1,5}"),
    "maxmemory": _NUMBER,
    "maxmemory-policy": re.compile(r"noeviction|(allkeys|volatile)-(lru|lfu|random)|volatile-ttl"),
    "maxmemory-samples": re.compile(r"[1-9]\d?"),
    "slowlog-log-slower-than": _NUMBER,
    "slowlog-max-len": _NUMBER,
    "timeout": _NUMBER,
}


class RedisAction(Action):
    """What the actions on Redis have in common."""

    effect_within_s = EFFECT_S
    arguments: RedisArguments

    def check(self, context: Context) -> Check | None:
        """The condition that the action is to end."""
        return firing(context, self.arguments.until)


class SetConfigurationArguments(RedisArguments, MayGoBack):
    """A setting and its new value, as `CONFIG SET` takes them; by when the effect shows [s], else it may go back."""

    name: str
    value: str
    within_s: Annotated[float, Field(ge=5, le=3600)] = EFFECT_S

    @model_validator(mode="after")
    def _known(self) -> SetConfigurationArguments:
        if self.name not in SETTINGS:
            raise ValueError(f"{self.name} may not be set; what may: {', '.join(sorted(SETTINGS))}")
        if not SETTINGS[self.name].fullmatch(self.value):
            raise ValueError(f"{self.value!r} is no value of {self.name}")
        return self


class SetConfiguration(RedisAction):
    """Change one setting of the running Redis."""

    name = "redis.set-configuration"
    kind = "configuration"
    Arguments = SetConfigurationArguments
    arguments: SetConfigurationArguments

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        self.effect_within_s = self.arguments.within_s

    def observe(self, context: Context) -> Observation:
        """Read the setting, and what it bears on."""
        with reading(context) as client:
            value = self._value(client)
            memory, clients = client.info("memory"), client.info("clients")
            uid = instance(client)
        target = Target(kind="redis-setting", name=self.arguments.name, uid=uid, fields={self.arguments.name: value})
        facts = {
            "used_memory": int(memory["used_memory"]),
            "total_system_memory": int(memory.get("total_system_memory", 0)),
            "connected_clients": int(clients["connected_clients"]),
        }
        return Observation(target, facts)

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: the value now and then, and what it does to what is there."""
        name, new = self.arguments.name, self.arguments.value
        old = str(seen.target.fields[name])
        if new == old:
            raise PlanError(f"{name} is {old} already; there is nothing to set")
        goes = self._goes(new, seen.facts)
        return Description(
            summary=f"Set {name} of Redis of {context.platform} from {_told(name, old)} to {_told(name, new)}",
            preview={"setting": name, "before": old, "after": new, **seen.facts, "at_once": goes},
            expected_effect=f"{goes}; the condition of the alert ends within {self.effect_within_s:g} s",
            blast_radius={"settings": 1, "instances": 1},
            residual_risk="a restart of Redis brings the old value back until its configuration file says the new one; "
            "the replica keeps its own value",
            undo=Undo(
                kind="inverse",
                reason="sets the previous value",
                action=self.name,
                arguments={
                    "name": name,
                    "value": old,
                    "until": self.arguments.until,
                    "within_s": self.arguments.within_s,
                },
            ),
        )

    def _goes(self, new: str, facts: dict[str, Any]) -> str:
        """What the new value does at once, in words."""
        name, used, host = self.arguments.name, facts["used_memory"], facts["total_system_memory"]
        if name == "maxmemory":
            if host and int(new) > _MOST_OF_THE_HOST * host:
                most = _told(name, str(int(_MOST_OF_THE_HOST * host)))
                raise PlanError(f"maxmemory {_told(name, new)} is more than the host can give (at most {most})")
            if 0 < int(new) < used:
                return f"{_told(name, str(used - int(new)))} of data are evicted, or writes are refused"
            return f"{_told(name, str(used))} are used; nothing is evicted until the new limit is reached"
        if name == "maxclients":
            there = facts["connected_clients"]
            if int(new) <= there:
                return f"{there} clients stay connected, new ones are refused"
            return f"{there} clients are connected; new ones are refused from {new} on"
        return "it holds from the next command on"

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Set it."""
        with changing(context, key) as client:
            client.config_set(self.arguments.name, self.arguments.value)
            return {"setting": self.arguments.name, "value": self._value(client)}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the setting has the value, and did not have it before."""
        asked = self.arguments.value
        with reading(context) as client:
            return before.target.fields[self.arguments.name] != asked and self._value(client) == asked

    def _value(self, client: Any) -> str:
        found = client.config_get(self.arguments.name)
        if self.arguments.name not in found:
            raise ProbeError(f"this Redis knows no setting {self.arguments.name}")
        return str(found[self.arguments.name])


class KillClientsArguments(RedisArguments):
    """Which connections: all that are given must fit."""

    name: Annotated[str | None, Field(max_length=200)] = None
    host: Annotated[str | None, Field(max_length=200)] = None
    user: Annotated[str | None, Field(max_length=200)] = None
    older_than_s: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _narrowed(self) -> KillClientsArguments:
        if self.name is None and self.host is None and self.user is None:
            raise ValueError("say whose connections: name, host or user")
        return self

    def __str__(self) -> str:
        parts = [f"name {self.name!r}" if self.name is not None else "", f"host {self.host}" if self.host else ""]
        parts += [f"user {self.user}" if self.user else ""]
        parts += [f"older than {self.older_than_s} s" if self.older_than_s else ""]
        return ", ".join(part for part in parts if part)


class KillClients(RedisAction):
    """Close the connections of one client program; replicas and subscribers are never among them."""

    name = "redis.kill-clients"
    kind = "basic-fix"
    Arguments = KillClientsArguments
    arguments: KillClientsArguments

    def observe(self, context: Context) -> Observation:
        """Count the connections that fit."""
        with reading(context) as client:
            found, all_ = self._fitting(client), int(client.info("clients")["connected_clients"])
            uid = instance(client)
        count = len(found)
        target = Target(
            kind="redis-clients",
            name=str(self.arguments),
            uid=uid,
            live={"connections": Bounds(previewed=count, low=1, high=math.floor(count * MORE))},
        )
        shown = [f"{one['addr']} {one.get('cmd', '')} for {one['age']} s" for one in found[:_MOST_NAMES]]
        return Observation(target, {"ids": [one["id"] for one in found], "connected": all_, "some": shown})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: how many, and some of them."""
        count = len(seen.facts["ids"])
        if not count:
            raise PlanError(f"no connection fits {self.arguments}; there is nothing to close")
        return Description(
            summary=f"Close {count} connections to Redis of {context.platform} ({self.arguments})",
            preview={"connections": count, "of": seen.facts["connected"], "some": seen.facts["some"]},
            expected_effect=f"{seen.facts['connected'] - count} of {seen.facts['connected']} connections stay; "
            f"the condition of the alert ends within {EFFECT_S:g} s",
            blast_radius={"connections": count},
            residual_risk="commands under way on them are lost to their owner; a program that connects again is back "
            "at once, until the limit of its pool is lowered",
            undo=Undo(kind="none", reason="a closed connection can only be opened again by its owner"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Close them, one by one, by their ids."""
        with changing(context, key) as client:
            found, closed = self._fitting(client), 0
            not_more_than_approved(context, "connections", len(found))
            for one in found:
                closed += int(client.client_kill_filter(_id=one["id"]))
            return {"closed": closed, "left": len(self._fitting(client))}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether those that were there are gone."""
        with reading(context) as client:
            now = {one["id"] for one in self._fitting(client)}
        return bool(before.facts["ids"]) and not now & set(before.facts["ids"])

    def _fitting(self, client: Any) -> list[dict[str, str]]:
        """The connections that fit, ours left out."""
        own, wanted = str(client.client_id()), self.arguments
        return [
            one
            for one in client.client_list(_type="normal")
            if one["id"] != own
            and (wanted.name is None or one.get("name", "") == wanted.name)
            and (wanted.host is None or one["addr"].rpartition(":")[0] == wanted.host)
            and (wanted.user is None or one.get("user", "") == wanted.user)
            and int(one["age"]) >= wanted.older_than_s
        ]


class FailOverArguments(RedisArguments):
    """Which instance is to be in use, as `/api/status` names it."""

    to: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")] = "replica"


class FailOver(RedisAction):
    """Promote the replica and let the platform use it; the instance used so far follows it from then on."""

    name = "redis.fail-over"
    kind = "basic-fix"
    Arguments = FailOverArguments
    arguments: FailOverArguments
    stand_by: ClassVar[str] = "redis_replica"

    def observe(self, context: Context) -> Observation:
        """Which instance is in use, and how far the replica is behind."""
        with reading(context, self.stand_by) as client:
            told, uid = client.info("replication"), instance(client)
        replica = told.get("role") == "slave"
        up = replica and told.get("master_link_status") == "up"
        behind = max(0, int(told.get("master_repl_offset", 0)) - int(told.get("slave_repl_offset", 0)))
        target = Target(
            kind="redis-instance",
            name=context.platform,
            uid=uid,
            fields={"in_use": self._in_use(context), "replica_follows": up},
            live={"not_yet_copied_bytes": Bounds(previewed=behind, high=_LAG_BYTES)},
        )
        heard = told.get("master_last_io_seconds_ago")
        return Observation(target, {"seconds_since_heard": heard, "keys": self._keys(context)})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: what is in use, and whether the other one can take over."""
        old, new = str(seen.target.fields["in_use"]), self.arguments.to
        if old == new:
            raise PlanError(f"the instance {new} is in use already")
        if not seen.target.fields["replica_follows"]:
            raise PlanError(f"the instance {new} does not follow {old} at this moment; promoting it would lose data")
        behind = seen.target.live["not_yet_copied_bytes"].previewed
        return Description(
            summary=f"Fail over Redis of {context.platform} from {old} to {new}",
            preview={"in_use": old, "then": new, "not_yet_copied_bytes": behind, **seen.facts},
            expected_effect=f"the platform reads and writes at {new} within seconds; the condition of the alert ends "
            f"within {EFFECT_S:g} s",
            blast_radius={"instances": 2, "keys": seen.facts["keys"]},
            residual_risk=f"what was written to {old} and not yet copied (now {behind:g} bytes) is lost; programs that "
            f"know only the address of {old} write in vain until they are repointed",
            undo=Undo(
                kind="inverse",
                reason=f"fails over to {old}, which follows {new} by then",
                action=self.name,
                arguments={"to": old, "until": self.arguments.until},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Promote, repoint the platform, and let the old one follow."""
        former, promoted = context.endpoint("redis"), urlsplit(context.endpoint(self.stand_by))
        before = self._in_use(context)
        with changing(context, key, self.stand_by) as client:
            client.replicaof("NO", "ONE")
        told = context.post("api", "/api/store/use", {"instance": self.arguments.to, "reason": "fail over"}, key=key)
        other = Context(context.platform, context.environment, "applier", lambda _: former, context.limits)
        try:
            with changing(other, key) as client:
                client.replicaof(promoted.hostname, promoted.port)
            follows = True
        except ActionFailed:
            follows = False  # it is away, which may be why we fail over: the platform does not need it
        return {**told, "before": before, "the_former_follows": follows}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the platform uses another instance than before, and the one asked for."""
        asked = self.arguments.to
        return str(before.target.fields["in_use"]) != asked and self._in_use(context) == asked

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """Which instance is in use; the other one is another one by then."""
        return {"in_use": seen.target.fields["in_use"]}

    def _in_use(self, context: Context) -> str:
        answer = context.get("api", "/api/status")
        try:
            return str(answer.json()["store"]["in_use"])
        except (ValueError, KeyError, TypeError) as error:
            raise ProbeError(f"/api/status of {context.platform} does not tell store.in_use") from error

    def _keys(self, context: Context) -> int:
        with reading(context, self.stand_by) as client:
            return int(client.dbsize())


def _told(name: str, value: str) -> str:
    """A value as a person reads it."""
    if name == "maxmemory" and value.isdigit():
        return "no limit" if value == "0" else f"{int(value) / 1e6:,.1f} MB"
    return value
