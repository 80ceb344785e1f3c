"""Actions on how many pods of a workload run: scale it, stop it, set the bounds of its autoscaler."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from opslib.actions.action import Context, Description, MayGoBack, Observation
from opslib.actions.documents import Target, Undo
from opslib.actions.kubernetes import Name, OnCluster, OnWorkload, RunsArguments, WorkloadArguments, pods_of, rehearsed
from opslib.clusters import Cluster, objects, patches
from opslib.errors import PlanError
from opslib.probes.kubernetes_workloads import autoscaler_row


class ScaleArguments(RunsArguments):
    """The workload, and how many pods of it shall run."""

    replicas: Annotated[int, Field(ge=1, le=500)]


class Scale(OnWorkload):
    """Run more pods of a workload, or fewer, but at least one."""

    name = "kubernetes.scale"
    kind = "scale"
    effect_within_s = 180.0
    _counts_replicas = True
    Arguments = ScaleArguments
    arguments: ScaleArguments

    @property
    def _wanted(self) -> int:
        return self.arguments.replicas

    def _fields(self, cluster: Cluster, thing: objects.Object) -> dict[str, Any]:
        del cluster
        return {"replicas": int(thing["spec"].get("replicas", 1))}

    def _least_ready(self, thing: objects.Object, ready: int) -> int:
        del thing
        return min(ready, self._wanted)

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run on the scale of the workload."""
        old, new, what = seen.target.fields["replicas"], self._wanted, self.arguments.workload
        if old == new:
            raise PlanError(f"{what} has {old} replicas already")
        scaler = seen.facts["autoscaler"]
        if scaler and not scaler["least"] <= new <= scaler["most"] and new:
            bounds = f"{scaler['least']} to {scaler['most']}"
            raise PlanError(f"autoscaler {scaler['name']} keeps {what} at {bounds}; change that first, or with it")
        path = context.cluster.path(self._kind, self._name, "scale")
        _, who = rehearsed(context, "PATCH", path, self._patch(seen.target.uid, old), content=patches.CONTENT)
        again = f"; autoscaler {scaler['name']} may change it again" if scaler else ""
        return Description(
            summary=f"Scale {what} from {old} to {new}",
            preview={
                "measure": "replicas", "unit": "", "before": old, "after": new, "limit": None,
                "rows": self._rows(seen), "checked_by": who,
            },
            expected_effect=f"{new} pods of {what} run and are ready",
            blast_radius={"pods": abs(new - old)},
            residual_risk=f"the cause is not removed{again}" if new > old else f"the rest carries more load{again}",
            undo=Undo(
                kind="inverse",
                reason=f"scales {what} back to {old}",
                action=Scale.name if old else Stop.name,
                arguments={"workload": what, "replicas": old} if old else {"workload": what},
            ),
        )  # fmt: skip

    def _patch(self, uid: str, old: int) -> list[patches.Operation]:
        return [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/spec/replicas", "value": old}
            if old
            else {"op": "test", "path": "/kind", "value": "Scale"},
            {"op": "add", "path": "/spec/replicas", "value": self._wanted},
        ]

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        thing = self._thing(cluster)
        old = int(thing["spec"].get("replicas", 1))
        path, body = cluster.path(self._kind, self._name, "scale"), self._patch(thing["metadata"]["uid"], old)
        cluster.change("PATCH", path, body, dry_run=True, content=patches.CONTENT)
        cluster.change("PATCH", path, body, dry_run=False, content=patches.CONTENT)
        return {"replicas": self._wanted, "before": old}

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """How many pods it asks for; what they run may have changed."""
        return {"uid": seen.target.uid, "replicas": seen.target.fields["replicas"]}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the workload asks for that many pods now, and did not before."""
        now = int(self._thing(context.cluster)["spec"].get("replicas", 1))
        return now == self._wanted and now != before.target.fields["replicas"]


class Stop(Scale):
    """Run no pod of a workload any more, such as an execution service that must not trade."""

    name = "kubernetes.stop"
    kind = "configuration"
    outage = True
    Arguments = WorkloadArguments  # type: ignore[assignment]

    @property
    def _wanted(self) -> int:
        return 0

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run on the scale of the workload."""
        told = super().describe(context, seen)
        what = self.arguments.workload
        return Description(
            summary=f"Stop {what}: no pod of it runs any more",
            preview=told.preview,
            expected_effect=f"all {seen.target.fields['replicas']} pods of {what} end",
            blast_radius={"pods": seen.target.fields["replicas"], "ready_pods_left": 0},
            residual_risk=f"nothing does the work of {what} until it is scaled up again; open orders stay as they are",
            undo=told.undo,
        )

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether every pod has ended; one that is still ending still does its work."""
        del before
        left = pods_of(context.cluster, self.arguments.workload, self._thing(context.cluster))
        return f"{len(left)} pods of {self.arguments.workload} have not ended yet" if left else None


class AutoscalerArguments(MayGoBack):
    """The autoscaler and its new bounds."""

    autoscaler: Name
    least: Annotated[int, Field(ge=1, le=500)]
    most: Annotated[int, Field(ge=1, le=500)]


class SetAutoscaler(OnCluster):
    """Change between how many pods an autoscaler may choose."""

    name = "kubernetes.set-autoscaler"
    kind = "scale"
    effect_within_s = 180.0
    Arguments = AutoscalerArguments
    arguments: AutoscalerArguments

    def observe(self, context: Context) -> Observation:
        """The autoscaler with its bounds and its workload."""
        cluster = context.cluster
        row = self._row(cluster)
        one = cluster.one("horizontalpodautoscalers", self.arguments.autoscaler)
        target = Target(
            kind="horizontalpodautoscaler",
            name=f"{cluster.namespace}/{self.arguments.autoscaler}",
            uid=one["metadata"]["uid"],
            fields={"least": row["least"], "most": row["most"], "workload": row["workload"]},
            also=(objects.key(cluster.namespace, row["workload"]),),
        )
        return Observation(target, {"current": row["current"]}, {})

    def _row(self, cluster: Cluster) -> dict[str, Any]:
        return autoscaler_row(cluster.one("horizontalpodautoscalers", self.arguments.autoscaler))

    def _patch(self, uid: str) -> list[patches.Operation]:
        return [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/spec/minReplicas", "value": self.arguments.least},
            {"op": "replace", "path": "/spec/maxReplicas", "value": self.arguments.most},
        ]

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run."""
        asked, was = self.arguments, seen.target.fields
        if asked.least > asked.most:
            raise PlanError(f"at least {asked.least} and at most {asked.most} pods cannot both hold")
        if (asked.least, asked.most) == (was["least"], was["most"]):
            raise PlanError(f"{asked.autoscaler} is at {asked.least} to {asked.most} already")
        path = context.cluster.path("horizontalpodautoscalers", asked.autoscaler)
        _, who = rehearsed(context, "PATCH", path, self._patch(seen.target.uid), content=patches.CONTENT)
        current = seen.facts["current"]
        then = min(max(current, asked.least), asked.most)
        return Description(
            summary=f"Let {asked.autoscaler} run {asked.least} to {asked.most} pods "
            f"(before: {was['least']} to {was['most']})",
            preview={"measure": "pods", "unit": "", "before": current, "after": then, "limit": None, "checked_by": who},
            expected_effect=f"{was['workload']} runs between {asked.least} and {asked.most} pods",
            blast_radius={"pods": abs(then - current)},
            residual_risk="the autoscaler still decides by its metrics within these bounds",
            undo=Undo(
                kind="inverse",
                reason="sets the previous bounds",
                action=self.name,
                arguments={"autoscaler": asked.autoscaler, "least": was["least"], "most": was["most"]},
            ),
        )

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        one = cluster.one("horizontalpodautoscalers", self.arguments.autoscaler)
        path, body = (
            cluster.path("horizontalpodautoscalers", self.arguments.autoscaler),
            self._patch(one["metadata"]["uid"]),
        )
        cluster.change("PATCH", path, body, dry_run=True, content=patches.CONTENT)
        cluster.change("PATCH", path, body, dry_run=False, content=patches.CONTENT)
        return {"least": self.arguments.least, "most": self.arguments.most}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it has these bounds now, and did not before."""
        row, was = self._row(context.cluster), before.target.fields
        now = (row["least"], row["most"])
        return now == (self.arguments.least, self.arguments.most) and now != (was["least"], was["most"])

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the workload has as many pods as the bounds allow."""
        del before
        row = self._row(context.cluster)
        if row["least"] <= row["current"] <= row["most"]:
            return None
        return f"{row['workload']} has {row['current']} pods, not {row['least']} to {row['most']} yet"
