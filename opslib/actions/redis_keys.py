"""Actions on the keys of Redis: flush a pattern, cut series down to a retention. Counted first, in batches, capped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import Field, field_validator

from opslib.actions.action import Context, Description, Observation
from opslib.actions.documents import Bounds, Target, Undo
from opslib.actions.redis import MORE, RedisAction
from opslib.actions.redis_access import (
    BATCH,
    Pattern,
    RedisArguments,
    changing,
    instance,
    most,
    not_more_than_approved,
    reading,
    scan,
)
from opslib.errors import ActionFailed, PlanError
from opslib.figures import amount

MOST_KEYS = 100_000
MOST_SERIES = 200
_SAMPLED = 20


class FlushPatternArguments(RedisArguments):
    """Which keys, by a pattern that is not all of them; with `endless` only those of them that have no end of life."""

    pattern: Pattern
    endless: bool = False

    @field_validator("pattern")
    @classmethod
    def _narrow(cls, pattern: str) -> str:
        if len(pattern.split("*")[0]) < 3:
            raise ValueError("begin the pattern with at least three characters of the keys' names")
        return pattern


class FlushPattern(RedisAction):
    """Remove the keys of a pattern."""

    name = "redis.flush-pattern"
    kind = "basic-fix"
    Arguments = FlushPatternArguments
    arguments: FlushPatternArguments

    def observe(self, context: Context) -> Observation:
        """Count the keys by SCAN, and look at some of them."""
        with reading(context) as client:
            keys, uid = self._keys(client), instance(client)
            sizes = [int(client.memory_usage(key, samples=5) or 0) for key in keys[:_SAMPLED]]
        size = round(sum(sizes) / len(sizes) * len(keys)) if sizes else 0
        bounds = Bounds(previewed=len(keys), low=1, high=math.floor(len(keys) * MORE))
        target = Target(kind="redis-keys", name=self.arguments.pattern, uid=uid, live={"keys": bounds})
        return Observation(target, {"bytes": size, "some": keys[:_SAMPLED]})

    def _keys(self, client: Any) -> list[str]:
        """The keys that are meant."""
        found = scan(client, self.arguments.pattern, MOST_KEYS)
        if not self.arguments.endless:
            return found
        lives: list[int] = []
        for first in range(0, len(found), BATCH):
            with client.pipeline(transaction=False) as asked:
                for key in found[first : first + BATCH]:
                    asked.ttl(key)
                lives += asked.execute()
        return [key for key, life in zip(found, lives, strict=True) if life == -1]

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: how many keys, how large, and some of them."""
        count, pattern = int(seen.target.live["keys"].previewed), self.arguments.pattern
        which = " that have no end of life" if self.arguments.endless else ""
        if not count:
            raise PlanError(f"no key matches {pattern!r}{which}; there is nothing to flush")
        return Description(
            summary=f"Remove {count:,} keys {pattern}{which} from Redis of {context.platform}",
            preview={"pattern": pattern, "keys": count, "endless_only": self.arguments.endless, **seen.facts},
            expected_effect=f"about {amount(seen.facts['bytes'])} bytes become free; readers build the keys anew",
            blast_radius={"keys": count, "bytes": seen.facts["bytes"]},
            residual_risk="until they are built anew, what reads them finds nothing and asks its slower source",
            undo=Undo(kind="none", reason="what is removed is not kept anywhere"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Remove them in batches by UNLINK, which frees the memory beside the other commands."""
        removed = 0
        with changing(context, key) as client:
            keys = self._keys(client)
            not_more_than_approved(context, "keys", len(keys))
            for first in range(0, len(keys), BATCH):
                removed += int(client.unlink(*keys[first : first + BATCH]))
        return {"pattern": self.arguments.pattern, "removed": removed}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether there are fewer of them than before."""
        with reading(context) as client:
            return len(self._keys(client)) < before.target.live["keys"].previewed


class TrimSeriesArguments(RedisArguments):
    """Which series, and how far back they are kept [s]."""

    pattern: Pattern
    keep_s: Annotated[float, Field(ge=60, le=366 * 86_400)]


class TrimSeries(RedisAction):
    """Cut series down to a retention: hashes and sorted sets by milliseconds, streams, and TimeSeries."""

    name = "redis.trim-series"
    kind = "basic-fix"
    Arguments = TrimSeriesArguments
    arguments: TrimSeriesArguments

    def observe(self, context: Context) -> Observation:
        """Count the points that are older."""
        until = self._until()
        with reading(context) as client:
            keys, uid = scan(client, self.arguments.pattern, MOST_SERIES), instance(client)
            counts = {name: sum(1 for _ in _older(client, name, until)) for name in keys}
        old = {name: count for name, count in counts.items() if count}
        total = sum(old.values())
        bounds = Bounds(previewed=total, low=1, high=math.floor(total * MORE))
        target = Target(kind="redis-series", name=self.arguments.pattern, uid=uid, live={"points": bounds})
        return Observation(target, {"series": old})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: how many points of which series."""
        series, total = seen.facts["series"], int(seen.target.live["points"].previewed)
        kept = f"{self.arguments.keep_s / 3600:g} h"
        if not total:
            raise PlanError(
                f"no series {self.arguments.pattern!r} reaches back more than {kept}; there is nothing to cut"
            )
        return Description(
            summary=f"Cut {len(series)} series {self.arguments.pattern} of {context.platform} down to {kept}",
            preview={"keep": kept, "points": total, "series": series},
            expected_effect=f"{total:,} points go; what reads whole series has so much less to read",
            blast_radius={"keys": len(series), "points": total},
            residual_risk="reports over more than the retention find less; the series grow again unless trimmed",
            undo=Undo(kind="none", reason="the points that are removed are not kept anywhere"),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Remove the older points in batches, so that nobody waits for long; never more than were approved."""
        until, removed, at_most = self._until(), 0, most(context, "points")
        with changing(context, key) as client:
            for name in scan(client, self.arguments.pattern, MOST_SERIES):
                kind, old = str(client.type(name)), list(_older(client, name, until))
                if len(old) > at_most - removed:
                    message = f"{removed:,} points are cut; {name} has more than the {at_most:g} approved leave"
                    raise ActionFailed(f"{message}, so it stays as it is; run the playbook again", sent=removed > 0)
                take = {"hash": client.hdel, "zset": client.zrem, "stream": client.xdel}.get(kind)
                for first in range(0, len(old), BATCH):
                    if take is not None:
                        removed += int(take(name, *old[first : first + BATCH]))
                if kind == _TIME_SERIES and old:
                    ask: Callable[..., Any] = client.execute_command
                    ask("TS.ALTER", name, "RETENTION", int(self.arguments.keep_s * 1000))
                    removed += int(ask("TS.DEL", name, 0, until))
        return {"pattern": self.arguments.pattern, "removed": removed}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether fewer points are older than before."""
        now = self.observe(context).target.live["points"].previewed
        return now < before.target.live["points"].previewed

    def _until(self) -> int:
        """The newest time that goes [ms since 1970]."""
        return int((time.time() - self.arguments.keep_s) * 1000)


_TIME_SERIES = "TSDB-TYPE"


def _older(client: Any, key: str, until: int) -> Iterator[Any]:
    """The points of a series up to a time: fields, members or ids; read in batches."""
    kind = client.type(key)
    if kind == "hash":
        return (name for name, _ in client.hscan_iter(key, count=BATCH) if name.isdigit() and int(name) <= until)
    if kind == "zset":
        return (name for name, at in client.zscan_iter(key, count=BATCH) if at <= until)
    if kind == "stream":
        return (name for name, _ in client.xrange(key, max=str(until), count=MOST_KEYS))
    if kind == _TIME_SERIES:
        return iter(client.execute_command("TS.RANGE", key, "-", until, "COUNT", MOST_KEYS))
    return iter(())
