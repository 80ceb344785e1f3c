"""Actions on who gets in: the allow-list of an ingress, and the values of a secret."""

from __future__ import annotations

import base64
import ipaddress
import secrets
from typing import Annotated, Any

from pydantic import Field, field_validator

from opslib.actions.action import ActionArguments, Context, Description, Observation
from opslib.actions.documents import Target, Undo
from opslib.actions.kubernetes import Name, OnCluster, rehearsed
from opslib.clusters import Cluster, objects, patches
from opslib.clusters.client import METADATA_OF_ONE
from opslib.errors import PlanError
from opslib.probes.kubernetes_workloads import ALLOWED_FROM
from opslib.record import redaction

_MARKS = ("metadata", "annotations", ALLOWED_FROM)
_USERS = ("deployments", "statefulsets", "daemonsets")


class AllowListArguments(ActionArguments):
    """The ingress, and the networks that may come; none: everybody may."""

    ingress: Name
    networks: Annotated[list[str], Field(max_length=200)]

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        return [str(ipaddress.ip_network(one)) for one in networks]


class SetAllowList(OnCluster):
    """Let only some networks through an ingress, such as to isolate a platform; or everybody again."""

    name = "kubernetes.set-allow-list"
    kind = "configuration"
    effect_within_s = 60.0
    Arguments = AllowListArguments
    arguments: AllowListArguments

    def observe(self, context: Context) -> Observation:
        """The ingress with its hosts and its allow-list."""
        cluster = context.cluster
        one = self._ingress(cluster)
        spec = one["spec"]
        target = Target(
            kind="ingress",
            name=f"{cluster.namespace}/{self.arguments.ingress}",
            uid=one["metadata"]["uid"],
            generation=str(one["metadata"].get("generation")),
            fields={"allowed_from": self._now(one)},
        )
        hosts = sorted({rule.get("host") or "*" for rule in spec.get("rules") or []})
        return Observation(target, {"hosts": hosts}, {})

    def _ingress(self, cluster: Cluster) -> dict[str, Any]:
        return cluster.one("ingresses", self.arguments.ingress)

    @staticmethod
    def _now(one: objects.Object) -> str | None:
        found: str | None = (one["metadata"].get("annotations") or {}).get(ALLOWED_FROM)
        return found

    @property
    def _wanted(self) -> str | None:
        return ",".join(self.arguments.networks) or None

    def _operations(self, one: objects.Object) -> list[patches.Operation]:
        change = patches.drop(one, _MARKS) if self._wanted is None else patches.put(one, _MARKS, self._wanted)
        return patches.of(one, change)

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run."""
        name, was = self.arguments.ingress, seen.target.fields["allowed_from"]
        if was == self._wanted:
            raise PlanError(f"{name} lets {was or 'everybody'} through already")
        cluster = context.cluster
        path, body = cluster.path("ingresses", name), self._operations(self._ingress(cluster))
        _, who = rehearsed(context, "PATCH", path, body, content=patches.CONTENT)
        hosts = ", ".join(seen.facts["hosts"])
        return Description(
            summary=f"Let {self._wanted or 'everybody'} through {name} ({hosts}), not {was or 'everybody'}",
            preview={
                "changes": [f"allowed from {was or 'everywhere'} -> {self._wanted or 'everywhere'}"],
                "checked_by": who,
            },
            expected_effect=f"{hosts} answers {self._wanted or 'everybody'} and nobody else",
            blast_radius={"hosts": len(seen.facts["hosts"]), "pods": 0},
            residual_risk="connections that are open already may stay open; who comes another way is not stopped"
            if self._wanted
            else "everybody who was shut out can come again",
            undo=Undo(
                kind="inverse",
                reason="sets the previous list",
                action=self.name,
                arguments={"ingress": name, "networks": [one.strip() for one in was.split(",")] if was else []},
            ),
        )

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        path, body = cluster.path("ingresses", self.arguments.ingress), self._operations(self._ingress(cluster))
        cluster.change("PATCH", path, body, dry_run=True, content=patches.CONTENT)
        cluster.change("PATCH", path, body, dry_run=False, content=patches.CONTENT)
        return {"ingress": self.arguments.ingress, "allowed_from": self._wanted}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it has that list now, and had not before."""
        now = self._now(self._ingress(context.cluster))
        return now == self._wanted and now != before.target.fields["allowed_from"]


class RotateSecretArguments(ActionArguments):
    """The secret, and the keys in it that get new random values."""

    secret: Name
    keys: Annotated[list[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]], Field(min_length=1, max_length=20)]
    length: Annotated[int, Field(ge=16, le=128)] = 32


class RotateSecret(OnCluster):
    """Give keys of a secret new random values, which only the cluster ever holds."""

    name = "kubernetes.rotate-secret"
    kind = "configuration"
    effect_within_s = 30.0
    Arguments = RotateSecretArguments
    arguments: RotateSecretArguments

    def observe(self, context: Context) -> Observation:
        """The secret by its metadata alone, and who uses it."""
        cluster = context.cluster
        meta = self._metadata(cluster)
        target = Target(
            kind="secret",
            name=f"{cluster.namespace}/{self.arguments.secret}",
            uid=meta["uid"],
            generation=meta["resourceVersion"],
        )
        users = [
            f"{kind[:-1]}/{thing['metadata']['name']}"
            for kind in _USERS
            for thing in cluster.all(kind)
            if self.arguments.secret in secrets_of(thing["spec"]["template"])
        ]
        return Observation(target, {"users": users}, {})

    def _metadata(self, cluster: Cluster) -> dict[str, Any]:
        found = cluster.get(cluster.path("secrets", self.arguments.secret), accept=METADATA_OF_ONE)
        meta: dict[str, Any] = found["metadata"]
        return meta

    def _operations(self, meta: objects.Object) -> list[patches.Operation]:
        """New values; the server refuses them where a key is not there or the secret was changed meanwhile."""
        operations: list[patches.Operation] = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        ]
        for key in self.arguments.keys:
            value = secrets.token_urlsafe(self.arguments.length)[: self.arguments.length]
            encoded = base64.b64encode(value.encode()).decode()
            redaction.learn(value)
            redaction.learn(encoded)
            place = f"/data/{patches.escaped(key)}"
            operations += [{"op": "remove", "path": place}, {"op": "add", "path": place, "value": encoded}]
        return operations

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it by a dry run with values that are thrown away."""
        cluster, name = context.cluster, self.arguments.secret
        path, body = cluster.path("secrets", name), self._operations(self._metadata(cluster))
        _, who = rehearsed(context, "PATCH", path, body, content=patches.CONTENT, accept=METADATA_OF_ONE)
        users, keys = seen.facts["users"], ", ".join(self.arguments.keys)
        return Description(
            summary=f"Rotate {keys} of secret {name}",
            preview={
                "changes": [
                    f"{key}: a new random value of {self.arguments.length} characters" for key in self.arguments.keys
                ],
                "rows": [{"used_by": user} for user in users],
                "checked_by": who,
            },
            expected_effect=f"the old values of {keys} are in no pod that starts from now on",
            blast_radius={"workloads": len(users), "keys": len(self.arguments.keys)},
            residual_risk="running pods keep the old value until they are restarted, and a system that checks the "
            "value (a database, an exchange) refuses the new one until it has it too",
            undo=Undo(kind="none", reason="the old values are not kept: they are rotated because they may be known"),
        )

    def _apply(self, cluster: Cluster, key: str) -> dict[str, Any]:
        del key
        path, body = cluster.path("secrets", self.arguments.secret), self._operations(self._metadata(cluster))
        cluster.change("PATCH", path, body, dry_run=True, content=patches.CONTENT, accept=METADATA_OF_ONE)
        cluster.change("PATCH", path, body, dry_run=False, content=patches.CONTENT, accept=METADATA_OF_ONE)
        return {"secret": self.arguments.secret, "keys": self.arguments.keys}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether the secret was written since; nobody else writes it while its plan is applied."""
        return bool(self._metadata(context.cluster)["resourceVersion"] != before.target.generation)


def secrets_of(template: objects.Object) -> set[str]:
    """The secrets that a pod template uses, in variables and in volumes."""
    spec = template["spec"]
    found = {str((one.get("secret") or {}).get("secretName")) for one in spec.get("volumes") or []}
    for one in [*spec["containers"], *(spec.get("initContainers") or [])]:
        for variable in one.get("env") or []:
            found.add(str(((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")))
        for source in one.get("envFrom") or []:
            found.add(str((source.get("secretRef") or {}).get("name")))
    return found - {"None"}
