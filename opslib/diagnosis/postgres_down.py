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
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.diagnosis.database import Facts, marks, text_of
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd


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
_NOT_OF_THE_VOLUME = re.compile(r"shared memory|semaphore", re.I)  # the kernel lacks room for these in the same words
_LAST_WORDS = re.compile(r"\b(FATAL|PANIC)\b", re.I)
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \w+ (\[\d+\] )?")
_PANIC_FIRST = re.compile(r"\bPANIC\b")
_WAITS = ("Unschedulable", "SchedulerError")
_FULL = {"threshold": 0.93, "decisive": 0.98}  # the share of its volume that a server that has ended had used
_BEING_MADE = re.compile(r"Pending|ContainerCreating|PodInitializing|Init:\d+/\d+")
_BEGINS_S = 60.0  # a pod that is younger may still be about to start its containers
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
        `last_reason`, `exit_code`, `ended_s` (ago [s]), `cpu_request`, `memory_request` [B],
        `started`: whether the server has ever run, `begins`: whether it is just being made, or taken away for
        another, and tells nothing yet, `runs`: whether it does now, and `up_s`: since when [s].
    """
    if pods is None:
        return None
    facts = Facts(pods=len(pods), pod="", status="", message="", ready=False, node="", age_s=math.nan, restarts=0)
    facts |= {"container": "", "state": "", "reason": "", "last_reason": "", "exit_code": math.nan}
    facts |= {"cpu_request": math.nan, "memory_request": math.nan}
    facts |= {"ended_s": math.nan, "started": False, "begins": False, "runs": False, "up_s": math.nan}
    facts.seen_in(marks(pods, containers))
    if not len(pods):
        return facts
    name, row = str(pods.index[0]), pods.iloc[0]
    facts |= {"pod": name, "ready": bool(row["ready"]), "restarts": int(row["restarts"])}
    facts |= {key: text_of(row, key) for key in ("status", "message", "node", "last_reason")}
    facts |= {key: float(row[key]) for key in ("cpu_request", "memory_request")}
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
    made = bool(_BEING_MADE.fullmatch(facts["status"])) and bool(facts["node"])
    facts["begins"] = made and not facts["started"] and facts["age_s"] < _BEGINS_S
    facts["begins"] = facts["begins"] or facts["status"] == "Terminating"  # another comes in its place, or none
    return facts


def look_again(pod: Mapping[str, Any] | None, *, wait_s: float = 1.5) -> bool:
    """Whether the pod is just being made, so that it tells nothing yet; it is waited for a moment before that is said.

    Parameters
    ----------
    pod : mapping or None
        As `pod_state` tells.
    wait_s : float
        How long [s].
    """
    if pod is None or not pod["begins"]:
        return False
    time.sleep(wait_s)
    return True


def _prepared(containers: pd.DataFrame) -> pd.Series[bool]:
    """Those that prepared the pod, and did so well."""
    done: pd.Series[bool] = containers["prepares"] & (containers["reason"] == "Completed")
    return done


def _ago(moment: Any, now: dt.datetime) -> float:
    """How long ago something was [s]; nan where that is not known."""
    return math.nan if moment is None or moment != moment else (now - moment).total_seconds()


def last_words(*logs: pd.DataFrame | None, since: dt.datetime | None = None) -> Facts | None:
    """What a server said last: `line`, how often it lacked `no_space`; None where no log was seen.

    Parameters
    ----------
    *logs : DataFrame or None
    since : datetime, optional
        Of a server that runs, an earlier lack of space does not count: it is over.
    """
    seen = [log for log in logs if log is not None]
    if not seen:
        return None
    told = [
        (str(line), at)
        for log in seen
        for line, at in zip(log["line"], log["time"] if "time" in log else [None] * len(log), strict=True)
    ]
    lines = [line for line, _ in told]
    ends = [line for line in lines if _LAST_WORDS.search(line)]
    ends = [line for line in ends if _PANIC_FIRST.search(line)] or ends
    late = [line for line, at in told if since is None or at is None or at != at or at >= since]
    full = [line for line in late if NO_SPACE.search(line) and not _NOT_OF_THE_VOLUME.search(line)]
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
    words: Mapping[str, Any] | None,
    volume: Mapping[str, Any] | None,
    pod: Mapping[str, Any] | None,
    *,
    answers: bool,
    full_pct: float,
) -> Facts | None:
    """What tells of the room on the volume: the server's words, `df`, or that it never came to that.

    Parameters
    ----------
    words, volume, pod : mapping or None
        As `last_words`, `volume` and `pod_state` tell.
    answers : bool
        Whether the server answers: then it may lack no space yet.
    full_pct : float
        Above which the volume is too full, even where the server answers [%].
    """
    if words is None and volume is None and (pod is None or pod["started"] or pod["begins"]):
        return None
    facts = Facts(no_space=math.nan, line="", used=math.nan, free_mib=math.nan, size_mib=math.nan, never=False)
    facts |= {"answers": answers, "full": full_pct / 100.0}
    if words is not None and words["lines"]:
        facts |= {"no_space": words["no_space"], "line": words["line"]}
    if volume is not None:
        facts |= {name: volume[name] for name in ("used", "free_mib", "size_mib")}
    facts["never"] = words is None and volume is None
    return facts.seen_in(marks(words, volume, pod))


def symptom(
    server: Mapping[str, Any] | None,
    rule: Mapping[str, Any] | None,
    space: Mapping[str, Any] | None,
    headroom_mib: float,
    pod: Mapping[str, Any] | None = None,
) -> tuple[bool | None, str]:
    """Whether there is no database that takes writes, and what shows it.

    That we do not reach it shows it only where nobody else does: where the alert's condition does not hold, or could
    not be evaluated, and its pods are ready, it may be our own way to it.

    Parameters
    ----------
    server : mapping or None
        As `database.asked` tells; None where there is no way to ask.
    rule : mapping or None
        The alert's own rule, evaluated again. Where it holds, something is wrong, whether or not the server answers us.
    space : mapping or None
        As `space` tells.
    headroom_mib : float
        What has to be free for writes to succeed [MiB].
    pod : mapping or None
        As `pod_state` tells.
    """
    told = "" if rule is None else f"; the alert's condition {'holds' if rule['holds'] else 'does not hold'}"
    holds = rule is not None and bool(rule["holds"])
    if server is not None and server["answers"]:
        lacking = "" if space is None else _lacking(space, headroom_mib)
        if lacking:
            return True, f"PostgreSQL answers, but {lacking}{told if holds else ''}"
        answers = f"PostgreSQL answers us within {server['took_ms']:.0f} ms"
        if holds and rule is not None and rule.get("state", "firing") == "firing":
            why = "its exporter does not reach it or is gone, and whether its clients reach it was not seen"
            return True, f"{answers}, but the alert's condition holds: {why}{_young(pod)}"
        free = math.nan if space is None else space["free_mib"]
        room = "" if free != free else f", and its volume has {free:,.0f} MiB left"
        return False, f"{answers}{room}{told}"
    if server is not None and server["full"]:
        return holds, f"PostgreSQL is there, but takes no more connections: see api-error-rate{told}"
    if server is not None:
        others = _there(rule, pod)
        if others:
            return None, f"PostgreSQL could not be asked ({server['why']}), but {others}: it may be our way to it"
        return True, f"PostgreSQL cannot be reached ({server['why']}){told}{_young(pod)}"
    if rule is not None:
        return holds, f"PostgreSQL {'cannot' if holds else 'can'} be reached by its exporter"
    return None, "whether PostgreSQL answers could not be seen"


def _there(rule: Mapping[str, Any] | None, pod: Mapping[str, Any] | None) -> str:
    """Who else says that the server is there, in words; empty where nobody does, or one contradicts."""
    holds, ready = rule and bool(rule["holds"]), pod and bool(pod["ready"])
    if holds or (pod is not None and not ready) or (rule is None and pod is None):
        return ""
    told = ["the alert's condition does not hold"] if rule is not None else []
    return " and ".join([*told, *(["its pod is ready"] if pod is not None else [])])


def _lacking(space: Mapping[str, Any], headroom_mib: float) -> str:
    """What a server that answers lacks on its volume; empty where it has room."""
    if space["free_mib"] < headroom_mib:
        return f"its volume has {space['free_mib']:.0f} MiB left: writes fail"
    if space["no_space"] > 0:
        return f"its log told of no space a moment ago: {space['line']}"
    if space["used"] > space["full"]:
        return f"{percent(space['used'])} of its volume are used, above {percent(space['full'])}"
    return ""


def _young(pod: Mapping[str, Any] | None) -> str:
    """A word of caution where the server's container has run for a moment only."""
    if pod is None or not pod["up_s"] < _COMES_UP_S:
        return ""
    return f"; its container runs since {pod['up_s']:.0f} s, and may be coming up: look again before all else"


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
        text = f"{pod['container'] or pod['pod']} starts and ends again ({how}), restarts: {pod['restarts']}"
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
    """There is no room left to write, or there soon is none."""
    if space["never"]:
        return [Reason("no container has run yet, so nothing has been written", -3.0)]
    lacks, answers = space["no_space"], space["answers"]
    if lacks == 0 and answers:  # it fills: the log tells only when it is full
        reasons = [Reason("its log tells of no lack of space", -0.3)]
    else:
        text = f"its log: {space['line']}" if lacks > 0 else "its log tells of no lack of space"
        told = math.nan if lacks != lacks else float(lacks > 0)
        reasons = [reason(text, told, threshold=0.45, decisive=0.8, missing="its log")]
    free, used = space["free_mib"], space["used"]
    if used == used or (not lacks > 0 and (answers or lacks != lacks)):
        text = f"{percent(used)} of its volume are used, {free:,.0f} MiB are free"
        bounds = {"threshold": space["full"] - 0.05, "decisive": space["full"]} if answers else _FULL
        room = reason(text, used, **bounds, missing="how full its volume is")
        floor = -1.5 if lacks > 0 else -3.0  # what its log lacked a moment ago may have come back
        reasons.append(Reason(text, max(floor, room.weight), room.missing))
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
