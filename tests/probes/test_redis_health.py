"""The probes of Redis' health, against a real redis-server: what our identity may see, and what it may not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.probes.redis_latency import less_own_wait, way_back
from sandbox.crypto.redis_server import RECORDER_RULES

Pair = tuple[Target, redis.Redis]


@pytest.fixture
def seeing(redis_pair: Pair) -> Iterator[Pair]:
    """A recorder with the rules of a platform, and a client that may do everything."""
    client = redis_pair[1]
    client.execute_command("ACL", "SETUSER", "watcher", "on", ">see-nothing-else", *RECORDER_RULES.split())
    port = client.connection_pool.connection_kwargs["port"]
    yield Target("redis", f"redis://watcher:see-nothing-else@127.0.0.1:{port}/0"), client
    client.flushdb()
    for name, value in (("maxmemory", "0"), ("latency-monitor-threshold", "0"), ("slowlog-log-slower-than", "10000")):
        client.config_set(name, value)


def rows(target: Target, name: str, **arguments: object) -> list[dict[str, object]]:
    found: list[dict[str, object]] = probes.call(name, target, arguments).table.to_pylist()
    return found


def test_latency_of_an_idle_server(seeing: Pair) -> None:
    found = probes.call("redis.latency", seeing[0], {"for_s": 0.3})
    assert found["calls"] > 5
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert 0 <= found["way_back_ms"] <= found["max_ms"]
    assert found["own_wait_ms"] >= 0
    assert found["retransmits"] == 0
    assert found["server"]["slow"] == []
    assert 0 <= found["server"]["cpu_share"] <= 1


def test_our_own_wait_for_a_cpu_is_no_way_back() -> None:
    """Answers that come at once, and are taken late: the wait is ours, whichever call it falls on."""
    ahead, calls = 0.4, []  # the server's clock is ahead of ours [s]
    for number in range(30):
        sent = 1000.0 + number
        served, came = sent + 0.00004, sent + 0.0001
        waited_ms = 6.0 if number % 5 else 0.0
        took_ms = (came - sent) * 1000.0 + waited_ms
        calls.append(less_own_wait(took_ms, waited_ms, came + waited_ms / 1000.0, served + ahead))
    # Preempted while the server worked: all of a long call seems to be our wait, and its answer to come before it.
    calls.append(less_own_wait(9.0, 8.95, 2000.009, 2000.0045 + ahead))
    assert way_back(calls) == pytest.approx(0.05, abs=0.03)
    assert sorted(took for took, *_ in calls)[15] == pytest.approx(0.1)


def test_a_slow_way_back_is_told_whether_we_wait_or_not() -> None:
    calls = []
    for number in range(30):
        sent, waited_ms = 1000.0 + number, 4.0 * (number % 2)
        came = sent + 0.0101 + 0.0001 * number
        calls.append(
            less_own_wait((came - sent) * 1000.0 + waited_ms, waited_ms, came + waited_ms / 1000.0, came - 0.005)
        )
    assert way_back(calls) == pytest.approx(5.0, abs=0.2)


def test_latency_names_the_command_that_keeps_everybody_waiting(seeing: Pair) -> None:
    target, client = seeing
    port = client.connection_pool.connection_kwargs["port"]
    ended = threading.Event()

    def bother() -> None:
        with redis.Redis(port=port) as own:
            while not ended.wait(0.05):
                own.eval("local n = 0 for i = 1, 2000000 do n = n + i end return n", 0)

    thread = threading.Thread(target=bother)
    thread.start()
    try:
        found = probes.call("redis.latency", target, {"for_s": 1.0})
    finally:
        ended.set()
        thread.join()
    (slow,) = found["server"]["slow"]
    assert slow["command"] == "EVAL"
    assert slow["mean_ms"] > 2
    assert slow["share"] > 0.01
    assert found["max_ms"] > 2


def test_latency_with_an_identity_that_may_ask_little(redis_pair: Pair) -> None:
    client = redis_pair[1]
    client.execute_command("ACL", "SETUSER", "poor", "on", ">word", "~*", "-@all", "+ping", "+auth", "+select")
    port = client.connection_pool.connection_kwargs["port"]
    found = probes.call("redis.latency", Target("redis", f"redis://poor:word@127.0.0.1:{port}/0"), {"for_s": 0.1})
    assert found["p99_ms"] > 0
    assert (found["way_back_ms"], found["server"]) == (None, None)
    with pytest.raises(ProbeError, match=r"^redis at 127.0.0.1:\d+: .*no permissions"):
        probes.call("redis.memory", Target("redis", f"redis://poor:word@127.0.0.1:{port}/0"), {})


@pytest.mark.parametrize("arguments", [{"for_s": 0}, {"for_s": 60}, {"every_ms": -1}])
def test_latency_has_a_budget(redis_pair: Pair, arguments: dict[str, float]) -> None:
    with pytest.raises(ProbeError, match="for_s must be above 0 and at most 5 s"):
        probes.call("redis.latency", redis_pair[0], arguments)


def test_events_of_the_latency_monitor_oldest_first(seeing: Pair) -> None:
    target, client = seeing
    client.execute_command("LATENCY", "RESET")
    assert rows(target, "redis.events") == []
    client.config_set("latency-monitor-threshold", "5")
    client.eval("local n = 0 for i = 1, 6000000 do n = n + i end return n", 0)
    events = rows(target, "redis.events")
    assert "command" in {event["event"] for event in events}
    assert all(float(str(event["took_ms"])) >= 5 for event in events)


def test_clients_are_grouped_and_we_are_not_among_them(seeing: Pair) -> None:
    target, client = seeing
    port = client.connection_pool.connection_kwargs["port"]
    crowd = [redis.Redis(port=port, client_name="reports", single_connection_client=True) for _ in range(7)]
    try:
        for one in crowd:
            one.ping()
        found = rows(target, "redis.clients")
    finally:
        for one in crowd:
            one.close()
    (group,) = [row for row in found if row["name"] == "reports"]
    assert (group["connections"], group["command"], group["host"]) == (7, "ping", "127.0.0.1")
    assert found[0] == group
    assert "watcher" not in {row["user"] for row in found}


def test_commands_that_alternate_are_all_seen_and_ours_are_not(seeing: Pair) -> None:
    target, client = seeing
    port = client.connection_pool.connection_kwargs["port"]
    ended = threading.Event()

    def remove(name: str, verb: str) -> None:
        with redis.Redis(port=port, client_name=name, single_connection_client=True) as one:
            while not ended.is_set():
                one.execute_command("SCAN", 0)
                one.execute_command(verb, "none:such")
                time.sleep(0.002)

    threads = [threading.Thread(target=remove, args=given) for given in (("cleaner", "UNLINK"), ("reader", "GET"))]
    for thread in threads:
        thread.start()
    try:
        found = rows(target, "redis.commands", for_s=1.0)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    senders = {(row["name"], row["command"]) for row in found}
    assert ("cleaner", "unlink") in senders
    assert ("reader", "get") in senders
    assert ("reader", "unlink") not in senders
    assert "watcher" not in {row["user"] for row in found}
    with pytest.raises(ProbeError, match="for_s must be above 0 and at most 3"):
        probes.call("redis.commands", target, {"for_s": 60.0})


def test_memory_configuration_replication_and_modules(seeing: Pair) -> None:
    target, client = seeing
    client.config_set("maxmemory", str(64 * 1024 * 1024))
    memory = probes.call("redis.memory", target, {})
    assert 0 < memory["used_memory"] < memory["maxmemory"] == 64 * 1024 * 1024
    assert memory["policy"] == "noeviction"
    assert probes.call("redis.configuration", target, {"names": ["maxmemory"]}) == {"maxmemory": "67108864"}
    assert "requirepass" not in probes.call("redis.configuration", target, {})
    with pytest.raises(ProbeError, match="requirepass may not be asked; what may: activedefrag"):
        probes.call("redis.configuration", target, {"names": ["requirepass"]})
    assert probes.call("redis.replication", target, {}) == {"role": "primary", "offset": 0, "replicas": []}
    assert probes.call("redis.modules", target, {}) == {"modules": {}, "time_series": False}


def test_census_counts_by_pattern_within_its_budget(seeing: Pair) -> None:
    target, client = seeing
    client.flushdb()
    client.mset({f"metrics:tick:{number}": "x" * 100 for number in range(1200)})
    client.hset("volatility_estimates", mapping={"A": "1", "B": "2"})
    client.set("risk.edge_blended.A", "1", ex=60)
    found = {row["pattern"]: row for row in rows(target, "redis.census")}
    assert list(found) == ["metrics:tick:*", "volatility_estimates", "risk.edge_blended.*"]
    assert (found["metrics:tick:*"]["keys"], found["metrics:tick:*"]["without_ttl"]) == (1200, 20)
    assert int(str(found["metrics:tick:*"]["bytes"])) > 1200 * 100
    assert (found["volatility_estimates"]["type"], found["volatility_estimates"]["largest_elements"]) == ("hash", 2)
    assert found["risk.edge_blended.*"]["without_ttl"] == 0
    assert all(row["complete"] for row in found.values())
    assert [row["pattern"] for row in rows(target, "redis.census", pattern="risk.*")] == ["risk.edge_blended.*"]


def test_lives_of_a_sample_and_when_each_key_was_used(seeing: Pair) -> None:
    target, client = seeing
    client.flushdb()
    client.mset({f"greeks:SPX:{number}": "x" for number in range(1500)})
    client.set("greeks:short", "1", ex=30)
    found = {row["key"]: row for row in rows(target, "redis.lives", sample=2000)}
    assert len(found) == 1501
    assert {row["of"] for row in found.values()} == {1501}
    assert found["greeks:SPX:7"]["life_s"] is None
    assert 25 <= int(str(found["greeks:short"]["life_s"])) <= 30
    assert all(0 <= int(str(row["idle_s"])) <= 5 for row in found.values())
    assert len(rows(target, "redis.lives", sample=10)) == 10
    assert rows(target, "redis.lives", pattern="nothing:*") == []
    client.config_set("maxmemory-policy", "volatile-lfu")
    assert {row["idle_s"] for row in rows(target, "redis.lives", sample=10)} == {None}
    client.config_set("maxmemory-policy", "noeviction")
    with pytest.raises(ProbeError, match="sample must be from 1 to 5,000"):
        rows(target, "redis.lives", sample=0)


def test_streams_with_their_ends(seeing: Pair) -> None:
    target, client = seeing
    client.flushdb()
    client.xadd("model.switch.log", {"a": "b"}, id="1000-0")
    client.xadd("model.switch.log", {"a": "b"}, id="2000-0")
    (stream,) = rows(target, "redis.streams")
    assert (stream["key"], stream["length"], stream["groups"]) == ("model.switch.log", 2, 0)
    assert str(stream["first"]).startswith("1970-01-01 00:00:01")


def test_a_server_that_does_not_answer_is_given_up_within_the_time_out(free_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(ProbeError, match="connection refused"):
        probes.call("redis.latency", Target("redis", f"redis://127.0.0.1:{free_port}/0"), {})
    assert time.monotonic() - began < 120, "it waits without end"  # a bound of waiting, no claim of speed
