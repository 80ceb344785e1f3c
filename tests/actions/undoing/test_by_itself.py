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
from typing import Any

import psycopg
import pytest
import redis

from opslib import store
from opslib.actions import applier, crypto, holds, plans
from opslib.actions.action import MayGoBack
from opslib.actions.applying import Apply, target_locks
from opslib.actions.catalogue import ACTIONS
from opslib.actions.documents import Plan
from opslib.settings import PROJECT
from sandbox.crypto import redis_server
from tests.actions.test_firing import Prometheus
from tests.actions.undoing.asking import ASKED, BEFORE, memory, requested
from tests.actions.world import World
from tests.postgres_server import Server


def more_memory(desk: World, *, back: bool = True) -> Plan:
    given = {"name": "maxmemory", "value": ASKED, "within_s": 5.0, "undo_if_ineffective": back}
    return requested(desk, "redis.set-configuration", **given)


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
