"""A client of Redis as the recorder has it: one identity that only reads, within its time-outs, never asking twice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opslib.probes.registry import CONNECT_S, READ_S, Frame, Target

if TYPE_CHECKING:
    from redis import Redis

TYPE_OF_COUNT = {"hash": "hlen", "list": "llen", "set": "scard", "zset": "zcard", "stream": "xlen", "string": "strlen"}


@contextmanager
def connected(target: Target) -> Iterator[Redis]:
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


def text_of(value: bytes | str | None) -> str:
    """Text out of what a server may send."""
    return value if isinstance(value, str) else (value or b"").decode("utf-8", "replace")


def number_of(value: bytes | str) -> float:
    """A number, or NaN for what is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def permitted(client: Redis, *command: str) -> Any:
    """The answer of a command, or None where our identity may not ask it, or the server does not know it."""
    import redis

    try:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]
    except (redis.exceptions.NoPermissionError, redis.ResponseError):
        return None


def info_of(client: Redis, section: str = "everything") -> dict[str, Any]:
    """What `INFO` says, by field; empty where our identity may not ask it."""
    answer = permitted(client, "INFO", section)
    return dict(answer) if isinstance(answer, Mapping) else {}


def table(rows: Sequence[Mapping[str, Any]], index: str | None = None, note: str | None = None, **types: str) -> Frame:
    """Rows as a table.

    Parameters
    ----------
    rows : sequence of mapping
    index : str, optional
        The column that names the rows.
    note : str, optional
        What of it could not be seen, in words.
    **types : str
        Of each column, in order: an Arrow type by name, or `s` and `ms` for a time in UTC in that unit.
    """
    import pyarrow as pa

    units = {unit: pa.timestamp(unit, tz="UTC") for unit in ("s", "ms")}
    columns = {
        name: pa.array([row.get(name) for row in rows], units.get(kind) or pa.type_for_alias(kind))
        for name, kind in types.items()
    }
    return Frame(pa.table(columns), index, note)
