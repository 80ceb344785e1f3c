"""The platform on the sandbox's own Kubernetes: it starts, breaks, heals and ends without a trace."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import psycopg
import pytest
import redis

from opslib.settings import Settings
from sandbox import cluster, faults, state
from sandbox.crypto.monitoring import available
from sandbox.derivatives import operations, settle
from sandbox.derivatives.access import Access, reach
from sandbox.errors import CannotRun, NotOurs
from tests.sandbox.derivatives.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.cluster]

# One of each kind of change; a game day goes through all of them.
CHOSEN = (
    "api-error-rate/cuda-out-of-memory",
    "api-error-rate/slow-database",
    "cache-miss-rate/memory-full",
    "large-loss/market-move-hedged",
    "postgres-down/disk-full",
    "postgres-down/pod-unschedulable",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with the running platform."""
    try:
        settle.check_programs()
    except CannotRun as lacking:
        pytest.skip(str(lacking))
    if available() is None:
        pytest.skip("needs Prometheus and Alertmanager (apt-get install prometheus-alertmanager)")
    settings = Settings(home=tmp_path_factory.mktemp("derivatives") / "home")
    operations.up(settings)
    yield settings
    operations.down(settings)


@pytest.fixture
def access(home: Settings) -> Access:
    return reach(home)


def test_it_answers_everywhere(home: Settings, access: Access) -> None:
    shown = operations.status(home)
    assert shown is not None
    assert httpx.get(f"{shown['api']}/health", trust_env=False).json()["status"] == "ok"
    stats = httpx.get(f"{shown['api']}/stats/engines", trust_env=False).json()
    assert stats["greeks_engine"]["device"] == "gpu"
    assert stats["book"]["pnl_usd"] > -50_000.0
    with psycopg.connect(shown["postgres"], autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM option_trades").fetchone()
        assert connection.execute("SELECT count(*) FROM pg_stat_statements").fetchone()
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="read-only"):
            connection.execute("DELETE FROM hedges")
    with redis.Redis.from_url(shown["redis"]) as client, pytest.raises(redis.ResponseError, match="no permissions"):
        client.set("a", "b")
    assert wait_for(lambda: access.value("max(pg_up)")) == 1.0  # scraped for the first time a moment after the start
    assert len(access.kube.document("get", "replicasets", "-l", "app=derivatives-api")["items"]) >= 3


def test_a_second_up_finds_the_first(home: Settings) -> None:
    before = state.require(home, "derivatives")
    operations.up(home)
    assert state.require(home, "derivatives") == before


def test_a_second_up_may_have_its_alerts_posted_elsewhere(home: Settings) -> None:
    before = state.require(home, "derivatives")
    elsewhere = "http://127.0.0.1:9/api/v1/alerts"
    operations.up(home, webhook=elsewhere)
    assert state.require(home, "derivatives") == before.model_copy(update={"webhook": elsewhere})
    asked = httpx.get(f"{before.endpoints.alertmanager}/api/v2/status", trust_env=False).json()
    assert elsewhere in asked["config"]["original"]
    operations.up(home)
    assert state.require(home, "derivatives") == before


@pytest.mark.parametrize("name", CHOSEN)
def test_a_fault_shows_and_is_healed(home: Settings, access: Access, name: str) -> None:
    shown = faults.break_(home, name, seed=3, decoys=5)
    assert shown["shows"]
    for kind in ("pods", "deployments", "statefulsets", "events", "configmaps"):
        said = access.kube("get", kind, "-o", "json").lower()
        assert name.lower() not in said
    healed = operations.heal(home)
    assert healed["healthy"]
    assert faults.FAULTS[name].visible(home) is None
    assert operations.heal(home)["restored"] == []


def test_nothing_without_the_mark_is_touched(home: Settings, access: Access) -> None:
    access.kube("label", "namespace", "derivatives", "sandbox-id=production", "--overwrite")
    try:
        with pytest.raises(NotOurs, match="Nothing was changed"):
            faults.break_(home, "cache-miss-rate/memory-full")
        with pytest.raises(NotOurs, match="Nothing was changed"):
            operations.heal(home)
    finally:
        access.kube("label", "namespace", "derivatives", f"sandbox-id={access.setup.sandbox_id}", "--overwrite")


def test_down_leaves_nothing(home: Settings) -> None:
    pids = dict(state.require(home, "derivatives").pids)
    assert operations.down(home)
    assert cluster.find(home) is None
    assert operations.status(home) is None
    assert not operations.down(home)
    for pid in pids.values():
        assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
