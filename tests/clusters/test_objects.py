"""What objects say, of newer and older versions of the API, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from opslib.clusters import objects, patches
from opslib.probes.gpu import parsed
from opslib.probes.kubernetes_workloads import autoscaler_row


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", 0.1), ("2", 2.0), ("250000n", 0.00025), ("128Mi", 128 * 2**20), ("1Gi", 2**30),
        ("2463Ki", 2463 * 1024),
        ("1e3", 1000.0), ("5k", 5000.0), ("1.5", 1.5), ("x", None), (None, None), ("5Xi", None),
    ],
)  # fmt: skip
def test_quantities(text: str | None, value: float | None) -> None:
    found = objects.quantity(text)
    assert found == (value if value is None else pytest.approx(value))


def test_a_pod_of_a_job_a_stateful_set_and_a_deployment_name_their_workload() -> None:
    def pod(kind: str, name: str) -> dict[str, Any]:
        owner = {"kind": kind, "name": name, "uid": "u", "controller": True}
        return {"metadata": {"name": "x", "ownerReferences": [owner]}}

    assert objects.workload(pod("ReplicaSet", "derivatives-api-5957c768fb")) == "deployment/derivatives-api"
    assert objects.workload(pod("StatefulSet", "postgres")) == "statefulset/postgres"
    assert objects.workload({"metadata": {"name": "bare"}}) == ""


def test_what_differs_in_a_container_that_prepares_the_pod_is_told() -> None:
    def sized(value: str) -> dict[str, Any]:
        first = {"name": "volume", "image": "v:1", "env": [{"name": "SIZE", "value": value}]}
        spec = {"containers": [{"name": "api", "image": "api:1"}], "initContainers": [first]}
        return {"metadata": {}, "spec": spec}

    assert objects.differences(sized("224"), sized("448")) == ["volume: env SIZE '224' -> '448'"]
    bare = {"metadata": {}, "spec": {"containers": [{"name": "api", "image": "api:1"}]}}
    assert objects.differences(sized("224"), bare) == ["container volume removed"]


def template(**container: Any) -> dict[str, Any]:
    return {"metadata": {}, "spec": {"containers": [{"name": "api", "image": "api:1", **container}]}}


def test_differences_of_templates_in_words() -> None:
    old = template(env=[{"name": "A", "value": "1"}, {"name": "PASSWORD", "value": "hidden-one"}])
    new = template(
        image="api:2",
        env=[
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "a"}}},
            {"name": "PASSWORD", "value": "hidden-two"},
        ],
        resources={"limits": {"memory": "1Gi"}},
    )
    found = objects.differences(old, new)
    assert found == [
        "api: image api:1 -> api:2",
        "api: env A '1' -> from configMapKey c a",
        "api: env PASSWORD (not shown) -> (not shown)",
        "api: limits.memory none -> 1Gi",
    ]
    assert objects.differences(new, new) == []


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        (
            {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 60}}}]},
            {
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 81}}}
                ]
            },
        ),
        ({"targetCPUUtilizationPercentage": 60}, {"currentCPUUtilizationPercentage": 81}),
    ],
)
def test_autoscalers_of_both_shapes_say_the_same(spec: dict[str, Any], status: dict[str, Any]) -> None:
    about = {"scaleTargetRef": {"kind": "Deployment", "name": "api"}, "maxReplicas": 20, "minReplicas": 2}
    row = autoscaler_row({"metadata": {"name": "api"}, "spec": {**about, **spec}, "status": status})
    assert row["metrics"] == "cpu 81 % (target 60 %)"
    assert (row["least"], row["most"], row["workload"]) == (2, 20, "deployment/api")


def test_what_nvidia_smi_says() -> None:
    text = (
        "index, uuid, name, utilization.gpu [%], memory.used [MiB], memory.total [MiB], temperature.gpu, "
        "power.draw [W]\n"
        "0, GPU-1, NVIDIA A10, 37, 1024, 23028, 61, [N/A]\n"
    )
    assert parsed(text) == [
        {
            "card": 0, "uuid": "GPU-1", "name": "NVIDIA A10", "busy_pct": 37.0, "memory_used_mib": 1024.0,
            "memory_mib": 23028.0, "temperature_c": 61.0, "power_w": None,
        }
    ]  # fmt: skip
    assert parsed("No devices were found\n") == []


def test_patches_make_what_is_missing_and_nothing_else() -> None:
    thing = {"metadata": {"uid": "u", "generation": 3}, "spec": {"a": {}}}
    put = patches.put(thing, ("metadata", "annotations", "x/y"), "1")
    assert put == [{"op": "add", "path": "/metadata/annotations", "value": {"x/y": "1"}}]
    assert patches.applied(thing, patches.of(thing, put))["metadata"]["annotations"] == {"x/y": "1"}
    assert "annotations" not in thing["metadata"]
    again = patches.put({"metadata": {"annotations": {"o": "2"}}}, ("metadata", "annotations", "x/y"), "1")
    assert again == [{"op": "add", "path": "/metadata/annotations/x~1y", "value": "1"}]
    assert patches.drop(thing, ("spec", "b")) == []
    assert patches.drop(thing, ("spec", "a")) == [{"op": "remove", "path": "/spec/a"}]
