"""What changed of late: rollouts, images, configuration, secrets, Helm releases, scaling; most recent first."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Any

from opslib.clusters import Cluster, objects
from opslib.errors import ProbeError
from opslib.probes.kubernetes import event_row, reading
from opslib.probes.kubernetes_secrets import release_rows, touched
from opslib.probes.kubernetes_workloads import revisions
from opslib.probes.registry import Frame, Target, probe
from opslib.probes.tables import Kind, frame

_LONGEST_MINUTES = 60 * 24 * 31
_MOST = 500
_BUDGET_S = 15.0
CHANGE: dict[str, Kind] = {
    "time": "time", "kind": "text", "name": "text", "what": "text", "by": "text", "unseen": "text",
}  # fmt: skip
_SCALED = {"ScalingReplicaSet", "SuccessfulRescale"}
_ROLLING = dt.timedelta(minutes=5)  # scaling of replica sets so soon after a revision is its roll-out
_OF_NODES = {"NodeNotReady", "NodeReady", "NodeNotSchedulable", "NodeSchedulable", "Rebooted", "RegisteredNode"}
# Managers that only write status, or what follows from a change that is listed anyway.
_FOLLOWS = ("kube-controller-manager", "kubelet", "kube-scheduler")

_REFUSED = "our identity may not do that"
# A role that reads secrets reads what is in them, and Helm keeps its releases there: the role of this look has neither,
# and a runbook that needs them declares `kubernetes.secrets` or `kubernetes.releases`.
_IN_SECRETS = ("secrets", "Helm releases")
NOT_ASKED = "not looked at: its role reads no secrets"
Row = dict[str, Any]


@probe("changes.recent")
def recent(target: Target, minutes: float = 120.0) -> Frame:
    """What changed in the last `minutes` [min], most recent first: `time` (UTC), `kind`, `name`, `what`, `by`.

    What our identity may not see, or what no time was left for after 15 s, is named in the column `unseen`, in rows
    without a time, last. Secrets and Helm releases are looked at only under a role that reads secrets; what another one
    does not see of them is named there too, and costs a verdict nothing: a release that changed pods shows in theirs.
    """
    if not 0 < minutes <= _LONGEST_MINUTES:
        raise target.error(f"minutes must be above 0 and at most {_LONGEST_MINUTES:,}")
    since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    rows: list[Row] = []
    unseen: list[Row] = []
    looks: dict[str, Callable[[Cluster], Iterable[Row]]] = {
        "deployments": lambda cluster: _rollouts(cluster, "deployments"),
        "stateful sets": lambda cluster: _rollouts(cluster, "statefulsets"),
        "configuration maps": lambda cluster: _touched(cluster, "configmaps"),
        "secrets": lambda cluster: _touched(cluster, "secrets"),
        "Helm releases": _releases,
        "autoscalers": lambda cluster: _touched(cluster, "horizontalpodautoscalers"),
        "ingresses": lambda cluster: _touched(cluster, "ingresses"),
        "events": _events,
    }
    until = time.monotonic() + _BUDGET_S
    with reading(target) as cluster:
        for what, look in looks.items():
            if time.monotonic() > until:
                unseen.append({"kind": what, "unseen": "no time was left to ask"})
                continue
            try:
                rows += [row for row in look(cluster) if row["time"] is not None and row["time"] >= since]
            except ProbeError as error:
                if error.facts.get("status") is None and not error.facts.get("absent"):
                    raise
                refused = error.facts.get("status") == 403
                why = NOT_ASKED if refused and what in _IN_SECRETS else _REFUSED if refused else str(error)[:300]
                unseen.append({"kind": what, "unseen": why})
    rows = [row for row in rows if not _follows(row, rows)]
    rows.sort(key=lambda row: row["time"], reverse=True)
    kinds: dict[str, list[str]] = {}
    for row in (row for row in unseen if row["unseen"] != NOT_ASKED):
        kinds.setdefault(row["unseen"], []).append(row["kind"])
    notes = [f"{', '.join(some)}: {why}" for why, some in kinds.items()]
    if len(rows) > _MOST:
        notes.append(f"the newest {_MOST:,} of {len(rows):,} changes")
    return frame([*rows[:_MOST], *unseen], CHANGE, note="; ".join(notes) or None)


def _follows(row: Row, rows: list[Row]) -> bool:
    """Whether a scaling is only the roll-out of a revision that is listed itself."""
    return row["what"].startswith("Scaled ") and any(
        one["name"] == row["name"]
        and one["what"].startswith("revision ")
        and one["time"] <= row["time"] <= one["time"] + _ROLLING
        for one in rows
    )


def _rollouts(cluster: Cluster, kind: str) -> Iterable[Row]:
    """Each new revision with what it changed; and changes to a workload that made no revision."""
    for thing in cluster.all(kind):
        name = thing["metadata"]["name"]
        found = revisions(cluster, kind, thing)
        made = {row["created"] for row in found}
        for row in found:
            cause = f" ({row['change_cause']})" if row["change_cause"] else ""
            what = "first revision that is kept" if row["changes"] == "the first kept" else row["changes"]
            yield {
                "time": row["created"],
                "kind": kind[:-1],
                "name": name,
                "what": f"revision {row['revision']}: {what}{cause}",
                "by": None,
            }
        edited = _edited(thing)
        if edited and all(abs((edited["time"] - at).total_seconds()) > 2 for at in made if at):
            yield {"kind": kind[:-1], "name": name, "what": f"edited ({edited['fields']})", **edited}


def _edited(thing: objects.Object) -> Row | None:
    """When and by what an object's specification was last written, and which fields of it that writer owns."""
    marks = [
        mark
        for mark in thing["metadata"].get("managedFields") or []
        if mark.get("time") and mark.get("subresource") != "status" and mark.get("manager") not in _FOLLOWS
    ]
    if not marks:
        return None
    last = max(marks, key=lambda mark: str(mark["time"]))
    fields = sorted(key.removeprefix("f:") for key in ((last.get("fieldsV1") or {}).get("f:spec") or {}))
    return {
        "time": objects.moment(last["time"]),
        "by": last.get("manager"),
        "fields": ", ".join(fields) or "metadata",
    }


def _touched(cluster: Cluster, kind: str) -> Iterable[Row]:
    """Objects by when they were written last; of secrets and configuration maps the content is not read."""
    alone = kind in ("secrets", "configmaps")
    for one in cluster.all(kind, metadata_alone=alone):
        labels = one["metadata"].get("labels") or {}
        if labels.get("owner") == "helm":
            continue
        found = touched(one) if alone else _edited(one)
        if found is None:
            continue
        at = found.get("changed") or found.get("time")
        new = at is not None and at == objects.moment(one["metadata"].get("creationTimestamp"))
        by = found.get("changed_by") or found.get("by")
        yield {
            "time": at,
            "kind": kind[:-2] if kind.endswith("sses") else kind[:-1],
            "name": one["metadata"]["name"],
            "what": "made" if new else "changed",
            "by": by,
        }


def _releases(cluster: Cluster) -> Iterable[Row]:
    """Helm releases as they were deployed."""
    for row in release_rows(cluster):
        what = f"revision {row['revision']}: {row['description']}" + (f" ({row['changes']})" if row["changes"] else "")
        yield {"time": row["deployed"], "kind": "helm release", "name": row["release"], "what": what, "by": "helm"}


def _events(cluster: Cluster) -> Iterable[Row]:
    """Scaling, and nodes that came, went or were cordoned."""
    for event in cluster.all("events"):
        if event.get("reason") not in _SCALED | _OF_NODES:
            continue
        row = event_row(event)
        kind, _, name = row["object"].partition("/")
        yield {"time": row["time"], "kind": kind, "name": name, "what": row["message"], "by": row["source"]}
