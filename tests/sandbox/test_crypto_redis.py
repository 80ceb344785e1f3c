"""What the platform writes into Redis, and what its read-only identity may do there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import redis

from sandbox.crypto.parameters import HISTORY_POINTS, SYMBOLS
from sandbox.crypto.redis_server import binary
from sandbox.state import State

SERIES = ("edge_blended_bps", "position_size_usd", "var_pct", "price", "realised_volatility")
WEEK_S = 7 * 86_400


def wait_for(seen: Callable[[], bool], within_s: float = 15.0) -> None:
    """Return once `seen` holds."""
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_series_is_full_from_the_start(reader: redis.Redis, name: str, symbol: str) -> None:
    fields = reader.hgetall(f"metrics:{name}:{symbol}")
    latest, at = float(fields.pop("value")), int(fields.pop("timestamp"))
    assert abs(len(fields) - HISTORY_POINTS) <= 1
    assert float(fields[str(at)]) == latest
    assert max(map(int, fields)) == at
    assert 0 < reader.ttl(f"metrics:{name}:{symbol}") <= WEEK_S


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_latest_values_and_lifetimes_are_those_of_the_seed(reader: redis.Redis, symbol: str) -> None:
    for name in ("edge_blended_bps", "position_size_usd", "var_pct"):
        assert float(reader.get(f"{name}:{symbol}")) > 0.0
        assert WEEK_S - 60 < reader.ttl(f"{name}:{symbol}") <= WEEK_S
    sizing = json.loads(reader.get(f"risk.edge_blended.{symbol}"))
    assert sizing["symbol"] == symbol
    assert {"edge_bps", "confidence", "model", "position_usd", "at"} <= set(sizing)
    assert 290 < reader.ttl(f"risk.edge_blended.{symbol}") <= 300
    estimates = reader.hgetall("volatility_estimates")
    assert 0.01 < float(estimates[symbol]) < 0.1
    assert abs(time.time() * 1000 - float(estimates[f"updated_at:{symbol}"])) < 10_000


def test_new_points_arrive_and_old_ones_go(reader: redis.Redis) -> None:
    key = "metrics:var_pct:BTC-USD"
    before = int(reader.hget(key, "timestamp"))
    wait_for(lambda: int(reader.hget(key, "timestamp")) > before + 1_000)
    assert reader.hlen(key) <= HISTORY_POINTS + 2


def test_switches_are_logged_with_their_reason(reader: redis.Redis) -> None:
    entries = reader.xrevrange("model.switch.log", count=50)
    for name, entry in entries:
        assert set(entry) == {"symbol", "from", "to", "confidence", "reason", "at", "took_ms"}
        assert int(name.split("-")[0]) <= time.time() * 1000 + 1_000
    if entries:
        assert 0 < reader.ttl("model.switch.log") <= 86_400


@pytest.mark.parametrize(
    "command",
    [
        "SET a b",
        "XADD model.switch.log * a b",
        "HSET metrics:var_pct:BTC-USD 1 2",
        "DEL var_pct:BTC-USD",
        "FLUSHALL",
        "KEYS *",
        "CONFIG SET maxmemory 1",
        "CLIENT KILL ID 1",
        "EVAL return 0",
        "ACL LIST",
        "DEBUG SLEEP 0",
        "PUBLISH param.reload x",
        "SHUTDOWN NOSAVE",
        "LATENCY RESET",
        "SLOWLOG RESET",
    ],
)
def test_the_recorder_can_change_nothing(reader: redis.Redis, command: str) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError, match="no permissions"):
        reader.execute_command(*command.split())


@pytest.mark.parametrize(
    "command",
    [
        "INFO",
        "SLOWLOG GET 10",
        "CLIENT LIST",
        "LATENCY LATEST",
        "MEMORY STATS",
        "DBSIZE",
        "SCAN 0",
        "XINFO STREAM model.switch.log",
        "TTL var_pct:BTC-USD",
        "CONFIG GET maxmemory",
    ],
)
def test_the_recorder_can_look(platform: State, reader: redis.Redis, command: str) -> None:
    with redis.Redis.from_url(platform.endpoints.redis_admin) as admin:
        admin.xadd("model.switch.log", {"symbol": "BTC-USD"})
    assert reader.execute_command(*command.split()) is not None


def test_no_password_shows_in_the_configuration(platform: State, reader: redis.Redis) -> None:
    shown = json.dumps(reader.config_get("*"))
    for url in (platform.endpoints.redis, platform.endpoints.redis_admin):
        assert url.rpartition("@")[0].rpartition(":")[2] not in shown


def test_a_stranger_is_kept_out(platform: State) -> None:
    address = platform.endpoints.redis.rpartition("@")[2]
    with redis.Redis.from_url(f"redis://{address}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_a_server_binary_is_found() -> None:
    assert binary().endswith("redis-server")
