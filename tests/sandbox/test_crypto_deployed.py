"""The crypto platform as Deployments of the sandbox's own Kubernetes: it serves, breaks, heals and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from opslib import web
from opslib.settings import PROJECT, Settings
from sandbox import cluster, faults, state
from sandbox.cluster.kube import Kube, ready
from sandbox.crypto import front, operations
from sandbox.crypto.deployed.setup import NAMESPACE
from sandbox.crypto.parameters import SYMBOLS
from sandbox.derivatives import lifecycle as derivatives
from sandbox.errors import CannotRun, NotOurs
from sandbox.service import RUNBOOK
from sandbox.state import Endpoints
from tests.sandbox.derivatives.conftest import require_a_cluster, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.acceptance, pytest.mark.cluster]

PARTS = ("redis", "redis-replica", "risk-harmoniser", "strategist", "web")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with the deployed platform, deep enough that a socket's whole path is too long for the kernel."""
    require_a_cluster()
    if front.available() is None:
        pytest.skip("needs nginx (apt-get install nginx)")
    settings = Settings(home=tmp_path_factory.mktemp("deployed") / ("deep" * 15) / "home")
    operations.up(settings, deployed=True)
    yield settings
    operations.down(settings)
    cluster.down(settings)  # a test that failed may have left it


@pytest.fixture
def at(home: Settings) -> Endpoints:
    return state.require(home).endpoints


@pytest.fixture
def kube(home: Settings) -> Kube:
    return reach(home)


def reach(home: Settings) -> Kube:
    running = cluster.find(home)
    assert running is not None
    return Kube(running, home.state, NAMESPACE)


def store(address: str | None) -> redis.Redis:
    return redis.Redis.from_url(str(address), decode_responses=True, socket_timeout=5.0)


def status(at: Endpoints) -> dict[str, Any]:
    document: dict[str, Any] = web.get(f"{at.api}/api/status", timeout=5.0).json()
    return document


def sizes(at: Endpoints) -> list[str | None]:
    with store(at.redis_admin) as client:
        return [client.get(f"position_size_usd:{symbol}") for symbol in SYMBOLS]


def test_its_parts_are_deployments_and_all_of_them_serve(home: Settings, kube: Kube, at: Endpoints) -> None:
    found = {one["metadata"]["name"]: one for one in kube.document("get", "deployments")["items"]}
    assert tuple(sorted(found)) == PARTS
    assert all(one["status"]["readyReplicas"] == 1 for one in found.values())
    trusted = ssl.create_default_context(cafile=str(Path(urlsplit(at.files or "").path) / "tls" / "ca.crt"))
    with httpx.Client(verify=trusted) as client:
        assert client.get(f"{at.web}/health").json()["status"] == "healthy"
    with store(at.redis_replica_admin) as client:
        assert client.info("replication")["master_link_status"] == "up"
        assert client.get("sandbox-id") == state.require(home).sandbox_id
    panels = wait_for(lambda: web.get(f"{at.dashboards}/api/panels").json()["panels"])
    assert {one["datasource"] for one in panels} == {"redis", "prometheus"}
    wait_for(lambda: status(at)["panels_without_data"] == 0)
    assert "harmoniser" in kube("logs", "deployment/strategist") + kube("logs", "deployment/risk-harmoniser")


@pytest.mark.parametrize("fault", ["var-breach/single-symbol", "redis-latency/network"])
def test_a_fault_is_there_and_gone_after_heal(home: Settings, at: Endpoints, fault: str) -> None:
    def broken() -> bool:
        told = status(at)
        if fault.startswith("var"):
            return bool(max(one["var_pct"] for one in told["symbols"].values()) > told["limits"]["var_warn_pct"])
        return bool((told["store"]["p50_us"] or 0.0) > told["limits"]["redis_p99_us"])

    assert not broken()
    faults.break_(home, fault, seed=5)
    wait_for(broken)
    operations.heal(home)
    assert not broken()


def test_positions_are_held_while_nobody_harmonises_them(home: Settings, kube: Kube, at: Endpoints) -> None:
    kube("scale", "deployment", "risk-harmoniser", "--replicas=0")
    wait_for(lambda: not kube.pods("risk-harmoniser"))

    def stays() -> list[str | None]:
        """The positions, if the market moves and they do not."""
        held, prices = sizes(at), [one["price_usd"] for one in status(at)["symbols"].values()]
        wait_for(lambda: [one["price_usd"] for one in status(at)["symbols"].values()] != prices)
        return held if sizes(at) == held else []

    held = wait_for(stays)
    wait_for(lambda: "positions are held" in kube("logs", "deployment/strategist"))
    operations.heal(home)
    wait_for(lambda: sizes(at) != held)


def test_what_is_deleted_comes_back(home: Settings, kube: Kube, at: Endpoints) -> None:
    """Redis comes back empty, and is filled again; a certificate is a new one after heal, and is served."""
    certificate = Path(urlsplit(at.files or "").path) / "tls" / "web.crt"
    before = certificate.read_text()
    for part in ("redis", "web"):
        kube("delete", "deployment", part)
    operations.heal(home)
    wait_for(lambda: all(map(ready, kube.pods("redis") + kube.pods("web"))))
    with store(at.redis_admin) as client:
        wait_for(lambda: client.hlen("metrics:var_pct:BTC-USD") > 100)
    assert certificate.read_text() != before
    parts = urlsplit(at.web or "")
    wait_for(lambda: ssl.get_server_certificate((str(parts.hostname), parts.port or 0)) == certificate.read_text())


def test_after_a_fail_over_the_strategist_finds_the_one_that_leads(home: Settings, kube: Kube, at: Endpoints) -> None:
    with store(at.redis_replica_admin) as client:
        client.replicaof("NO", "ONE")
    answer = web.post(f"{at.api}/api/store/use", json={"instance": "replica", "reason": "test"})
    assert answer.is_success
    wait_for(lambda: state.require(home).endpoints.redis_admin == at.redis_replica_admin)
    wait_for(lambda: status(at)["store"]["connected"])
    [pod] = kube.pods("strategist")
    kube("delete", "pod", pod["metadata"]["name"])
    wait_for(lambda: status(at)["store"]["in_use"] == "replica")
    operations.heal(home)
    assert status(at)["store"]["in_use"] == "primary"
    assert state.require(home).endpoints.redis_admin == at.redis_admin


def test_parameters_are_taken_over_by_reload(home: Settings, at: Endpoints) -> None:
    file = Path(urlsplit(at.files or "").path) / "risk_params.yml"
    file.write_text(re.sub(r"kelly_fraction: \S+", "kelly_fraction: 0.11", file.read_text()))
    with store(at.redis_admin) as client:
        client.publish("param.reload", json.dumps({"component": "risk_harmoniser"}))
    wait_for(lambda: status(at)["kelly_fraction"] == 0.11)
    operations.heal(home)
    assert status(at)["kelly_fraction"] != 0.11


def test_a_namespace_without_the_mark_is_left_alone(home: Settings, kube: Kube) -> None:
    mark = state.require(home).sandbox_id
    kube("label", "namespace", NAMESPACE, "sandbox-id=another", "--overwrite")
    try:
        for act in (lambda: operations.heal(home), lambda: faults.break_(home, "var-breach/single-symbol", seed=1)):
            with pytest.raises(NotOurs):
                act()
    finally:
        kube("label", "namespace", NAMESPACE, f"sandbox-id={mark}", "--overwrite")


def test_the_cluster_ends_with_the_last_platform_on_it(home: Settings, kube: Kube, at: Endpoints) -> None:
    derivatives.down(home)
    assert status(at)["platform"] == "crypto", "it goes on while another platform leaves"
    other = state.cluster_mark(home, "derivatives")
    other.touch()
    assert operations.down(home)
    assert operations.status(home) is None
    assert NAMESPACE not in kube("get", "namespaces")
    assert not operations.down(home)
    up = [*RUNBOOK, "sandbox", "up", "crypto", "--deployed"]
    variables = {**os.environ, "RUNBOOK_HOME": str(home.home)}
    with subprocess.Popen(up, cwd=PROJECT, env=variables, stderr=subprocess.DEVNULL) as cut_off:
        wait_for(lambda: NAMESPACE in kube("get", "namespaces"))
        cut_off.send_signal(signal.SIGKILL)
    operations.up(home, deployed=True, monitored=False)
    assert status(state.require(home).endpoints)["platform"] == "crypto"
    other.unlink()
    assert operations.down(home)
    assert cluster.find(home) is None
    assert not list((home.state / "sandbox").glob("crypto*.json"))


def test_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.crypto.deployed.lifecycle.missing", lambda: ["it needs root"])
    with pytest.raises(CannotRun, match=r"it needs root\. As plain processes it needs none"):
        operations.up(Settings(home=tmp_path), deployed=True)
    assert operations.status(Settings(home=tmp_path)) is None
