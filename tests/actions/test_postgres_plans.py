"""Plans on a real PostgreSQL, the whole way: proposed, approved, applied, verified, undone; and cut off in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from opslib import store
from opslib.actions import applier, approval, plans
from opslib.actions.applying import Apply, target_locks
from opslib.actions.documents import Plan
from tests.actions.world import World
from tests.postgres_server import Server, running


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("postgres"), 18) as server:
        yield server


@pytest.fixture
def desk(world: World, database: Server) -> World:
    """The platform of the plans, with a database beside its API; its VaR is below the alert, and none fires."""
    place = world.settings.state / "sandbox" / "crypto.json"
    endpoints = json.loads(place.read_text("utf-8"))["endpoints"]
    endpoints |= {"postgres": database.reader, "postgres_admin": database.url()}
    place.write_text(json.dumps({"endpoints": endpoints}), "utf-8")
    world.fire()
    return world


def propose(desk: World, action: str, **arguments: Any) -> Plan:
    with store.transaction(desk.settings) as connection:
        actions = [{"action": action, "arguments": arguments}]
        return plans.propose(
            desk.settings, connection, run_id=desk.run, actions=actions, reason="slow", platform="crypto"
        )


def requested(desk: World, plan: Plan) -> Plan:
    who = desk.person("cleo")
    approval.approve(desk.settings, plan.hash, who)
    return approval.apply(desk.settings, plan.hash, who)


def test_a_setting_goes_the_whole_way_and_back(desk: World, database: Server) -> None:
    plan = propose(desk, "postgres.set-setting", name="work_mem", value="9MB")
    [planned] = plan.document.actions
    assert (planned.authority, planned.undo.kind, planned.target.name) == ("L2", "inverse", "postgres.work_mem")
    after = applier.run_once(desk.settings, requested(desk, plan).hash)
    assert after.state == "verified", after.reason
    with psycopg.connect(database.url()) as fresh:
        assert fresh.execute("SHOW work_mem").fetchone() == ("9MB",)
    back = approval.undo(desk.settings, plan.hash, desk.person("ben"))
    assert applier.run_once(desk.settings, requested(desk, back).hash).state == "verified"
    with psycopg.connect(database.url()) as fresh:
        assert fresh.execute("SHOW work_mem").fetchone() == ("4MB",)


def test_a_setting_that_waits_for_a_restart_is_not_called_done(desk: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.actions.postgres_settings.SetSetting.effect_within_s", 1.0)
    plan = propose(desk, "postgres.set-setting", name="max_connections", value="150")
    after = applier.run_once(desk.settings, requested(desk, plan).hash)
    assert after.state == "partial"
    assert "max_connections waits for a restart of the server" in (after.reason or "")


def test_an_apply_cut_off_after_the_change_is_not_repeated(desk: World, database: Server) -> None:
    with database.admin() as admin:
        admin.execute("CREATE TABLE IF NOT EXISTS trades (id int, at timestamptz)")
        admin.execute("INSERT INTO trades SELECT i, now() - interval '90 days' FROM generate_series(1, 500) i")
        plan = requested(
            desk, propose(desk, "postgres.delete-old-rows", table="trades", column="at", older_than_days=30.0)
        )
        with target_locks(desk.settings, plan.document.targets):
            cut_off = Apply(desk.settings, plan, "first")
            assert cut_off.begin()
            cut_off.result["steps"].append({"action": "postgres.delete-old-rows", "state": "intended", "at": "now"})
            cut_off._save_own()
            with cut_off._context() as context:
                cut_off.actions[0].apply(context, f"{plan.hash}-0")  # done, and then the applier is gone
        admin.execute("INSERT INTO trades SELECT i, now() - interval '80 days' FROM generate_series(1, 7) i")
        admin.execute("DELETE FROM trades WHERE at < now() - interval '85 days'")
        assert applier.run_once(desk.settings, plan.hash, worker="second").state in ("verified", "failed")
        steps = desk.last("apply-ended")["result"]["steps"]
        assert len(steps) == 1
        assert "interrupted; the platform" in steps[0]["error"]
        assert admin.execute("SELECT count(*) FROM trades").fetchone() == (7,)  # nothing more was deleted


def test_no_more_rows_are_deleted_than_were_approved(desk: World, database: Server) -> None:
    with database.admin() as admin:
        admin.execute("CREATE TABLE fills AS SELECT i, now() - interval '90 days' AS at FROM generate_series(1, 500) i")
        plan = requested(
            desk, propose(desk, "postgres.delete-old-rows", table="fills", column="at", older_than_days=30.0)
        )
        with target_locks(desk.settings, plan.document.targets):
            apply = Apply(desk.settings, plan, "applier")
            assert apply.begin()
            admin.execute("INSERT INTO fills SELECT i, now() - interval '80 days' FROM generate_series(501, 900) i")
            apply.do()
        [step] = apply.result["steps"]
        assert (step["state"], step["answer"]["counted"], step["answer"]["deleted"]) == ("done", 900, 525)
        assert admin.execute("SELECT count(*) FROM fills").fetchone() == (900 - 525,)


def test_a_plan_on_sessions_that_are_gone_is_void(desk: World, database: Server) -> None:
    with database.admin() as admin:
        other = database.admin(application_name="stuck")
        who = "SELECT pid, backend_start FROM pg_stat_activity WHERE application_name = 'stuck'"
        pid, started = admin.execute(who).fetchone() or (0, None)
        sessions = [{"pid": pid, "backend_start": started.isoformat()}]
        plan = requested(desk, propose(desk, "postgres.terminate-sessions", sessions=sessions))
        assert plan.document.actions[0].authority == "L2"
        other.close()
        deadline = 200
        while admin.execute(who).fetchone() is not None and deadline:
            deadline -= 1
        after = applier.run_once(desk.settings, plan.hash)
    assert after.state == "void"
    assert "sessions was 1, is now 0" in (after.reason or "")
