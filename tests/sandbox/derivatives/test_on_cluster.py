"""The platform on the sandbox's own Kubernetes: it starts, breaks, heals and ends without a trace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from opslib import probes, web
from opslib.errors import ProbeError
from opslib.probes import Target
from opslib.record.client import environment
from opslib.settings import Settings
from sandbox import cluster, faults, state
from sandbox.derivatives import operations
from sandbox.derivatives.access import Access, reach
from sandbox.derivatives.setup import NAMESPACE
from sandbox.errors import NotOurs
from sandbox.service import RUNBOOK
from tests.sandbox.derivatives.conftest import require_a_cluster, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.cluster]

# One of each kind of change in `make test`, the others in `make soak`.
CHOSEN = (
    "api-error-rate/cuda-out-of-memory",
    "api-error-rate/slow-database",
    "cache-miss-rate/memory-full",
    "large-loss/market-move-hedged",
    "postgres-down/disk-full",
    "postgres-down/pod-unschedulable",
)


EVERY = [
    name if name in CHOSEN else pytest.param(name, marks=pytest.mark.soak)
    for name, fault in faults.FAULTS.items()
    if fault.platform == NAMESPACE
]
PLAYBOOKS = (
    *("api-error-rate", "cache-miss-rate", "greeks-latency", "large-loss", "latency-degrading"),
    *("postgres-down", "triage"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with the running platform."""
    require_a_cluster()
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
    assert web.get(f"{shown['api']}/health").json()["status"] == "ok"
    stats = web.get(f"{shown['api']}/stats/engines").json()
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
    for job in ("cadvisor", "kubelet", "kube-apiserver"):
        assert wait_for(lambda job=job: access.value(f'min(up{{job="{job}"}})')) == 1.0
    assert wait_for(lambda: access.value("sum(apiserver_request_total)")) > 0
    assert access.value("max(kubelet_running_pods)") > 0
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
    asked = web.get(f"{before.endpoints.alertmanager}/api/v2/status").json()
    assert elsewhere in asked["config"]["original"]
    operations.up(home)
    assert state.require(home, "derivatives") == before


@pytest.mark.parametrize("name", EVERY)
def test_a_fault_shows_and_is_healed(home: Settings, access: Access, name: str) -> None:
    assert faults.FAULTS[name].visible(home) is None
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


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_a_playbook_needs_no_more_than_the_roles_that_are_printed(home: Settings, access: Access, name: str) -> None:
    account = f"{name}-only"
    own = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": NAMESPACE}}
    printed = told(home, "rbac", name, "--namespace", NAMESPACE, "--recorder", account, "--json")["documents"]
    access.kube.send("apply", [own, *(one for one in printed if one["metadata"]["name"].endswith("-recorder"))])
    up = state.require(home, NAMESPACE)
    running = cluster.find(home)
    assert running is not None
    kubernetes = f"kubeconfig://{running.account(NAMESPACE, account)}?context={running.context}&namespace={NAMESPACE}"
    narrow = up.model_copy(update={"endpoints": up.endpoints.model_copy(update={"kubernetes": kubernetes})})
    state.save(state.file(home, NAMESPACE), narrow.model_dump())
    try:
        verdict = told(home, "run", name, "--platform", NAMESPACE, "--json")["verdict"]
        with pytest.raises(ProbeError, match="our identity may not do that"):
            probes.call("kubernetes.secrets", Target("kubernetes", kubernetes), {})
    finally:
        state.save(state.file(home, NAMESPACE), up.model_dump())
    assert [item for item in verdict["unseen"] if "may not" in item] == []


def told(home: Settings, *words: str) -> Any:
    """What a command prints as JSON."""
    done = subprocess.run([*RUNBOOK, *words], env=environment(home), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_down_leaves_nothing(home: Settings) -> None:
    pids = dict(state.require(home, "derivatives").pids)
    assert operations.down(home)
    assert cluster.find(home) is None
    assert operations.status(home) is None
    assert not operations.down(home)
    for pid in pids.values():
        assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
