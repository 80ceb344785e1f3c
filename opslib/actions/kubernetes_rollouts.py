"""Actions on what a workload runs: restart, another image, other resources or variables, an earlier revision."""

from __future__ import annotations

import datetime as dt
import json
import re
from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field

from opslib.actions.action import Context, Description, Observation
from opslib.actions.documents import Undo
from opslib.actions.kubernetes import Name, OnWorkload, RunsArguments, WorkloadArguments, rehearsed, template_digest
from opslib.canonical import canonical, digest
from opslib.clusters import Cluster, objects, patches
from opslib.errors import PlanError
from opslib.probes.kubernetes_workloads import revisions

RESTARTED = "kubectl.kubernetes.io/restartedAt"
TEMPLATE = ("spec", "template")
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential|dsn", re.IGNORECASE)
Resource = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9./-]{0,98}[A-Za-z0-9])?$")]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]


class RollOut(OnWorkload):
    """A change of a workload's pod template: its pods are replaced, as its own strategy says."""

    effect_within_s = 300.0

    @abstractmethod
    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        """What is to be changed in it.

        Raises
        ------
        PlanError
            When that makes no sense.
        """

    @abstractmethod
    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        """Summary, expected effect, residual risk and undo."""

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run of the very patch; what differs is what the server answers."""
        cluster = context.cluster
        thing = self._thing(cluster)
        if template_digest(thing) != seen.target.fields["template"]:
            raise PlanError(f"{self.arguments.workload} changes at this moment; look again")
        _must_roll(self.arguments.workload, thing)
        operations = self._operations(cluster, thing)
        path = cluster.path(self._kind, self._name)
        answer, who = rehearsed(context, "PATCH", path, patches.of(thing, operations), content=patches.CONTENT)
        after = answer or patches.applied(thing, operations)
        changes = objects.differences(thing["spec"]["template"], after["spec"]["template"])
        if not changes:
            raise PlanError(f"{self.arguments.workload} is so already; nothing would change")
        self._must_leave_a_ready_pod(seen)
        summary, effect, risk, undo = self._described(seen, thing, changes)
        least = "none" if self.outage else seen.facts.get("least_ready")
        return Description(
            summary=summary,
            preview={"changes": changes, "rows": self._rows(seen), "checked_by": who},
            expected_effect=effect,
            blast_radius={"pods": seen.facts["desired"], "ready_pods_at_worst": least},
            residual_risk=risk,
            undo=undo,
        )

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        thing = self._thing(cluster)
        path, body = cluster.path(self._kind, self._name), patches.of(thing, self._operations(cluster, thing))
        cluster.change("PATCH", path, body, dry_run=True, content=patches.CONTENT)
        answer = cluster.change("PATCH", path, body, dry_run=False, content=patches.CONTENT)
        return {"generation": answer["metadata"]["generation"], "template": template_digest(answer)}

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """All that its pods run; how many there are does not matter."""
        return {"uid": seen.target.uid, "template": seen.target.fields["template"]}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the pod template is another than before, and as asked for."""
        thing = self._thing(context.cluster)
        return template_digest(thing) != before.target.fields["template"] and self._shows(context.cluster, thing)

    @abstractmethod
    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        """Whether the workload is as asked for."""


class Restart(RollOut):
    """Replace the pods of a workload one after the other; nothing of its configuration changes."""

    name = "kubernetes.restart"
    kind = "restart"
    Arguments = WorkloadArguments
    arguments: WorkloadArguments

    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        del cluster
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return patches.put(thing, (*TEMPLATE, "metadata", "annotations", RESTARTED), now)

    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        del thing, changes
        what, pods = self.arguments.workload, seen.facts["desired"]
        return (
            f"Restart {what}: its {pods} pod{'s' if pods != 1 else ''}, as its own strategy replaces them",
            f"every pod of {what} is new and ready",
            "what made a restart necessary comes back unless its cause is removed; caches start cold",
            Undo(kind="restore", reason="a restart changes no configuration, and pods that have ended stay so"),
        )

    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        del cluster
        marks = thing["spec"]["template"].get("metadata", {}).get("annotations") or {}
        return RESTARTED in marks


class RestartWithOutage(Restart):
    """Replace the pods of a workload even where none is ready for a while, such as a database of one pod."""

    name = "kubernetes.restart-with-outage"
    kind = "configuration"
    outage = True


class SetImageArguments(RunsArguments):
    """The workload, the container, and the image it shall run."""

    container: Name
    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,400}$")]


class SetImage(RollOut):
    """Let a container run another image."""

    name = "kubernetes.set-image"
    kind = "code"
    Arguments = SetImageArguments
    arguments: SetImageArguments

    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        del cluster
        place, _ = container(thing, self.arguments.container)
        return [
            *named(place, self.arguments.container),
            {"op": "replace", "path": f"{place}/image", "value": self.arguments.image},
        ]

    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        del seen, changes
        what, asked = self.arguments.workload, self.arguments
        old = container(thing, asked.container)[1].get("image")
        undo = {"workload": what, "container": asked.container, "image": old}
        return (
            f"Set the image of {what} ({asked.container}) from {old} to {asked.image}",
            f"every pod of {what} runs {asked.image} and is ready",
            "the new image brings what else is in it; if its pods do not get ready, the old ones stay",
            Undo(kind="inverse", reason=f"sets {old} again", action=self.name, arguments=undo),
        )

    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        del cluster
        return container(thing, self.arguments.container)[1].get("image") == self.arguments.image


class SetResourcesArguments(RunsArguments):
    """The workload, the container, and its new requests and limits; what is not named stays, None takes one away."""

    container: Name
    requests: dict[Resource, Quantity | None] = Field(default_factory=dict)
    limits: dict[Resource, Quantity | None] = Field(default_factory=dict)


class SetResources(RollOut):
    """Change what a container asks for and may use."""

    name = "kubernetes.set-resources"
    kind = "configuration"
    Arguments = SetResourcesArguments
    arguments: SetResourcesArguments

    def _wanted(self, thing: objects.Object) -> dict[str, Any]:
        now = dict(container(thing, self.arguments.container)[1].get("resources") or {})
        for what, asked in (("requests", self.arguments.requests), ("limits", self.arguments.limits)):
            if asked:
                figures = {**(now.get(what) or {}), **asked}
                now[what] = {name: value for name, value in figures.items() if value is not None}
        return {what: figures for what, figures in now.items() if figures}

    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        del cluster
        place, _ = container(thing, self.arguments.container)
        change = {"op": "add", "path": f"{place}/resources", "value": self._wanted(thing)}
        return [*named(place, self.arguments.container), change]

    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        del seen
        what, asked = self.arguments.workload, self.arguments
        old = container(thing, asked.container)[1].get("resources") or {}
        had = {
            name: {key: (old.get(name) or {}).get(key) for key in getattr(asked, name)}
            for name in ("requests", "limits")
        }
        arguments = {"workload": what, "container": asked.container, **had}
        return (
            f"Change the resources of {what} ({asked.container}): {'; '.join(changes)}",
            f"every pod of {what} has them and is ready",
            "a pod for whose requests no node has room stays pending, and the old one stays",
            Undo(kind="inverse", reason="sets the previous figures", action=self.name, arguments=arguments),
        )

    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        del cluster
        now = container(thing, self.arguments.container)[1].get("resources") or {}
        return all(
            objects.quantity((now.get(what) or {}).get(name)) == objects.quantity(value)
            for what in ("requests", "limits")
            for name, value in getattr(self.arguments, what).items()
        )


class SetEnvArguments(RunsArguments):
    """The workload, the container, a variable and its value; None removes the variable."""

    container: Name
    variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    value: Annotated[str, Field(max_length=1000)] | None


class SetEnv(RollOut):
    """Set a variable of a container's environment, or remove it; never a secret."""

    name = "kubernetes.set-env"
    kind = "configuration"
    Arguments = SetEnvArguments
    arguments: SetEnvArguments

    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        del cluster
        asked = self.arguments
        if _SECRET_NAME.search(asked.variable):
            raise PlanError(f"{asked.variable} is named like a secret: keep it in a Secret, and rotate that")
        place, one = container(thing, asked.container)
        known = [dict(entry) for entry in one.get("env") or []]
        if any(entry["name"] == asked.variable and "valueFrom" in entry for entry in known):
            raise PlanError(f"{asked.variable} comes from elsewhere (a Secret, a ConfigMap); change it there")
        others = [entry for entry in known if entry["name"] != asked.variable]
        value = {"name": asked.variable, "value": asked.value}
        wanted = [value if entry["name"] == asked.variable else entry for entry in known]
        wanted = others if asked.value is None else wanted if len(others) < len(known) else [*known, value]
        return [*named(place, asked.container), {"op": "add", "path": f"{place}/env", "value": wanted}]

    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        del seen
        what, asked = self.arguments.workload, self.arguments
        undo = {"workload": what, "container": asked.container, "variable": asked.variable, "value": self._value(thing)}
        return (
            f"Change {what} ({asked.container}): {'; '.join(changes)}",
            f"every pod of {what} has {asked.variable} so, and is ready",
            "the programs in it behave as the new value says",
            Undo(kind="inverse", reason="sets it as it was", action=self.name, arguments=undo),
        )

    def _value(self, thing: objects.Object) -> str | None:
        known = container(thing, self.arguments.container)[1].get("env") or []
        found = next((entry for entry in known if entry["name"] == self.arguments.variable), None)
        return None if found is None else found.get("value") or ""

    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        del cluster
        return self._value(thing) == self.arguments.value


class UndoRolloutArguments(RunsArguments):
    """The workload, and the revision to go back to; 0: the one before the current."""

    revision: Annotated[int, Field(ge=0)] = 0


class UndoRollout(RollOut):
    """Go back to an earlier revision of a workload."""

    name = "kubernetes.undo-rollout"
    kind = "code"
    Arguments = UndoRolloutArguments
    arguments: UndoRolloutArguments

    def _fields(self, cluster: Cluster, thing: objects.Object) -> dict[str, Any]:
        try:
            now, to = self._revisions(cluster, thing)
        except PlanError:  # a roll-back gives the revision that it goes to a new number
            return {"revision": None, "to_revision": None, "to_template": None}
        return {"revision": now["revision"], "to_revision": to["revision"], "to_template": _digest(to["template"])}

    def _revisions(self, cluster: Cluster, thing: objects.Object) -> tuple[dict[str, Any], dict[str, Any]]:
        """The current revision, and the one to go back to."""
        found = revisions(cluster, self._kind, thing)
        now = next((row for row in found if row["current"]), None)
        if now is None:
            raise PlanError(f"{self.arguments.workload} does not say which revision it runs")
        wanted = self.arguments.revision
        earlier = [row for row in found if (row["revision"] == wanted if wanted else row["revision"] < now["revision"])]
        if not earlier:
            kept = ", ".join(str(row["revision"]) for row in found)
            raise PlanError(f"{self.arguments.workload} has no revision {wanted or 'before its current'}; kept: {kept}")
        return now, earlier[-1]

    def _operations(self, cluster: Cluster, thing: objects.Object) -> list[patches.Operation]:
        _, to = self._revisions(cluster, thing)
        return [{"op": "replace", "path": "/spec/template", "value": to["template"]}]

    def _described(self, seen: Observation, thing: objects.Object, changes: list[str]) -> tuple[str, str, str, Undo]:
        del thing
        what, now, to = self.arguments.workload, seen.target.fields["revision"], seen.target.fields["to_revision"]
        return (
            f"Roll {what} back from revision {now} to revision {to}: {'; '.join(changes)}"[:500],
            f"every pod of {what} runs what revision {to} ran, and is ready",
            f"what revision {now} brought is gone as well; its data and schema changes stay",
            Undo(
                kind="inverse",
                reason=f"rolls forward to revision {now}",
                action=self.name,
                arguments={"workload": what, "revision": now},
            ),
        )

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the pod template is that of the revision that the plan named."""
        thing = self._thing(context.cluster)
        wanted = str(before.target.fields["to_template"])
        return (
            template_digest(thing) != before.target.fields["template"] and _digest(thing["spec"]["template"]) == wanted
        )

    def _shows(self, cluster: Cluster, thing: objects.Object) -> bool:
        del cluster, thing
        return True


def _must_roll(workload: str, thing: objects.Object) -> None:
    """Raise `PlanError` where a workload does not replace its pods by itself."""
    if thing["spec"].get("paused"):
        raise PlanError(f"the roll-out of {workload} is paused; resume it first")
    if (thing["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        raise PlanError(f"{workload} replaces a pod only when it is deleted; propose kubernetes.delete-pod")


def container(thing: objects.Object, name: str) -> tuple[str, objects.Object]:
    """Where a container stands in a workload, as a JSON pointer, and the container; those that prepare the pod too.

    Raises
    ------
    PlanError
        When there is none of that name.
    """
    spec = thing["spec"]["template"]["spec"]
    known = [
        (f"/spec/template/spec/{kind}/{place}", one)
        for kind in ("containers", "initContainers")
        for place, one in enumerate(spec.get(kind) or [])
    ]
    for place, one in known:
        if one["name"] == name:
            return place, one
    there = ", ".join(one["name"] for _, one in known)
    raise PlanError(f"{thing['metadata']['name']} has no container {name!r}; it has {there}")


def named(place: str, name: str) -> list[patches.Operation]:
    """The server checks that the container at that place is the one meant."""
    return [{"op": "test", "path": f"{place}/name", "value": name}]


def _digest(template: objects.Object) -> str:
    """A digest of a template without what controllers and the API add to it."""
    plain = json.loads(json.dumps(template))
    meta = plain.get("metadata") or {}
    meta.pop("creationTimestamp", None)
    (meta.get("labels") or {}).pop("pod-template-hash", None)
    return digest(canonical(plain))[:16]
