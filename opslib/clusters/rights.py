"""The rights on a cluster that each probe and each action needs, and the least roles for a runbook.

A dry run needs the right to make the change: RBAC does not tell the two apart. So changes, and their dry runs, are
the applier's; the recorder gets them never, or under an identity of its own for previews.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SEE = ("get", "list")
_CORE, _APPS = "", "apps"


@dataclass(frozen=True)
class Right:
    """Verbs on resources of one group; `everywhere` where a Role of the namespace cannot give it."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...] = SEE
    everywhere: bool = False


_PODS = Right(_CORE, ("pods",))
_LOGS = Right(_CORE, ("pods/log",), ("get",))
_WORKLOADS = Right(_APPS, ("deployments", "statefulsets", "daemonsets"))
_REVISIONS = Right(_APPS, ("replicasets", "controllerrevisions"))
_AUTOSCALERS = Right("autoscaling", ("horizontalpodautoscalers",))
_BUDGETS = Right("policy", ("poddisruptionbudgets",))
_NODES = Right(_CORE, ("nodes",), everywhere=True)
_PODS_EVERYWHERE = Right(_CORE, ("pods",), everywhere=True)
_SECRETS = Right(_CORE, ("secrets",))
_EXEC = Right(_CORE, ("pods/exec",), ("create", "get"))
_WORKLOAD = Right(_APPS, ("deployments", "statefulsets"), ("get",))
_ONE_WORKLOAD = (_WORKLOAD, _PODS, _AUTOSCALERS)

READS: dict[str, tuple[Right, ...]] = {
    "kubernetes.pods": (_PODS, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "kubernetes.containers": (_PODS,),
    "kubernetes.nodes": (_NODES, _PODS_EVERYWHERE),
    "kubernetes.events": (Right(_CORE, ("events",)),),
    "kubernetes.workloads": (_WORKLOADS,),
    "kubernetes.history": (_WORKLOADS, _REVISIONS),
    "kubernetes.autoscalers": (_AUTOSCALERS,),
    "kubernetes.budgets": (_BUDGETS,),
    "kubernetes.services": (Right(_CORE, ("services", "endpoints")),),
    "kubernetes.ingresses": (
        Right("networking.k8s.io", ("ingresses",)),
        Right(_CORE, ("services", "endpoints")),
    ),
    "kubernetes.logs": (_PODS, _LOGS, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "kubernetes.top": (_PODS, Right("metrics.k8s.io", ("pods",))),
    "kubernetes.top_nodes": (_NODES, Right("metrics.k8s.io", ("nodes",), everywhere=True)),
    "kubernetes.secrets": (_SECRETS,),
    "kubernetes.releases": (_SECRETS,),
    "kubernetes.run": (_PODS, _EXEC, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "gpu.cards": (_PODS, _EXEC, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "gpu.metrics": (),
    "logs.count": (_PODS, _LOGS, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "logs.over_time": (_PODS, _LOGS, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "changes.recent": (
        Right(_APPS, ("deployments", "statefulsets", "replicasets", "controllerrevisions")),
        Right(_CORE, ("configmaps", "events")),
        _AUTOSCALERS,
        Right("networking.k8s.io", ("ingresses",)),
    ),
}


def _patching(*resources: str, group: str = _APPS) -> Right:
    return Right(group, resources, ("patch",))


# What a chart may hold is not known here: these kinds are what charts of a service usually hold, and no roles.
_ALL = ("get", "list", "watch", "create", "update", "patch", "delete")
_OF_CHARTS = (
    Right(_CORE, ("configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services"), _ALL),
    Right(_APPS, ("daemonsets", "deployments", "statefulsets"), _ALL),
    Right("autoscaling", ("horizontalpodautoscalers",), _ALL),
    Right("batch", ("cronjobs", "jobs"), _ALL),
    Right("networking.k8s.io", ("ingresses", "networkpolicies"), _ALL),
    Right("policy", ("poddisruptionbudgets",), _ALL),
    Right(_CORE, ("pods",), ("get", "list", "watch")),
    Right(_APPS, ("replicasets",), ("get", "list", "watch")),
)

# What previewing an action reads, and what making it (or trying it by a dry run) needs besides.
OBSERVES: dict[str, tuple[Right, ...]] = {
    **dict.fromkeys(
        (
            *("kubernetes.scale", "kubernetes.stop", "kubernetes.restart", "kubernetes.restart-with-outage"),
            *("kubernetes.set-image", "kubernetes.set-resources", "kubernetes.set-env", "kubernetes.set-argument"),
        ),
        _ONE_WORKLOAD,
    ),
    "kubernetes.undo-rollout": (*_ONE_WORKLOAD, _REVISIONS),
    "kubernetes.set-autoscaler": (_AUTOSCALERS,),
    "kubernetes.delete-pod": (_PODS, _BUDGETS, Right(_APPS, _WORKLOADS.resources, ("get",))),
    "kubernetes.cordon": (_NODES, _PODS),
    "kubernetes.uncordon": (_NODES, _PODS),
    "kubernetes.drain": (_NODES, _PODS_EVERYWHERE),
    "kubernetes.set-allow-list": (Right("networking.k8s.io", ("ingresses",)),),
    "kubernetes.rotate-secret": (Right(_CORE, ("secrets",), ("get",)), _WORKLOADS),
    **dict.fromkeys(("helm.rollback", "helm.upgrade"), (_SECRETS,)),
}
CHANGES: dict[str, tuple[Right, ...]] = {
    **dict.fromkeys(("kubernetes.scale", "kubernetes.stop"), (_patching("deployments/scale", "statefulsets/scale"),)),
    **dict.fromkeys(
        (
            *("kubernetes.restart", "kubernetes.restart-with-outage", "kubernetes.undo-rollout"),
            *("kubernetes.set-image", "kubernetes.set-resources", "kubernetes.set-env", "kubernetes.set-argument"),
        ),
        (_patching("deployments", "statefulsets"),),
    ),
    "kubernetes.set-autoscaler": (_patching("horizontalpodautoscalers", group="autoscaling"),),
    "kubernetes.delete-pod": (Right(_CORE, ("pods",), ("delete",)),),
    **dict.fromkeys(
        ("kubernetes.cordon", "kubernetes.uncordon"), (Right(_CORE, ("nodes",), ("patch",), everywhere=True),)
    ),
    "kubernetes.drain": (
        Right(_CORE, ("nodes",), ("patch",), everywhere=True),
        Right(_CORE, ("pods/eviction",), ("create",), everywhere=True),
    ),
    "kubernetes.set-allow-list": (_patching("ingresses", group="networking.k8s.io"),),
    "kubernetes.rotate-secret": (_patching("secrets", group=_CORE),),
    **dict.fromkeys(("helm.rollback", "helm.upgrade"), _OF_CHARTS),
}


def of_recorder(reads: Iterable[str], proposes: Iterable[str]) -> list[Right]:
    """What the recorder needs for a runbook: what its probes read, and what the previews of its actions read."""
    actions = list(proposes)
    return [
        *(right for name in reads for right in READS.get(name, ())),
        *(right for name in actions for right in OBSERVES.get(name, ())),
    ]


def of_applier(proposes: Iterable[str]) -> list[Right]:
    """What the applier needs for a runbook's actions: to look again, and to make the change."""
    return [right for name in proposes for right in (*OBSERVES.get(name, ()), *CHANGES.get(name, ()))]


def roles(name: str, namespace: str, account: str, rights: Iterable[Right]) -> list[dict[str, Any]]:
    """The documents that give an account these rights: a Role, a ClusterRole where that is needed, and bindings.

    Parameters
    ----------
    name : str
        Of the roles.
    namespace : str
        The platform's, and that of the service account.
    account : str
        The service account.
    rights : iterable of Right
    """
    documents: list[dict[str, Any]] = []
    wanted = list(rights)
    for everywhere, kind in ((False, "Role"), (True, "ClusterRole")):
        rules = _rules(right for right in wanted if right.everywhere is everywhere)
        if not rules:
            continue
        meta: dict[str, Any] = {"name": name if not everywhere else f"{namespace}-{name}"}
        if not everywhere:
            meta["namespace"] = namespace
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": meta["name"]}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        about = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        documents.append({**about, "kind": kind, "metadata": meta, "rules": rules})
        documents.append(
            {**about, "kind": f"{kind}Binding", "metadata": meta, "roleRef": reference, "subjects": [subject]}
        )
    return documents


def dry_runs_alone(name: str, namespace: str, account: str) -> list[dict[str, Any]]:
    """The admission policy (from Kubernetes 1.30) that refuses an account every change but a dry run."""
    user = f"system:serviceaccount:{namespace}:{account}"
    every = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}
    about = {"apiVersion": "admissionregistration.k8s.io/v1"}
    meta = {"name": f"{namespace}-{name}"}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [every]},
        "matchConditions": [{"name": "of-this-account", "expression": f"request.userInfo.username == '{user}'"}],
        "validations": [{"expression": "request.dryRun == true", "message": f"{account} may ask for dry runs alone"}],
    }
    binding = {"policyName": meta["name"], "validationActions": ["Deny"]}
    return [
        {**about, "kind": "ValidatingAdmissionPolicy", "metadata": meta, "spec": spec},
        {**about, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta, "spec": binding},
    ]


def _rules(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """Rules without repetition: the verbs of each resource, resources with the same verbs together."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for right in rights:
        for resource in right.resources:
            verbs.setdefault((right.group, resource), set()).update(right.verbs)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), known in verbs.items():
        together.setdefault((group, tuple(sorted(known))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": list(known)}
        for (group, known), resources in sorted(together.items())
    ]
