"""What runs on a Kubernetes cluster and how it is: pods, containers, nodes, events, and what they use.

CPU is in cores, memory in bytes, times are UTC. All reads are of the platform's namespace; nodes are the cluster's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opslib.clusters import Cluster, connect, objects
from opslib.errors import ProbeError
from opslib.probes.registry import Frame, Target, probe
from opslib.probes.tables import Kind, frame

MOST_EVENTS = 500
POD: dict[str, Kind] = {
    "pod": "text", "workload": "text", "status": "text", "message": "text", "ready": "flag", "ready_containers": "text",
    "restarts": "whole", "last_reason": "text", "last_exit_code": "whole", "last_finished": "time", "node": "text",
    "address": "text", "started": "time", "created": "time", "cpu_request": "number", "cpu_limit": "number",
    "memory_request": "number", "memory_limit": "number", "gpus": "number", "images": "text", "revision": "text",
}  # fmt: skip
CONTAINER: dict[str, Kind] = {
    "pod": "text", "container": "text", "image": "text", "prepares": "flag", "ready": "flag", "state": "text",
    "reason": "text", "message": "text", "exit_code": "whole", "since": "time", "created": "time",
    "restarts": "whole",
    "last_reason": "text", "last_exit_code": "whole", "last_finished": "time", "last_message": "text",
    "cpu_request": "number", "cpu_limit": "number", "memory_request": "number", "memory_limit": "number",
    "gpus": "number",
}  # fmt: skip
NODE: dict[str, Kind] = {
    "node": "text", "ready": "flag", "problems": "text", "cordoned": "flag", "taints": "text", "gpu_node": "flag",
    "cpu": "number", "memory": "number", "gpus": "number", "cpu_requested": "number", "memory_requested": "number",
    "gpus_requested": "number", "pods": "whole", "version": "text", "ready_since": "time", "created": "time",
}  # fmt: skip
EVENT: dict[str, Kind] = {
    "time": "time", "type": "text", "reason": "text", "object": "text", "message": "text", "count": "whole",
    "first": "time", "source": "text",
}  # fmt: skip


@contextmanager
def reading(target: Target) -> Iterator[Cluster]:
    """The cluster of a target; what cannot be seen is told with system and namespace."""
    try:
        yield connect(target.url)
    except ProbeError as error:
        if error.facts.get("system"):
            raise
        told = target.error(str(error))
        told.facts |= error.facts
        raise told from error


@probe("kubernetes.pods")
def pods(target: Target, selector: str = "", workload: str = "") -> Frame:
    """The pods, worst first: index `pod`; state, restarts, how it ended last, node, address, requests and limits.

    Parameters
    ----------
    target : Target
    selector : str
        Label selector, such as `app=derivatives-api`.
    workload : str
        `deployment/NAME` or `statefulset/NAME`: only its pods.
    """
    with reading(target) as cluster:
        chosen = selector or (workload_selector(cluster, workload) if workload else "")
        rows = [objects.pod_row(pod) for pod in cluster.all("pods", selector=chosen)]
    rows = [row for row in rows if not workload or row["workload"] == workload]
    rows.sort(key=lambda row: (row["ready"], -row["restarts"], row["pod"]))
    return frame(rows, POD, index="pod")


@probe("kubernetes.containers")
def containers(target: Target, selector: str = "") -> Frame:
    """The containers of the pods: state and why, how each ended the last time, requests and limits."""
    with reading(target) as cluster:
        found = cluster.all("pods", selector=selector)
    return frame([row for pod in found for row in objects.container_rows(pod)], CONTAINER)


def workload_selector(cluster: Cluster, workload: str) -> str:
    """The label selector of `deployment/NAME` or `statefulset/NAME`.

    Raises
    ------
    ProbeError
        When it is not so named, or there is none.
    """
    return objects.selector(cluster.one(*kind_and_name(workload)))


def kind_and_name(workload: str) -> tuple[str, str]:
    """`deployments` and the name, out of `deployment/NAME`.

    Raises
    ------
    ProbeError
        When it is not so written.
    """
    kind, _, name = workload.partition("/")
    if kind not in ("deployment", "statefulset", "daemonset") or not name:
        raise ProbeError(f"{workload!r} is no workload: write deployment/NAME, statefulset/NAME or daemonset/NAME")
    return f"{kind}s", name


@probe("kubernetes.nodes")
def nodes(target: Target) -> Frame:
    """The nodes: index `node`; ready or what is wrong, cordon, taints, capacity, and what its pods request.

    The requests are those of all namespaces where our identity may see them, else those of the platform's own.
    """
    with reading(target) as cluster:
        found = cluster.all("nodes")
        try:
            running = cluster.all("pods", everywhere=True)
        except ProbeError as error:
            if error.facts.get("status") != 403:
                raise
            running = cluster.all("pods")
    rows = [_node_row(node, [pod for pod in running if _runs_on(pod, node)]) for node in found]
    return frame(sorted(rows, key=lambda row: (row["ready"], row["node"])), NODE, index="node")


def _runs_on(pod: objects.Object, node: objects.Object) -> bool:
    ended = pod["status"].get("phase") in ("Succeeded", "Failed")
    return pod["spec"].get("nodeName") == node["metadata"]["name"] and not ended


def _node_row(node: objects.Object, running: list[dict[str, Any]]) -> dict[str, Any]:
    """A node with what the pods on it request."""
    status, spec, meta = node["status"], node["spec"], node["metadata"]
    room = status.get("allocatable") or {}
    ready = objects.condition(node, "Ready")
    wrong = [
        f"{one['type']}: {one.get('reason') or one['status']}"
        for one in status.get("conditions") or []
        if one["status"] != ("True" if one["type"] == "Ready" else "False")
    ]
    taints = [
        f"{one['key']}{'=' + one['value'] if one.get('value') else ''}:{one['effect']}"
        for one in spec.get("taints") or []
    ]
    asked = {
        name: sum(objects.total(pod, "requests", resource) or 0.0 for pod in running)
        for name, resource in (("cpu", "cpu"), ("memory", "memory"), ("gpus", objects.GPU))
    }
    return {
        "node": meta["name"],
        "ready": ready.get("status") == "True",
        "problems": "; ".join(wrong) or None,
        "cordoned": bool(spec.get("unschedulable")),
        "taints": ", ".join(taints) or None,
        "gpu_node": bool(objects.quantity(room.get(objects.GPU))),
        "cpu": objects.quantity(room.get("cpu")),
        "memory": objects.quantity(room.get("memory")),
        "gpus": objects.quantity(room.get(objects.GPU)) or 0.0,
        "cpu_requested": asked["cpu"],
        "memory_requested": asked["memory"],
        "gpus_requested": asked["gpus"],
        "pods": len(running),
        "version": (status.get("nodeInfo") or {}).get("kubeletVersion"),
        "ready_since": objects.moment(ready.get("lastTransitionTime")),
        "created": objects.moment(meta.get("creationTimestamp")),
    }


@probe("kubernetes.events")
def events(target: Target, minutes: float = 60.0, name: str = "", warnings: bool = False) -> Frame:
    """The events of the last `minutes` [min], newest first, at most 500.

    Parameters
    ----------
    target : Target
    minutes : float
    name : str
        Only of objects whose name begins so.
    warnings : bool
        Only warnings.
    """
    since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    with reading(target) as cluster:
        found = cluster.all("events", fields="type=Warning" if warnings else "")
    rows = [row for row in map(event_row, found) if row["time"] is not None and row["time"] >= since]
    rows = [row for row in rows if row["object"].partition("/")[2].startswith(name)]
    note = f"the newest {MOST_EVENTS:,} of {len(rows):,} events" if len(rows) > MOST_EVENTS else None
    return frame(sorted(rows, key=lambda row: row["time"], reverse=True)[:MOST_EVENTS], EVENT, note=note)


def event_row(event: objects.Object) -> dict[str, Any]:
    """An event on one line; its time is when it was seen last."""
    series, about = event.get("series") or {}, event["involvedObject"]
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    created = event["metadata"].get("creationTimestamp")
    return {
        "time": objects.moment(last or created),
        "type": event.get("type"),
        "reason": event.get("reason"),
        "object": f"{(about.get('kind') or '').lower()}/{about.get('name') or ''}",
        "message": " ".join((event.get("message") or "").split())[:500],
        "count": series.get("count") or event.get("count") or 1,
        "first": objects.moment(event.get("firstTimestamp") or event.get("eventTime") or created),
        "source": (event.get("source") or {}).get("component") or event.get("reportingComponent"),
    }


@probe("kubernetes.top")
def top(target: Target, selector: str = "") -> Frame:
    """What the pods use now: index `pod`; `cpu` [cores], `memory` [bytes], and shares of request and limit."""
    with reading(target) as cluster:
        used = _metrics(cluster, "pods.metrics", selector)
        asked = {pod["metadata"]["name"]: pod for pod in cluster.all("pods", selector=selector)}
    rows = []
    for one in used:
        name = one["metadata"]["name"]
        row: dict[str, Any] = {"pod": name, "window": one.get("window"), "time": objects.moment(one.get("timestamp"))}
        for resource in ("cpu", "memory"):
            value = sum(objects.quantity(part["usage"].get(resource)) or 0.0 for part in one["containers"])
            row[resource] = value
            for share, what in (("of_request", "requests"), ("of_limit", "limits")):
                bound = objects.total(asked[name], what, resource) if name in asked else None
                row[f"{resource}_{share}"] = value / bound if bound else None
        rows.append(row)
    columns: dict[str, Kind] = {
        "pod": "text", "cpu": "number", "memory": "number", "cpu_of_request": "number", "cpu_of_limit": "number",
        "memory_of_request": "number", "memory_of_limit": "number", "window": "text", "time": "time",
    }  # fmt: skip
    return frame(sorted(rows, key=lambda row: -row["memory"]), columns, index="pod")


@probe("kubernetes.top_nodes")
def top_nodes(target: Target) -> Frame:
    """What the nodes use now: index `node`; `cpu` [cores], `memory` [bytes], and shares of what they have."""
    with reading(target) as cluster:
        used = _metrics(cluster, "nodes.metrics", "")
        room = {node["metadata"]["name"]: node["status"].get("allocatable") or {} for node in cluster.all("nodes")}
    rows = []
    for one in used:
        name = one["metadata"]["name"]
        row: dict[str, Any] = {"node": name, "time": objects.moment(one.get("timestamp"))}
        for resource in ("cpu", "memory"):
            value = objects.quantity(one["usage"].get(resource)) or 0.0
            whole = objects.quantity((room.get(name) or {}).get(resource))
            row |= {resource: value, f"{resource}_share": value / whole if whole else None}
        rows.append(row)
    columns: dict[str, Kind] = {
        "node": "text", "cpu": "number", "memory": "number", "cpu_share": "number", "memory_share": "number",
        "time": "time",
    }  # fmt: skip
    return frame(rows, columns, index="node")


def _metrics(cluster: Cluster, kind: str, selector: str) -> list[dict[str, Any]]:
    """The metrics of a kind; where the cluster has none, says so and what else there is."""
    try:
        return cluster.all(kind, selector=selector)
    except ProbeError as error:
        if error.facts.get("absent") or error.facts.get("status") in (404, 503):
            raise ProbeError(
                "this cluster does not serve metrics.k8s.io (no metrics-server, or it does not answer); "
                "Prometheus may have the containers' metrics"
            ) from error
        raise
