"""What has no effect is taken back by itself where it said so, on a real Redis and PostgreSQL; also cut off."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from opslib import store
from opslib.actions import applier, approval, crypto, holds, plans
from opslib.actions.action import MayGoBack
from opslib.actions.applying import Apply, target_locks
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Plan
from opslib.errors import PlanError
from opslib.settings import PROJECT
from sandbox.crypto import redis_server
from tests.actions.test_firing import Prometheus
from tests.actions.world import World, shown_at_once
from tests.postgres_server import Server, running

BEFORE, ASKED = "100663296", "201326592"
PEOPLE = ("ben", "bob")


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
    assert "undo_if_ineffective" not in back.document.actions[0].arguments
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


@pytest.fixture
def firing(desk: World) -> Iterator[None]:
    """An alert whose own rule holds, whatever is done, as Prometheus tells."""
    place = desk.settings.state / "sandbox" / "crypto.json"
    told = json.loads(place.read_text("utf-8"))["endpoints"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Prometheus) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        told |= {"prometheus": f"http://127.0.0.1:{server.server_address[1]}"}
        place.write_text(json.dumps({"endpoints": told}), "utf-8")
        desk.fire(name="Both")
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("firing")
def test_an_index_that_did_not_help_is_dropped_again(
    desk: World, database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opslib.actions.postgres_indexes.CreateIndex.effect_within_s", 2.0)
    indexes = "SELECT indexname FROM pg_indexes WHERE tablename = 'quotes'"
    with database.admin() as admin:
        admin.execute("CREATE TABLE quotes AS SELECT i AS symbol, i AS price FROM generate_series(1, 500) i")
        given: dict[str, Any] = {"table": "quotes", "columns": ["symbol"]}
        plan = requested(desk, "postgres.create-index", **given, undo_if_ineffective=True)
        after = applier.run_once(desk.settings, plan.hash)
        back = back_of(desk, plan)
        assert back is not None, after.reason
        assert (after.state, admin.execute(indexes).fetchall()) == ("partial", [("ix_quotes_symbol",)])
        [drop] = back.document.actions
        assert (drop.action, back.state) == ("postgres.drop-index", "approved")
        assert drop.target.also == ("postgres-table/postgres.public.quotes",)
        assert {*back.document.targets} > {*plan.document.targets}, "the index is locked with its table"
        done = applier.run_once(desk.settings, back.hash)
        assert (done.state, admin.execute(indexes).fetchall()) == ("verified", [])
    assert desk.plan(plan.hash).state == "undone"


def test_what_may_go_back_by_itself_stands_in_the_docs_and_lets_nothing_in() -> None:
    may = {name for name, action in ACTIONS.items() if issubclass(action.Arguments, MayGoBack)}
    docs = (
        (PROJECT / "docs" / "commands.md")
        .read_text("utf-8")
        .partition("What takes it: ")[2]
        .partition(". What lets")[0]
    )
    systems = [re.findall(r"`([a-z.-]+)`", part) for part in docs.split(";")]
    told = {name if "." in name else f"{names[0].partition('.')[0]}.{name}" for names in systems for name in names}
    assert told == may
    kinds = {"reduce-risk", "stop-new-risk", "allow-new-risk", "hedging", "silence", "restart"}
    assert not {ACTIONS[name].kind for name in may} & kinds
    assert not [name for name in may if ACTIONS[name].risk_reducing or ACTIONS[name].stops_new_risk]


def verified(desk: World, action: str, **arguments: Any) -> Plan:
    """A plan that was applied with effect."""
    desk.platform.gauges["redis_latency_p99"] = 1000.0
    plan = requested(desk, action, **arguments)
    assert applier.run_once(desk.settings, plan.hash).state == "verified"
    return plan


def asked_back(desk: World, plan: Plan, who: str = "ben") -> Plan:
    """The plan that a person asks for to take another back."""
    return approval.undo(desk.settings, plan.hash, desk.person(who))


def taken_back(desk: World, plan: Plan) -> Plan:
    """What becomes of the plan that takes another back, approved and applied."""
    back = asked_back(desk, plan)
    approval.approve(desk.settings, back.hash, desk.person("cleo"))
    approval.apply(desk.settings, back.hash, desk.person("cleo"))
    return applier.run_once(desk.settings, back.hash)


def test_asked_twice_it_is_one_plan_and_applied_once(desk: World, cache: redis_server.RedisServer) -> None:
    plan = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    back = asked_back(desk, plan)
    assert asked_back(desk, plan, "bob").hash == asked_back(desk, plan).hash == back.hash
    approval.approve(desk.settings, back.hash, desk.person("cleo"))
    approval.apply(desk.settings, back.hash, desk.person("cleo"))
    assert asked_back(desk, plan).hash == back.hash
    assert [applier.run_once(desk.settings, back.hash).state for _ in range(2)] == ["verified", "verified"]
    assert (memory(cache), desk.plan(plan.hash).state) == (BEFORE, "undone")
    assert desk.kinds().count("apply-started") == 2
    with pytest.raises(PlanError, match="is undone; only a plan that is verified or partial or failed"):
        asked_back(desk, plan)


def test_one_that_was_rejected_may_be_asked_for_again(desk: World, cache: redis_server.RedisServer) -> None:
    plan = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    first = asked_back(desk, plan)
    approval.reject(desk.settings, first.hash, desk.person("cleo"), "not now")
    assert asked_back(desk, plan).hash != first.hash


def test_what_was_changed_since_is_left_to_a_person(desk: World, cache: redis_server.RedisServer) -> None:
    plan = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    with redis.Redis.from_url(cache.url(), decode_responses=True) as client:
        client.config_set("maxmemory", "150000000")
    with pytest.raises(PlanError) as caught:
        asked_back(desk, plan)
    assert str(caught.value) == (
        "redis.set-configuration is not taken back: redis-setting/maxmemory is no longer as it left it (maxmemory was "
        f"left {ASKED}, is now 150000000). Ask who changed it, then do by hand what is right; before the plan: "
        f"maxmemory {BEFORE}"
    )
    assert (memory(cache), desk.plan(plan.hash).state) == ("150000000", "verified")


def test_two_changes_of_one_thing_go_back_last_first(desk: World, cache: redis_server.RedisServer) -> None:
    first = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    second = verified(desk, "redis.set-configuration", name="maxmemory", value="301989888")
    with pytest.raises(PlanError, match="maxmemory was left 201326592, is now 301989888"):
        asked_back(desk, first)
    assert taken_back(desk, second).state == "verified"
    assert memory(cache) == ASKED
    assert taken_back(desk, first).state == "verified"
    assert memory(cache) == BEFORE


def test_of_a_plan_that_failed_halfway_only_what_was_done_is_taken_back(
    desk: World, database: Server, cache: redis_server.RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_at_once(monkeypatch, "redis.set-configuration", "crypto.emergency-reduce")
    desk.platform.gauges["redis_latency_p99"] = 1000.0
    steps: list[tuple[str, dict[str, Any]]] = [
        ("redis.set-configuration", {"name": "maxmemory", "value": ASKED}),
        ("crypto.emergency-reduce", {"kelly_fraction": 0.1}),
    ]
    with store.transaction(desk.settings) as connection:
        plan = plans.propose(
            desk.settings, connection, run_id=desk.run, actions=steps, reason="slow", platform="crypto"
        )
    approval.approve(desk.settings, plan.hash, desk.person("cleo"))
    approval.apply(desk.settings, plan.hash, desk.person("cleo"))
    desk.platform.refuse = 409
    after = applier.run_once(desk.settings, plan.hash)
    assert (after.state, memory(cache), desk.platform.kelly) == ("partial", ASKED, 0.25)
    desk.platform.refuse = 0
    back = asked_back(desk, plan)
    assert [one.action for one in back.document.actions] == ["redis.set-configuration"]


def test_what_failed_altogether_leaves_nothing_to_take_back(desk: World) -> None:
    plan = requested(desk, "crypto.emergency-reduce", kelly_fraction=0.1)
    desk.platform.refuse = 409
    assert applier.run_once(desk.settings, plan.hash).state == "failed"
    desk.platform.refuse = 0
    with pytest.raises(PlanError, match="nothing of it was done, as far as the platform shows"):
        asked_back(desk, plan)


def test_a_setting_of_the_servers_own_file_is_set_to_what_it_was_there(desk: World, database: Server) -> None:
    with psycopg.connect(database.url(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET work_mem = '7MB'")
        admin.execute("SELECT pg_reload_conf()")
    with psycopg.connect(database.url()) as fresh:  # until the server has read it
        deadline = time.monotonic() + 20
        while fresh.execute("SHOW work_mem").fetchone() != ("7MB",):
            assert time.monotonic() < deadline
            fresh.rollback()
            time.sleep(0.05)
    plan = verified(desk, "postgres.set-setting", name="work_mem", value="9MB")
    assert plan.document.actions[0].undo.arguments == {"name": "work_mem", "value": "7MB", "reason": "undo"}
    assert taken_back(desk, plan).state == "verified"
    with psycopg.connect(database.url(), autocommit=True) as fresh:
        assert fresh.execute("SHOW work_mem").fetchone() == ("7MB",)
        fresh.execute("ALTER SYSTEM RESET work_mem")
        fresh.execute("SELECT pg_reload_conf()")


def test_what_waits_for_a_restart_already_is_put_back_by_hand(desk: World, database: Server) -> None:
    with psycopg.connect(database.url(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET max_connections = 150")
        admin.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 20
        while admin.execute("SELECT 1 FROM pg_settings WHERE pending_restart").fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with store.transaction(desk.settings) as connection:
            actions = [{"action": "postgres.set-setting", "arguments": {"name": "max_connections", "value": "180"}}]
            plan = plans.propose(
                desk.settings, connection, run_id=desk.run, actions=actions, reason="slow", platform="crypto"
            )
        admin.execute("ALTER SYSTEM RESET max_connections")
        admin.execute("SELECT pg_reload_conf()")
    [planned] = plan.document.actions
    assert (planned.undo.kind, planned.authority) == ("none", "L3")
    assert "another change of it waits for a restart" in planned.undo.reason


def test_an_index_goes_back_though_another_one_came(desk: World, database: Server) -> None:
    with psycopg.connect(database.url(), autocommit=True) as admin:
        admin.execute("CREATE TABLE orders_of_a_day (id int, symbol text)")
    plan = verified(desk, "postgres.create-index", table="orders_of_a_day", columns=["symbol"])
    with psycopg.connect(database.url(), autocommit=True) as admin:
        admin.execute("CREATE INDEX another ON orders_of_a_day (symbol, id)")
    assert taken_back(desk, plan).state == "verified"
    with psycopg.connect(database.url(), autocommit=True) as admin:
        left = admin.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'orders_of_a_day'").fetchall()
    assert left == [("another",)]


def test_a_file_is_as_it_was_to_the_letter(desk: World, tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    place = desk.settings.state / "sandbox" / "crypto.json"
    endpoints = json.loads(place.read_text("utf-8"))["endpoints"] | {"files": folder.as_uri()}
    place.write_text(json.dumps({"endpoints": endpoints | {"files_admin": folder.as_uri()}}), "utf-8")
    held = '{ "order_id": 12345678901234567890,\n"max":0.010, "max_position_pct": 0.02 }'
    (folder / "override.json").write_text(held, "utf-8")
    desk.platform.var_at_one = dict.fromkeys(desk.platform.var_at_one, 0.1)
    plan = verified(desk, "files.write-json", path="override.json", content={"max_position_pct": 0.005})
    assert json.loads((folder / "override.json").read_text("utf-8")) == {"max_position_pct": 0.005}
    assert taken_back(desk, plan).state == "verified"
    assert (folder / "override.json").read_text("utf-8") == held
    again = verified(desk, "files.remove", path="override.json")
    (folder / "override.json").write_text("{}", "utf-8")
    with pytest.raises(PlanError, match=r"files\.remove is not taken back: file/override\.json is no longer"):
        asked_back(desk, again)


def test_asked_for_by_two_at_once_it_is_one_plan(desk: World, cache: redis_server.RedisServer) -> None:
    plan = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    found: list[str] = []
    both = [threading.Thread(target=lambda who=who: found.append(asked_back(desk, plan, who).hash)) for who in PEOPLE]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert (len(found), len(set(found))) == (2, 1)


def test_cut_off_between_doing_and_recording_it_is_not_done_again(desk: World, cache: redis_server.RedisServer) -> None:
    plan = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    back = asked_back(desk, plan)
    approval.approve(desk.settings, back.hash, desk.person("cleo"))
    back = approval.apply(desk.settings, back.hash, desk.person("cleo"))
    with target_locks(desk.settings, back.document.targets):
        cut_off = Apply(desk.settings, back, "first")
        assert cut_off.begin()
        cut_off.result["steps"].append({"action": "redis.set-configuration", "state": "intended", "at": "now"})
        cut_off._save_own()
        with cut_off._context() as context:
            cut_off.actions[0].apply(context, f"{back.hash}-0")  # done, and then the applier is gone
    assert asked_back(desk, plan).hash == back.hash
    done = applier.run_once(desk.settings, back.hash)
    assert (done.state, memory(cache), desk.plan(plan.hash).state) == ("verified", BEFORE, "undone")
    assert "interrupted; the platform shows the change" in (done.result or {})["steps"][0]["error"]
