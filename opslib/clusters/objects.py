"""What Kubernetes objects say, in the operator's words: quantities, times, pods, templates and their differences."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?\d+)?)(n|u|m|k|[KMGTPE]i|[MGTPE]|)")
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|dsn|auth", re.IGNORECASE)
REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
GPU = "nvidia.com/gpu"
_CONTAINERS = ("containers", "initContainers")

Object = Mapping[str, Any]


def quantity(text: str | float | None) -> float | None:
    """`100m` as 0.1, `128Mi` as bytes; None for what is none."""
    if text is None:
        return None
    found = _QUANTITY.fullmatch(str(text).strip())
    return float(found[1]) * _UNITS[found[2]] if found and found[2] in _UNITS else None


def moment(text: str | None) -> dt.datetime | None:
    """A time of an object, UTC."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC) if text else None


def owner(thing: Object) -> tuple[str, str, str]:
    """Kind, name and uid of the controller of an object; empty where it has none."""
    for one in thing["metadata"].get("ownerReferences") or []:
        if one.get("controller"):
            return one["kind"], one["name"], one["uid"]
    return "", "", ""


def workload(pod: Object) -> str:
    """The workload of a pod as `deployment/api`, from its controller; a ReplicaSet's name loses its hash."""
    kind, name, _ = owner(pod)
    if kind == "ReplicaSet":
        return f"deployment/{name.rpartition('-')[0] or name}"
    return f"{kind.lower()}/{name}" if kind else ""


def key(namespace: str, workload: str) -> str:
    """`deployment/api` as the key of what a plan changes: `deployment/NAMESPACE/api`."""
    kind, _, name = workload.partition("/")
    return f"{kind}/{namespace}/{name}"


def selector(thing: Object) -> str:
    """The label selector of a workload, as a query takes it."""
    wanted = thing["spec"].get("selector") or {}
    terms = [f"{key}={value}" for key, value in (wanted.get("matchLabels") or {}).items()]
    for one in wanted.get("matchExpressions") or []:
        values = f"({','.join(one.get('values') or [])})"
        terms.append(
            {
                "In": f"{one['key']} in {values}",
                "NotIn": f"{one['key']} notin {values}",
                "Exists": one["key"],
                "DoesNotExist": f"!{one['key']}",
            }[one["operator"]]
        )
    return ",".join(terms)


def condition(thing: Object, kind: str) -> Object:
    """A condition of an object's status; empty where it has none of that kind."""
    found = ((thing.get("status") or {}).get("conditions")) or []
    return next((one for one in found if one["type"] == kind), {})


def ready(pod: Object) -> bool:
    """Whether a pod takes traffic."""
    return condition(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def total(pod: Object, what: str, resource: str) -> float | None:
    """The sum over a pod's containers of their `requests` or `limits` of a resource; None where none says any."""
    found = [
        quantity(((container.get("resources") or {}).get(what) or {}).get(resource))
        for container in pod["spec"]["containers"]
    ]
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def container_row(pod: Object, spec: Object, status: Object) -> dict[str, Any]:
    """One container of a pod: its state, and how it ended the last time."""
    kind, facts = _state(status.get("state"))
    _, last = _state(status.get("lastState"))
    resources = spec.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    return {
        "pod": pod["metadata"]["name"],
        "container": spec["name"],
        "image": spec.get("image"),
        "ready": bool(status.get("ready")),
        "state": kind,
        "reason": facts.get("reason"),
        "message": _short(facts.get("message")),
        "exit_code": facts.get("exitCode"),
        "since": moment(facts.get("startedAt")),
        "created": moment(pod["metadata"].get("creationTimestamp")),
        "restarts": int(status.get("restartCount") or 0),
        "last_reason": last.get("reason"),
        "last_exit_code": last.get("exitCode"),
        "last_finished": moment(last.get("finishedAt")),
        "last_message": _short(last.get("message")),
        "cpu_request": quantity(requests.get("cpu")),
        "cpu_limit": quantity(limits.get("cpu")),
        "memory_request": quantity(requests.get("memory")),
        "memory_limit": quantity(limits.get("memory")),
        "gpus": quantity(limits.get(GPU)),
    }


def container_rows(pod: Object) -> list[dict[str, Any]]:
    """The containers of a pod, those that prepare it first."""
    status = pod.get("status") or {}
    rows = []
    for specs, states in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        known = {one["name"]: one for one in status.get(states) or []}
        rows += [
            {**container_row(pod, spec, known.get(spec["name"], {})), "prepares": specs == "initContainers"}
            for spec in pod["spec"].get(specs) or []
        ]
    return rows


def pod_row(pod: Object) -> dict[str, Any]:
    """A pod on one line: what it is, why it is not ready, how it ended the last time, what it asks for."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    rows = container_rows(pod)
    own = [row for row in rows if not row["prepares"]]
    ended = [row for row in rows if row["last_finished"] or row["last_reason"]]
    earliest = dt.datetime.min.replace(tzinfo=dt.UTC)
    last = max(ended, key=lambda row: row["last_finished"] or earliest, default={})
    word, message = _why(pod, rows)
    return {
        "pod": meta["name"],
        "workload": workload(pod),
        "status": word,
        "message": _short(message),
        "ready": ready(pod),
        "ready_containers": f"{sum(row['ready'] for row in own)}/{len(own)}",
        "restarts": sum(row["restarts"] for row in own),
        "last_reason": last.get("last_reason"),
        "last_exit_code": last.get("last_exit_code"),
        "last_finished": last.get("last_finished"),
        "node": pod["spec"].get("nodeName"),
        "address": status.get("podIP"),
        "started": moment(status.get("startTime")),
        "created": moment(meta.get("creationTimestamp")),
        "cpu_request": total(pod, "requests", "cpu"),
        "cpu_limit": total(pod, "limits", "cpu"),
        "memory_request": total(pod, "requests", "memory"),
        "memory_limit": total(pod, "limits", "memory"),
        "gpus": total(pod, "limits", GPU),
        "images": ", ".join(sorted({row["image"] or "" for row in own})),
        "revision": (meta.get("labels") or {}).get("pod-template-hash")
        or (meta.get("labels") or {}).get("controller-revision-hash"),
    }


def _why(pod: Object, rows: list[dict[str, Any]]) -> tuple[str, str | None]:
    """The state of a pod in one word, as kubectl shows it, and what is said about it."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating", None
    if status.get("reason"):
        return status["reason"], status.get("message")
    for row in rows:
        stuck = row["state"] == "waiting" and row["reason"] not in ("ContainerCreating", "PodInitializing")
        failed = row["state"] == "terminated" and row["exit_code"] != 0
        if (stuck or failed) and row["reason"]:
            return ("Init:" if row["prepares"] else "") + row["reason"], row["message"] or row["last_message"]
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return scheduled.get("reason") or "Unschedulable", scheduled.get("message")
    waiting = next((row for row in rows if row["state"] == "waiting"), None)
    if waiting is not None and status.get("phase") == "Pending":
        return waiting["reason"] or "Pending", waiting["message"]
    if status.get("phase") == "Running" and not ready(pod):
        return "NotReady", condition(pod, "ContainersReady").get("message")
    return status.get("phase") or "Unknown", status.get("message")


def _state(state: Object | None) -> tuple[str, Object]:
    """`running`, `waiting` or `terminated`, and what is said of it."""
    for kind, facts in (state or {}).items():
        return kind, facts or {}
    return "", {}


def _short(text: str | None, most: int = 500) -> str | None:
    """A message on one line, cut."""
    return " ".join(text.split())[:most] if text else None


# templates and their differences


def images(template: Object) -> dict[str, str]:
    """The image of each container of a pod template."""
    return {one["name"]: one.get("image") or "" for one in template["spec"]["containers"]}


def differences(before: Object, after: Object) -> list[str]:
    """What differs between two pod templates: images, environment, resources, commands, probes, and other fields."""
    lines: list[str] = []
    old, new = (
        {one["name"]: one for kind in _CONTAINERS for one in thing["spec"].get(kind) or []} for thing in (before, after)
    )
    lines += [f"container {name} removed" for name in sorted(old.keys() - new.keys())]
    lines += [f"container {name} added ({new[name].get('image')})" for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        lines += [f"{name}: {line}" for line in _container_differences(old[name], new[name])]
    for field in sorted(before["spec"].keys() | after["spec"].keys()):
        if field not in _CONTAINERS and before["spec"].get(field) != after["spec"].get(field):
            lines.append(f"{field} changed")
    marks = [(one.get("metadata") or {}).get("annotations") or {} for one in (before, after)]
    for mark in sorted(marks[0].keys() | marks[1].keys()):
        if marks[0].get(mark) != marks[1].get(mark):
            restarted = mark.endswith("restartedAt")
            lines.append(f"restarted at {marks[1].get(mark)}" if restarted else f"annotation {mark} changed")
    return lines


def _container_differences(old: Object, new: Object) -> list[str]:
    """What differs between two versions of a container."""
    lines = []
    if old.get("image") != new.get("image"):
        lines.append(f"image {old.get('image')} -> {new.get('image')}")
    was, now = ({one["name"]: one for one in container.get("env") or []} for container in (old, new))
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    lines += [f"env {name} {_told(was.get(name))} -> {_told(now.get(name))}" for name in names]
    for what in ("requests", "limits"):
        had, has = ((one.get("resources") or {}).get(what) or {} for one in (old, new))
        for resource in sorted(had.keys() | has.keys()):
            if had.get(resource) != has.get(resource):
                told = f"{had.get(resource, 'none')} -> {has.get(resource, 'none')}"
                lines.append(f"{what}.{resource} {told}")
    rest = sorted((old.keys() | new.keys()) - {"image", "env", "resources"})
    return lines + [f"{field} changed" for field in rest if old.get(field) != new.get(field)]


def environment(container: Object) -> dict[str, str]:
    """The environment of a container as it may be shown."""
    return {one["name"]: _told(one) for one in container.get("env") or []}


def _told(variable: Object | None) -> str:
    """The value of a variable, or where it comes from; not shown where its name is that of a secret."""
    if variable is None:
        return "(unset)"
    if "valueFrom" in variable:
        source: str = next(iter(variable["valueFrom"]))
        facts: Object = variable["valueFrom"][source]
        named = facts.get("name") or facts.get("fieldPath") or facts.get("resource") or ""
        return " ".join(filter(None, ("from", source.removesuffix("Ref"), named, facts.get("key"))))
    if _SECRET_NAME.search(variable["name"]):
        return "(not shown)"
    return repr((variable.get("value") or "")[:80])
