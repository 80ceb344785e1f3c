"""Actions on single pods and on nodes: delete a pod, cordon a node, drain it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from opslib.actions.action import ActionArguments, Context, Description, Observation
from opslib.actions.documents import Target, Undo
from opslib.actions.kubernetes import Name, OnCluster, pods_of, rehearsed
from opslib.clusters import Cluster, objects, patches
from opslib.errors import ActionFailed, PlanError, ProbeError
from opslib.probes.kubernetes import kind_and_name

JSON = "application/json"
_EVICT_S = 60.0
_AGAIN_S = 2.0
_MIRROR = "kubernetes.io/config.mirror"


class DeletePodArguments(ActionArguments):
    """The pod."""

    pod: Name


class DeletePod(OnCluster):
    """Delete one pod; its controller starts another in its place."""

    name = "kubernetes.delete-pod"
    kind = "restart"
    effect_within_s = 180.0
    Arguments = DeletePodArguments
    arguments: DeletePodArguments

    def observe(self, context: Context) -> Observation:
        """The pod, and the other pods of its workload."""
        cluster = context.cluster
        pod = self._pod(cluster)
        if pod is None:
            gone = Target(kind="pod", name=f"{cluster.namespace}/{self.arguments.pod}", uid="(there is none)")
            return Observation(gone, {"gone": True}, {})
        workload = objects.workload(pod)
        others = [one for one in _siblings(cluster, workload) if one["metadata"]["uid"] != pod["metadata"]["uid"]]
        ready = objects.ready(pod)
        row = objects.pod_row(pod)
        kind, _, name = (workload or f"pod/{self.arguments.pod}").partition("/")
        target = Target(
            kind=kind,
            name=f"{cluster.namespace}/{name}",
            uid=pod["metadata"]["uid"],
            fields={"pod": self.arguments.pod, "node": row["node"], "revision": row["revision"]},
        )
        facts: dict[str, Any] = {
            "workload": workload,
            "pod": {name: row[name] for name in ("pod", "status", "message", "restarts", "last_reason", "node")},
            "pod_ready": ready,
            "ready": sum(map(objects.ready, others)) + ready,
        }
        if ready:
            facts["least_ready"] = facts["ready"] - 1
        return Observation(target, facts, {"ready_replicas": {workload or self.arguments.pod: float(facts["ready"])}})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run of the deletion, and by the disruption budgets."""
        if seen.facts.get("gone"):
            raise PlanError(f"there is no pod {self.arguments.pod} any more")
        cluster, pod, workload = context.cluster, self.arguments.pod, seen.facts["workload"]
        if not workload:
            raise PlanError(f"no controller stands behind pod {pod}: nothing would start it again")
        if seen.facts["pod_ready"]:
            if seen.facts["least_ready"] == 0:
                raise PlanError(f"{pod} is the last ready pod of {workload}; scale it up first")
            for budget in _budgets(cluster, pod):
                raise PlanError(f"disruption budget {budget} allows no pod of {workload} to be taken away now")
        path, body = cluster.path("pods", pod), _deletion(seen.target.uid)
        _, who = rehearsed(context, "DELETE", path, body, content=JSON)
        return Description(
            summary=f"Delete pod {pod}; {workload} starts another",
            preview={"rows": [seen.facts["pod"]], "checked_by": who},
            expected_effect=f"another pod of {workload} is ready in its place",
            blast_radius={"pods": 1, "ready_pods_left": seen.facts["ready"] - seen.facts["pod_ready"]},
            residual_risk="what the pod held in memory is gone, and what made it fail may come back",
            undo=Undo(kind="restore", reason=f"{workload} restores the pod by itself; the old one does not come back"),
        )

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        pod = cluster.one("pods", self.arguments.pod)
        path, body = cluster.path("pods", self.arguments.pod), _deletion(pod["metadata"]["uid"])
        cluster.change("DELETE", path, body, dry_run=True)
        cluster.change("DELETE", path, body, dry_run=False)
        return {"deleted": self.arguments.pod, "uid": pod["metadata"]["uid"]}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether that pod is gone or going."""
        pod = self._pod(context.cluster)
        same = pod is not None and pod["metadata"]["uid"] == before.target.uid
        return not same or bool(pod and pod["metadata"].get("deletionTimestamp"))

    def _pod(self, cluster: Cluster) -> dict[str, Any] | None:
        try:
            return cluster.one("pods", self.arguments.pod)
        except ProbeError as error:
            if error.facts.get("status") == 404:
                return None
            raise

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the pod is gone, and another is ready in its place."""
        cluster, workload = context.cluster, str(before.facts["workload"])
        pod = self._pod(cluster)
        if pod is not None and pod["metadata"]["uid"] == before.target.uid:
            return f"pod {self.arguments.pod} is still ending"
        ready = sum(map(objects.ready, _siblings(cluster, workload)))
        wanted = before.facts["ready"] + (not before.facts["pod_ready"])
        return None if ready >= wanted else f"{workload} has {ready} ready pods, {wanted} are expected"


def _deletion(uid: str) -> dict[str, Any]:
    """Delete exactly the pod that was seen."""
    return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}


def _siblings(cluster: Cluster, workload: str) -> list[dict[str, Any]]:
    """The pods of a workload; none where it is of a kind that is not known here."""
    if workload.partition("/")[0] not in ("deployment", "statefulset", "daemonset"):
        return []
    return pods_of(cluster, workload, cluster.one(*kind_and_name(workload)))


def _budgets(cluster: Cluster, pod: str) -> list[str]:
    """The disruption budgets that keep a pod from being taken away now."""
    return [
        one["metadata"]["name"]
        for one in cluster.all("poddisruptionbudgets")
        if not (one.get("status") or {}).get("disruptionsAllowed")
        and pod in {found["metadata"]["name"] for found in cluster.all("pods", selector=objects.selector(one))}
    ]


class NodeArguments(ActionArguments):
    """The node."""

    node: Name


class Cordon(OnCluster):
    """Let no new pod be placed on a node; those that run there stay."""

    name = "kubernetes.cordon"
    kind = "basic-fix"
    effect_within_s = 30.0
    unschedulable: ClassVar[bool] = True
    Arguments = NodeArguments
    arguments: NodeArguments

    def observe(self, context: Context) -> Observation:
        """The node, and how many pods of the platform run on it."""
        cluster = context.cluster
        node = cluster.one("nodes", self.arguments.node)
        target = Target(
            kind="node",
            name=self.arguments.node,
            uid=node["metadata"]["uid"],
            fields={"cordoned": bool(node["spec"].get("unschedulable"))},
        )
        here = cluster.all("pods", fields=f"spec.nodeName={self.arguments.node}")
        ready = objects.condition(node, "Ready").get("status") == "True"
        return Observation(target, {"node_ready": ready, "pods_here": len(here)}, {})

    def _patch(self, uid: str) -> list[patches.Operation]:
        return [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/spec/unschedulable", "value": self.unschedulable},
        ]

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run."""
        node = self.arguments.node
        if seen.target.fields["cordoned"] == self.unschedulable:
            raise PlanError(f"node {node} is {'cordoned' if self.unschedulable else 'not cordoned'} already")
        path = context.cluster.path("nodes", node)
        _, who = rehearsed(context, "PATCH", path, self._patch(seen.target.uid), content=patches.CONTENT)
        inverse = Uncordon if self.unschedulable else Cordon
        takes = "takes no new pods" if self.unschedulable else "takes new pods again"
        return Description(
            summary=f"{'Cordon' if self.unschedulable else 'Uncordon'} node {node}",
            preview={"changes": [f"node {node} {takes}"], "checked_by": who},
            expected_effect=f"node {node} {takes}; the {seen.facts['pods_here']} pods of the platform on it stay",
            blast_radius={"pods": 0, "nodes": 1},
            residual_risk="pods find less room"
            if self.unschedulable
            else "what was wrong with the node, or is done to it, may still be: ask who cordoned it",
            undo=Undo(kind="inverse", reason="sets it as it was", action=inverse.name, arguments={"node": node}),
        )

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        node = cluster.one("nodes", self.arguments.node)
        path, body = cluster.path("nodes", self.arguments.node), self._patch(node["metadata"]["uid"])
        cluster.change("PATCH", path, body, dry_run=True, content=patches.CONTENT)
        cluster.change("PATCH", path, body, dry_run=False, content=patches.CONTENT)
        return {"node": self.arguments.node, "cordoned": self.unschedulable}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the node is so now, and was not before."""
        now = bool(context.cluster.one("nodes", self.arguments.node)["spec"].get("unschedulable"))
        return now == self.unschedulable and now != before.target.fields["cordoned"]


class Uncordon(Cordon):
    """Let pods be placed on a node again."""

    name = "kubernetes.uncordon"
    unschedulable = False


class DrainArguments(NodeArguments):
    """The node, and the workloads that may have no ready pod for a while."""

    outage_of: list[Annotated[str, Field(pattern=r"^[a-z0-9-]+/(deployment|statefulset)/[a-z0-9.-]+$")]] = Field(
        default_factory=list
    )


class Drain(Cordon):
    """Cordon a node and move its pods elsewhere, as far as the disruption budgets allow."""

    name = "kubernetes.drain"
    kind = "configuration"
    effect_within_s = 300.0
    Arguments = DrainArguments
    arguments: DrainArguments

    def observe(self, context: Context) -> Observation:
        """The node, and the workloads whose pods are moved."""
        seen, (moving, _) = super().observe(context), _moving(context.cluster, self.arguments.node)
        keys = {objects.key(pod["metadata"]["namespace"], objects.workload(pod)) for pod in moving}
        return replace(seen, target=seen.target.model_copy(update={"also": tuple(sorted(keys))}))

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run of the cordon and of each eviction."""
        cluster, node = context.cluster, self.arguments.node
        moving, bare = _moving(cluster, node)
        if bare:
            raise PlanError(f"nothing would start these pods of {node} again: {', '.join(sorted(bare))}")
        down = [what for what in _without_a_ready_pod(cluster, moving, node) if what not in self.arguments.outage_of]
        if down:
            raise PlanError(
                f"no ready pod would be left of {', '.join(down)}; scale up first, or accept it in outage_of"
            )
        path, who = cluster.path("nodes", node), "nobody"
        if not seen.target.fields["cordoned"]:
            _, who = rehearsed(context, "PATCH", path, self._patch(seen.target.uid), content=patches.CONTENT)
        rows = []
        for pod in moving:
            eviction = _eviction_path(cluster, pod)
            try:
                _, who = rehearsed(context, "POST", eviction, _eviction(pod, dry_run=True), content=JSON)
                held = ""
            except PlanError as error:
                held = str(error)[:200]
            rows.append({**_line(pod), "held_back_now": held})
        return Description(
            summary=f"Drain node {node}: move its {len(moving)} pods elsewhere",
            preview={"rows": rows, "checked_by": who},
            expected_effect=f"node {node} runs nothing but what belongs to each node; its pods are ready elsewhere",
            blast_radius={"pods": len(moving), "nodes": 1, "workloads": len({objects.workload(pod) for pod in moving})},
            residual_risk="a pod for which no other node has room stays pending",
            undo=self._way_back(was_cordoned=seen.target.fields["cordoned"]),
        )

    def _way_back(self, *, was_cordoned: bool) -> Undo:
        """To take new pods again, unless somebody had cordoned it before."""
        if was_cordoned:
            return Undo(
                kind="restore", reason="it was cordoned before and stays so; those that moved stay where they are"
            )
        reason = "takes new pods again; those that moved stay where they are"
        return Undo(kind="inverse", reason=reason, action=Uncordon.name, arguments={"node": self.arguments.node})

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        if not cluster.one("nodes", self.arguments.node)["spec"].get("unschedulable"):
            super()._apply(cluster, key)
        until = time.monotonic() + _EVICT_S
        evicted: list[str] = []
        waiting, _ = _moving(cluster, self.arguments.node)
        while waiting:
            held: dict[str, dict[str, Any]] = {}
            for pod in waiting:
                try:
                    cluster.change("POST", _eviction_path(cluster, pod), _eviction(pod), dry_run=False)
                    evicted.append(pod["metadata"]["name"])
                except ActionFailed as error:
                    if error.facts.get("status") not in (404, 429):
                        raise ActionFailed(f"{len(evicted)} pods were moved, then: {error}", sent=True) from error
                    if error.facts.get("status") == 429:
                        held[pod["metadata"]["name"]] = pod
            waiting = list(held.values())
            if waiting and time.monotonic() > until:
                names = ", ".join(sorted(held))
                raise ActionFailed(f"{len(evicted)} pods were moved; disruption budgets hold back {names}", sent=True)
            if waiting:
                time.sleep(_AGAIN_S)
        return {"node": self.arguments.node, "evicted": sorted(evicted)}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the node is cordoned and nothing that can move is left on it."""
        del before
        cluster = context.cluster
        cordoned = bool(cluster.one("nodes", self.arguments.node)["spec"].get("unschedulable"))
        going = [
            pod for pod in _moving(cluster, self.arguments.node)[0] if not pod["metadata"].get("deletionTimestamp")
        ]
        return cordoned and not going

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the pods are gone from the node."""
        del before
        left = [pod["metadata"]["name"] for pod in _moving(context.cluster, self.arguments.node)[0]]
        return f"{len(left)} pods are still on {self.arguments.node}: {', '.join(left[:5])}" if left else None


def _moving(cluster: Cluster, node: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The pods that a drain moves, in all namespaces, and those that nothing would start again."""
    moving: list[dict[str, Any]] = []
    bare: list[str] = []
    for pod in cluster.all("pods", fields=f"spec.nodeName={node}", everywhere=True):
        kind = objects.owner(pod)[0]
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if kind in ("DaemonSet", "Node") or _MIRROR in (pod["metadata"].get("annotations") or {}) or ended:
            continue
        if kind:
            moving.append(pod)
        else:
            bare.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
    return moving, bare


def _without_a_ready_pod(cluster: Cluster, moving: list[dict[str, Any]], node: str) -> list[str]:
    """The workloads of which a drain takes the last ready pod, as `namespace/kind/name`."""
    here = {f"{pod['metadata']['namespace']}/{objects.workload(pod)}" for pod in moving if objects.ready(pod)}
    elsewhere = {
        f"{pod['metadata']['namespace']}/{objects.workload(pod)}"
        for pod in cluster.all("pods", everywhere=True)
        if pod["spec"].get("nodeName") != node and objects.ready(pod)
    }
    return sorted(here - elsewhere)


def _eviction_path(cluster: Cluster, pod: objects.Object) -> str:
    return cluster.path("pods", pod["metadata"]["name"], "eviction", namespace=pod["metadata"]["namespace"])


def _eviction(pod: objects.Object, *, dry_run: bool = False) -> dict[str, Any]:
    """Without a version, so that clusters of any take it."""
    options: dict[str, Any] = {"preconditions": {"uid": pod["metadata"]["uid"]}}
    if dry_run:
        options["dryRun"] = ["All"]
    return {
        "metadata": {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]},
        "deleteOptions": options,
    }


def _line(pod: objects.Object) -> dict[str, Any]:
    row = objects.pod_row(pod)
    return {"namespace": pod["metadata"]["namespace"], **{name: row[name] for name in ("pod", "workload", "status")}}
