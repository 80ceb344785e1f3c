"""What Redis holds: reads only, counted and capped; how it is says `redis_health`, which keys there are `redis_keys`.

The keys are those of seed 002: TimeSeries `<metric>:<symbol>`, and, where the module is absent, its fallback:
a hash `metrics:<metric>:<symbol>` from milliseconds since 1970 to values.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opslib.probes.redis_client import TYPE_OF_COUNT, connected, number_of, text_of
from opslib.probes.registry import LARGEST, ROWS, Frame, Target, probe

if TYPE_CHECKING:
    from redis import Redis

_LATEST = ("value", "timestamp")
_OF_MODULE = "TSDB-TYPE"  # what TYPE answers of a series of the TimeSeries module


def _small(client: Redis, target: Target, key: str, *types: str) -> None:
    """Refuse a key that is absent, of another type, or too large to read."""
    kind = text_of(client.type(key))
    if kind == "none":
        raise target.error(f"there is no key {key!r}")
    if kind not in types:
        raise target.error(f"{key!r} is a {kind}, not a {types[0]}")
    count = int(getattr(client, TYPE_OF_COUNT[kind])(key))
    if kind == "string" and count > LARGEST:
        raise target.error(f"{key!r} holds {count:,} bytes; at most {LARGEST:,} are read")
    if kind == "hash" and count > ROWS:
        raise target.error(f"{key!r} has {count:,} fields; at most {ROWS:,} are read")


@probe("redis.ping")
def ping(target: Target) -> dict[str, Any]:
    """Whether it answers, and in what time [ms]: the median of five calls."""
    import time

    took = []
    with connected(target) as client:
        client.ping()
        for _ in range(5):
            start = time.perf_counter()
            client.ping()
            took.append((time.perf_counter() - start) * 1000)
    return {"answers": True, "took_ms": round(sorted(took)[2], 3)}


@probe("redis.text")
def text(target: Target, key: str) -> dict[str, Any]:
    """The text under a key, and its remaining life [s]; None where it is kept for ever."""
    with connected(target) as client:
        _small(client, target, key, "string")
        life = int(client.ttl(key))
        return {"text": text_of(client.get(key)), "expires_in_s": life if life >= 0 else None}


@probe("redis.hash")
def hash_(target: Target, key: str) -> Frame:
    """The fields of a hash: `field`, `value`, both text."""
    import pyarrow as pa

    with connected(target) as client:
        _small(client, target, key, "hash")
        found = {text_of(field): text_of(value) for field, value in client.hgetall(key).items()}
    pairs = sorted(found.items())
    return Frame(
        pa.table(
            {
                "field": pa.array([field for field, _ in pairs], pa.string()),
                "value": pa.array([value for _, value in pairs], pa.string()),
            }
        )
    )


def _series_of_module(
    client: Redis, target: Target, keys: list[str]
) -> tuple[list[dict[int, float]], str | None] | None:
    """The newest points of the series by the TimeSeries module, and what was cut; None where the module is absent."""
    import redis

    most = ROWS // len(keys)
    try:
        ask: Callable[..., Any] = client.execute_command
        answers = [ask("TS.REVRANGE", key, "-", "+", "COUNT", most + 1) for key in keys]
    except redis.ResponseError as error:
        if "key does not exist" in str(error):
            raise target.error(f"one of the series {', '.join(keys)} is not there") from error
        return None
    cut = [key for key, answer in zip(keys, answers, strict=True) if len(answer) > most]
    note = f"the newest {most:,} points of {', '.join(cut)}; there are older ones" if cut else None
    return [{int(at): number_of(value) for at, value in answer[:most]} for answer in answers], note


def _series_of_hashes(client: Redis, target: Target, metric: str, symbols: list[str]) -> list[dict[int, float]]:
    """The series by the fallback's hashes."""
    keys = [f"metrics:{metric}:{symbol}" for symbol in symbols]
    counts = client.pipeline(transaction=False)
    for key in keys:
        counts.hlen(key)
    sizes = counts.execute()
    if missing := [key for key, size in zip(keys, sizes, strict=True) if size == 0]:
        raise target.error(f"there is no series {', '.join(missing)}")
    if sum(sizes) > ROWS:
        raise target.error(f"the series of {metric} have {sum(sizes):,} points; at most {ROWS:,} are read")
    reads = client.pipeline(transaction=False)
    for key in keys:
        reads.hgetall(key)
    series = []
    for answer in reads.execute():
        fields = ((text_of(field), value) for field, value in answer.items())
        series.append({int(field): number_of(value) for field, value in fields if field.isascii() and field.isdigit()})
    return series


@probe("redis.series")
def series(target: Target, metric: str, symbols: list[str]) -> Frame:
    """A metric over time: index `time` (UTC), one column a symbol; empty where a symbol has no value at a time.

    Of series that the TimeSeries module keeps, the newest 50,000 points, shared among the symbols.
    """
    import pyarrow as pa

    if not symbols:
        raise target.error("name at least one symbol")
    with connected(target) as client:
        kept = _series_of_module(client, target, [f"{metric}:{symbol}" for symbol in symbols])
        found, note = kept or (_series_of_hashes(client, target, metric, symbols), None)
    times = sorted(set().union(*found))
    columns: dict[str, Any] = {"time": pa.array(times, pa.timestamp("ms", tz="UTC"))}
    for symbol, points in zip(symbols, found, strict=True):
        columns[symbol] = pa.array([points.get(time) for time in times], pa.float64())
    return Frame(pa.table(columns), "time", note)


@probe("redis.latest")
def latest(target: Target, metric: str, symbols: list[str]) -> Frame:
    """The latest value of a metric: index `symbol`; columns `value` and `time` (UTC, where it is known)."""
    import pyarrow as pa

    values: list[float | None] = []
    times: list[int | None] = []
    with connected(target) as client:
        for symbol in symbols:
            value, stamp = client.hmget(f"metrics:{metric}:{symbol}", list(_LATEST))
            at = _milliseconds(stamp)
            if value is None:
                value, at = _plain_or_of_module(client, f"{metric}:{symbol}")
            if value is None:
                raise target.error(f"there is no value {metric}:{symbol}")
            values.append(number_of(value))
            times.append(at)
    return Frame(
        pa.table(
            {
                "symbol": pa.array(symbols, pa.string()),
                "value": pa.array(values, pa.float64()),
                "time": pa.array(times, pa.timestamp("ms", tz="UTC")),
            }
        ),
        index="symbol",
    )


def _plain_or_of_module(client: Redis, key: str) -> tuple[Any, int | None]:
    """The value of a plain key, or the newest of a series of the TimeSeries module with its time [ms]; else None."""
    kind = text_of(client.type(key))
    if kind == "string":
        return client.get(key), None
    if kind != _OF_MODULE:
        return None, None
    ask: Callable[..., Any] = client.execute_command
    newest = ask("TS.GET", key)
    return (newest[1], int(newest[0])) if newest else (None, None)


def _milliseconds(stamp: bytes | str | None) -> int | None:
    """A time as milliseconds since 1970, out of seconds, milliseconds or RFC 3339."""
    if stamp is None:
        return None
    number = number_of(stamp)
    if math.isnan(number):
        try:
            return int(dt.datetime.fromisoformat(text_of(stamp)).timestamp() * 1000)
        except ValueError:
            return None
    return int(number if number > 1e11 else number * 1000)


@probe("redis.stream")
def stream(target: Target, key: str, count: int = 100) -> Frame:
    """The newest entries of a stream, oldest first: `id`, `time` (UTC), then one column a field."""
    import pyarrow as pa

    if not 0 < count <= ROWS:
        raise target.error(f"count must be from 1 to {ROWS:,}")
    with connected(target) as client:
        answer: list[Any] = client.xrevrange(key, count=count) or []
    entries = answer[::-1]
    ids = [text_of(name) for name, _ in entries]
    rows = [{text_of(field): text_of(value) for field, value in fields.items()} for _, fields in entries]
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "time": pa.array([int(name.partition("-")[0]) for name in ids], pa.timestamp("ms", tz="UTC")),
    }
    for field in dict.fromkeys(field for row in rows for field in row):
        name = f"{field}_" if field in ("id", "time") else field
        columns[name] = pa.array([row.get(field) for row in rows], pa.string())
    return Frame(pa.table(columns))
