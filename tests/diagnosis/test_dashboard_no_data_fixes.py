"""What A23 proposes: versions, addresses, and who loses the connection by which it removes the series."""

from __future__ import annotations

import pandas as pd
import pytest

from opslib.diagnosis import dashboard_no_data
from tests.diagnosis.dashboard_facts import REDIS, Facts, plan


def test_each_fix_is_aimed_and_no_wider_than_its_cause() -> None:
    assert plan("writer-down", Facts()) == [("crypto.set-series-writer", {"running": True})]
    versions = [
        {"version": 4, "queries": ["ts.range"]},
        {"version": 3, "queries": ["ts.range"]},
        {"version": 2, "queries": ["hgetall"]},
        {"version": 1, "queries": ["hgetall"]},
    ]
    restored = plan("module-missing", Facts(), versions=versions)
    assert restored == [("dashboards.restore-version", {"uid": "edge-risk", "version": 2})]
    facts = Facts().datasource_wrong()
    elsewhere = dashboard_no_data.leads_elsewhere(facts.panels, {"primary": REDIS})
    assert plan("datasource-wrong", facts, elsewhere=elsewhere) == [
        ("dashboards.set-datasource", {"uid": "redis", "url": f"redis://{REDIS}/0"})
    ]


def test_only_who_removes_the_series_loses_its_connection() -> None:
    client = {"kind": "normal", "active": 1, "connections": 1}
    clients = pd.DataFrame(
        [
            {**client, "name": "cleanup", "command": "unlink"},
            {**client, "name": "trading-platform", "command": "del"},
            {**client, "name": "web", "command": "hgetall"},
            {**client, "name": "", "command": "del"},
        ]
    )
    found = plan("redis-empty", Facts(), clients=clients, memory={"maxmemory": 0, "used_memory": 5})
    assert [(action, given["name"]) for action, given in found] == [("redis.kill-clients", "cleanup")]
    full = {"maxmemory": 40_000_000, "used_memory": 39_000_000}
    found = plan("redis-empty", Facts(), clients=clients, memory=full)
    assert [(action, given["value"]) for action, given in found] == [("redis.set-configuration", "80000000")]


def test_a_fix_that_cannot_be_aimed_is_not_proposed() -> None:
    assert plan("module-missing", Facts(), versions=[{"version": 1, "queries": ["ts.range"]}]) == []
    assert plan("datasource-wrong", Facts()) == []
    assert plan("redis-empty", Facts()) == []


def test_who_only_looks_for_keys_keeps_its_connection() -> None:
    client = {"kind": "normal", "active": 1, "connections": 1, "command": "scan"}
    clients = pd.DataFrame([{**client, "name": name} for name in ("inventory", "cleanup", "trading-platform")])
    assert plan("redis-empty", Facts(), clients=clients) == []
    sent = [("inventory", "scan"), ("inventory", "type"), ("cleanup", "scan"), ("trading-platform", "del")]
    watched = pd.DataFrame([{"kind": "normal", "name": name, "command": verb, "seen": 9} for name, verb in sent])
    assert plan("redis-empty", Facts(), clients=clients, commands=watched) == []
    watched.loc[len(watched)] = {"kind": "normal", "name": "cleanup", "command": "unlink", "seen": 1}
    found = plan("redis-empty", Facts(), clients=clients, commands=watched)
    assert found == [("redis.kill-clients", {"name": "cleanup", "until": "dashboard-data"})]
    watched.loc[len(watched)] = {"kind": "normal", "name": "locks", "command": "del", "seen": 4}
    assert plan("redis-empty", Facts(), clients=clients, commands=watched) == []
    found_both = dashboard_no_data.removers(clients, watched, ["trading-platform"])
    assert found_both == [{"name": "cleanup"}, {"name": "locks"}]
    assert dashboard_no_data.told(found_both) == "cleanup, locks"


def sending(*sent: tuple[str, str]) -> pd.DataFrame:
    client = {"kind": "normal", "host": "10.0.0.7", "user": "etl", "seen": 9}
    return pd.DataFrame([{**client, "name": name, "command": verb} for name, verb in sent])


@pytest.mark.parametrize("verb", ["del", "flushall", "rename", "expire", "pexpireat", "hdel", "getex"])
def test_whoever_takes_keys_away_in_whatever_way_is_stopped(verb: str) -> None:
    watched = sending(("tidy", "scan"), ("tidy", verb), ("trading-platform", "hdel"), ("web", "hgetall"))
    closed = [("redis.kill-clients", {"name": "tidy", "until": "dashboard-data"})]
    assert plan("redis-empty", Facts(), commands=watched) == closed


@pytest.mark.parametrize("verb", ["eval", "evalsha", "fcall", "exec"])
def test_who_hides_what_it_runs_is_stopped_only_while_keys_are_removed(verb: str) -> None:
    watched = sending(("tidy", verb), ("trading-platform", "hset"), ("web", "hgetall"))
    closed = [("redis.kill-clients", {"name": "tidy", "until": "dashboard-data"})]
    assert plan("redis-empty", Facts(), commands=watched, ran=["DEL", "HSET", "KEYS"]) == closed
    assert plan("redis-empty", Facts(), commands=watched, ran=["HSET", "HGETALL"]) == []
    plain = pd.concat([watched, sending(("retention", "unlink"))])
    assert plan("redis-empty", Facts(), commands=plain, ran=["UNLINK"])[0][1]["name"] == "retention"
    two = pd.concat([watched, sending(("locks", verb))])
    assert plan("redis-empty", Facts(), commands=two, ran=["DEL"]) == []
    assert dashboard_no_data.ran({"server": {"mean_ms": {"HSET": 0.1, "DEL": 0.2}}}) == ["DEL", "HSET"]
    assert dashboard_no_data.ran(None) == dashboard_no_data.ran({"server": None}) == []


def test_a_remover_without_a_name_is_told_by_its_place() -> None:
    watched = sending(("", "del"), ("trading-platform", "hset"))
    place = {"name": "", "host": "10.0.0.7", "user": "etl"}
    assert plan("redis-empty", Facts(), commands=watched) == [
        ("redis.kill-clients", {**place, "until": "dashboard-data"})
    ]
    assert dashboard_no_data.told([place]) == "a program without a name at 10.0.0.7 (user etl)"
    assert dashboard_no_data.told([]) == "nobody"


def test_something_else_in_the_place_of_the_series_is_an_empty_redis() -> None:
    facts = Facts()
    facts.points[:2], facts.errors[:2] = [0, 0], ["WRONGTYPE Operation against a key"] * 2
    assert dashboard_no_data.overwritten(facts.panels)
    assert not dashboard_no_data.overwritten(Facts().redis_empty().panels)
    assert facts.diagnose().cause == "redis-empty"
    watched = sending(("importer", "set"), ("web", "hgetall"))
    assert plan("redis-empty", facts, commands=watched) == []
    closed = [("redis.kill-clients", {"name": "importer", "until": "dashboard-data"})]
    assert plan("redis-empty", facts, commands=watched, overwritten=True) == closed


def test_the_datasource_of_another_scheme_is_set_right() -> None:
    facts = Facts().datasource_wrong("http://127.0.0.1:6379/")
    elsewhere = dashboard_no_data.leads_elsewhere(facts.panels, {"primary": REDIS})
    assert plan("datasource-wrong", facts, elsewhere=elsewhere) == [
        ("dashboards.set-datasource", {"uid": "redis", "url": f"redis://{REDIS}/0"})
    ]
