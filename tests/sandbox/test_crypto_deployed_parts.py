"""What the deployed crypto platform is made of, looked at without a cluster."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from opslib import web
from opslib.settings import Settings
from sandbox import processes, state, watchers
from sandbox.crypto.control import within_reach
from sandbox.crypto.deployed import manifests, passage
from sandbox.crypto.deployed.setup import PORTS, Setup
from sandbox.crypto.redis_server import Passwords
from sandbox.errors import StartFailed
from tests.sandbox.derivatives.conftest import wait_for


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(
        folder=tmp_path,
        sandbox_id="abc",
        passwords=Passwords("of-the-admin", "of-the-recorder", "of-the-replica"),
        ports={name: 20_000 + place for place, name in enumerate(PORTS)},
        kubernetes_admin="kubeconfig:///k?context=sandbox&namespace=crypto",
        prometheus=None,
        alertmanager=None,
        webhook=None,
        nginx="/usr/sbin/nginx",
        pids={"cluster": 1},
        starts={"cluster": "2"},
    )


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "300000")
        self.end_headers()
        self.wfile.write(b"x" * 300_000)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_passwords_stand_in_the_secret_alone(setup: Setup) -> None:
    documents = manifests.everything(setup)
    assert {one["metadata"].get("namespace", "crypto") for one in documents} == {"crypto"}
    for one in documents:
        assert ("of-the-admin" in json.dumps(one)) == (one["kind"] == "Secret")
    space, *_ = documents
    assert space["metadata"]["labels"]["sandbox-id"] == "abc"
    shown = {one["metadata"]["name"] for one in documents if one["kind"] == "Deployment"}
    assert shown == set(manifests.names(setup)) == {"redis", "redis-replica", "risk-harmoniser", "strategist", "web"}


def test_only_the_two_that_need_it_see_the_folder(setup: Setup) -> None:
    for one in manifests.everything(setup):
        if one["kind"] == "Deployment":
            seen = str(setup.folder) in json.dumps(one["spec"]["template"]["spec"]["volumes"])
            assert seen == (one["metadata"]["name"] in {"strategist", "web"})


def test_the_facts_are_kept_for_the_owner_alone(setup: Setup) -> None:
    assert Setup.read(setup.folder) is None
    watched = setup.watched({"prometheus": "http://p", "alertmanager": "http://a", "pid": 3, "start": "4"})
    watched.save()
    assert (setup.folder / "deployed.json").stat().st_mode & 0o077 == 0
    assert Setup.read(setup.folder) == watched
    (setup.folder / "deployed.json").write_text('{"sandbox_id": 1}')
    assert Setup.read(setup.folder) is None


def test_a_passage_leads_to_the_server_and_ends_with_it(tmp_path: Path, server: str) -> None:
    path = tmp_path / ("deep" * 20) / ("deeper" * 20) / "prometheus.sock"
    path.parent.mkdir(parents=True)
    within = f"http://127.0.0.1:{processes.free_port()}"
    passage.lead_in(within, path)
    with pytest.raises(httpx.HTTPError):
        web.get(within, timeout=5.0)
    passage.lead_out(path, server)
    assert path.stat().st_mode & 0o077 == 0
    for _ in range(3):
        assert len(wait_for(lambda: web.get(within, timeout=5.0).content)) == 300_000


def test_a_socket_is_in_reach_however_long_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "s", tmp_path / ("long" * 50) / "s"):
        path.parent.mkdir(exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            with within_reach(path) as name:
                listener.bind(name)
            listener.listen(1)
            with within_reach(path) as name:
                client.connect(name)
            assert path.is_socket()


def test_a_cluster_is_shared_as_long_as_another_mark_is_there(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    state.folder(settings)
    state.cluster_mark(settings, "crypto").touch()
    assert not state.on_cluster(settings, besides="crypto")
    assert state.on_cluster(settings, besides="derivatives")


def test_watchers_that_do_not_come_up_are_told_with_their_last_words(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"No module named sandbox\.nobody"):
        watchers.begin("sandbox.nobody", tmp_path, {})
    assert not watchers.end(tmp_path)
