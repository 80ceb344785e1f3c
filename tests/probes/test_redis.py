"""The Redis probes, against a real redis-server with a read-only user."""

from __future__ import annotations

import math

import pytest
import redis

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target

Pair = tuple[Target, redis.Redis]


def test_text_has_its_remaining_life(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.set("param.reload", "{}", ex=60)
    found = probes.call("redis.text", target, {"key": "param.reload"})
    assert found["text"] == "{}"
    assert 0 < found["expires_in_s"] <= 60


def test_hash_is_a_table_of_text(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.hset("volatility_estimates", mapping={"BTC-USD": "0.6", "updated_at:BTC-USD": "1"})
    table = probes.call("redis.hash", target, {"key": "volatility_estimates"}).table
    assert table.to_pydict() == {"field": ["BTC-USD", "updated_at:BTC-USD"], "value": ["0.6", "1"]}


def test_series_falls_back_on_hashes_and_keeps_gaps(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.hset("metrics:var_pct:A", mapping={"2000": "1.5", "1000": "1.0", "value": "1.5", "timestamp": "2"})
    client.hset("metrics:var_pct:B", mapping={"2000": "3.0", "value": "3.0", "timestamp": "2.0"})
    frame = probes.call("redis.series", target, {"metric": "var_pct", "symbols": ["A", "B"]})
    assert frame.index == "time"
    assert frame.table.column("A").to_pylist() == [1.0, 1.5]
    assert frame.table.column("B").to_pylist() == [None, 3.0]
    assert frame.table.column("time")[0].as_py().isoformat() == "1970-01-01T00:00:01+00:00"


def test_series_that_is_not_there_is_named(redis_pair: Pair) -> None:
    with pytest.raises(ProbeError, match=r"redis at 127\.0\.0\.1:\d+: there is no series metrics:nothing:A"):
        probes.call("redis.series", redis_pair[0], {"metric": "nothing", "symbols": ["A"]})


def test_latest_from_fallback_or_plain_key(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.hset("metrics:size:A", mapping={"value": "7", "timestamp": "1700000000"})
    client.set("size:B", "8.5")
    table = probes.call("redis.latest", target, {"metric": "size", "symbols": ["A", "B"]}).table
    assert table.column("value").to_pylist() == [7.0, 8.5]
    assert table.column("time")[0].as_py().year == 2023
    assert table.column("time")[1].as_py() is None


def test_stream_oldest_first_with_every_field(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.delete("model.switch.log")
    for step in range(5):
        client.xadd("model.switch.log", {"symbol": "A", f"step{step % 2}": str(step)})
    table = probes.call("redis.stream", target, {"key": "model.switch.log", "count": 3}).table
    assert table.column("step0").to_pylist() == ["2", None, "4"]
    assert table.column_names == ["id", "time", "symbol", "step0", "step1"]


def test_stream_that_is_empty_is_an_empty_table(redis_pair: Pair) -> None:
    assert probes.call("redis.stream", redis_pair[0], {"key": "no.such.stream"}).table.num_rows == 0


def test_info_slowlog_ping_keys(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.mset({f"many:{number}": "x" for number in range(50)})
    info = probes.call("redis.info", target, {"section": "memory"}).table
    assert "used_memory" in info.column("field").to_pylist()
    assert probes.call("redis.slowlog", target, {"n": 5}).table.column_names[0] == "time"
    assert probes.call("redis.ping", target, {})["answers"] is True
    listed = probes.call("redis.keys", target, {"pattern": "many:*", "limit": 10}).table
    assert listed.num_rows == 10
    assert set(listed.column("type").to_pylist()) == {"string"}


def test_wrong_type_absent_key_and_large_key_are_refused(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.set("large", b"x" * (9 * 1024 * 1024))
    client.set("plain", "x")
    with pytest.raises(ProbeError, match="'plain' is a string, not a hash"):
        probes.call("redis.hash", target, {"key": "plain"})
    with pytest.raises(ProbeError, match="there is no key 'absent'"):
        probes.call("redis.text", target, {"key": "absent"})
    with pytest.raises(ProbeError, match="'large' holds 9,437,184 bytes"):
        probes.call("redis.text", target, {"key": "large"})
    client.delete("large")


def test_value_that_is_no_number_is_not_a_number(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.hset("metrics:odd:A", mapping={"1000": "<b>"})
    table = probes.call("redis.series", target, {"metric": "odd", "symbols": ["A"]}).table
    assert math.isnan(table.column("A")[0].as_py())


def test_our_identity_cannot_write(redis_pair: Pair) -> None:
    with redis.Redis.from_url(redis_pair[0].url, protocol=2) as reader, pytest.raises(redis.ResponseError):
        reader.set("x", "1")


def test_refused_connection_says_where(free_port: int) -> None:
    target = Target("redis", f"redis://recorder:secret-word@127.0.0.1:{free_port}/0")
    with pytest.raises(ProbeError, match=rf"^redis at 127.0.0.1:{free_port}: connection refused$"):
        probes.call("redis.ping", target, {})


def test_wrong_password_says_so(redis_pair: Pair) -> None:
    url = redis_pair[0].url.replace("swordfish", "wrong")
    with pytest.raises(ProbeError, match="refuses our read-only identity"):
        probes.call("redis.ping", Target("redis", url), {})


def test_unknown_probe_and_wrong_arguments_are_named(redis_pair: Pair) -> None:
    with pytest.raises(ProbeError, match=r"there is no probe 'redis.flush'; there are .*redis.series"):
        probes.call("redis.flush", redis_pair[0], {})
    with pytest.raises(ProbeError, match="missing a required argument: 'key'"):
        probes.call("redis.text", redis_pair[0], {"kee": "x"})
