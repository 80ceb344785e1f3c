"""What a person asks to take back, on a real Redis and PostgreSQL: once, last first, never over another's change."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from opslib.actions import applier, approval
from opslib.actions.applying import Apply, target_locks
from opslib.actions.documents import Plan
from opslib.errors import PlanError
from sandbox.crypto import redis_server
from tests.actions.undoing.asking import ASKED, BEFORE, Step, asked_for, memory, proposed, requested
from tests.actions.world import World, shown_at_once
from tests.postgres_server import Server

PEOPLE = ("ben", "bob")


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
    back = asked_for(desk, asked_back(desk, plan))
    return applier.run_once(desk.settings, back.hash)


def test_asked_twice_it_is_one_plan_and_applied_once(desk: World, cache: redis_server.RedisServer) -> None:
    plan = verified(desk, "redis.set-configuration", name="maxmemory", value=ASKED)
    back = asked_back(desk, plan)
    assert asked_back(desk, plan, "bob").hash == asked_back(desk, plan).hash == back.hash
    asked_for(desk, back)
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
    steps: list[Step] = [
        ("redis.set-configuration", {"name": "maxmemory", "value": ASKED}),
        ("crypto.emergency-reduce", {"kelly_fraction": 0.1}),
    ]
    plan = asked_for(desk, proposed(desk, *steps))
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
        plan = proposed(desk, ("postgres.set-setting", {"name": "max_connections", "value": "180"}))
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
    back = asked_for(desk, asked_back(desk, plan))
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
