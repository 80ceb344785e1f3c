"""What the actions on a Kubernetes cluster have in common: observation, dry run, roll-out, guard."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import Field

from opslib.actions import firing
from opslib.actions.action import Action, ActionArguments, Check, Context, MayGoBack, Observation
from opslib.actions.documents import Target
from opslib.canonical import canonical, digest
from opslib.clusters import Cluster, connect, objects
from opslib.errors import ActionFailed, ConfigurationError, PlanError, ProbeError
from opslib.probes.kubernetes_workloads import autoscaler_row, workload_row

BY_SERVER = "the API server's dry run: it accepts this change"
BY_US = (
    "computed here, since this identity may not ask the API server for a dry run; the applier does so before the change"
)
_MOST_ROWS = 50
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Workload = Annotated[str, Field(pattern=r"^(deployment|statefulset)/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class OnCluster(Action):
    """A change to a cluster: its firing check is the alert's own rule, its preview the server's dry run."""

    def check(self, context: Context) -> Check | None:
        """The alert's own rule, evaluated again."""
        return firing.check(context)

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Let the server try it by a dry run, then do it."""
        if context.identity != "applier":
            raise ActionFailed(f"the {context.identity} may not change {context.platform}", sent=False)
        try:
            return self._apply(context.cluster, key)
        except (ProbeError, ConfigurationError, PlanError) as error:
            raise ActionFailed(f"nothing was changed: {error}", sent=False) from error

    @abstractmethod
    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        """Do it."""


def rehearsed(
    context: Context, method: str, path: str, body: Any, *, content: str, accept: str = "application/json"
) -> tuple[dict[str, Any] | None, str]:
    """What the server says would come of a change, and who says so; None where no identity here may ask it.

    Raises
    ------
    PlanError
        When the server refuses the change itself.
    """
    for system in ("kubernetes_preview", "kubernetes"):
        try:
            cluster = connect(context.endpoint(system))
            return cluster.change(method, path, body, dry_run=True, content=content, accept=accept), BY_SERVER
        except ConfigurationError:
            continue
        except ActionFailed as error:
            if error.facts.get("status") != 403:
                raise PlanError(f"the API server would refuse it: {error}") from error
    return None, BY_US


class WorkloadArguments(ActionArguments):
    """Which workload: `deployment/NAME` or `statefulset/NAME`."""

    workload: Workload


class RunsArguments(WorkloadArguments, MayGoBack):
    """The workload, of which something is changed that may go back by itself."""


class OnWorkload(OnCluster):
    """A change to one deployment or stateful set."""

    outage: ClassVar[bool] = False  # whether it may leave no ready pod for a while
    arguments: WorkloadArguments

    # seeing

    @property
    def _kind(self) -> str:
        return self.arguments.workload.partition("/")[0] + "s"

    @property
    def _name(self) -> str:
        return self.arguments.workload.partition("/")[2]

    def _thing(self, cluster: Cluster) -> dict[str, Any]:
        return cluster.one(self._kind, self._name)

    def observe(self, context: Context) -> Observation:
        """The workload, its pods, and what scales it."""
        cluster = context.cluster
        thing = self._thing(cluster)
        pods = pods_of(cluster, self.arguments.workload, thing)
        scaler = autoscaler_of(cluster, self.arguments.workload)
        row = workload_row(self._kind, thing)
        facts = {
            "ready": sum(map(objects.ready, pods)),
            "desired": row["desired"],
            "complete": row["complete"],
            "generation": thing["metadata"]["generation"],
            "autoscaler": scaler,
            "pods": [_pod_line(pod) for pod in pods[:_MOST_ROWS]],
        }
        if not self.outage:
            facts["least_ready"] = self._least_ready(thing, facts["ready"])
        target = Target(
            kind=self._kind[:-1],
            name=f"{cluster.namespace}/{self._name}",
            uid=thing["metadata"]["uid"],
            generation=None if scaler and not self._counts_replicas else str(thing["metadata"]["generation"]),
            fields={"template": template_digest(thing), **self._fields(cluster, thing)},
        )
        return Observation(target, facts, {"ready_replicas": {self.arguments.workload: float(facts["ready"])}})

    _counts_replicas: ClassVar[bool] = False  # whether a scaling in between voids the plan

    def _fields(self, cluster: Cluster, thing: objects.Object) -> dict[str, Any]:
        """What else the plan depends on."""
        del cluster, thing
        return {}

    def _least_ready(self, thing: objects.Object, ready: int) -> int:
        """How many pods are ready at the worst moment: one by one for a roll-out."""
        return least_ready(self._kind, thing, ready)

    def _must_leave_a_ready_pod(self, seen: Observation) -> None:
        if seen.facts["ready"] and seen.facts.get("least_ready") == 0:
            raise PlanError(
                f"no ready pod of {self.arguments.workload} would be left for a while; scale it up first, or propose "
                "kubernetes.restart-with-outage, which needs more authority"
            )

    # waiting

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the roll-out is complete."""
        del before
        return rollout_missing(self._kind, self._thing(context.cluster))

    def _rows(self, seen: Observation) -> list[dict[str, Any]]:
        return list(seen.facts["pods"])


def template_digest(thing: objects.Object) -> str:
    """A short digest of the pod template: changes when anything in it does."""
    return digest(canonical(thing["spec"]["template"]))[:16]


def pods_of(cluster: Cluster, workload: str, thing: objects.Object) -> list[dict[str, Any]]:
    """The pods of a workload, ready ones first."""
    found = cluster.all("pods", selector=objects.selector(thing))
    own = [pod for pod in found if objects.workload(pod) == workload]
    return sorted(own, key=lambda pod: (not objects.ready(pod), pod["metadata"]["name"]))


def autoscaler_of(cluster: Cluster, workload: str) -> dict[str, Any] | None:
    """Name and bounds of the autoscaler of a workload, where there is one."""
    try:
        rows = [autoscaler_row(one) for one in cluster.all("horizontalpodautoscalers")]
    except ProbeError as error:
        if error.facts.get("absent"):
            return None
        raise
    found = next((row for row in rows if row["workload"] == workload), None)
    return {"name": found["autoscaler"], "least": found["least"], "most": found["most"]} if found else None


def least_ready(kind: str, thing: objects.Object, ready: int) -> int:
    """How many pods a roll-out leaves ready at the worst moment, by the workload's own strategy."""
    spec, desired = thing["spec"], int(thing["spec"].get("replicas", 1))
    if kind == "statefulsets":
        return max(0, min(ready, desired - 1))
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0
    rolling = strategy.get("rollingUpdate") or {}
    away = _share(rolling.get("maxUnavailable", "25%"), desired, up=False)
    more = _share(rolling.get("maxSurge", "25%"), desired, up=True)
    if away == 0 and more == 0:
        away = 1
    return max(0, min(ready, desired - away))


def _share(value: str | int, of: int, *, up: bool) -> int:
    """`25%` of a number of pods, or the number itself."""
    if isinstance(value, int):
        return value
    part = of * float(value.rstrip("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def rollout_missing(kind: str, thing: objects.Object) -> str | None:
    """What of a roll-out is still to come, in words; None where it is complete."""
    row, status = workload_row(kind, thing), thing.get("status") or {}
    old = int(status.get("replicas") or 0) - row["updated"] if kind == "deployments" else 0
    if row["complete"] and old <= 0 and int(status.get("replicas") or 0) <= row["desired"]:
        return None
    told = f"{row['workload']} has {row['updated']} of {row['desired']} pods new and {row['ready']} ready"
    return f"{told} ({row['problem']})" if row["problem"] else told


def _pod_line(pod: objects.Object) -> dict[str, Any]:
    row = objects.pod_row(pod)
    return {name: row[name] for name in ("pod", "status", "ready", "restarts", "node")}
