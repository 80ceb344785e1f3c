"""Redis as an action sees it: connected for a moment under the identity of the context, within time-outs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field

from opslib.actions import firing as rules
from opslib.actions.action import ActionArguments, Check, Context
from opslib.errors import ActionFailed, ProbeError

if TYPE_CHECKING:
    from redis import Redis

CONNECT_S, ANSWER_S = 2.0, 5.0
SEED_P99_MS = 5.0  # where the platform's file names no other
BATCH = 500
SCAN_S = 5.0
_OWN_CALLS = 100

Until = Literal["redis-latency", "dashboard-data", "alert"]
Pattern = Annotated[str, Field(min_length=3, max_length=200, pattern=r"^[A-Za-z0-9_.*:-]+$")]


class RedisArguments(ActionArguments):
    """What every action on Redis takes: the condition that it is to end."""

    until: Until = "redis-latency"


@contextmanager
def reading(context: Context, system: str = "redis") -> Iterator[Redis]:
    """A client to look with; what goes wrong becomes a `ProbeError`."""
    import redis

    try:
        with _client(context, system) as client:
            yield client
    except redis.RedisError as error:
        raise ProbeError(f"{system} of {context.platform}: {_why(error)}") from error


@contextmanager
def changing(context: Context, key: str, system: str = "redis") -> Iterator[Redis]:
    """A client to change with, for the applier alone; what goes wrong becomes an `ActionFailed`.

    It bears the beginning of the step's key as its name, so that Redis can tell whose commands these are.
    """
    import redis

    if context.identity != "applier":
        raise ActionFailed(f"the {context.identity} may not change {context.platform}", sent=False)
    try:
        with _client(context, system) as client:
            try:
                client.client_setname(f"runbook-{key[:12]}")
            except redis.RedisError as error:
                raise ActionFailed(f"{system} of {context.platform}: {_why(error)}", sent=False) from error
            yield client
    except redis.RedisError as error:
        raise ActionFailed(f"{system} of {context.platform}: {_why(error)}", sent=True) from error


def most(context: Context, quantity: str) -> float:
    """How many of a live quantity were approved, at most; what has come since the plan was begun is not among them."""
    bounds = None if context.approved is None else context.approved.live.get(quantity)
    return math.inf if bounds is None or bounds.high is None else bounds.high


def not_more_than_approved(context: Context, quantity: str, now: int) -> None:
    """Raise, with nothing done, where there are more of a live quantity now than were approved."""
    if now > most(context, quantity):
        told = f"there are {now:,} {quantity} now, and {most(context, quantity):g} were approved at most"
        raise ActionFailed(f"{told}; nothing was done, run the playbook again", sent=False)


def _client(context: Context, system: str) -> Redis:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        context.endpoint(system),
        protocol=2,
        decode_responses=True,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), 0),
    )


def _why(error: Exception) -> str:
    text = str(error).rstrip(".")
    return "no answer in time" if "imeout" in text else text


def instance(client: Redis) -> str:
    """What tells this server process from another."""
    return str(client.info("server")["run_id"])


def scan(client: Redis, pattern: str, most: int) -> list[str]:
    """The keys of a pattern.

    Raises
    ------
    ProbeError
        When there are more than `most`, or they cannot be counted in time.
    """
    ends, cursor, found = time.monotonic() + SCAN_S, 0, set[str]()
    while True:
        cursor, names = client.scan(cursor, match=pattern, count=BATCH)
        found.update(map(str, names))
        if cursor == 0:
            return sorted(found)
        if len(found) > most or time.monotonic() > ends:
            raise ProbeError(f"more keys match {pattern!r} than can be counted (at most {most:,}, in {SCAN_S:g} s)")


def firing(context: Context, until: Until) -> Check | None:
    """The condition that an action is to end, evaluated now; with `alert` it is the rule of the incident's alert."""
    if until == "alert":
        return rules.check(context)
    return dashboard_check(context) if until == "dashboard-data" else latency_check(context)


def latency_check(context: Context) -> Check:
    """Whether the 99th percentile of Redis' latency is above its limit: as the platform finds it, else as we do."""
    limit = float(context.limits.get("redis_p99_ms", SEED_P99_MS))
    told = _gauge(context, "redis_latency_p99")
    value = told / 1000.0 if told is not None else _own_p99_ms(context)
    by = {"platform" if told is not None else "own": round(value, 3)}
    return Check(value > limit, "99th percentile of Redis' latency", value, limit, "ms", by)


def dashboard_check(context: Context) -> Check:
    """Whether a panel of a dashboard has no data."""
    answer: Any = context.get("dashboards", "/api/panels").json()
    try:
        panels = {f"{one['dashboard']}/{one['title']}": float(one["points"]) for one in answer["panels"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ProbeError(f"/api/panels of {context.platform} does not tell the points of each panel") from error
    empty = float(sum(points == 0 for points in panels.values()))
    return Check(empty > 0, "panels without data", empty, 0.0, f"of {len(panels)}", panels)


def _gauge(context: Context, name: str) -> float | None:
    """A gauge of `/metrics` without labels; None where the platform does not show it."""
    try:
        text = context.get("api", "/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name:
                    return float(sample.value)
    except (ProbeError, ValueError):
        return None
    return None


def _own_p99_ms(context: Context) -> float:
    took = []
    with reading(context) as client:
        client.ping()
        for _ in range(_OWN_CALLS):
            began = time.perf_counter()
            client.ping()
            took.append((time.perf_counter() - began) * 1000.0)
    return sorted(took)[len(took) * 99 // 100]
