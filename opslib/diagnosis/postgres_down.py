"""A03 postgres-down: what each cause leaves behind, and how it is told from the others.

A pod goes through three gates before a database answers: a node is found for it, its containers start, and the server
finds room to write. Kubernetes says where it stopped: a pod without a node was never started; a container that ends
again and again has an exit code and last words. The last words also tell the two that look alike from outside: a server
that ends because of its configuration or its memory, and one that ends because its volume is full.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.diagnosis.database import Facts, marks, text_of
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Database:
    """The database, as the platform's file names its parts.

    Attributes
    ----------
    workload, container : str
        `statefulset/NAME`, and the container of the server.
    data_path : str
        Where its volume is mounted.
    volume_container, volume_variable : str
        The container and variable that size its volume [MiB]; empty where the volume is grown in another way.
    volume_mib : float
        The usual size of its volume [MiB].
    growth : float
        By which factor volume or memory grow.
    headroom_mib : float
        What must be free on the volume for the WAL [MiB].
    table, column : str
        The history that may be deleted, and its time.
    keep_days : float
        How much of it is kept [days].
    """

    workload: str
    container: str
    data_path: str
    volume_container: str
    volume_variable: str
    volume_mib: float
    growth: float
    headroom_mib: float
    table: str
    column: str
    keep_days: float


NODES = {"ready": "", "cordoned": "takes no pods", "taints": "", "cpu_free": "CPU free", "memory_free_mib": ""}
UP = "max(pg_up) or 0 * max(max_over_time(pg_up[10m]))"  # 0 also where the exporter has stopped telling
NO_SPACE = re.compile(r"no space left on device|disk full", re.I)
_LAST_WORDS = re.compile(r"\b(FATAL|PANIC)\b", re.I)
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \w+ (\[\d+\] )?")
_PANIC_FIRST = re.compile(r"\bPANIC\b")
_WAITS = ("Unschedulable", "SchedulerError")
_COMES_UP_S = 30.0  # a container that runs for less may be about to answer
_RECENT_S = 900.0  # a container that ended so lately and is not ready is crashing


def pod_state(pods: pd.DataFrame | None, containers: pd.DataFrame | None, now: dt.datetime) -> Facts | None:
    """The pod of the database that is worst off, and its container that does not run; None where pods were not seen.

    Parameters
    ----------
    pods : DataFrame or None
        Of the stateful set, as `ops.kubernetes.pods` tells them.
    containers : DataFrame or None
        As `ops.kubernetes.containers` tells them.
    now : datetime

    Returns
    -------
    Facts
        `pods`, `pod`, `status`, `message`, `ready`, `node`, `age_s` [s], `restarts`, `container`, `state`, `reason`,
        `last_reason`, `exit_code`, `ended_s` (ago [s]), `started`: whether the server
        has ever run, `runs`: whether it does now, and `up_s`: since when [s].
    """
    if pods is None:
        return None
    facts = Facts(pods=len(pods), pod="", status="", message="", ready=False, node="", age_s=math.nan, restarts=0)
    facts |= {"container": "", "state": "", "reason": "", "last_reason": "", "exit_code": math.nan}
    facts |= {"ended_s": math.nan, "started": False, "runs": False, "up_s": math.nan}
    facts.seen_in(marks(pods, containers))
    if not len(pods):
        return facts
    name, row = str(pods.index[0]), pods.iloc[0]
    facts |= {"pod": name, "ready": bool(row["ready"]), "restarts": int(row["restarts"])}
    facts |= {key: text_of(row, key) for key in ("status", "message", "node", "last_reason")}
    facts["age_s"] = _ago(row["created"], now)
    facts["exit_code"], facts["ended_s"] = float(row["last_exit_code"]), _ago(row["last_finished"], now)
    facts["started"] = bool(facts["ready"] or facts["restarts"] or facts["last_reason"])
    own = None if containers is None else containers[containers["pod"] == name]
    if own is not None and len(own):
        ran = own["state"].isin(["running", "terminated"]) | own["last_reason"].notna()
        facts["started"] = facts["started"] or bool((ran & ~_prepared(own)).any())
        running = own[~own["prepares"] & (own["state"] == "running")]
        facts["runs"] = bool(len(running))
        facts["up_s"] = _ago(running["since"].max(), now) if len(running) and "since" in running else math.nan
        worst = own[~own["ready"] & (own["state"] != "running") & ~_prepared(own)]
        one = (worst if len(worst) else own[~own["prepares"]]).iloc[0]
        facts |= {key: text_of(one, key) for key in ("container", "state", "reason")}
        if one["state"] == "terminated":
            facts["exit_code"], facts["last_reason"] = float(one["exit_code"]), text_of(one, "reason")
        elif one["last_reason"] == one["last_reason"] and one["last_reason"]:
            facts["exit_code"], facts["last_reason"] = float(one["last_exit_code"]), text_of(one, "last_reason")
            facts["ended_s"] = _ago(one["last_finished"], now)
    return facts


def _prepared(containers: pd.DataFrame) -> pd.Series[bool]:
    """Those that prepared the pod, and did so well."""
    done: pd.Series[bool] = containers["prepares"] & (containers["reason"] == "Completed")
    return done


def _ago(moment: Any, now: dt.datetime) -> float:
    """How long ago something was [s]; nan where that is not known."""
    return math.nan if moment is None or moment != moment else (now - moment).total_seconds()


def last_words(*logs: pd.DataFrame | None) -> Facts | None:
    """What a server said last before it ended: `line`, how often it lacked `no_space`; None where no log was seen."""
    seen = [log for log in logs if log is not None]
    if not seen:
        return None
    lines = [str(line) for log in seen for line in log["line"]]
    ends = [line for line in lines if _LAST_WORDS.search(line)]
    ends = [line for line in ends if _PANIC_FIRST.search(line)] or ends
    full = [line for line in lines if NO_SPACE.search(line)]
    said = _STAMP.sub("", (full or ends or lines or [""])[-1])
    return Facts(line=" ".join(said.split())[-240:], no_space=len(full), lines=len(lines)).seen_in(marks(*seen))


def volume(answer: Mapping[str, Any] | None) -> Facts | None:
    """A file system, from `df -P -k PATH`: `size_mib`, `free_mib` [MiB], `used` (share); None where it was not seen."""
    lines = [] if answer is None else str(answer["output"]).strip().splitlines()
    words = lines[-1].split() if len(lines) > 1 else []
    if answer is None or answer["exit_code"] != 0 or len(words) < 6 or not all(word.isdigit() for word in words[1:4]):
        return None
    size, _, free = (int(word) / 1024 for word in words[1:4])
    return Facts(size_mib=size, free_mib=free, used=1.0 - free / max(size, 1e-9), path=words[5]).seen_in(marks(answer))


def space(
    words: Mapping[str, Any] | None, volume: Mapping[str, Any] | None, pod: Mapping[str, Any] | None
) -> Facts | None:
    """What tells of the room on the volume: the server's last words, `df`, or that it never came to that."""
    if words is None and volume is None and (pod is None or pod["started"]):
        return None
    facts = Facts(no_space=math.nan, line="", used=math.nan, free_mib=math.nan, size_mib=math.nan, never=False)
    if words is not None and words["lines"]:
        facts |= {"no_space": words["no_space"], "line": words["line"]}
    if volume is not None:
        facts |= {name: volume[name] for name in ("used", "free_mib", "size_mib")}
    facts["never"] = words is None and volume is None
    return facts.seen_in(marks(words, volume, pod))


def symptom(
    server: Mapping[str, Any] | None,
    rule: Mapping[str, Any] | None,
    volume: Mapping[str, Any] | None,
    headroom_mib: float,
    pod: Mapping[str, Any] | None = None,
) -> tuple[bool | None, str]:
    """Whether there is no database that takes writes, and what shows it.

    Parameters
    ----------
    server : mapping or None
        As `database.asked` tells; None where there is no way to ask.
    rule : mapping or None
        The alert's own rule, evaluated again.
    volume : mapping or None
        As `volume` tells.
    headroom_mib : float
        What has to be free for writes to succeed [MiB].
    pod : mapping or None
        As `pod_state` tells.
    """
    told = "" if rule is None else f"; the alert's condition {'holds' if rule['holds'] else 'does not hold'}"
    if server is not None and server["answers"]:
        if volume is not None and volume["free_mib"] < headroom_mib:
            return True, f"PostgreSQL answers, but its volume has {volume['free_mib']:.0f} MiB left: writes fail"
        room = "" if volume is None else f", and its volume has {volume['free_mib']:,.0f} MiB left"
        return False, f"PostgreSQL answers within {server['took_ms']:.0f} ms{room}{told}"
    if server is not None and server["full"]:
        return False, f"PostgreSQL is there, but takes no more connections: see api-error-rate{told}"
    if server is not None:
        if pod is not None and pod["up_s"] < _COMES_UP_S:
            told += f"; its container runs since {pod['up_s']:.0f} s, and may be coming up: look again before all else"
        return True, f"PostgreSQL cannot be reached ({server['why']}){told}"
    if rule is not None:
        return bool(rule["holds"]), f"PostgreSQL {'cannot' if rule['holds'] else 'can'} be reached by its exporter"
    return None, "whether PostgreSQL answers could not be seen"


def pod_unschedulable(pod: Mapping[str, Any]) -> list[Reason]:
    """No node takes the pod."""
    if not pod["pods"]:
        return [Reason("there is no pod that could wait for a node", -3.0)]
    if pod["node"]:
        return [Reason(f"{pod['pod']} has a node: {pod['node']}", -3.0)]
    reasons = [Reason(f"{pod['pod']} has had no node for {pod['age_s']:.0f} s", 1.5)]
    if pod["status"] in _WAITS:
        reasons.append(Reason(f"the scheduler says: {pod['message'].rstrip('.')}", 2.5))
    return reasons


def pod_crash(pod: Mapping[str, Any], words: Mapping[str, Any]) -> list[Reason]:
    """The server starts, and ends again."""
    if not pod["pods"] or not pod["started"]:
        return [Reason("no container of the database has been started", -3.0)]
    code = pod["exit_code"]
    how = f"{pod['last_reason'] or 'ended'}{'' if code != code else f', exit code {code:.0f}'}"
    back_off = pod["reason"] == "CrashLoopBackOff" or pod["state"] == "terminated"
    lately = pod["ended_s"] < _RECENT_S and not pod["ready"]
    if back_off or lately:
        text = f"{pod['container'] or pod['pod']} starts and ends again ({how}), {pod['restarts']} restarts"
        reasons = [Reason(text, 2.5 if back_off else 1.5)]
    else:
        reasons = [Reason(f"{pod['pod']} is {pod['status']}, and has not ended of late", -2.5)]
    if pod["last_reason"] == "OOMKilled":
        return [*reasons, Reason("it was killed for using more memory than its limit", 2.0)]
    if words["no_space"]:
        return [*reasons, Reason("what ends it is its volume: no space left on device", -3.0)]
    if code == code and code != 0:
        reasons.append(Reason(f"its last words: {words['line']}", 1.0))
    return reasons


def disk_full(space: Mapping[str, Any]) -> list[Reason]:
    """There is no room left to write."""
    if space["never"]:
        return [Reason("no container has run yet, so nothing has been written", -3.0)]
    lacks = space["no_space"]
    text = "its log tells of no lack of space"
    if lacks > 0:
        text = f"its log: {space['line']}"
    reasons = [
        reason(text, math.nan if lacks != lacks else float(lacks > 0), threshold=0.45, decisive=0.8, missing="its log")
    ]
    free, used = space["free_mib"], space["used"]
    if used == used or lacks != lacks:
        text = f"{percent(used)} of its volume are used, {free:,.0f} MiB are free"
        reasons.append(reason(text, used, threshold=0.93, decisive=0.98, missing="how full its volume is"))
    return reasons


CAUSES = (
    Cause(
        "pod-unschedulable",
        "Does no node take the pod?",
        pod_unschedulable,
        "take back the change that asks for what no node has; else ask for a node",
    ),
    Cause(
        "disk-full",
        "Is the volume full?",
        disk_full,
        "room for the WAL first; then delete old history, counted, in batches",
    ),
    Cause(
        "pod-crash",
        "Does the server start and end again?",
        pod_crash,
        "take back the change that ends it, or give it memory; then restart the pod",
    ),
)


def changed_lately(changes: pd.DataFrame | None, history: pd.DataFrame | None, name: str) -> str:
    """What the last change to the stateful set changed, if it was made lately and there is a revision to go back to.

    Parameters
    ----------
    changes : DataFrame or None
        Of the time that matters, as `ops.changes.recent` tells.
    history : DataFrame or None
        The revisions, newest first.
    name : str
        Of the stateful set.
    """
    if changes is None or history is None or len(history) < 2:
        return ""
    own = changes[(changes["kind"] == "statefulset") & (changes["name"] == name) & changes["time"].notna()]
    made = own[~own["what"].str.contains("first revision")]
    current = history[history["current"]]
    if not len(made) or not len(current) or current.iloc[0]["created"] == history["created"].min():
        return ""  # back to the oldest revision: whoever did that has taken a change back already
    return str(current.iloc[0]["changes"])


def changes_of(changes: pd.DataFrame | None, name: str, since: dt.datetime) -> dict[str, dt.datetime]:
    """What was changed on the stateful set since a moment, as a picture marks it."""
    if changes is None:
        return {}
    own = changes[(changes["kind"] == "statefulset") & (changes["name"] == name) & changes["time"].notna()]
    own = own[own["what"].str.startswith("revision") & (own["time"] >= since)]
    return {str(row.what)[:30]: row.time.to_pydatetime() for row in own.itertuples()}


def fixes(
    causes: Sequence[str],
    *,
    database: Database,
    pod: Mapping[str, Any] | None,
    space: Mapping[str, Any] | None,
    changed: str,
    nodes: pd.DataFrame | None,
    memory_mib: float,
    answers: bool,
) -> list[Step]:
    """The seed's fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    database : Database
    pod, space : mapping or None
    changed : str
        What the last change changed, where it was made lately; else empty.
    nodes : DataFrame or None
        As `ops.kubernetes.nodes` tells them.
    memory_mib : float
        The memory that its container may use [MiB]; nan where none is set.
    answers : bool
        Whether PostgreSQL answers.
    """
    workload = {"workload": database.workload}
    back = ("kubernetes.undo-rollout", dict(workload))
    found: list[Step] = []
    for cause in causes:
        if cause == "disk-full":
            found += _room(database, space, answers)
        elif cause == "pod-unschedulable":
            shut = [] if nodes is None else nodes.index[nodes["cordoned"]].tolist()
            found += [back] if changed else [("kubernetes.uncordon", {"node": node}) for node in shut[:1]]
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


def _room(database: Database, space: Mapping[str, Any] | None, answers: bool) -> list[Step]:
    """Headroom for the WAL first; where there is some, and the server answers, the old history."""
    free = math.nan if space is None else space["free_mib"]
    if answers and free >= database.headroom_mib:
        what = {"table": database.table, "column": database.column, "older_than_days": database.keep_days}
        return [("postgres.delete-old-rows", {**what, "reason": "its volume is full"})]
    if not database.volume_variable:
        return []
    seen = math.nan if space is None else space["size_mib"]
    size = math.ceil((database.volume_mib if seen != seen else seen) * database.growth)
    where = {"workload": database.workload, "container": database.volume_container}
    return [("kubernetes.set-env", {**where, "variable": database.volume_variable, "value": str(size)})]
