"""A24 triage: what of the platform was looked at, and whether each part is well.

What an alert says is data: its labels are compared with what was seen, and are never a part of a question.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from opslib import figures
from opslib.diagnosis.causes import evidence_of
from opslib.errors import ProbeError
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

CARDS = '{__name__=~"DCGM_FI_DEV_XID_ERRORS|.+_gpu_available"}'  # what tells of a card that is broken or away
PARTS = {"part": "", "state": "", "seen": "what was seen", "evidence": ""}  # of a table of parts, as shown
OK, UNWELL, SILENT, UNSEEN, ABSENT = "ok", "not well", "no answer", "not seen", "not there"
REFUSED = "closed to us"  # it answers, and does not take our identity
SHOWN = 200  # characters of a text from outside that are shown
_OURS = "runbook"  # the job of this service itself, which is no part of the platform
_FULL = 0.95  # of a memory that nothing is evicted from
_MOST_USED_PCT = 85.0  # of the connections that a database takes
_YOUNG_S = 60.0  # a pod may take so long until it is ready
_LATELY_S = 900.0  # a restart so long ago still counts
_ENDED = ("Completed", "Succeeded", "Terminating")
_NODES = ("node", "nodename", "kubernetes_node")
_WORKLOADS = ("deployment", "statefulset", "daemonset")
_SCRAPED = ("instance", "job")
_NO_OBJECT = ("alertname", "platform", "severity", "namespace", "environment", "cluster")
_FOR_CARDS = "nvidia.com/gpu"
_MOST_PLACES = 5
_DOORS = ("api", "redis", "postgres", "targets")  # the first that is asked of each system
_AWAY = re.compile(  # what is said of a part that took no connection, or let it end
    r"refused|timed? ?out|no answer|no route|unreachable|reset by peer|connection attempts failed|disconnected|"
    r"closed the conn|connection closed|closed by (server|peer)|starting up|shutting down|loading the dataset|"
    r"too many clients|max number of clients|remaining connection slots|answered 5\d\d",
    re.I,
)
_SHUT = re.compile(r"refuses our (read-only )?identity|no permissions to run|answered 40[13]", re.I)

Judgement = tuple[str, str]


def look(ops: Ops) -> dict[str, Any]:
    """Ask every system that the platform has; a part that gave no answer is None, one that there is not is left out.

    `refuses` names those that took no connection or let it end: they are away, not merely unseen. `shut` tells what
    those said, by name, that did not let our identity in.
    """
    asked: tuple[tuple[str, str, Callable[[], Any]], ...] = (
        ("api", "api", ops.http.health),
        ("api", "status", lambda: _status(ops)),
        ("redis", "redis", ops.redis.ping),
        ("redis", "redis memory", ops.redis.memory),
        ("postgres", "postgres", ops.postgres.server),
        ("postgres", "postgres connections", ops.postgres.usage),
        ("kubernetes", "pods", ops.kubernetes.pods),
        ("kubernetes", "workloads", ops.kubernetes.workloads),
        ("kubernetes", "nodes", ops.kubernetes.nodes),
        ("prometheus", "targets", ops.prometheus.targets),
        ("prometheus", "cards", lambda: ops.prometheus.query(CARDS)),
    )
    refuses: list[str] = []
    shut: dict[str, str] = {}
    seen: dict[str, Any] = {"refuses": refuses, "shut": shut}
    silent: set[str] = set()
    for system, part, probe in asked:
        if not ops.has(system) or system in silent:
            continue
        first = not any(system == one[0] and one[1] in seen for one in asked)
        told = len(ops.unseen)
        seen[part] = ops.look(f"triage's look at {part}", probe)
        said = ops.unseen[told:] if first and seen[part] is None else []
        if any(_AWAY.search(one) for one in said):
            refuses.append(part)
        elif closed := [one for one in said if _SHUT.search(one)]:
            shut[part] = " ".join(closed[0].partition(" (")[2].removesuffix(")").split())[:SHOWN]
        if first and seen[part] is None and system != "kubernetes":
            silent.add(system)
    return seen


def _status(ops: Ops) -> Any:
    """What the platform says of itself; nothing where it has no such page."""
    try:
        return ops.http.json("/api/status")
    except ProbeError as error:
        if "answered 404" in str(error):
            return {}
        raise


def health(seen: Mapping[str, Any], now: dt.datetime) -> pd.DataFrame:
    """Whether each part is well: `part`, `state`, `seen` (in words), `evidence`, a row each.

    Parameters
    ----------
    seen : mapping
        As `look` gives it.
    now : datetime
        A pod that began a moment ago need not be ready.
    """
    judges: dict[str, Callable[[Any], Judgement]] = {
        "api": _api,
        "redis": lambda answer: (OK, f"answers in {answer['took_ms']:g} ms"),
        "redis memory": _memory,
        "postgres": lambda answer: (OK, f"answers in {answer['took_ms']:g} ms"),
        "postgres connections": _connections,
        "pods": lambda answer: _pods(answer, now),
        "workloads": _workloads,
        "nodes": _nodes,
        "targets": _targets,
        "cards": _cards,
    }
    rows: list[tuple[str, ...]] = []
    for part, judge in judges.items():
        if part not in seen:
            continue
        answer = seen[part]
        if answer is None:
            away = part in seen.get("refuses", ()) and part in _DOORS
            shut = seen.get("shut", {}).get(part, "") if part in _DOORS else ""
            state = SILENT if away else REFUSED if shut else UNSEEN
            rows.append((part, state, shut or "it could not be asked", ""))
        elif part != "cards" or len(answer):
            rows.append((part, *judge(answer), " ".join(evidence_of(answer))))
    return _table(rows)


def _table(rows: list[tuple[str, ...]]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(PARTS))
    table.attrs["evidence"] = list(dict.fromkeys(mark for row in rows for mark in row[3].split()))
    return table


def _listed(names: Any) -> str:
    """Some names, the first four of them in words."""
    known = [str(name)[:SHOWN] for name in names]
    return ", ".join(known[:4]) + (f" and {len(known) - 4} more" if len(known) > 4 else "")


def _api(answer: Mapping[str, Any]) -> Judgement:
    word, status = str(answer.get("status") or ""), int(answer.get("http_status") or 200)
    if status < 400 and word.lower() in ("", "healthy", "ok", "up", "pass", "ready"):
        return OK, word or f"answers {status}"
    more = {name: value for name, value in answer.items() if name not in ("status", "http_status", "took_ms")}
    return UNWELL, f"it says {word or status}{f': {json.dumps(more, default=str)}' if more else ''}"[:SHOWN]


def _memory(answer: Mapping[str, Any]) -> Judgement:
    used, limit = float(answer.get("used_memory") or 0), float(answer.get("maxmemory") or 0)
    resident, policy = float(answer.get("used_memory_rss") or used), str(answer.get("policy") or "")
    of = f" of {limit / 1e6:,.0f}" if limit else ""
    told = f"{used / 1e6:,.0f}{of} MB used"
    if used > 20e6 and resident < 0.9 * used:
        return UNWELL, f"{told}, {percent(1 - resident / used)} of it swapped out"
    if limit and used > _FULL * limit:
        kept = policy in ("", "noeviction")
        return (UNWELL, f"{told}: writes are about to be refused") if kept else (OK, f"{told}: keys are evicted")
    return OK, told


def _connections(answer: Mapping[str, Any]) -> Judgement:
    used = float(answer["used_pct"])
    waiting = int(answer.get("waiting_for_locks") or 0)
    told = f"{answer['used']} of {answer['connections_limit']} connections used, {waiting} wait for locks"
    return (UNWELL if used > _MOST_USED_PCT else OK), told


def _pods(pods: pd.DataFrame, now: dt.datetime) -> Judgement:
    import pandas as pd

    there = pods[~pods["status"].isin(_ENDED)]
    age_s = (pd.Timestamp(now) - pd.to_datetime(there["created"], utc=True)).dt.total_seconds()
    waiting = there[~there["ready"].astype(bool) & ~(age_s < _YOUNG_S)]
    ended_s = (pd.Timestamp(now) - pd.to_datetime(there["last_finished"], utc=True)).dt.total_seconds()
    again = there[(there["restarts"].fillna(0) > 0) & (ended_s < _LATELY_S)]
    told = []
    if len(waiting):
        told.append(f"{len(waiting)} of {len(there)} not ready ({_listed(_with(waiting, 'status'))})")
    if len(again):
        told.append(
            f"{len(again)} restarted in the last {_LATELY_S / 60:.0f} min ({_listed(_with(again, 'last_reason'))})"
        )
    return (UNWELL, "; ".join(told)) if told else (OK, f"all {len(there)} ready")


def _with(frame: pd.DataFrame, column: str) -> list[str]:
    """The names of a frame's rows, each with what a column says of it."""
    return [f"{name}: {value}" for name, value in frame[column].items()]


def _workloads(workloads: pd.DataFrame) -> Judgement:
    below = workloads[workloads["ready"].fillna(0) < workloads["desired"].fillna(0)]
    if not len(below):
        return OK, f"all {len(workloads)} have their number"
    return UNWELL, _listed(f"{name} has {row['ready']:.0f} of {row['desired']:.0f}" for name, row in below.iterrows())


def _nodes(nodes: pd.DataFrame) -> Judgement:
    told = [f"{name}: {row['problems'] or 'not ready'}" for name, row in nodes.iterrows() if not row["ready"]]
    told += [
        f"{name}: {row['problems']}" for name, row in nodes.iterrows() if row["ready"] and str(row["problems"] or "")
    ]
    kept = nodes["taints"].fillna("").str.contains(_FOR_CARDS, regex=False)  # for pods that need a card
    bare = nodes[kept & ~nodes["gpu_node"].astype(bool)]
    told += [f"{name}: offers no card" for name in bare.index]
    return (UNWELL, _listed(told)) if told else (OK, f"all {len(nodes)} ready")


def _targets(targets: pd.DataFrame) -> Judgement:
    theirs = targets[targets["job"] != _OURS]
    down = theirs[theirs["health"] == "down"]
    if not len(down):
        return OK, f"all {len(theirs)} up"
    return UNWELL, _listed(f"{row['instance']} is down: {row['error']}" for _, row in down.iterrows())


def _cards(answer: pd.DataFrame) -> Judgement:
    errors = answer["metric"].str.startswith("DCGM")
    wrong = answer[(errors & (answer["value"] > 0)) | (~errors & (answer["value"] < 1))]
    if not len(wrong):
        return OK, f"all {len(answer)} figures of cards are well"
    names = [column for column in ("pod", "gpu", "Hostname", "node", "instance") if column in answer]
    said = (
        f"{' '.join(str(row[name]) for name in names if isinstance(row[name], str))}: "
        f"{'XID error ' + format(row['value'], '.0f') if row['metric'].startswith('DCGM') else 'computes without one'}"
        for _, row in wrong.iterrows()
    )
    return UNWELL, _listed(said)


def named(alert: Mapping[str, Any], seen: Mapping[str, Any]) -> pd.DataFrame:
    """What is known of the objects that the alert's labels name: a row each, as `health` tells parts.

    Parameters
    ----------
    alert : mapping
        As it was delivered.
    seen : mapping
        As `look` gives it.
    """
    rows: list[tuple[str, ...]] = []
    for label, value in list(dict(alert.get("labels") or {}).items())[:20]:
        if label in _NO_OBJECT or not isinstance(value, str) or not value:
            continue
        part = f"{label} {value}"[:SHOWN]
        rows += [(part, *row) for row in _of_label(str(label), value, seen)]
    return _table(rows)


def _of_label(label: str, value: str, seen: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What is known of what one label names."""
    place, name = (
        ("pods", value)
        if label == "pod"
        else ("nodes", value)
        if label in _NODES
        else ("workloads", f"{label}/{value}")
        if label in _WORKLOADS
        else ("", "")
    )
    frame = seen.get(place or "targets")
    if place:
        if frame is not None:
            yield (*_of_row(place, frame, name), " ".join(evidence_of(frame)))
    elif label in _SCRAPED:
        if frame is not None and len(found := frame[frame[label] == value]):
            yield (*_targets(found), " ".join(evidence_of(frame)))
    else:
        status = seen.get("status")
        for path, said in list(_places(status, value))[:_MOST_PLACES]:
            yield OK, f"{path}: {_told(said)}"[:SHOWN], " ".join(evidence_of(status))


def _told(said: Any) -> str:
    """What is said of a name: its facts as words and figures."""
    if not isinstance(said, dict):
        return figures.figure(said)
    return ", ".join(f"{figures.label(str(name))} {figures.measured(str(name), value)}" for name, value in said.items())


def _of_row(place: str, frame: pd.DataFrame, name: str) -> Judgement:
    """What a cluster's table says of one name."""
    if name not in frame.index:
        return ABSENT, f"the cluster has none of that name; it has {_listed(frame.index)}"
    row = frame.loc[name]
    if place == "workloads":
        return _workloads(frame.loc[[name]])
    if place == "nodes":
        return _nodes(frame.loc[[name]])
    ended = f", ended last by {row['last_reason']}" if isinstance(row["last_reason"], str) else ""
    told = f"{row['status']} on {row['node']}, {int(row['restarts'] or 0)} restarts{ended}"
    return (OK if bool(row["ready"]) else UNWELL), told


def _places(document: Any, value: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """Where a document names something: as a key, or as what a record is called."""
    if isinstance(document, Mapping):
        for key, inner in document.items():
            where = f"{path}.{key}" if path else str(key)
            if key == value:
                yield where, inner
            else:
                yield from _places(inner, value, where)
    elif isinstance(document, list):
        for number, inner in enumerate(document):
            if isinstance(inner, Mapping) and value in (inner.get("name"), inner.get("symbol"), inner.get("id")):
                yield f"{path}.{number}", inner
            else:
                yield from _places(inner, value, f"{path}.{number}")
