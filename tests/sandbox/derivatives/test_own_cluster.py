"""A cluster of the user's own: who one is there, what it offers, and that `down` and `heal` touch ours alone."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from sandbox.cluster import objects
from sandbox.cluster.kube import CLOSED, Kube
from sandbox.derivatives import healing, manifests, monitoring, settle
from sandbox.derivatives.identity import Identity
from sandbox.derivatives.setup import Setup
from sandbox.errors import CannotRun

CERTIFICATE = {name: base64.b64encode(name.encode()).decode() for name in ("authority", "certificate", "key")}


def kubeconfig(folder: Path, user: dict[str, Any], **of_cluster: Any) -> Path:
    """A kubeconfig of two clusters; the chosen context `mine` is the second."""
    other = {"certificate-authority-data": "eA==", "server": "https://elsewhere:1"}
    ours: dict[str, Any] = {"server": "https://10.0.0.1:6443/k8s/c-1"}
    if not of_cluster:
        ours["certificate-authority-data"] = CERTIFICATE["authority"]
    document = {
        "clusters": [{"name": "a", "cluster": other}, {"name": "b", "cluster": {**ours, **of_cluster}}],
        "users": [{"name": "x", "user": {"token": "wrong"}}, {"name": "y", "user": user}],
        "contexts": [
            {"name": "production", "context": {"cluster": "a", "user": "x"}},
            {"name": "mine", "context": {"cluster": "b", "user": "y"}},
        ],
        "current-context": "production",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


def test_prometheus_is_who_the_context_says(tmp_path: Path) -> None:
    user = {"client-certificate-data": CERTIFICATE["certificate"], "client-key-data": CERTIFICATE["key"]}
    found = Identity.read(kubeconfig(tmp_path, user), "mine", tmp_path)
    assert (found.scheme, found.server, found.path) == ("https", "10.0.0.1:6443", "/k8s/c-1")
    through = found.scraped
    assert set(through) == {"scheme", "tls_config"}
    for name, content in {"ca_file": "authority", "cert_file": "certificate", "key_file": "key"}.items():
        path = Path(through["tls_config"][name])
        assert path.read_text("utf-8") == content
        assert path.stat().st_mode & 0o077 == 0
    scraped = monitoring.prometheus_configuration(tmp_path, found, ["blue", "green"], "127.0.0.1:9093")
    jobs = {job["job_name"]: job for job in scraped["scrape_configs"]}
    for job in ("cadvisor", "kubelet"):
        assert [one["labels"]["node"] for one in jobs[job]["static_configs"]] == ["blue", "green"]
    assert jobs["kube-apiserver"]["metrics_path"] == "/k8s/c-1/metrics"
    assert jobs["postgres"]["metrics_path"].startswith("/k8s/c-1/api/v1/namespaces/derivatives/")
    assert {
        one["targets"][0] for job in ("postgres", "cadvisor", "kube-apiserver") for one in jobs[job]["static_configs"]
    } == {"10.0.0.1:6443"}


@pytest.mark.parametrize("kind", ["token", "tokenFile"])
def test_a_token_is_shown_in_files_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "given").write_text("sesame\n", "utf-8")
    user = {kind: "sesame" if kind == "token" else "given"}
    more = {"tls-server-name": "api.example", "insecure-skip-tls-verify": True}
    found = Identity.read(kubeconfig(tmp_path, user, **more), "mine", tmp_path)
    credentials = found.scraped["authorization"]["credentials_file"]
    assert Path(credentials).read_text("utf-8").strip() == "sesame"
    assert "sesame" not in json.dumps(found.scraped)
    assert found.scraped["tls_config"]["server_name"] == "api.example"
    assert found.scraped["tls_config"]["insecure_skip_verify"] is True


def test_files_beside_the_kubeconfig_are_named_whole(tmp_path: Path) -> None:
    user = {"client-certificate": "me.crt", "client-key": "me.key"}
    found = Identity.read(kubeconfig(tmp_path, user), "mine", tmp_path)
    assert found.tls["cert_file"] == str(tmp_path / "me.crt")
    assert found.tls["key_file"] == str(tmp_path / "me.key")


@pytest.mark.parametrize("kind", ["exec", "auth-provider"])
def test_a_user_whose_tokens_a_program_makes_is_refused(tmp_path: Path, kind: str) -> None:
    path = kubeconfig(tmp_path, {kind: {"command": "aws"}})
    with pytest.raises(CannotRun, match=f"the user y of .* gets its tokens by {kind}.*--no-monitoring"):
        Identity.read(path, "mine", tmp_path)
    with pytest.raises(CannotRun, match="has no yours among its contexts"):
        Identity.read(path, "yours", tmp_path)


@dataclass
class Server:
    """An API server that answers a few paths, and notes what it is asked."""

    nodes: list[str]
    namespaces: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, query: str, who: str) -> dict[str, Any]:
        self.asked.append((method, path, parse_qs(query).get("labelSelector", [""])[0] or who))
        if path == "/api/v1/nodes":
            labels = {"nvidia.com/gpu.present": "true"}
            return {"items": [{"metadata": {"name": n, "labels": labels if n == "card" else {}}} for n in self.nodes]}
        if method == "DELETE" and path.startswith("/api/v1/namespaces/"):
            self.namespaces.remove(path.rpartition("/")[2])
        return {"items": [{"metadata": {"name": name}} for name in self.namespaces], "kind": "Status"}


@pytest.fixture
def server() -> Iterator[tuple[str, Server]]:
    """One that listens on loopback."""
    told = Server(["plain", "card", "other"], ["derivatives"])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = json.dumps(
                told.answer(self.command, parts.path, parts.query, self.headers.get("authorization", ""))
            ).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", told
    listening.shutdown()
    listening.server_close()
    thread.join()


def test_the_nodes_are_those_of_the_cluster_the_card_first(tmp_path: Path, server: tuple[str, Server]) -> None:
    address, told = server
    path = kubeconfig(tmp_path, {"token": "sesame"}, server=address)
    with Identity.read(path, "mine", tmp_path).client() as client:
        assert monitoring.nodes_of(client) == ["card", "other", "plain"]
    assert told.asked == [("GET", "/api/v1/nodes", "Bearer sesame")]


def test_down_takes_the_roles_of_the_whole_cluster_with_it(tmp_path: Path, server: tuple[str, Server]) -> None:
    address, told = server
    path = kubeconfig(tmp_path, {"token": "sesame"}, server=address)
    assert objects.remove(path, "mine", "abc") == ["derivatives"]
    deleted = {path.rpartition("/")[2]: who for method, path, who in told.asked if method == "DELETE"}
    assert deleted.pop("derivatives") == "Bearer sesame"
    assert deleted == dict.fromkeys(("clusterrolebindings", "clusterroles"), "sandbox-id=abc")


def test_what_belongs_to_no_namespace_carries_our_mark(tmp_path: Path) -> None:
    documents = manifests.everything(Setup.new(tmp_path, "abc"))
    wide = [one for one in documents if one["kind"].startswith("Cluster")]
    assert {one["metadata"]["name"] for one in wide} == {"sandbox-recorder", "derivatives-sandbox-previewer"}
    for one in wide:
        assert one["metadata"]["labels"]["sandbox-id"] == "abc", one["metadata"]["name"]
        assert "namespace" not in one["metadata"]


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ("autoscaling/v1 autoscaling/v2beta2 policy/v1beta1", ["autoscaling/v2beta2", "policy/v1beta1"]),
        ("autoscaling/v2 autoscaling/v2beta2 policy/v1 policy/v1beta1", ["autoscaling/v2", "policy/v1"]),
        ("autoscaling/v1 autoscaling/v2 policy/v1", ["autoscaling/v2", "policy/v1"]),
    ],
)
def test_guards_are_of_the_versions_that_the_server_offers(tmp_path: Path, served: str, expected: list[str]) -> None:
    told = "\n".join(["apps/v1", *served.split(), "v1"]) + "\n"
    kube = Kube(
        SimpleNamespace(run=lambda *words: subprocess.CompletedProcess(words, 0, told, "")), tmp_path, "derivatives"
    )  # type: ignore[arg-type]
    documents = manifests.workloads(Setup.new(tmp_path, "abc"), kube.versions())
    assert [one["apiVersion"] for one in documents if one["apiVersion"] != "apps/v1"] == expected


@dataclass
class Nodes:
    """A cluster whose nodes take no pods: one that we closed, one that another sandbox did, one of the operator's."""

    own: bool
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        self.asked.append(words[3:])  # after `kubectl --namespace NAME`
        marks = {"ours": {CLOSED: "abc"}, "theirs": {CLOSED: "def"}, "operators": {}}
        items = [
            {"metadata": {"name": name, "annotations": mark}, "spec": {"unschedulable": True}}
            for name, mark in marks.items()
        ]
        return subprocess.CompletedProcess(words, 0, json.dumps({"items": items}), "")


@pytest.mark.parametrize(("own", "opened"), [(True, ["ours"]), (False, ["ours", "theirs", "operators"])])
def test_healing_opens_the_nodes_that_the_sandbox_closed(tmp_path: Path, own: bool, opened: list[str]) -> None:
    nodes, restored = Nodes(own), list[str]()
    kube = Kube(nodes, tmp_path, "derivatives")  # type: ignore[arg-type]
    healing._nodes(SimpleNamespace(kube=kube, setup=Setup.new(tmp_path, "abc")), restored)  # type: ignore[arg-type]
    assert [words[1] for words in nodes.asked if words[0] == "uncordon"] == opened
    assert restored == [f"node {name} takes pods again" for name in opened]
    nodes.asked.clear()
    kube.cordon("ours", "abc")
    assert nodes.asked == [("annotate", "node", "ours", f"{CLOSED}=abc", "--overwrite"), ("cordon", "ours")]


def test_only_a_cluster_of_ours_asks_what_it_takes_to_build_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "missing", lambda: ["it needs root"])
    monkeypatch.setattr(settle, "_PROGRAMS", {})
    settle.check_programs(own=True)
    with pytest.raises(CannotRun, match=r"it needs root.*--kubeconfig FILE --context NAME"):
        settle.check_programs()
    monkeypatch.setattr(settle, "_PROGRAMS", {"/nowhere/postgres": "postgresql-15"})
    with pytest.raises(CannotRun, match="its pods run the Debian package postgresql-15"):
        settle.check_programs(own=True)
