"""What Redis holds and how it is: reads only, keys counted and capped, never KEYS.

The keys are those of seed 002: TimeSeries `<metric>:<symbol>`, and, where the module is absent, its fallback:
a hash `metrics:<metric>:<symbol>` from milliseconds since 1970 to values.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opslib.probes.registry import CONNECT_S, LARGEST, READ_S, ROWS, Frame, Target, probe

if TYPE_CHECKING:
    from redis import Redis

_LATEST = ("value", "timestamp")
_SCAN_CALLS = 400
_TYPE_OF_COUNT = {"hash": "hlen", "list": "llen", "set": "scard", "zset": "zcard", "stream": "xlen", "string": "strlen"}


@contextmanager
def _client(target: Target) -> Iterator[Redis]:
    """A client within its time-outs; what Redis refuses becomes a `ProbeError`."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        target.url,
        protocol=2,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=READ_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield client
    except redis.TimeoutError as error:
        raise target.error(f"no answer within {READ_S:g} s") from error
    except redis.AuthenticationError as error:
        raise target.error(f"it refuses our read-only identity ({error})") from error
    except redis.ConnectionError as error:
        raise target.error(_short(error)) from error
    except redis.RedisError as error:
        raise target.error(str(error)) from error
    finally:
        client.close()


def _short(error: Exception) -> str:
    """`connection refused` out of what the client says."""
    text = str(error).rstrip(".")
    return "connection refused" if "onnection refused" in text else text


def _text(value: bytes | str | None) -> str:
    return value if isinstance(value, str) else (value or b"").decode("utf-8", "replace")


def _number(value: bytes | str) -> float:
    """A number, or NaN for what is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def _small(client: Redis, target: Target, key: str, *types: str) -> None:
    """Refuse a key that is absent, of another type, or too large to read."""
    kind = _text(client.type(key))
    if kind == "none":
        raise target.error(f"there is no key {key!r}")
    if kind not in types:
        raise target.error(f"{key!r} is a {kind}, not a {types[0]}")
    count = int(getattr(client, _TYPE_OF_COUNT[kind])(key))
    if kind == "string" and count > LARGEST:
        raise target.error(f"{key!r} holds {count:,} bytes; at most {LARGEST:,} are read")
    if kind == "hash" and count > ROWS:
        raise target.error(f"{key!r} has {count:,} fields; at most {ROWS:,} are read")


@probe("redis.ping")
def ping(target: Target) -> dict[str, Any]:
    """Whether it answers, and in what time [ms]: the median of five calls."""
    import time

    took = []
    with _client(target) as client:
        client.ping()
        for _ in range(5):
            start = time.perf_counter()
            client.ping()
            took.append((time.perf_counter() - start) * 1000)
    return {"answers": True, "took_ms": round(sorted(took)[2], 3)}


@probe("redis.text")
def text(target: Target, key: str) -> dict[str, Any]:
    """The text under a key, and its remaining life [s]; None where it is kept for ever."""
    with _client(target) as client:
        _small(client, target, key, "string")
        life = int(client.ttl(key))
        return {"text": _text(client.get(key)), "expires_in_s": life if life >= 0 else None}


@probe("redis.hash")
def hash_(target: Target, key: str) -> Frame:
    """The fields of a hash: `field`, `value`, both text."""
    import pyarrow as pa

    with _client(target) as client:
        _small(client, target, key, "hash")
        found = {_text(field): _text(value) for field, value in client.hgetall(key).items()}
    pairs = sorted(found.items())
    return Frame(
        pa.table(
            {
                "field": pa.array([field for field, _ in pairs], pa.string()),
                "value": pa.array([value for _, value in pairs], pa.string()),
            }
        )
    )


def _series_of_module(client: Redis, target: Target, keys: list[str]) -> list[dict[int, float]] | None:
    """The series by the TimeSeries module, or None where it is absent."""
    import redis

    try:
        ask: Callable[..., Any] = client.execute_command
        answers = [ask("TS.RANGE", key, "-", "+", "COUNT", ROWS) for key in keys]
    except redis.ResponseError as error:
        if "key does not exist" in str(error):
            raise target.error(f"one of the series {', '.join(keys)} is not there") from error
        return None
    return [{int(at): _number(value) for at, value in answer} for answer in answers]


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
        fields = ((_text(field), value) for field, value in answer.items())
        series.append({int(field): _number(value) for field, value in fields if field.isascii() and field.isdigit()})
    return series


@probe("redis.series")
def series(target: Target, metric: str, symbols: list[str]) -> Frame:
    """A metric over time: index `time` (UTC), one column a symbol; empty where a symbol has no value at a time."""
    import pyarrow as pa

    if not symbols:
        raise target.error("name at least one symbol")
    with _client(target) as client:
        found = _series_of_module(client, target, [f"{metric}:{symbol}" for symbol in symbols])
        if found is None:
            found = _series_of_hashes(client, target, metric, symbols)
    times = sorted(set().union(*found))
    columns: dict[str, Any] = {"time": pa.array(times, pa.timestamp("ms", tz="UTC"))}
    for symbol, points in zip(symbols, found, strict=True):
        columns[symbol] = pa.array([points.get(time) for time in times], pa.float64())
    return Frame(pa.table(columns), index="time")


@probe("redis.latest")
def latest(target: Target, metric: str, symbols: list[str]) -> Frame:
    """The latest value of a metric: index `symbol`; columns `value` and `time` (UTC, where it is known)."""
    import pyarrow as pa

    values: list[float | None] = []
    times: list[int | None] = []
    with _client(target) as client:
        for symbol in symbols:
            plain = client.get(f"{metric}:{symbol}") if client.type(f"{metric}:{symbol}") == b"string" else None
            value, stamp = client.hmget(f"metrics:{metric}:{symbol}", list(_LATEST))
            value = value if value is not None else plain
            if value is None:
                raise target.error(f"there is no value {metric}:{symbol}")
            values.append(_number(value))
            times.append(_milliseconds(stamp))
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


def _milliseconds(stamp: bytes | str | None) -> int | None:
    """A time as milliseconds since 1970, out of seconds, milliseconds or RFC 3339."""
    if stamp is None:
        return None
    number = _number(stamp)
    if math.isnan(number):
        try:
            return int(dt.datetime.fromisoformat(_text(stamp)).timestamp() * 1000)
        except ValueError:
            return None
    return int(number if number > 1e11 else number * 1000)


@probe("redis.stream")
def stream(target: Target, key: str, count: int = 100) -> Frame:
    """The newest entries of a stream, oldest first: `id`, `time` (UTC), then one column a field."""
    import pyarrow as pa

    if not 0 < count <= ROWS:
        raise target.error(f"count must be from 1 to {ROWS:,}")
    with _client(target) as client:
        answer: list[Any] = client.xrevrange(key, count=count) or []
    entries = answer[::-1]
    ids = [_text(name) for name, _ in entries]
    rows = [{_text(field): _text(value) for field, value in fields.items()} for _, fields in entries]
    columns: dict[str, Any] = {
        "id": pa.array(ids, pa.string()),
        "time": pa.array([int(name.partition("-")[0]) for name in ids], pa.timestamp("ms", tz="UTC")),
    }
    for field in dict.fromkeys(field for row in rows for field in row):
        name = f"{field}_" if field in ("id", "time") else field
        columns[name] = pa.array([row.get(field) for row in rows], pa.string())
    return Frame(pa.table(columns))


@probe("redis.info")
def info(target: Target, section: str | None = None) -> Frame:
    """What `INFO` says: `field`, `value`, both text."""
    import pyarrow as pa

    with _client(target) as client:
        found = client.info(section) if section else client.info()
    pairs = [(field, value if isinstance(value, str) else str(value)) for field, value in found.items()]
    return Frame(
        pa.table(
            {
                "field": pa.array([field for field, _ in pairs], pa.string()),
                "value": pa.array([value for _, value in pairs], pa.string()),
            }
        )
    )


@probe("redis.slowlog")
def slowlog(target: Target, n: int = 20) -> Frame:
    """The slowest commands, newest first: `time` (UTC), `took_us`, `command`, `client`."""
    import pyarrow as pa

    with _client(target) as client:
        rows = client.slowlog_get(min(max(n, 1), 1000))
    return Frame(
        pa.table(
            {
                "time": pa.array([int(row["start_time"]) for row in rows], pa.timestamp("s", tz="UTC")),
                "took_us": pa.array([int(row["duration"]) for row in rows], pa.int64()),
                "command": pa.array([_text(row["command"])[:2000] for row in rows], pa.string()),
                "client": pa.array([_text(row.get("client_address")) for row in rows], pa.string()),
            }
        )
    )


@probe("redis.keys")
def keys(target: Target, pattern: str = "*", limit: int = 1000) -> Frame:
    """Keys by pattern, found by SCAN within a budget: `key`, `type`; the column `complete` says whether all were seen.

    At most 400 calls of SCAN are made and `limit` keys are listed.
    """
    import pyarrow as pa

    found: dict[str, str] = {}
    with _client(target) as client:
        cursor, calls = 0, 0
        while calls < _SCAN_CALLS and len(found) < limit:
            cursor, names = client.scan(cursor, match=pattern, count=500)
            calls += 1
            kinds = client.pipeline(transaction=False)
            for name in names:
                kinds.type(name)
            found.update((_text(name), _text(kind)) for name, kind in zip(names, kinds.execute(), strict=True))
            if cursor == 0:
                break
    complete = cursor == 0 and len(found) <= limit
    listed = sorted(found.items())[:limit]
    return Frame(
        pa.table(
            {
                "key": pa.array([name for name, _ in listed], pa.string()),
                "type": pa.array([kind for _, kind in listed], pa.string()),
                "complete": pa.array([complete] * len(listed), pa.bool_()),
            }
        )
    )
