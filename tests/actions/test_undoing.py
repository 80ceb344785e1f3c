"""What has no effect is taken back by itself where it said so, on a real Redis and PostgreSQL; also cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from opslib import store
from opslib.actions import applier, approval, crypto, holds, plans
from opslib.actions.applying import Apply, target_locks
from opslib.actions.documents import Plan
from sandbox.crypto import redis_server
from tests.actions.world import World
from tests.postgres_server import Server, running

BEFORE, ASKED = "100663296", "201326592"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("postgres"), 18) as server:
        yield server


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_server.RedisServer]:
    folder = tmp_path_factory.mktemp("redis")
    server = redis_server.start(folder, folder, redis_server.Passwords.fresh())
    yield server
    server.process.terminate()
    server.process.wait()


@pytest.fixture
def desk(world: World, database: Server, cache: redis_server.RedisServer) -> Iterator[World]:
    """The platform of the plans, with a database and a Redis whose latency is above its limit; the alert fires."""
    place = world.settings.state / "sandbox" / "crypto.json"
    endpoints = json.loads(place.read_text("utf-8"))["endpoints"]
    endpoints |= {"postgres": database.reader, "postgres_admin": database.url()}
    endpoints |= {"redis": cache.url("recorder"), "redis_admin": cache.url("admin")}
    place.write_text(json.dumps({"endpoints": endpoints}), "utf-8")
    world.platform.gauges["redis_latency_p99"] = 9000.0
    world.fire()
    yield world
    with redis.Redis.from_url(cache.url(), decode_responses=True) as client:
        client.config_set("maxmemory", BEFORE)


def requested(desk: World, action: str, **arguments: Any) -> Plan:
    """A plan that was proposed, approved and asked for."""
    with store.transaction(desk.settings) as connection:
        actions = [{"action": action, "arguments": arguments}]
        plan = plans.propose(
            desk.settings, connection, run_id=desk.run, actions=actions, reason="slow", platform="crypto"
        )
    approval.approve(desk.settings, plan.hash, desk.person("cleo"))
    return approval.apply(desk.settings, plan.hash, desk.person("cleo"))


def more_memory(desk: World, *, back: bool = True) -> Plan:
    given = {"name": "maxmemory", "value": ASKED, "within_s": 5.0, "undo_if_ineffective": back}
    return requested(desk, "redis.set-configuration", **given)


def memory(cache: redis_server.RedisServer) -> str:
    with redis.Redis.from_url(cache.url(), decode_responses=True) as client:
        return str(client.config_get("maxmemory")["maxmemory"])  # type: ignore[index]


def back_of(desk: World, plan: Plan) -> Plan | None:
    """The plan that takes another back."""
    with store.connect(desk.settings) as connection:
        found = [one for one in plans.of_incident(connection, desk.incident) if one.undo_of == plan.hash]
    return found[-1] if found else None


def test_what_has_no_effect_is_taken_back_by_a_plan_of_its_own(desk: World, cache: redis_server.RedisServer) -> None:
    plan = more_memory(desk)
    assert plan.document.actions[0].undo.automatic
    assert "; by itself where the effect does not show within 5 s" in plan.document.actions[0].undo.reason
    after = applier.run_once(desk.settings, plan.hash)
    back = back_of(desk, plan)
    assert back is not None
    assert (after.state, memory(cache), back.state) == ("partial", ASKED, "approved")
    told = "the alert's condition still holds: 99th percentile of Redis' latency 9 ms > 5 ms"
    assert f"{told}; plan {back.hash[:12]} takes it back" in (after.reason or "")
    assert back.hash != plan.hash
    assert back.document.actions[0].arguments["undo_if_ineffective"] is False
    last = desk.last("plan-decided")
    assert (last["person"], last["role"], last["decision"]) == ("undo-if-ineffective", "declared", "apply")
    done = applier.run_once(desk.settings, back.hash)
    assert (done.state, memory(cache), desk.plan(plan.hash).state) == ("verified", BEFORE, "undone")
    assert "taken back; the alert's condition holds as it did before" in (done.reason or "")
    assert back_of(desk, done) is None


def test_what_has_its_effect_stays(desk: World, cache: redis_server.RedisServer) -> None:
    desk.platform.gauges["redis_latency_p99"] = 1000.0
    plan = more_memory(desk)
    assert applier.run_once(desk.settings, plan.hash).state == "verified"
    assert (memory(cache), back_of(desk, plan)) == (ASKED, None)


def test_what_did_not_say_so_stays(desk: World, cache: redis_server.RedisServer) -> None:
    plan = more_memory(desk, back=False)
    assert not plan.document.actions[0].undo.automatic
    assert "automatic" not in json.loads(plan.document.text)["actions"][0]["undo"]
    assert applier.run_once(desk.settings, plan.hash).state == "partial"
    assert (memory(cache), back_of(desk, plan)) == (ASKED, None)


def test_what_reduces_risk_is_never_taken_back_by_itself(desk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto.EmergencyReduce, "undo_if_ineffective", True)
    monkeypatch.setattr(crypto.EmergencyReduce, "effect_within_s", 0.6)
    desk.platform.ineffective = True
    plan = requested(desk, "crypto.emergency-reduce", kelly_fraction=0.1)
    assert not plan.document.actions[0].undo.automatic
    assert applier.run_once(desk.settings, plan.hash).state == "partial"
    assert (desk.platform.kelly, back_of(desk, plan)) == (0.1, None)


def test_on_hold_a_person_decides(desk: World, cache: redis_server.RedisServer) -> None:
    plan = more_memory(desk)
    with target_locks(desk.settings, plan.document.targets):
        apply = Apply(desk.settings, plan, "applier")
        assert apply.begin()
        apply.do()
        holds.place(desk.settings, desk.person("ann"), reason="wait")
        assert apply.verify()
        apply.finish()
    back = back_of(desk, plan)
    assert back is not None
    assert (back.state, memory(cache)) == ("proposed", ASKED)


def test_a_hold_that_comes_later_stops_it_too(desk: World, cache: redis_server.RedisServer) -> None:
    plan = more_memory(desk)
    applier.run_once(desk.settings, plan.hash)
    back = back_of(desk, plan)
    assert back is not None
    holds.place(desk.settings, desk.person("ann"), reason="wait")
    after = applier.run_once(desk.settings, back.hash)
    assert (after.state, memory(cache)) == ("void", ASKED)
    assert "on hold by ann: wait" in (after.reason or "")


def test_what_somebody_changed_since_is_not_taken_back(desk: World, cache: redis_server.RedisServer) -> None:
    plan = more_memory(desk)
    applier.run_once(desk.settings, plan.hash)
    back = back_of(desk, plan)
    assert back is not None
    with redis.Redis.from_url(cache.url(), decode_responses=True) as client:
        client.config_set("maxmemory", "150000000")
    after = applier.run_once(desk.settings, back.hash)
    assert (after.state, memory(cache)) == ("void", "150000000")


def test_killed_while_it_waits_for_the_effect_it_is_still_taken_back_once(
    desk: World, cache: redis_server.RedisServer
) -> None:
    plan = more_memory(desk)
    command = [sys.executable, "-m", "opslib.actions.applier", "--once", plan.hash]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while [step["state"] for step in (desk.plan(plan.hash).result or {}).get("steps", [])] != ["done"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert (desk.plan(plan.hash).state, back_of(desk, plan)) == ("applying", None)
    assert applier.run_once(desk.settings, plan.hash).state == "partial"
    back = back_of(desk, plan)
    assert back is not None
    with target_locks(desk.settings, back.document.targets):
        cut_off = Apply(desk.settings, back, "first")
        assert cut_off.begin()
        cut_off.do()  # done, and then this applier is gone too
    assert applier.run_once(desk.settings, back.hash).state == "verified"
    assert (memory(cache), desk.plan(plan.hash).state) == (BEFORE, "undone")
    with store.connect(desk.settings) as connection:
        assert len(plans.of_incident(connection, desk.incident)) == 2


def test_a_setting_that_does_not_come_into_force_is_taken_out_again(
    desk: World, database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opslib.actions.postgres_settings.SetSetting.effect_within_s", 1.0)
    plan = requested(desk, "postgres.set-setting", name="max_connections", value="150", undo_if_ineffective=True)
    after = applier.run_once(desk.settings, plan.hash)
    assert after.state == "partial"
    assert "max_connections waits for a restart of the server; plan " in (after.reason or "")
    back = back_of(desk, plan)
    assert back is not None
    assert applier.run_once(desk.settings, back.hash).state == "verified"
    assert desk.plan(plan.hash).state == "undone"
    with psycopg.connect(database.url()) as fresh:
        told = fresh.execute("SELECT pending_restart FROM pg_settings WHERE name = 'max_connections'").fetchone()
    assert told == (False,)
