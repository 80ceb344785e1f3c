"""An incident of a platform on the cluster, with a run that may propose and somebody who approves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubernetes import client

from opslib import store
from opslib.actions import applier, approval, plans
from opslib.actions.documents import Plan
from opslib.actions.kubernetes import BY_SERVER
from opslib.people import Person
from opslib.settings import Settings
from tests.probes.kubernetes.world import World, until

WHO = Person("dora", "L4", None)
OTHER = Person("erin", "L4", None)


@dataclass
class Desk:
    """An incident of a platform on the cluster, a run that may propose, and somebody who approves."""

    settings: Settings
    world: World
    run: int

    def propose(self, *actions: tuple[str, dict[str, object]]) -> Plan:
        """A plan."""
        with store.transaction(self.settings) as connection:
            return plans.propose(
                self.settings, connection, run_id=self.run, actions=actions, reason="test", platform="crypto"
            )

    def apply(self, plan: Plan) -> Plan:
        """Approve a plan and apply it."""
        approval.approve(self.settings, plan.hash, WHO)
        approval.apply(self.settings, plan.hash, WHO)
        return applier.run_once(self.settings, plan.hash)

    def undo(self, plan: Plan) -> Plan:
        """Take a plan back, as somebody else asks for it."""
        return self.apply(approval.undo(self.settings, plan.hash, OTHER))


def versions(desk: Desk) -> dict[str, str]:
    """The version of every object that an action could change; pods and status excepted."""
    apps = client.AppsV1Api(desk.world.api).list_namespaced_deployment(desk.world.namespace).items
    core = client.CoreV1Api(desk.world.api)
    found = {f"deployment {one.metadata.name}": f"{one.metadata.uid} {one.metadata.generation}" for one in apps}
    found |= {
        f"pod {one.metadata.name}": one.metadata.uid for one in core.list_namespaced_pod(desk.world.namespace).items
    }
    found |= {
        f"secret {one.metadata.name}": one.metadata.resource_version
        for one in core.list_namespaced_secret(desk.world.namespace).items
    }
    found |= {f"node {one.metadata.name}": str(one.spec.unschedulable) for one in core.list_node().items}
    one = client.NetworkingV1Api(desk.world.api).read_namespaced_ingress("to-desk", desk.world.namespace)
    return {**found, "ingress": one.metadata.resource_version}


def settled(desk: Desk) -> bool:
    """Whether every roll-out of before is through, with the pods that it replaced gone."""
    apps = client.AppsV1Api(desk.world.api).list_namespaced_deployment(desk.world.namespace).items
    pods = client.CoreV1Api(desk.world.api).list_namespaced_pod(desk.world.namespace).items
    seen = all((one.status.observed_generation or 0) >= one.metadata.generation for one in apps)
    updated = all((one.status.updated_replicas or 0) == one.spec.replicas for one in apps)
    kept = sum(one.spec.replicas for one in apps)
    return seen and updated and len(pods) == kept and not any(pod.metadata.deletion_timestamp for pod in pods)


def previewed(desk: Desk, name: str, /, **arguments: Any) -> Plan:
    """The plan of one action, which has changed nothing, by the server's own dry run."""
    until(lambda: settled(desk), "an end of the roll-outs of before")
    before = versions(desk)
    plan = desk.propose((name, arguments))
    assert (after := versions(desk)) == before, sorted(before.items() ^ after.items())
    [planned] = plan.document.actions
    assert planned.preview["checked_by"] == BY_SERVER
    assert planned.target.uid
    return plan
