"""Actions on a Helm release: back to an earlier revision, or on to a chart that the platform declares."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from opslib.actions import firing
from opslib.actions.action import Action, Check, Context, Description, MayGoBack, Observation
from opslib.actions.crypto import Reason
from opslib.actions.documents import OF_CLUSTER, Target, Undo
from opslib.actions.kubernetes import BY_US
from opslib.canonical import file_digest
from opslib.clusters import Cluster, connect, helm
from opslib.clusters.helm import Release
from opslib.errors import ActionFailed, ConfigurationError, PlanError, ProbeError

BY_HELM = "helm's dry run: it accepts this change"
_WAIT_S = 120
_MORE_S = 30.0  # for helm itself, beyond waiting
_REHEARSE_S = 30.0
_WORKLOADS = ("Deployment/", "StatefulSet/", "DaemonSet/")

ReleaseName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,51}[a-z0-9])?$")]
ValueName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,80}(\.[A-Za-z0-9_-]{1,80}|\[\d{1,3}\]){0,12}$")]
Value = Annotated[str, StringConstraints(max_length=1000)] | bool | int | float | None


class ReleaseArguments(MayGoBack):
    """Which release, and why."""

    release: ReleaseName
    reason: Reason = "set by plan"


class _OnRelease(Action):
    """What both have in common: the release as Helm keeps it, and that its revision is a new one afterwards."""

    kind = "code"
    effect_within_s = 60.0
    arguments: ReleaseArguments

    def observe(self, context: Context) -> Observation:
        """The revision in force."""
        cluster = context.cluster
        kept = helm.revisions(cluster, self._release)
        now = _release(cluster, kept, max(kept))
        target = Target(
            kind="helm-release",
            name=f"{cluster.namespace}/{now.name}",
            uid=f"{cluster.namespace}/{now.name} of {now.first_deployed}",
            generation=str(now.revision),
            fields={"status": now.status, "chart": now.chart, **self._fields(context)},
            also=helm.members(now.manifest, cluster.namespace, OF_CLUSTER),
        )
        return Observation(target, {"revisions": list(kept)})

    @property
    def _release(self) -> str:
        """Name of the release."""
        return self.arguments.release

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it, unless something else is at it."""
        status = str(seen.target.fields["status"])
        if status not in ("deployed", "failed"):
            raise PlanError(f"{seen.target.name} is {status}: wait until that has ended, or have a person end it")
        return self._previewed(context, seen)

    @abstractmethod
    def _previewed(self, context: Context, seen: Observation) -> Description:
        """What differs between the two manifests."""

    def _fields(self, context: Context) -> dict[str, Any]:
        """What else the plan depends on."""
        del context
        return {}

    @abstractmethod
    def _is_mine(self, now: Release) -> bool:
        """Whether a revision is what this action makes, by helm's own words: while it is made, then, or failed."""

    @abstractmethod
    def _words(self, context: Context) -> tuple[str, ...]:
        """What helm is told, for the dry run and for the change."""

    def check(self, context: Context) -> Check | None:
        """The alert's own rule, evaluated again."""
        return firing.check(context)

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Have helm do it, and wait until the pods are ready."""
        if context.identity != "applier":
            raise ActionFailed(f"the {context.identity} may not change {context.platform}", sent=False)
        try:
            words, cluster = self._words(context), context.cluster
        except (ProbeError, ConfigurationError, PlanError) as error:
            raise ActionFailed(f"nothing was changed: {error}", sent=False) from error
        wait = ("--wait", "--timeout", f"{_WAIT_S}s", *self._marks(key))
        helm.run(cluster, *words, *wait, timeout_s=_WAIT_S + _MORE_S, changes=True)
        now = self._now(context)
        return {"release": now.name, "revision": now.revision, "status": now.status, "chart": now.chart}

    def _marks(self, key: str) -> tuple[str, ...]:
        """What says in the revision which plan made it, where helm takes that."""
        del key
        return ()

    def _described(
        self, seen: Observation, rows: list[dict[str, str]], summary: str, checked_by: str, risk: str
    ) -> Description:
        before = str(seen.target.generation)
        workloads = [row["object"] for row in rows if row["object"].startswith(_WORKLOADS)]
        return Description(
            summary=summary,
            preview={
                "rows": rows,
                "revision": int(before),
                "chart": seen.target.fields["chart"],
                "checked_by": checked_by,
            },
            expected_effect=f"revision {int(before) + 1} is deployed, with all its pods ready within {_WAIT_S} s",
            blast_radius={"objects": len(rows), "workloads": len(workloads)},
            residual_risk=risk,
            undo=Undo(
                kind="inverse",
                reason=f"rolls back to revision {before}, as long as Helm keeps it",
                action=Rollback.name,
                arguments={"release": self._release, "revision": int(before), "reason": "undo"},
            ),
        )

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the next revision was begun, by this action."""
        now = self._now(context)
        return now.revision == int(before.target.generation or 0) + 1 and self._is_mine(now)

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """The revision in force."""
        return {"uid": seen.target.uid, "revision": seen.target.generation}

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether a new revision is in force, and deployed."""
        now = self._now(context)
        if now.revision <= int(before.target.generation or 0):
            return f"revision {now.revision} of {now.name} is still in force"
        return None if now.status == "deployed" else f"revision {now.revision} of {now.name} is {now.status}"

    def _now(self, context: Context) -> Release:
        kept = helm.revisions(context.cluster, self._release)
        return _release(context.cluster, kept, max(kept))


class RollbackArguments(ReleaseArguments):
    """To which revision."""

    revision: Annotated[int, Field(ge=1)]


class Rollback(_OnRelease):
    """Bring an earlier revision of a release back, as a new one."""

    name = "helm.rollback"
    Arguments = RollbackArguments
    arguments: RollbackArguments

    def _previewed(self, context: Context, seen: Observation) -> Description:
        """Between the revision in force and the earlier one."""
        cluster, asked, before = context.cluster, self.arguments.revision, int(seen.target.generation or 0)
        if asked == before:
            raise PlanError(f"revision {asked} of {self._release} is in force already")
        kept = helm.revisions(cluster, self._release)
        if asked not in kept:
            known = ", ".join(map(str, kept))
            raise PlanError(f"Helm keeps no revision {asked} of {self._release}; it keeps {known}")
        wanted = _release(cluster, kept, asked)
        rows = helm.differences(_release(cluster, kept, before).manifest, wanted.manifest)
        _, checked_by = _rehearsed(context, *self._words(context), "--dry-run")
        failed = f"; revision {asked} had not come up when it was deployed" if wanted.status == "failed" else ""
        return self._described(
            seen,
            rows,
            f"Roll {self._release} back from revision {before} to {asked} ({wanted.chart})",
            checked_by,
            f"what revision {before} brought is gone with it; data that it has changed stay changed{failed}",
        )

    def _is_mine(self, now: Release) -> bool:
        return now.description == f"Rollback to {self.arguments.revision}" or now.description.startswith('Rollback "')

    def _words(self, context: Context) -> tuple[str, ...]:
        del context
        return ("rollback", self._release, str(self.arguments.revision))


class UpgradeArguments(ReleaseArguments):
    """To which chart, by the name that the platform gives it, and values by name."""

    chart: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    values: Annotated[dict[ValueName, Value], Field(max_length=30, default_factory=dict)]


class Upgrade(_OnRelease):
    """Bring a release to a chart that the platform declares, keeping its values but for those named."""

    name = "helm.upgrade"
    Arguments = UpgradeArguments
    arguments: UpgradeArguments

    def _fields(self, context: Context) -> dict[str, Any]:
        """The chart as it lies there: another file under the same name is another change."""
        reference = self._reference(context)
        if not reference.startswith("/"):
            return {"to_chart": reference}
        try:
            return {"to_chart": reference, "to_chart_sha256": file_digest(Path(reference))}
        except OSError as error:
            raise ProbeError(f"the chart {self.arguments.chart} cannot be read: {error.strerror}") from error

    def _previewed(self, context: Context, seen: Observation) -> Description:
        """Between the manifest in force and the one that the dry run gives."""
        before = self._now(context)
        told, checked_by = _rehearsed(context, *self._words(context), "--dry-run=server", "--output", "json")
        if told is None:
            raise PlanError("this identity may not have Helm try it, so nobody could say what would change")
        after = Release.of(json.loads(told))
        rows = helm.differences(before.manifest, after.manifest)
        if not rows:
            raise PlanError(f"nothing of {self._release} would change")
        given = self.arguments.values
        return self._described(
            seen,
            rows,
            f"Upgrade {self._release} from {before.chart} to {after.chart}"
            + (
                f", with {', '.join(f'{name} = {json.dumps(value)}' for name, value in given.items())}" if given else ""
            ),
            checked_by,
            "hooks of the chart run, which no manifest shows; data that the new version changes stay changed",
        )

    def _is_mine(self, now: Release) -> bool:
        return now.description.startswith(("plan ", 'Upgrade "', "Preparing upgrade"))

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Upgrade, once a key: a revision whose description names the key is this one."""
        now = self._now(context)
        if now.description.startswith(f"plan {key}: "):
            return {"release": now.name, "revision": now.revision, "made": "before"}
        return super().apply(context, key)

    def _marks(self, key: str) -> tuple[str, ...]:
        return ("--description", f"plan {key}: {self.arguments.reason}")

    def _reference(self, context: Context) -> str:
        if self.arguments.chart not in context.charts:
            known = ", ".join(sorted(context.charts)) or "none"
            raise PlanError(f"{context.platform} declares no chart {self.arguments.chart!r}; its charts: {known}")
        return context.charts[self.arguments.chart]

    def _words(self, context: Context) -> tuple[str, ...]:
        values = [
            word
            for name, value in sorted(self.arguments.values.items())
            for word in ("--set-json", f"{name}={json.dumps(value)}")
        ]
        return ("upgrade", self._release, self._reference(context), "--reset-then-reuse-values", *values)


def _release(cluster: Cluster, kept: dict[int, str], revision: int) -> Release:
    return Release.of(helm.unpacked(cluster, kept[revision]))


def _rehearsed(context: Context, *words: str) -> tuple[str | None, str]:
    """What helm says to a dry run, and who says so; None where no identity here may ask.

    Raises
    ------
    PlanError
        When helm refuses the change itself.
    """
    for system in ("kubernetes_preview", "kubernetes"):
        try:
            cluster = connect(context.endpoint(system))
            return helm.run(cluster, *words, timeout_s=_REHEARSE_S, changes=False), BY_HELM
        except ConfigurationError:
            continue
        except ActionFailed as error:
            if not error.facts.get("forbidden"):
                raise PlanError(f"it would be refused: {error}") from error
    return None, BY_US
