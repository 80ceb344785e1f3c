"""Faults of playbook A03: a database that cannot be reached."""

from __future__ import annotations

import random
import time
from typing import Any

import psycopg

from sandbox.cluster.kube import ready
from sandbox.derivatives import manifests
from sandbox.derivatives.access import Access
from sandbox.derivatives.sql import queries
from sandbox.derivatives.stores import DATA
from sandbox.faults.fault import Fault
from sandbox.faults.on_derivatives import fault
from sandbox.progress import Progress

__all__ = ["FAULTS", "NO_POD", "unreachable"]

NO_POD = "there is no pod"

_ROWS = 40_000
_FULL_S = 90.0
_LACKS_MIB = (48.0, 80.0)  # more than the server gives back when it ends: its WAL


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


def disk_full(access: Access, rng: random.Random, progress: Progress) -> None:
    """History grows, a dump onto the volume takes what is left and waits for more; a restart then finds no room."""
    days, batches = rng.randint(60, 300), rng.randint(3, 8)
    with access.database() as connection:
        for number in range(batches):
            progress(f"the history grows: {number * _ROWS:,} rows")
            connection.execute(queries("growth").history, {"rows": _ROWS, "days": days})
    pod = access.kube.document("get", "pod", "postgres-0")
    room = access.kube("exec", "postgres-0", "-c", "postgres", "--", "df", "-P", "-k", DATA)
    free_mib = int(room.splitlines()[-1].split()[3]) / 1024
    wanted = free_mib + rng.uniform(*_LACKS_MIB)
    progress(f"a dump of {wanted:.0f} MiB takes what is left of the volume")
    access.kube.send(
        "apply", [manifests.dump(access.setup, pod["spec"]["nodeName"], round(wanted), rng.randint(2, 28))]
    )
    access.kube("rollout", "status", "deployment/backup", "--timeout=120s")
    deadline = time.monotonic() + _FULL_S
    while _free_kib(access) > 0 and time.monotonic() < deadline:
        time.sleep(0.5)
    progress("the server is told to restart")
    stop = ("/usr/lib/postgresql/15/bin/pg_ctl", "stop", "-D", f"{DATA}/pgdata", "-m", "fast", "--no-wait")
    access.kube("exec", "postgres-0", "-c", "postgres", "--", *stop, allowed_to_fail=True)


def _free_kib(access: Access) -> int:
    """What is left on the volume [KiB]."""
    told = access.kube("exec", "postgres-0", "-c", "postgres", "--", "df", "-P", "-k", DATA, allowed_to_fail=True)
    words = told.splitlines()[-1].split() if told else []
    return int(words[3]) if len(words) > 3 else 0


def _change(access: Access, pod: dict[str, Any]) -> None:
    """Change the pods' template of the database, and let the pod be made anew."""
    access.kube.patch("statefulset", "postgres", {"spec": {"template": {"spec": pod}}})
    access.kube("delete", "pod", "postgres-0", "--wait=false", "--grace-period=2")


def unreachable(access: Access) -> tuple[bool, str]:
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
        return True, NO_POD
    status = pods[0].get("status", {})
    containers = status.get("containerStatuses", [])
    reasons = [
        state.get("reason", name)
        for one in containers
        for name, state in {**one.get("lastState", {}), **one.get("state", {})}.items()
    ]
    return not ready(pods[0]), f"{status.get('phase')} {' '.join(reasons)}".strip()


def _crashes(access: Access) -> str | None:
    away, words = unreachable(access)
    crashed = any(word in words for word in ("Error", "OOMKilled", "CrashLoopBackOff"))
    return f"the database does not answer; its pod: {words}" if away and crashed else None


def _waits(access: Access) -> str | None:
    away, words = unreachable(access)
    return f"the database does not answer; its pod: {words}" if away and words.startswith("Pending") else None


def _full(access: Access) -> str | None:
    shown = _crashes(access)
    if shown is None:
        return None
    for words in (["--previous"], []):
        log = access.kube("logs", "postgres-0", "-c", "postgres", "--tail=40", *words, allowed_to_fail=True)
        if "No space left on device" in log:
            return f"{shown}; its log: No space left on device"
    return None


FAULTS: dict[str, Fault] = {
    "disk-full": fault(disk_full, _full, 180.0),
    "pod-crash": fault(pod_crash, _crashes, 120.0),
    "pod-unschedulable": fault(pod_unschedulable, _waits, 90.0),
}
