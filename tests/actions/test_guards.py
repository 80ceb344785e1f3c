"""The guards of the policy on a real platform: a kill switch in its folder, working orders in its database and API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from opslib import store
from opslib.actions import applier, approval, plans
from opslib.actions.documents import Plan
from opslib.errors import Forbidden
from tests.actions.world import World, edit_policy, shown_at_once
from tests.postgres_server import Server, running

ORDERS = "SELECT id AS order FROM orders WHERE state = 'working' ORDER BY id"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("postgres"), 18) as server:
        yield server


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """The platform's folder."""
    place = tmp_path / "platform"
    place.mkdir()
    connect(world, files=place.as_uri())
    world.fire()
    return place


@pytest.fixture
def orders(world: World, database: Server) -> Iterator[psycopg.Connection]:
    """A database with one working order and one that was filled, which the reading identity may see."""
    with database.admin() as admin:
        admin.execute("CREATE TABLE orders (id text PRIMARY KEY, state text)")
        admin.execute("INSERT INTO orders VALUES ('A-1', 'working'), ('A-2', 'filled')")
        reader = psycopg.conninfo.conninfo_to_dict(database.reader)["user"]
        admin.execute(f'GRANT SELECT ON orders TO "{reader}"')
        connect(world, postgres=database.reader, postgres_admin=database.url())
        world.fire()
        yield admin
        admin.execute("DROP TABLE orders")


def connect(world: World, **endpoints: str) -> None:
    """More systems of the platform."""
    place = world.settings.state / "sandbox" / "crypto.json"
    known = json.loads(place.read_text("utf-8"))["endpoints"]
    place.write_text(json.dumps({"endpoints": known | endpoints}), "utf-8")


def guard(world: World, **more: Any) -> None:
    """A guard against changes over the heads of working orders."""
    entry = {"name": "execution", "platforms": ["crypto"], "forbids": ["basic-fix"], "order": "order"}
    edit_policy(world.params, lambda rules: rules["guards"].update(open_orders=[entry | more]))


def propose(world: World, action: str, **arguments: Any) -> Plan:
    with store.transaction(world.settings) as connection:
        return plans.propose(
            world.settings,
            connection,
            run_id=world.run,
            actions=[{"action": action, "arguments": arguments}],
            reason="test",
            platform="crypto",
        )


def applied(world: World, plan: Plan) -> Plan:
    """The plan, approved by as many as it needs, after it was to be applied."""
    for name in ("cleo", "dan"):
        if world.plan(plan.hash).state == "proposed":
            approval.approve(world.settings, plan.hash, world.person(name))
    approval.apply(world.settings, plan.hash, world.person("cleo"))
    return applier.run_once(world.settings, plan.hash)


def test_a_kill_switch_forbids_new_risk_and_nothing_else(world: World, folder: Path) -> None:
    world.platform.trading = False
    (folder / "KILL_SWITCH").write_text("{}", "utf-8")
    with pytest.raises(
        Forbidden, match=r"crypto\.start-trading: the kill switch KILL_SWITCH is set; no new risk until"
    ):
        propose(world, "crypto.start-trading")
    assert propose(world, "crypto.emergency-reduce", kelly_fraction=0.1).state == "proposed"
    off = propose(world, "files.kill-switch-off")
    assert off.document.actions[0].authority == "L3"
    (folder / "KILL_SWITCH").unlink()
    assert propose(world, "crypto.start-trading").state == "proposed"


def test_a_kill_switch_that_is_set_before_the_apply_voids_the_plan(world: World, folder: Path) -> None:
    world.platform.trading = False
    plan = propose(world, "crypto.start-trading")
    (folder / "KILL_SWITCH").write_text("{}", "utf-8")
    after = applied(world, plan)
    assert (after.state, world.platform.posts) == ("void", [])
    assert "the kill switch KILL_SWITCH is set" in (after.reason or "")


def test_what_starts_trading_again_is_applied_while_it_is_stopped(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_at_once(monkeypatch, "crypto.start-trading")
    world.platform.trading = False
    applied(world, propose(world, "crypto.start-trading"))
    assert [path for path, _, _ in world.platform.posts] == ["/api/start-trading"]


def test_a_folder_that_is_away_holds_back_as_a_switch_would(world: World, folder: Path) -> None:
    world.platform.trading = False
    folder.rename(folder.parent / "elsewhere")
    with pytest.raises(
        Forbidden, match=r"whether the kill switch KILL_SWITCH is set is not known \(files at .* is not"
    ):
        propose(world, "crypto.start-trading")


def test_working_orders_in_a_database_hold_back_a_change(world: World, orders: psycopg.Connection) -> None:
    guard(world, probe="postgres.sql", arguments={"statement": ORDERS})
    with pytest.raises(Forbidden, match="1 order of execution working: A-1; cancel them or let them fill first"):
        propose(world, "crypto.refresh-volatility")
    assert propose(world, "crypto.emergency-reduce", kelly_fraction=0.1).state == "proposed"
    orders.execute("UPDATE orders SET state = 'cancelled'")
    plan = propose(world, "crypto.refresh-volatility")
    orders.execute("INSERT INTO orders VALUES ('A-3', 'working')")
    after = applied(world, plan)
    assert (after.state, world.platform.posts) == ("void", [])
    assert "1 order of execution working: A-3" in (after.reason or "")


def test_a_plan_that_names_the_orders_holds_for_those_alone(
    world: World, orders: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_at_once(monkeypatch, "crypto.refresh-volatility")
    guard(world, probe="postgres.sql", arguments={"statement": ORDERS}, answer="name")
    first, second = (propose(world, "crypto.refresh-volatility") for _ in range(2))
    [action] = first.document.actions
    assert action.residual_risk.endswith("; orders that stay working meanwhile: A-1")
    assert (action.blast_radius["open_orders"], action.preview["open_orders"]) == (1, {"execution": ["A-1"]})
    orders.execute("INSERT INTO orders VALUES ('A-3', 'working')")
    after = applied(world, first)
    assert after.state == "void"
    assert "1 order of execution working: A-3; the plan does not name them" in (after.reason or "")
    orders.execute("DELETE FROM orders WHERE id = 'A-3'")
    applied(world, second)
    assert [path for path, _, _ in world.platform.posts] == ["/api/risk/refresh-volatility"]


def test_working_orders_of_an_api_that_is_away_hold_back(world: World) -> None:
    world.fire()
    guard(world, probe="http.json", arguments={"path": "/api/orders", "system": "execution"})
    connect(world, execution=world.platform.url)
    with pytest.raises(Forbidden, match=r"the working orders of execution are not known \(.*404"):
        propose(world, "crypto.refresh-volatility")
    world.platform.orders = [{"order": "A-9"}]
    with pytest.raises(Forbidden, match="1 order of execution working: A-9"):
        propose(world, "crypto.refresh-volatility")
    world.platform.orders = []
    assert propose(world, "crypto.refresh-volatility").state == "proposed"
