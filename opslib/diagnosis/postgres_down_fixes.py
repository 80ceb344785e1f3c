"""A03 postgres-down: the change that may be behind it, and the fix of each cause, aimed or withheld."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.postgres_down import Database
from opslib.diagnosis.revisions import harmless
from opslib.diagnosis.service_pods import taken_back

if TYPE_CHECKING:
    import pandas as pd

Step = tuple[str, dict[str, Any]]

_CORDONED = re.compile(
    r"(\d+) node\(s\) (?:were unschedulable|had untolerated taint \{node\.kubernetes\.io/unschedulable)"
)
_OF = re.compile(r"\d+/(\d+) nodes are available")
_OWN_TAINT = "node.kubernetes.io/unschedulable"  # a cordon's
_PLACES_NOTHING = re.compile(r"^\S+: (image|env|args|command|\w+Probe)\b")  # changes that the scheduler does not see


def changed_lately(
    changes: pd.DataFrame | None,
    history: pd.DataFrame | None,
    name: str,
    *,
    up: pd.DataFrame | None,
    pod: Mapping[str, Any] | None,
    now: dt.datetime,
    settled_s: float,
) -> str:
    """What the revision that runs changed, if it may be behind it and there is one to go back to; else empty.

    A change counts that was made lately, changed more than annotations, was not itself taking something back, and
    after which the database was not there for a good while already: what it changed works.

    Parameters
    ----------
    changes : DataFrame or None
        Of the time that matters, as `ops.changes.recent` tells.
    history : DataFrame or None
        The revisions, newest first.
    name : str
        Of the stateful set.
    up : DataFrame or None
        Whether its exporter reached it, over time: one column.
    pod : mapping or None
        As `postgres_down.pod_state` tells.
    now : datetime
    settled_s : float
        How long a good while is [s].
    """
    if changes is None or history is None or len(history) < 2:
        return ""
    current = history[history["current"]]
    if not len(current) or harmless(str(current.iloc[0]["changes"])) or taken_back(history):
        return ""
    own = changes[(changes["kind"] == "statefulset") & (changes["name"] == name) & changes["time"].notna()]
    # A revision that was there before keeps the time at which it was first made; the edit tells when it came again.
    edited = own["what"].str.match(r"edited \(.*template")
    made = own[own["what"].str.startswith(f"revision {current.iloc[0]['revision']}:") | edited]
    made = made[~made["what"].str.contains("first revision")]
    if not len(made) or _worked(up, pod, made["time"].max(), now) >= settled_s:
        return ""
    return str(current.iloc[0]["changes"])


def _worked(up: pd.DataFrame | None, pod: Mapping[str, Any] | None, since: dt.datetime, now: dt.datetime) -> float:
    """For how long on end the database was there after a change [s]; without its exporter, its pod's first run."""
    if up is not None and len(up) and len(up.columns):
        there = up.iloc[:, 0].dropna()
        there = there[there.index >= since] >= 0.5
        stretches = [part.index for _, part in there.groupby((~there).cumsum()[there])]
        return max(((part[-1] - part[0]).total_seconds() for part in stretches), default=0.0)
    age_s = (now - since).total_seconds()
    if pod is None or pod["restarts"] > 1 or not pod["age_s"] <= age_s + 60.0:
        return 0.0
    run = pod["age_s"] - pod["ended_s"]
    return 0.0 if run != run else float(run)


def changes_of(changes: pd.DataFrame | None, name: str, since: dt.datetime) -> dict[str, dt.datetime]:
    """What was changed on the stateful set since a moment, as a picture marks it."""
    if changes is None:
        return {}
    own = changes[(changes["kind"] == "statefulset") & (changes["name"] == name) & changes["time"].notna()]
    own = own[own["what"].str.startswith("revision") & (own["time"] >= since)]
    return {str(row.what).partition(":")[0]: row.time.to_pydatetime() for row in own.itertuples()}


def fixes(
    causes: Sequence[str],
    *,
    database: Database,
    pod: Mapping[str, Any] | None,
    space: Mapping[str, Any] | None,
    changed: str,
    nodes: pd.DataFrame | None,
    memory_mib: float,
) -> list[Step]:
    """The seed's fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    database : Database
    pod, space : mapping or None
    changed : str
        What the change that may be behind it changed; else empty.
    nodes : DataFrame or None
        As `ops.kubernetes.nodes` tells them.
    memory_mib : float
        The memory that its container may use [MiB]; nan where none is set.
    """
    workload = {"workload": database.workload}
    back = ("kubernetes.undo-rollout", dict(workload))
    found: list[Step] = []
    for cause in causes:
        if cause == "disk-full":
            found += _room(database, space)
        elif cause == "pod-unschedulable" and pod is not None:
            found += [back] if _asks_for_another_place(pod, changed) else _opened(pod, nodes)
        elif cause == "pod-crash" and pod is not None:
            if changed:
                found.append(back)
            elif pod["last_reason"] == "OOMKilled" and memory_mib == memory_mib:
                limits = {"memory": f"{math.ceil(memory_mib * database.growth)}Mi"}
                more = {**workload, "container": database.container, "limits": limits}
                found.append(("kubernetes.set-resources", more))
            else:
                found.append(("kubernetes.delete-pod", {"pod": pod["pod"]}))
    return [step for place, step in enumerate(found) if step not in found[:place]]


def to_know(causes: Sequence[str], steps: Sequence[Step], *, database: Database, pod: Mapping[str, Any] | None) -> str:
    """What whoever approves these steps has to know first; and what is left to a person where there is no step."""
    taken = dict(steps)
    told = []
    if "kubernetes.uncordon" in taken:
        node = taken["kubernetes.uncordon"]["node"]
        told.append(f"{node} was cordoned by somebody, maybe for maintenance: ask them before it takes pods again.")
    elif "pod-unschedulable" in causes and "kubernetes.undo-rollout" not in taken:
        message = "" if pod is None else str(pod["message"]).rstrip(".")
        told.append(
            f"Nothing here finds the pod a node; escalate to who runs the nodes: {message or 'no word of why'}."
        )
    if "postgres.delete-old-rows" in taken:
        told.append(
            f"The delete gives room to {database.table}, not to the disk: the volume fills no further with it, and who "
            "fills it has to be found."
        )
    elif "disk-full" in causes and "kubernetes.set-env" not in taken:
        told.append(
            "Nothing here makes the volume larger; escalate: have it grown, or what else lies on it moved away, until "
            f"{database.headroom_mib:,.0f} MiB are free for the WAL; only then delete old history."
        )
    return " ".join(told)


def _asks_for_another_place(pod: Mapping[str, Any], changed: str) -> bool:
    """Whether a change that the scheduler sees may keep the pod from its node: not where every node is cordoned."""
    seen = [one for one in changed.split("; ") if one and not harmless(one) and not _PLACES_NOTHING.match(one)]
    return bool(seen) and not _all_cordoned(str(pod["message"]))


def _all_cordoned(message: str) -> bool:
    hit, whole = _CORDONED.search(message), _OF.search(message)
    return hit is not None and whole is not None and hit[1] == whole[1]


def _opened(pod: Mapping[str, Any], nodes: pd.DataFrame | None) -> list[Step]:
    """Uncordon the node that would take the pod, where the scheduler says that a cordon keeps it away."""
    if nodes is None or not _CORDONED.search(str(pod["message"]).partition("preemption:")[0]):
        return []
    other = nodes["taints"].fillna("").str.split(", ").map(lambda all_: [one for one in all_ if _OWN_TAINT not in one])
    shut = nodes[nodes["cordoned"] & nodes["ready"] & other.map(lambda left: not any(left))]
    for what in ("cpu", "memory"):
        wanted = pod[f"{what}_request"]
        shut = shut if wanted != wanted else shut[shut[what] - shut[f"{what}_requested"] >= wanted]
    if not len(shut):
        return []
    return [("kubernetes.uncordon", {"node": str((shut["memory"] - shut["memory_requested"]).idxmax())})]


def _room(database: Database, space: Mapping[str, Any] | None) -> list[Step]:
    """Headroom for the WAL first; where there is some, and the server answers, the old history."""
    free = math.nan if space is None else space["free_mib"]
    if space is not None and space["answers"] and free >= database.headroom_mib:
        what = {"table": database.table, "column": database.column, "older_than_days": database.keep_days}
        return [("postgres.delete-old-rows", {**what, "reason": "its volume is full"})]
    if not database.volume_variable:
        return []
    seen = math.nan if space is None else space["size_mib"]
    size = math.ceil((database.volume_mib if seen != seen else seen) * database.growth)
    where = {"workload": database.workload, "container": database.volume_container}
    return [("kubernetes.set-env", {**where, "variable": database.volume_variable, "value": str(size)})]
