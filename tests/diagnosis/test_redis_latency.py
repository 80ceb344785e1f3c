"""A12 on facts as the probes tell them: each cause, two at once, none of them, and what could not be seen."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import Diagnosis, Verdict, redis_latency, redis_latency_fixes
from tests.diagnosis.verdicts import likely

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
MB = 1_000_000
CLIENT = {"host": "10.0.0.1", "user": "default", "command": "hset", "kind": "normal", "oldest_s": 900}


class Facts:
    """What the probes told; a healthy platform, until something is changed."""

    def __init__(self) -> None:
        self.p99_us, self.p50_us = 400.0, 120.0
        self.own: dict[str, Any] | None = {
            "calls": 300, "p50_ms": 0.15, "p90_ms": 0.2, "p99_ms": 0.5, "max_ms": 1.0, "way_back_ms": 0.02,
            "retransmits": 0.0,
            "server": {
                "cpu_share": 0.02, "command_share": 0.003,
                "commands_per_s": 500.0, "call_us": 6.0, "evicted_per_s": 0.0,
                "mean_ms": {"HSET": 0.006}, "slow": [],
            },
        }  # fmt: skip
        self.memory: dict[str, Any] | None = {
            "used_memory": 5 * MB, "used_memory_rss": 12 * MB, "maxmemory": 96 * MB, "total_system_memory": 16_000 * MB,
        }  # fmt: skip
        self.events: list[tuple[str, float, float]] = []
        self.slowlog: list[tuple[float, float, str, str]] = []
        self.clients: list[dict[str, Any]] | None = [{**CLIENT, "name": "web", "connections": 3, "active": 2}]
        self.metrics_seen = True

    @property
    def server(self) -> dict[str, Any]:
        assert self.own is not None
        found: dict[str, Any] = self.own["server"]
        return found

    def slow(self, p99_ms: float, p50_ms: float = 0.15, *, here: bool = True) -> Facts:
        self.p99_us, self.p50_us = p99_ms * 1000, p50_ms * 1000
        if here and self.own is not None:
            self.own |= {"p50_ms": p50_ms, "p99_ms": p99_ms, "way_back_ms": 0.02}
        return self

    def diagnose(self) -> Verdict:
        frames = self.frames()
        case = Diagnosis(SimpleNamespace(unseen=[]), redis_latency.CAUSES)
        calls = redis_latency.percentiles(frames["metrics"], self.own)
        p99 = None if calls is None else float(calls["p99_ms"].iloc[0])
        case.confirm(None if p99 is None else p99 > 5, f"p99 is {p99} ms", calls)
        waits = redis_latency.blocked(frames["events"], self.own, NOW, 60)
        slow = redis_latency.slow_commands_of(frames["slowlog"], self.own, NOW, 60)
        case.examine("memory-swapping", memory=self.memory, blocked=waits, own=self.own)
        case.examine("slow-commands", own=self.own, slow=slow)
        case.examine("network", calls=calls, own=self.own)
        who = redis_latency.crowd(frames["clients"], frames["metrics"], self.own)
        most = redis_latency.gauge(frames["metrics"], "redis_max_clients")
        case.examine("too-many-clients", clients=who, usual=10, most=most)
        return case.verdict()

    def frames(self) -> dict[str, Any]:
        gauges = {"redis_latency_p50": self.p50_us, "redis_latency_p99": self.p99_us, "redis_max_clients": 256.0}
        gauges["redis_connected_clients"] = float(sum(one["connections"] for one in self.clients or [])) or 250.0
        ago = [pd.Timestamp(NOW) - pd.Timedelta(seconds=age) for _, age, _ in self.events]
        logged = [pd.Timestamp(NOW) - pd.Timedelta(seconds=age) for age, _, _, _ in self.slowlog]
        return {
            "metrics": pd.DataFrame({"name": gauges.keys(), "value": gauges.values()}) if self.metrics_seen else None,
            "events": pd.DataFrame(
                {
                    "event": [name for name, _, _ in self.events],
                    "time": pd.to_datetime(ago, utc=True),
                    "took_ms": [took for _, _, took in self.events],
                }
            ),
            "slowlog": pd.DataFrame(
                {
                    "time": pd.to_datetime(logged, utc=True),
                    "took_us": [took * 1000 for _, took, _, _ in self.slowlog],
                    "command": [command for _, _, command, _ in self.slowlog],
                    "name": [name for _, _, _, name in self.slowlog],
                }
            ),
            "clients": None if self.clients is None else pd.DataFrame(self.clients),
        }


def evicting(facts: Facts) -> Facts:
    assert facts.memory is not None
    facts.memory["used_memory"] = 94 * MB
    facts.server["evicted_per_s"] = 2.0
    facts.events += [("eviction-cycle", age, 40.0) for age in range(0, 50, 2)]
    facts.events += [("eviction-del", age, 40.0) for age in range(0, 50, 2)]
    return facts


def reading_whole(facts: Facts) -> Facts:
    facts.server["slow"] = [{"command": "HGETALL", "calls": 8, "mean_ms": 35.0, "share": 0.18}]
    facts.server["mean_ms"]["HGETALL"] = 35.0
    facts.server.update({"cpu_share": 0.2, "command_share": 0.18})
    facts.slowlog += [(age, 35.0, "HGETALL metrics:trade_price:BTC-USD", "reporting") for age in range(0, 40)]
    return facts


def far_away(facts: Facts) -> Facts:
    facts.slow(14.0, 9.0)
    assert facts.own is not None
    facts.own["way_back_ms"] = 4.5
    return facts


def crowded(facts: Facts) -> Facts:
    assert facts.clients is not None
    facts.clients.append({**CLIENT, "name": "grid", "command": "hvals", "connections": 180, "active": 180})
    facts.server["call_us"] = 60.0
    return facts


CASES = {
    "memory-swapping": evicting,
    "slow-commands": reading_whole,
    "network": far_away,
    "too-many-clients": crowded,
}


@pytest.mark.parametrize("cause", CASES)
def test_the_cause_is_named_alone(cause: str) -> None:
    verdict = CASES[cause](Facts().slow(12.0)).diagnose()
    assert (verdict.cause, likely(verdict)) == (cause, {cause})
    assert verdict.confidence > 0.8


@pytest.mark.parametrize("pair", [(a, b) for a in CASES for b in CASES if a < b], ids="+".join)
def test_two_at_once_are_both_likely(pair: tuple[str, str]) -> None:
    facts = Facts().slow(20.0)
    for cause in pair:
        CASES[cause](facts)
    assert likely(facts.diagnose()) == set(pair)


def test_a_healthy_platform_has_no_cause() -> None:
    verdict = Facts().diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


def test_what_is_over_is_no_cause_any_more() -> None:
    facts = Facts().slow(12.0)
    facts.events = [("eviction-cycle", 600.0, 80.0)] * 20
    facts.slowlog = [(900.0, 400.0, "KEYS *", "reporting")] * 50
    assert facts.diagnose().cause == "none-of-these"


def test_a_server_that_is_stopped_now_and_then_is_none_of_these() -> None:
    assert Facts().slow(80.0).diagnose().cause == "none-of-these"


def test_a_server_that_is_starved_of_a_cpu_is_no_slow_network() -> None:
    verdict = Facts().slow(80.0, 6.0).diagnose()
    assert verdict.cause == "none-of-these", verdict


def test_commands_that_wait_for_a_cpu_are_not_slow() -> None:
    facts = reading_whole(Facts().slow(80.0, 17.0))
    facts.server.update({"cpu_share": 0.02, "command_share": 0.2})
    verdict = facts.diagnose()
    assert verdict.cause == "none-of-these", verdict
    assert any("wait for a CPU" in item.because for item in verdict.causes)


def test_a_slow_path_of_the_platform_alone_is_the_network() -> None:
    verdict = Facts().slow(14.0, 9.0, here=False).diagnose()
    assert verdict.cause == "network"
    assert "though Redis is busy for 2 % of the time only" in verdict.causes[0].because


def test_one_slow_command_and_idle_connections_are_noise() -> None:
    facts = reading_whole(Facts().slow(12.0))
    facts.clients = [{**CLIENT, "name": "leak", "connections": 180, "active": 1}]
    assert likely(facts.diagnose()) == {"slow-commands"}
    noise = Facts().slow(12.0)
    noise.slowlog = [(30.0, 40.0, "KEYS metrics:*", "someone")]
    noise.server["mean_ms"]["KEYS"] = 40.0
    assert noise.diagnose().cause == "none-of-these"


def test_data_that_are_swapped_out_are_memory() -> None:
    facts = Facts().slow(60.0)
    facts.memory = {
        "used_memory": 9_000 * MB, "used_memory_rss": 5_000 * MB, "maxmemory": 0, "total_system_memory": 5_500 * MB,
    }  # fmt: skip
    assert likely(facts.diagnose()) == {"memory-swapping"}


def test_a_redis_that_takes_no_more_connections_is_crowded() -> None:
    facts = Facts().slow(12.0)
    facts.own = facts.memory = facts.clients = None
    verdict = facts.diagnose()
    assert verdict.cause == "too-many-clients"
    assert "250 of the 256 connections" in verdict.causes[0].because


def test_a_redis_that_is_not_seen_has_no_named_cause() -> None:
    facts = Facts().slow(12.0)
    facts.own = facts.memory = None
    verdict = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    assert "cause is not known" in verdict.summary


def test_without_the_platforms_figures_our_own_count() -> None:
    facts = reading_whole(Facts().slow(12.0))
    facts.metrics_seen = False
    assert facts.diagnose().cause == "slow-commands"
    facts.own = None
    assert facts.diagnose().confirmed is False
    assert facts.diagnose().summary.startswith("Not known")


def fixes(facts: Facts, *causes: str, census: pd.DataFrame | None = None, **other: Any) -> list[Any]:
    frames = facts.frames()
    given = {
        "memory": facts.memory,
        "slow": redis_latency.slow_commands_of(frames["slowlog"], facts.own, NOW, 60),
        "census": census,
        "clients": frames["clients"],
        "platform_clients": ["web"],
        "growth": 2.0,
        "series_points": 5000,
        "series_keep_s": 86_400.0,
        "stand_by": "replica",
        "usual": 10,
        "container": None,
    }
    return redis_latency_fixes.fixes(causes, **{**given, **other})


def test_each_cause_has_the_seeds_fix_and_no_more() -> None:
    assert fixes(evicting(Facts()), "memory-swapping") == [
        ("redis.set-configuration", {"name": "maxmemory", "value": str(192 * MB)})
    ]
    long = {"pattern": "metrics:trade_price:*", "type": "hash", "largest_elements": 30_000.0}
    assert fixes(reading_whole(Facts()), "slow-commands", census=pd.DataFrame([long])) == [
        ("redis.trim-series", {"pattern": "metrics:trade_price:*", "keep_s": 86_400.0})
    ]
    assert fixes(reading_whole(Facts()), "slow-commands") == [("redis.kill-clients", {"name": "reporting"})]
    assert fixes(far_away(Facts()), "network") == [("redis.fail-over", {"to": "replica"})]
    assert fixes(far_away(Facts()), "network", stand_by=None) == []
    assert fixes(crowded(Facts()), "too-many-clients") == [("redis.kill-clients", {"name": "grid", "host": "10.0.0.1"})]


def test_the_platforms_own_connections_are_never_closed() -> None:
    facts = Facts()
    facts.clients = [{**CLIENT, "name": "web", "connections": 200, "active": 200}]
    assert fixes(facts, "too-many-clients") == []
    facts.slowlog = [(1.0, 40.0, "SORT some:key", "web")]
    assert fixes(facts, "slow-commands") == []


def connected(*programs: tuple[str, int, int]) -> Facts:
    facts = Facts()
    facts.clients = [{**CLIENT, "name": name, "connections": n, "active": at_work} for name, n, at_work in programs]
    return facts


@pytest.mark.parametrize(
    ("programs", "closed"),
    [
        ([("web", 200, 200), ("exporter", 2, 2)], None),
        ([("web", 200, 4), ("exporter", 2, 2)], None),
        ([("web", 200, 8), ("exporter", 5, 5)], None),
        ([("grid", 60, 60), ("screener", 60, 60), ("web-workers", 60, 60)], None),
        ([("grid", 180, 180), ("web", 5, 4), ("exporter", 2, 2)], "grid"),
        ([("grid", 120, 120), ("web", 60, 60)], "grid"),
    ],
)
def test_only_who_is_the_crowd_loses_its_connections(programs: list[Any], closed: str | None) -> None:
    facts = connected(*programs)
    found = fixes(facts, "too-many-clients")
    assert [given["name"] for _, given in found] == ([] if closed is None else [closed])
    told = redis_latency_fixes.whose_crowd(facts.frames()["clients"], ["web"], 10)
    first = programs[0]
    assert f"{first[0]} has {first[2]} of the" in told
    assert ("the platform's own" in told) is (first[0] == "web")


@pytest.mark.parametrize("name", ["web", "reporting", ""])
def test_as_few_connections_as_usual_are_no_crowd_whose_ever_they_are(name: str) -> None:
    few = connected((name, 6, 2), ("exporter", 2, 1)).frames()["clients"]
    told = redis_latency_fixes.whose_crowd(few, ["web"], 10)
    who = name or "A program without a name"
    assert told == f"{who} has 2 of the 3 connections at work (usual: 10 in all): that is no crowd."


def limits(*megabytes: float) -> pd.DataFrame:
    return pd.DataFrame({"memory_limit": [size * MB for size in megabytes]})


@pytest.mark.parametrize(
    ("memory", "container", "value"),
    [
        ({}, None, 192),
        ({}, limits(float("nan"), 200.0), 160),
        ({}, limits(120.0), None),
        ({"total_system_memory": 150 * MB}, None, 120),
        ({"total_system_memory": 110 * MB}, None, None),
        ({"maxmemory": 0, "used_memory": 9_000 * MB, "total_system_memory": 5_500 * MB}, None, None),
        ({"maxmemory": 4_000 * MB, "used_memory": 9_000 * MB, "total_system_memory": 5_500 * MB}, None, None),
        ({"maxmemory": 0, "used_memory": 9_000 * MB, "total_system_memory": 16_000 * MB}, None, 11_200),
        ({"maxmemory": 0, "used_memory": 9_000 * MB}, limits(9_200.0), None),
    ],
)
def test_memory_has_the_room_of_its_container_and_never_less_than_is_used(
    memory: dict[str, Any], container: pd.DataFrame | None, value: int | None
) -> None:
    facts = evicting(Facts())
    assert facts.memory is not None
    facts.memory |= memory
    change = {"name": "maxmemory", "value": str((value or 0) * MB)}
    wanted = [] if value is None else [("redis.set-configuration", change)]
    assert fixes(facts, "memory-swapping", container=container) == wanted


def test_what_began_a_moment_ago_and_is_seldom_is_slow_all_the_same() -> None:
    facts = Facts().slow(140.0)
    facts.slowlog = [(age, 140.0, "HGETALL agg:ticks", "reporting") for age in range(1, 14, 2)]
    assert facts.diagnose().cause == "slow-commands"
    facts.slowlog = [(age + 200.0, took, *rest) for age, took, *rest in facts.slowlog]
    assert facts.diagnose().cause == "none-of-these"


def test_calls_that_wait_for_a_long_command_are_no_slow_network() -> None:
    facts = Facts().slow(254.0, 254.0)
    assert facts.own is not None
    facts.own |= {"calls": 6, "way_back_ms": 116.0}
    facts.server.update({"cpu_share": 0.01, "command_share": 0.84})
    verdict = facts.diagnose()
    assert verdict.cause == "none-of-these", verdict
    assert any("busy for 84 % of the time" in item.because for item in verdict.causes)


def test_half_of_a_long_wait_is_no_way_back_where_few_were_asked() -> None:
    facts = Facts().slow(250.0, 250.0)
    assert facts.own is not None
    facts.own |= {"calls": 6, "way_back_ms": 116.0}
    facts.server["command_share"] = 0.5
    assert facts.diagnose().cause == "none-of-these"
    facts.own["calls"] = 300
    assert facts.diagnose().cause == "network"


def test_a_platform_that_waits_for_long_commands_longer_than_we_do_has_no_slow_path() -> None:
    facts = reading_whole(Facts().slow(80.0, 10.9, here=False))
    facts.server.update({"cpu_share": 0.45, "command_share": 0.47})
    facts.server["slow"][0]["share"] = 0.46
    assert likely(facts.diagnose()) == {"slow-commands"}


def test_a_shortage_of_cpus_is_told_beside_the_verdict() -> None:
    facts = Facts()
    assert facts.own is not None
    assert redis_latency.short_of_cpu(None) == redis_latency.short_of_cpu(facts.own) == ""
    facts.own["own_wait_ms"] = 3.25
    of_us = "this run itself waited 3.2 ms for one in a typical call, which is not counted as latency"
    assert redis_latency.short_of_cpu(facts.own) == f"CPUs are short: {of_us}"
    facts.server.update({"cpu_share": 0.01, "command_share": 0.3})
    worked = "Redis' commands take 30 times as long as the CPU works for them"
    assert redis_latency.short_of_cpu(facts.own) == f"CPUs are short: {worked}; {of_us}"


def test_what_redis_did_itself_is_told_where_no_cause_is_named() -> None:
    facts = Facts().slow(12.0)
    facts.events = [("fork", age, 60.0) for age in range(0, 60, 2)] + [("eviction-cycle", 5.0, 900.0)]
    reading_whole(facts)
    waits = redis_latency.blocked(facts.frames()["events"], facts.own, NOW, 60)
    assert redis_latency.other_waits(waits) == "Redis itself kept all waiting by fork 3.0 % of the last minute"
    assert redis_latency.other_waits(redis_latency.blocked(None, None, NOW, 60)) == ""


def test_a_slow_command_without_a_key_is_told_without_a_gap() -> None:
    facts = Facts().slow(40.0)
    facts.server["slow"] = [{"command": "EVAL", "calls": 8, "mean_ms": 70.0, "share": 0.3}]
    facts.server.update({"cpu_share": 0.3, "command_share": 0.3})
    facts.slowlog = [(age, 70.0, "EVAL local t=0 0", "") for age in range(0, 40)]
    verdict = facts.diagnose()
    assert likely(verdict) == {"slow-commands"}
    assert "EVAL of a client without a name is first in the slow log" in verdict.causes[0].because
