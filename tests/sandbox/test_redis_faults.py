"""Redis of the crypto platform: its replica, its failover, its dashboards, and each fault, seen directly and healed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from opslib import web
from opslib.settings import Settings
from sandbox import faults, state
from sandbox.crypto import control
from sandbox.errors import ControlRefused
from sandbox.faults import FAULTS
from sandbox.state import State

pytestmark = pytest.mark.slow

LATENCY = ("memory-swapping", "network", "slow-commands", "too-many-clients")
DASHBOARD = ("datasource-wrong", "module-missing", "redis-empty", "writer-down")


@pytest.fixture(scope="module", autouse=True)
def healed(sandbox_home: Settings) -> Iterator[None]:
    """Leave the platform as it was."""
    yield
    faults.heal(sandbox_home)


def wait_for(seen: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Return what is seen once there is something."""
    deadline = time.monotonic() + within_s
    while not (found := seen()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def admin(found: State, which: str = "redis_admin") -> redis.Redis:
    return redis.Redis.from_url(getattr(found.endpoints, which), decode_responses=True, socket_timeout=10.0)


def status(found: State) -> dict[str, Any]:
    document: dict[str, Any] = web.get(f"{found.endpoints.api}/api/status", timeout=10).json()
    return document


def test_the_inventory_is_covered() -> None:
    assert {name for name in FAULTS if name.startswith("redis-latency/")} == {f"redis-latency/{c}" for c in LATENCY}
    assert {name for name in FAULTS if name.startswith("dashboard-no-data/")} == {
        f"dashboard-no-data/{cause}" for cause in DASHBOARD
    }


def test_the_replica_follows_and_its_password_opens_nothing_else(platform: State) -> None:
    with admin(platform) as primary, admin(platform, "redis_replica_admin") as replica:
        wait_for(lambda: replica.info("replication")["master_link_status"] == "up")
        wait_for(lambda: replica.hlen("metrics:var_pct:BTC-USD") > 1000)
        word = primary.config_get("masterauth")["masterauth"]
        port = primary.connection_pool.connection_kwargs["port"]
    with (
        redis.Redis(port=port, username="replica", password=word) as stranger,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        stranger.get("var_pct:BTC-USD")


def test_the_platform_uses_another_instance_and_comes_back(platform: State, sandbox_home: Settings) -> None:
    api = f"{platform.endpoints.api}/api/store/use"
    refused = web.post(api, json={"instance": "replica"})
    assert (refused.status_code, "promote it first" in refused.json()["error"]) == (422, True)
    with admin(platform, "redis_replica_admin") as replica:
        replica.replicaof("NO", "ONE")
    assert web.post(api, json={"instance": "replica"}, timeout=30).json()["before"] == "primary"
    moved = state.require(sandbox_home)
    assert moved.endpoints.redis_admin == platform.endpoints.redis_replica_admin
    with admin(moved) as now:
        before = int(now.hget("metrics:var_pct:BTC-USD", "timestamp"))
        wait_for(lambda: int(now.hget("metrics:var_pct:BTC-USD", "timestamp")) > before)
    assert status(moved)["store"]["in_use"] == "replica"
    faults.heal(sandbox_home)
    back = state.require(sandbox_home)
    assert back.endpoints.redis_admin == platform.endpoints.redis_admin
    with admin(back, "redis_replica_admin") as replica:
        wait_for(lambda: replica.info("replication").get("master_link_status") == "up")


def proof(found: State, cause: str) -> bool:
    """Whether the cause itself can be seen on Redis or on the platform."""
    with admin(found) as client:
        if cause == "memory-swapping":
            info = client.info()
            return bool(info["evicted_keys"] > 0 and info["used_memory"] > 0.7 * info["maxmemory"])
        if cause == "slow-commands":
            return any(b"metrics:" in row["command"] for row in client.slowlog_get(50))
        if cause == "too-many-clients":
            return int(client.info("clients")["connected_clients"]) > 100
        return float(status(found)["store"]["p50_us"]) > 5000


@pytest.mark.parametrize("cause", LATENCY)
def test_redis_becomes_slow_for_its_reason_and_is_healed(platform: State, sandbox_home: Settings, cause: str) -> None:
    result = faults.break_(sandbox_home, f"redis-latency/{cause}", seed=4, decoys=1)
    assert "above 5 ms" in result["shows"]
    assert proof(state.require(sandbox_home), cause)
    assert "redis_latency_p99" in web.get(f"{platform.endpoints.api}/metrics", timeout=10).text
    assert faults.heal(sandbox_home)["healthy"]
    found = state.require(sandbox_home)
    with admin(found) as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(96 * 1024 * 1024)
        assert client.slowlog_len() < 100
        names = {one["name"] for one in client.client_list(_type="normal")}
        assert names <= {"", "trading-platform", "latency-watch", "dashboards"}
        assert not list(client.scan_iter("features:*"))
    assert status(found)["store"]["p50_us"] < 5000


def panels(found: State) -> list[dict[str, Any]]:
    answer = web.get(f"{found.endpoints.dashboards}/api/panels", timeout=10).json()
    return list(answer["panels"])


@pytest.mark.parametrize("cause", DASHBOARD)
def test_panels_lose_their_data_for_its_reason_and_get_them_back(
    platform: State, sandbox_home: Settings, cause: str
) -> None:
    wait_for(lambda: panels(platform) and all(one["points"] for one in panels(platform)))
    result = faults.break_(sandbox_home, f"dashboard-no-data/{cause}", seed=4)
    assert result["shows"] == "4 panels have no data"
    errors = {one["error"] for one in panels(platform)}
    if cause == "module-missing":
        assert all("unknown command" in error for error in errors)
    elif cause == "datasource-wrong":
        assert all(errors)
    elif cause == "writer-down":
        assert status(platform)["series_writer"]["running"] is False
    else:
        with admin(platform) as client:
            wait_for(lambda: client.hlen("metrics:var_pct:BTC-USD") < 20)
            assert client.exists("var_pct:BTC-USD")
    assert faults.heal(sandbox_home)["healthy"]
    assert all(one["points"] for one in panels(platform))


def test_the_datasources_show_no_password(platform: State) -> None:
    text = web.get(f"{platform.endpoints.dashboards}/api/datasources", timeout=10).text
    for url in (platform.endpoints.redis, platform.endpoints.redis_admin):
        assert url.rpartition("@")[0].rpartition(":")[2] not in text
    assert web.get(f"{platform.endpoints.dashboards}/api/health", timeout=10).json()["database"] == "ok"


def test_what_can_happen_to_the_store_is_bounded(platform: State) -> None:
    for do, facts in (("slow-path", {"delay_ms": -1}), ("ask-all-at-once", {"connections": 10_000})):
        with pytest.raises(ControlRefused, match="not understood"):
            control.ask(platform.control or "", platform.sandbox_id, do, **facts)
