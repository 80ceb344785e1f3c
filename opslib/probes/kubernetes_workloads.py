"""How workloads are rolled out, scaled and reached: revisions, autoscalers, budgets, services, ingresses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from opslib.clusters import Cluster, objects
from opslib.errors import ProbeError
from opslib.probes.kubernetes import kind_and_name, reading
from opslib.probes.registry import Frame, Target, probe
from opslib.probes.tables import Kind, frame

WORKLOAD: dict[str, Kind] = {
    "workload": "text", "desired": "whole", "ready": "whole", "updated": "whole", "available": "whole",
    "complete": "flag", "problem": "text", "revision": "text", "images": "text", "strategy": "text",
    "generation": "whole", "changed": "time", "created": "time",
}  # fmt: skip
REVISION: dict[str, Kind] = {
    "revision": "whole", "current": "flag", "created": "time", "change_cause": "text", "images": "text",
    "changes": "text", "replicas": "whole", "ready": "whole", "came_back": "flag",
}  # fmt: skip
AUTOSCALER: dict[str, Kind] = {
    "autoscaler": "text", "workload": "text", "least": "whole", "most": "whole", "current": "whole",
    "desired": "whole", "metrics": "text", "limited": "text", "problem": "text", "last_scaled": "time",
}  # fmt: skip
BUDGET: dict[str, Kind] = {
    "budget": "text", "selector": "text", "min_available": "text", "max_unavailable": "text",
    "disruptions_allowed": "whole", "healthy": "whole", "healthy_wanted": "whole", "pods": "whole",
}  # fmt: skip
SERVICE: dict[str, Kind] = {
    "service": "text", "type": "text", "address": "text", "ports": "text", "selector": "text", "ready": "whole",
    "not_ready": "whole", "pods": "text",
}  # fmt: skip
INGRESS: dict[str, Kind] = {
    "ingress": "text", "host": "text", "path": "text", "service": "text", "port": "text", "ready": "whole",
    "problem": "text", "allowed_from": "text", "tls_secret": "text", "address": "text",
}  # fmt: skip
_HISTORY = "deployment.kubernetes.io/revision-history"  # of a replica set: the numbers it had before
ALLOWED_FROM = "nginx.ingress.kubernetes.io/whitelist-source-range"


@probe("kubernetes.workloads")
def workloads(target: Target) -> Frame:
    """Deployments, stateful sets and daemon sets: index `workload`; replicas, whether rolled out, and what hinders."""
    with reading(target) as cluster:
        rows = [
            workload_row(kind, thing)
            for kind in ("deployments", "statefulsets", "daemonsets")
            for thing in cluster.all(kind)
        ]
    return frame(sorted(rows, key=lambda row: (row["complete"], row["workload"])), WORKLOAD, index="workload")


def workload_row(kind: str, thing: objects.Object) -> dict[str, Any]:
    """A workload on one line, whichever its kind."""
    spec, status, meta = thing["spec"], thing.get("status") or {}, thing["metadata"]
    if kind == "daemonsets":
        names = ("desiredNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
        desired, ready, updated, available = (int(status.get(name) or 0) for name in names)
    else:
        desired = int(spec.get("replicas", 1))
        ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
        available = int(status.get("availableReplicas", ready if kind == "statefulsets" else 0) or 0)
    progressing = objects.condition(thing, "Progressing")
    failing = objects.condition(thing, "ReplicaFailure")
    problem = None
    if failing.get("status") == "True":
        problem = failing.get("message")
    elif progressing.get("status") == "False":
        problem = f"{progressing.get('reason')}: {progressing.get('message')}"
    elif spec.get("paused"):
        problem = "its rollout is paused"
    seen = status.get("observedGeneration") == meta.get("generation")
    strategy = spec.get("strategy") or spec.get("updateStrategy") or {}
    return {
        "workload": f"{kind[:-1]}/{meta['name']}",
        "desired": desired,
        "ready": ready,
        "updated": updated,
        "available": available,
        "complete": seen and updated >= desired and ready >= desired and available >= desired,
        "problem": problem,
        "revision": (meta.get("annotations") or {}).get(objects.REVISION) or status.get("currentRevision"),
        "images": ", ".join(f"{name}={image}" for name, image in objects.images(spec["template"]).items()),
        "strategy": strategy.get("type"),
        "generation": meta.get("generation"),
        "changed": objects.moment(progressing.get("lastUpdateTime")),
        "created": objects.moment(meta.get("creationTimestamp")),
    }


@probe("kubernetes.history")
def history(target: Target, workload: str) -> Frame:
    """The revisions of a workload, newest first, each with what differs from the one before.

    `created` is when a revision was first made; of a Deployment's, `came_back` tells that it was left and came again.

    Parameters
    ----------
    target : Target
    workload : str
        `deployment/NAME` or `statefulset/NAME`.
    """
    with reading(target) as cluster:
        kind, name = kind_and_name(workload)
        rows = revisions(cluster, kind, cluster.one(kind, name))
    return frame(rows[::-1], REVISION)


def revisions(cluster: Cluster, kind: str, thing: objects.Object) -> list[dict[str, Any]]:
    """The revisions of a workload, oldest first; `template` is the pod template of each."""
    kept = "replicasets" if kind == "deployments" else "controllerrevisions"
    uid = thing["metadata"]["uid"]
    found = [one for one in cluster.all(kept, selector=objects.selector(thing)) if objects.owner(one)[2] == uid]
    if kind == "deployments":
        rows = [_of_replicaset(one) for one in found]
        now = int((thing["metadata"].get("annotations") or {}).get(objects.REVISION) or 0)
    else:
        rows = [_of_controller_revision(one) for one in found]
        current = (thing.get("status") or {}).get("updateRevision")
        now = max((row["revision"] for row in rows if row["name"] == current), default=0)
    rows.sort(key=lambda row: int(row["revision"]))
    before: dict[str, Any] | None = None
    for row in rows:
        row["current"] = row["revision"] == now
        row["images"] = ", ".join(f"{name}={image}" for name, image in objects.images(row["template"]).items())
        changed = objects.differences(before["template"], row["template"]) if before else []
        row["changes"] = "; ".join(changed) if changed else ("the first kept" if before is None else "nothing")
        before = row
    return rows


def _of_replicaset(one: objects.Object) -> dict[str, Any]:
    marks, status = one["metadata"].get("annotations") or {}, one.get("status") or {}
    template = json.loads(json.dumps(one["spec"]["template"]))
    (template["metadata"].get("labels") or {}).pop("pod-template-hash", None)
    return {
        "name": one["metadata"]["name"],
        "revision": int(marks.get(objects.REVISION) or 0),
        "created": objects.moment(one["metadata"].get("creationTimestamp")),
        "change_cause": marks.get(objects.CHANGE_CAUSE),
        "came_back": _HISTORY in marks,
        "replicas": int(status.get("replicas") or 0),
        "ready": int(status.get("readyReplicas") or 0),
        "template": template,
    }


def _of_controller_revision(one: objects.Object) -> dict[str, Any]:
    return {
        "name": one["metadata"]["name"],
        "revision": int(one["revision"]),
        "created": objects.moment(one["metadata"].get("creationTimestamp")),
        "change_cause": (one["metadata"].get("annotations") or {}).get(objects.CHANGE_CAUSE),
        "came_back": False,  # Kubernetes does not tell
        "template": one["data"]["spec"]["template"],
    }


@probe("kubernetes.autoscalers")
def autoscalers(target: Target) -> Frame:
    """The horizontal autoscalers: bounds, current and desired replicas, metrics against their targets, what limits."""
    with reading(target) as cluster:
        rows = [autoscaler_row(one) for one in cluster.all("horizontalpodautoscalers")]
    return frame(rows, AUTOSCALER, index="autoscaler")


def autoscaler_row(one: objects.Object) -> dict[str, Any]:
    """An autoscaler on one line, of any version of its API."""
    spec, status = one["spec"], one.get("status") or {}
    about = spec["scaleTargetRef"]
    limited, active = objects.condition(one, "ScalingLimited"), objects.condition(one, "ScalingActive")
    able = objects.condition(one, "AbleToScale")
    wrong = next((c for c in (active, able) if c.get("status") == "False"), {})
    return {
        "autoscaler": one["metadata"]["name"],
        "workload": f"{about['kind'].lower()}/{about['name']}",
        "least": int(spec.get("minReplicas") or 1),
        "most": int(spec["maxReplicas"]),
        "current": int(status.get("currentReplicas") or 0),
        "desired": int(status.get("desiredReplicas") or 0),
        "metrics": "; ".join(_metrics(spec, status)) or None,
        "limited": limited.get("message") if limited.get("status") == "True" else None,
        "problem": wrong.get("message"),
        "last_scaled": objects.moment(status.get("lastScaleTime")),
    }


def _metrics(spec: objects.Object, status: objects.Object) -> Iterable[str]:
    """Each metric of an autoscaler as `cpu 80 % (target 60 %)`."""
    if "targetCPUUtilizationPercentage" in spec:
        now = status.get("currentCPUUtilizationPercentage")
        yield f"cpu {'not known' if now is None else f'{now} %'} (target {spec['targetCPUUtilizationPercentage']} %)"
    known = {_metric_name(one): _metric_value(one, "current") for one in status.get("currentMetrics") or []}
    for one in spec.get("metrics") or []:
        name = _metric_name(one)
        yield f"{name} {known.get(name) or 'not known'} (target {_metric_value(one, 'target')})"


def _metric_name(one: objects.Object) -> str:
    body = _metric_body(one)
    return str(body.get("name") or (body.get("metric") or {}).get("name") or one.get("type") or "metric")


def _metric_value(one: objects.Object, which: str) -> str | None:
    value = _metric_body(one).get(which) or {}
    if value.get("averageUtilization") is not None:
        return f"{value['averageUtilization']} %"
    return value.get("averageValue") or value.get("value")


def _metric_body(one: objects.Object) -> objects.Object:
    kind = str(one.get("type") or "")
    body: objects.Object = one.get(kind[:1].lower() + kind[1:]) or {}
    return body


@probe("kubernetes.budgets")
def budgets(target: Target) -> Frame:
    """The disruption budgets: how many pods may be taken away now."""
    with reading(target) as cluster:
        rows = [budget_row(one) for one in cluster.all("poddisruptionbudgets")]
    return frame(rows, BUDGET, index="budget")


def budget_row(one: objects.Object) -> dict[str, Any]:
    """A disruption budget on one line."""
    spec, status = one["spec"], one.get("status") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return {
        "budget": one["metadata"]["name"],
        "selector": objects.selector(one),
        "min_available": None if least is None else str(least),
        "max_unavailable": None if most is None else str(most),
        "disruptions_allowed": int(status.get("disruptionsAllowed") or 0),
        "healthy": int(status.get("currentHealthy") or 0),
        "healthy_wanted": int(status.get("desiredHealthy") or 0),
        "pods": int(status.get("expectedPods") or 0),
    }


@probe("kubernetes.services")
def services(target: Target) -> Frame:
    """The services: index `service`; ports, selector, and how many ready and not ready addresses stand behind it."""
    with reading(target) as cluster:
        behind = _endpoints(cluster)
        rows = [_service_row(one, behind.get(one["metadata"]["name"], ([], []))) for one in cluster.all("services")]
    return frame(rows, SERVICE, index="service")


def _endpoints(cluster: Cluster) -> dict[str, tuple[list[str], list[str]]]:
    """The names of the ready and the not ready pods behind each service."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for one in cluster.all("endpoints"):
        ready: list[str] = []
        waiting: list[str] = []
        for subset in one.get("subsets") or []:
            for key, names in (("addresses", ready), ("notReadyAddresses", waiting)):
                names += [(at.get("targetRef") or {}).get("name") or at["ip"] for at in subset.get(key) or []]
        found[one["metadata"]["name"]] = (ready, waiting)
    return found


def _service_row(one: objects.Object, behind: tuple[list[str], list[str]]) -> dict[str, Any]:
    spec = one["spec"]
    ports = [f"{port.get('port')}->{port.get('targetPort')}/{port.get('protocol')}" for port in spec.get("ports") or []]
    return {
        "service": one["metadata"]["name"],
        "type": spec.get("type"),
        "address": spec.get("externalName") or spec.get("clusterIP"),
        "ports": ", ".join(ports) or None,
        "selector": ",".join(f"{key}={value}" for key, value in (spec.get("selector") or {}).items()) or None,
        "ready": len(behind[0]),
        "not_ready": len(behind[1]),
        "pods": ", ".join(sorted(behind[0])[:20]) or None,
    }


@probe("kubernetes.ingresses")
def ingresses(target: Target) -> Frame:
    """The ways in, one row a path: the service behind it, how many ready addresses that has, and who may come."""
    with reading(target) as cluster:
        found = cluster.all("ingresses")
        known = {one["metadata"]["name"] for one in cluster.all("services")}
        behind = _endpoints(cluster)
        secrets = _names_of_secrets(cluster)
    rows = [row for one in found for row in _ingress_rows(one, known, behind, secrets)]
    return frame(rows, INGRESS)


def _names_of_secrets(cluster: Cluster) -> set[str] | None:
    """The names of the secrets, or None where our identity may not list them."""
    try:
        return {one["metadata"]["name"] for one in cluster.all("secrets", metadata_alone=True)}
    except ProbeError as error:
        if error.facts.get("status") == 403:
            return None
        raise


def _ingress_rows(
    one: objects.Object, known: set[str], behind: dict[str, tuple[list[str], list[str]]], secrets: set[str] | None
) -> Iterable[dict[str, Any]]:
    """The paths of an ingress, of either version of its API, each with what is wrong with it."""
    spec = one["spec"]
    given = (one["metadata"].get("annotations") or {}).get(ALLOWED_FROM)
    points = ((one.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    tls = {host: entry.get("secretName") for entry in spec.get("tls") or [] for host in entry.get("hosts") or ["*"]}
    paths = [
        (rule.get("host") or "*", path.get("path") or "/", path["backend"])
        for rule in spec.get("rules") or []
        for path in (rule.get("http") or {}).get("paths") or []
    ]
    default = spec.get("defaultBackend") or spec.get("backend")
    for host, path, backend in [*paths, *([("*", "/", default)] if default else [])]:
        service, port = _backend(backend)
        ready = len(behind.get(service, ([], []))[0])
        problem = None
        if service not in known:
            problem = f"there is no service {service}"
        elif not ready:
            problem = f"no ready pod stands behind service {service}"
        elif secrets is not None and tls.get(host) and tls[host] not in secrets:
            problem = f"there is no secret {tls[host]} with its certificate"
        yield {
            "ingress": one["metadata"]["name"],
            "host": host,
            "path": path,
            "service": service,
            "port": port,
            "ready": ready,
            "problem": problem,
            "allowed_from": given,
            "tls_secret": tls.get(host),
            "address": ", ".join(at.get("ip") or at.get("hostname") or "" for at in points) or None,
        }


def _backend(backend: objects.Object) -> tuple[str, str]:
    """Service and port of an ingress's backend, in the words of either version."""
    if "serviceName" in backend:
        return str(backend["serviceName"]), str(backend.get("servicePort") or "")
    service = backend.get("service") or {}
    port = service.get("port") or {}
    return str(service.get("name") or ""), str(port.get("name") or port.get("number") or "")
