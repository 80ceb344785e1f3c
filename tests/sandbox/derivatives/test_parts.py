"""Parts of the platform that need no server: the market, the book, the shape of the day, the catalogue of faults."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest

from opslib.settings import PROJECT
from sandbox.cluster import kube, workloads
from sandbox.derivatives import healing, manifests, monitoring, report
from sandbox.derivatives.feed import Exchange, Market
from sandbox.derivatives.hedger import Book, Mark
from sandbox.derivatives.load import Demand, _Client, _Load, shape
from sandbox.derivatives.market import BOOK, CLIENTS, ladder
from sandbox.derivatives.service.models import fit
from sandbox.derivatives.setup import Setup
from sandbox.errors import ControlRefused
from sandbox.faults import FAULTS, UNLISTED

CAUSES = {
    "greeks-latency": "gpu-unavailable high-load memory-leak model-not-cached",
    "api-error-rate": "bad-deployment cuda-out-of-memory database-down pool-exhausted slow-database stale-cache",
    "postgres-down": "disk-full pod-crash pod-unschedulable",
    "large-loss": "market-move-hedge-missed market-move-hedged stale-market-data wrong-greeks",
    "latency-degrading": "data-growth load-growth memory-leak missing-index recent-deployment",
    "cache-miss-rate": "cold-after-restart key-pattern-changed keys-expiring memory-full",
}
RUNBOOKS = {name.partition("/")[0] for name in FAULTS}


@pytest.mark.parametrize("runbook", CAUSES)
def test_every_cause_of_the_inventory_is_a_fault(runbook: str) -> None:
    ours = [name for name, fault in FAULTS.items() if fault.platform == "derivatives"]
    assert sorted(name.partition("/")[2] for name in ours if name.startswith(f"{runbook}/")) == CAUSES[runbook].split()


def test_the_docs_tell_what_each_fault_does() -> None:
    rows = [line for line in (PROJECT / "docs/sandbox.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    told = [line.split("`")[1] for line in rows]
    assert sorted(name for name in told if "/" in name and name.partition("/")[0] in RUNBOOKS) == sorted(
        [*FAULTS, *UNLISTED]
    )


def test_a_halted_underlying_keeps_its_spot_while_its_future_moves() -> None:
    market = Market(1)
    market.step(Exchange(), 1_000)
    before = market.documents(1_000)["market:SPX"]
    for step in range(10):
        market.step(Exchange(halted=["SPX"], move=-0.1, steps=5), 2_000 + step)
    after = market.documents(2_009)
    assert after["market:SPX"]["spot"] == before["spot"]
    assert after["market:SPX"]["time"] == "1000"
    assert float(after["market:SPX"]["future"]) == pytest.approx(5200.0 * math.exp(-0.1), rel=0.01)
    assert float(after["market:NDX"]["spot"]) == pytest.approx(18200.0 * math.exp(-0.1), rel=0.01)
    market.step(Exchange(session=7), 3_000)
    assert float(market.documents(3_000)["market:SPX"]["spot"]) == pytest.approx(5200.0, rel=0.01)


def test_the_book_adds_up() -> None:
    one = BOOK[0]
    book = Book({one: 10.0})
    marks = {one: Mark(price=12.0, delta=0.5, gamma=0.01, vega=3.0, spot=100.0)}
    assert book.net_delta(marks)[one.underlying] == 0.5 * one.quantity
    book.trade(one.underlying, -0.5 * one.quantity, 100.0)
    assert book.net_delta(marks)[one.underlying] == 0.0
    found = book.summary(marks, {one.underlying: 110.0})
    assert found["pnl_options_usd"] == pytest.approx(2.0 * one.quantity)
    assert found["pnl_hedges_usd"] == pytest.approx(-5.0 * one.quantity)
    assert found["pnl_usd"] == pytest.approx(-3.0 * one.quantity)


def test_models_find_the_surface_again() -> None:
    a, b, c, d = fit("AAPL")
    assert (a, b, c, d) == pytest.approx((0.975, -0.12, 0.45, 0.05), abs=0.01)


def test_the_day_has_a_shape_and_the_ladders_are_many() -> None:
    hours = [shape(3600.0 * hour) for hour in range(24)]
    assert hours.index(max(hours)) == 14
    assert sum(hours) / 24 == pytest.approx(1.0)
    assert len(set(ladder())) == len(ladder()) > 10_000
    assert Demand().clients == 12


def test_manifests_name_what_the_seed_names(tmp_path) -> None:
    setup = Setup.new(tmp_path, "abc")
    documents = [*manifests.everything(setup), *manifests.workloads(setup, ())]
    names = {(one["kind"], one["metadata"]["name"]) for one in documents}
    assert {("Deployment", "derivatives-api"), ("StatefulSet", "postgres"), ("StatefulSet", "redis")} <= names
    assert {("HorizontalPodAutoscaler", "derivatives-api"), ("PodDisruptionBudget", "derivatives-api")} <= names
    pod = manifests.api(setup)["spec"]["template"]["spec"]
    assert pod["containers"][0]["name"] == "api"
    assert pod["containers"][0]["resources"]["limits"]["cpu"] == "100m"
    assert workloads.namespace("derivatives", setup.sandbox_id)["metadata"]["labels"]["sandbox-id"] == "abc"
    for one in documents:
        assert "production" not in str(one["metadata"])
    setup.save()
    assert Setup.read(tmp_path) == setup
    assert (tmp_path / "setup.json").stat().st_mode & 0o077 == 0


def test_the_list_of_pods_for_prometheus_leaves_out_those_that_end(tmp_path) -> None:
    import httpx

    def pod(name: str, phase: str, **more: str) -> dict:
        return {"metadata": {"name": name, "labels": {"release": "1"}, **more}, "spec": {}, "status": {"phase": phase}}

    items = [pod("a", "Running"), pod("b", "Pending"), pod("c", "Running", deletionTimestamp="now")]
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json={"items": items}))
    path = tmp_path / "targets.json"
    with httpx.Client(base_url="http://x", transport=transport) as client:
        monitoring.write_targets(client, "x:1", path)
    assert '"pod": "a"' in path.read_text("utf-8")
    assert '"pod": "b"' not in path.read_text("utf-8")
    assert '"pod": "c"' not in path.read_text("utf-8")


def test_yesterdays_pods_are_named_after_the_release_before() -> None:
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params["labelSelector"] == "app=derivatives-api,release=2.3.1"
        return httpx.Response(200, json={"items": items})

    items = [{"metadata": {"name": "derivatives-api-6b9c7d5f48"}}]
    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(answer)) as client:
        assert monitoring.earlier(client) == "derivatives-api-6b9c7d5f48"
        items.clear()
        assert monitoring.earlier(client) == "derivatives-api"


@pytest.mark.parametrize(
    ("worn", "changed"),
    [
        (False, {}),
        (True, {"device": "cpu"}),
        (True, {"models_resident": 2}),
        (True, {"sessions": 98}),  # of a crowd of clients that has left: they make every computation slower
    ],
)
def test_a_pod_that_works_unlike_a_new_one_is_replaced_by_healing(worn: bool, changed: dict[str, object]) -> None:
    facts: dict[str, object] = {"device": "gpu", "models_resident": 12, "models_total": 12, "sessions": 13, **changed}
    stats = {"greeks_engine": facts, "memory": {"sessions": facts["sessions"]}}
    assert healing._worn(stats) is worn


def test_more_connections_of_a_client_share_its_session_unless_each_request_begins_one(tmp_path: Path) -> None:
    load = _Load(tmp_path / "demand.json", "127.0.0.1", 1)
    first, again = (_Client(number, load) for number in (3, 3 + len(CLIENTS)))

    def sessions(client: _Client) -> set[str]:
        bodies = [client._next()[2] for _ in range(60)]
        return {body["session"] for body in bodies if body is not None and "session" in body}

    assert sessions(first) == sessions(again) == {CLIENTS[3]}
    load.demand = Demand(new_sessions=1.0)
    assert len(sessions(first)) > 30


def test_what_a_controller_wrote_at_the_same_moment_is_sent_again(tmp_path, monkeypatch) -> None:
    class Busy:
        asked = 0

        def run(self, *words: str) -> subprocess.CompletedProcess[str]:
            Busy.asked += 1
            told = 'Error from server (Conflict): "derivatives-api": the object has been modified'
            return subprocess.CompletedProcess(words, Busy.asked < 3, "", told)

    monkeypatch.setattr(kube, "_AGAIN_S", 0.0)
    one = kube.Kube(Busy(), tmp_path, "derivatives")  # type: ignore[arg-type]
    one.send("replace", [{}])
    assert (Busy.asked, list(tmp_path.iterdir())) == (3, [])
    Busy.asked = -100
    with pytest.raises(ControlRefused, match="Conflict"):
        one.send("replace", [{}])


def test_a_dump_waits_for_room_and_then_is_complete(tmp_path, caplog) -> None:
    class Full(Exception):
        """There is nothing left to do."""

    path = tmp_path / "backup.dump"
    path.write_bytes(bytes(2**20))
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(report.time, "sleep", lambda _seconds: (_ for _ in ()).throw(Full))
        with pytest.raises(Full):
            report._dump(path, 3)
    assert path.stat().st_size == 3 * 2**20
    assert "backup.dump is complete" in caplog.text
