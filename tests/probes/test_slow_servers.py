"""Servers that answer slowly without ever being silent: each probe has one clock, and says what it did not see."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from opslib import probes
from opslib.clusters import connect
from opslib.errors import ProbeError
from opslib.probes import Target
from tests.probes.api_server import address
from tests.probes.conftest import SERVERS

Pair = tuple[Target, redis.Redis]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"


@pytest.fixture
def distant(redis_pair: Pair) -> Iterator[Pair]:
    """A Redis of many keys behind a path of 40 ms each way, and a client that is near it."""
    near, client = redis_pair
    client.flushdb()
    client.mset({f"kind{number % 60}:{number}": "x" for number in range(30_000)})
    for number in range(3_000):
        client.xadd(f"stream:{number}", {"a": "b"})
    facts = {"to_port": client.connection_pool.connection_kwargs["port"], "delay_ms": 40.0, "jitter_ms": 0.0}
    path = subprocess.Popen(
        [sys.executable, "-m", "sandbox.clients.relay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert path.stdin is not None
    assert path.stdout is not None
    with path.stdin, path.stdout:
        path.stdin.write(json.dumps(facts) + "\n")
        path.stdin.flush()
        port = json.loads(path.stdout.readline())["port"]
        yield Target("redis", near.url.replace(f":{facts['to_port']}/", f":{port}/")), client
        path.terminate()
        path.wait()
    client.flushdb()


@pytest.mark.parametrize("begins", [WHOLE, CHUNKED], ids=["whole", "chunked"])
def test_an_answer_that_drips_is_given_up(begins: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.probes.http.BUDGET_S", 0.3)
    with SERVERS["dripping_server"](begins) as url, pytest.raises(ProbeError, match=r"took more than 0\.3 s"):
        probes.call("http.text", Target("api", url), {"path": "/"})


@pytest.mark.parametrize("begins", [WHOLE, CHUNKED], ids=["whole", "chunked"])
def test_a_cluster_that_drips_is_given_up(begins: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.clusters.client.BUDGET_S", 0.3)
    with SERVERS["dripping_server"](begins) as url:
        cluster = connect(address(url, tmp_path))
        with pytest.raises(ProbeError, match=r"pods took more than 0\.3 s"):
            cluster.all("pods")
        cluster.api.close()


def test_keys_lives_and_streams_end_with_their_clock(distant: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.probes.redis_keys._LONGEST_S", 0.5)
    listed = probes.call("redis.keys", distant[0], {"limit": 50_000})
    assert 0 < listed.table.num_rows < 30_000
    assert listed.note == f"{listed.table.num_rows:,} keys of * within the budget of SCAN; there may be more"
    assert not any(listed.table.column("complete").to_pylist())
    lives = probes.call("redis.lives", distant[0], {"sample": 5000})
    assert 0 < lives.table.num_rows < 5000
    assert lives.note == f"{lives.table.num_rows:,} keys of the 5,000 asked for, within the budget of SCAN"
    streams = probes.call("redis.streams", distant[0], {})
    assert "there may be more" in streams.note
    assert streams.table.num_rows < 3000


def test_census_asks_the_sizes_of_the_most_frequent_patterns(distant: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.probes.redis_keys._SIZES_S", 0.5)
    found = probes.call("redis.census", distant[0], {"budget_s": 1.5})
    rows = found.table.to_pylist()
    assert "were counted within 1.5 s; there are more" in found.note
    assert "patterns have no sizes: no time left" in found.note
    assert rows[0]["bytes"] > 0
    assert any(row["bytes"] is None for row in rows)
    most = max(rows, key=lambda row: int(row["keys"]))
    assert most["bytes"] is not None


def test_what_was_asked_for_is_not_called_unseen(redis_pair: Pair) -> None:
    target, client = redis_pair
    client.flushdb()
    client.mset({f"many:{number}": "x" for number in range(50)})
    assert probes.call("redis.keys", target, {"limit": 10}).note is None
    assert probes.call("redis.lives", target, {"sample": 10}).note is None
    assert probes.call("redis.census", target, {}).note is None
    assert probes.call("redis.streams", target, {}).note is None
    client.flushdb()


def test_sizes_that_may_not_be_asked_are_empty(redis_pair: Pair) -> None:
    client = redis_pair[1]
    client.flushdb()
    client.rpush("queue:a", "1", "2", "3")
    port = client.connection_pool.connection_kwargs["port"]
    client.execute_command("ACL", "SETUSER", "counter", "on", ">word", "~*", "+@read", "-memory")
    [row] = probes.call(
        "redis.census", Target("redis", f"redis://counter:word@127.0.0.1:{port}/0"), {}
    ).table.to_pylist()
    assert (row["pattern"], row["bytes"], row["largest_elements"], row["without_ttl"]) == ("queue:*", None, 3, 1)
    client.flushdb()


def test_a_past_for_which_no_time_is_left_is_said(api: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.probes.prometheus_rules._COMPARED_S", -1.0)
    found = probes.call("prometheus.compared", api, {"promql": "var_pct"})
    assert found.note == "no time was left to ask for: now, hour before, day before, week before"
