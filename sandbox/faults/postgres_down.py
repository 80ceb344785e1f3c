"""Faults of playbook A03: a database that cannot be reached."""

from __future__ import annotations

import random
from typing import Any

import psycopg

from sandbox.derivatives.access import Access
from sandbox.derivatives.kube import ready
from sandbox.faults.fault import Fault
from sandbox.faults.on_derivatives import fault
from sandbox.progress import Progress

__all__ = ["FAULTS"]


def pod_crash(access: Access, rng: random.Random, _progress: Progress) -> None:
    """A setting with which the server does not start: a library that is not there, or more memory than it may have."""
    if rng.random() < 0.5:
        library = rng.choice(("pg_cron", "timescaledb", "pg_partman_bgw"))
        change: dict[str, Any] = {"args": ["-c", f"shared_preload_libraries=pg_stat_statements,{library}"]}
    else:
        change = {"resources": {"requests": {"memory": "8Mi"}, "limits": {"memory": f"{rng.randint(10, 14)}Mi"}}}
    _change(access, {"containers": [{"name": "postgres", **change}]})


def pod_unschedulable(access: Access, rng: random.Random, _progress: Progress) -> None:
    """The pod asks for a node that there is not."""
    if rng.random() < 0.5:
        _change(access, {"nodeSelector": {"disk": rng.choice(("nvme", "ssd-raid", "local-ssd"))}})
    else:
        wanted = {"cpu": str(rng.randint(24, 96)), "memory": "64Mi"}
        limits = {"cpu": wanted["cpu"]}
        _change(access, {"containers": [{"name": "postgres", "resources": {"requests": wanted, "limits": limits}}]})


def _change(access: Access, pod: dict[str, Any]) -> None:
    """Change the pods' template of the database, and let the pod be made anew."""
    access.kube.patch("statefulset", "postgres", {"spec": {"template": {"spec": pod}}})
    access.kube("delete", "pod", "postgres-0", "--wait=false", "--grace-period=2")


def _away(access: Access) -> tuple[bool, str]:
    """Whether the database does not answer, and what its pod says."""
    try:
        with access.database() as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        pass
    else:
        return False, ""
    pods = access.kube.pods("postgres")
    if not pods:
        return True, "there is no pod"
    status = pods[0].get("status", {})
    containers = status.get("containerStatuses", [])
    reasons = [
        state.get("reason", name)
        for one in containers
        for name, state in {**one.get("lastState", {}), **one.get("state", {})}.items()
    ]
    return not ready(pods[0]), f"{status.get('phase')} {' '.join(reasons)}".strip()


def _crashes(access: Access) -> str | None:
    away, words = _away(access)
    crashed = any(word in words for word in ("Error", "OOMKilled", "CrashLoopBackOff"))
    return f"the database does not answer; its pod: {words}" if away and crashed else None


def _waits(access: Access) -> str | None:
    away, words = _away(access)
    return f"the database does not answer; its pod: {words}" if away and words.startswith("Pending") else None


FAULTS: dict[str, Fault] = {
    "pod-crash": fault(pod_crash, _crashes, 120.0),
    "pod-unschedulable": fault(pod_unschedulable, _waits, 90.0),
}
