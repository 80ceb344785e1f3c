"""What containers wrote: lines of all pods of a selector, and patterns counted over time.

Each log is read as a stream, its last lines alone, within a number of lines, bytes and seconds; the column
`complete` is False where one of these ended it. The table's note names the containers whose log was read in part, or
not at all.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from opslib.clusters import Cluster, objects
from opslib.errors import ProbeError
from opslib.probes.kubernetes import reading, workload_selector
from opslib.probes.registry import Frame, Target, probe
from opslib.probes.tables import Kind, frame

MOST_PODS = 30
MOST_LINES = 5_000
SCANNED_LINES = 100_000
SCANNED_BYTES = 16 * 1024 * 1024
LONGEST_LINE = 2_000
BUDGET_S = 12.0
_BUCKETS = 500
LINE: dict[str, Kind] = {"time": "time", "pod": "text", "container": "text", "line": "text", "complete": "flag"}
COUNT: dict[str, Kind] = {
    "pattern": "text", "count": "whole", "first_seen": "time", "last_seen": "time", "pods": "whole",
    "example": "text", "complete": "flag",
}  # fmt: skip


@dataclass
class _Source:
    """One container's log, whether its pod is being deleted, and whether all that was asked for has been read."""

    pod: str
    container: str
    leaving: bool = False
    complete: bool = True
    unread: str = ""
    kept: list[Any] = field(default_factory=list)


@probe("kubernetes.logs")
def logs(
    target: Target,
    selector: str = "",
    workload: str = "",
    pod: str = "",
    container: str = "",
    previous: bool = False,
    since_s: float | None = None,
    tail: int = 200,
    grep: str = "",
) -> Frame:
    """The last lines of each container, in order of time: `time` (UTC), `pod`, `container`, `line`.

    Parameters
    ----------
    target : Target
    selector, workload, pod : str
        Which pods: a label selector, `deployment/NAME`, or one pod.
    container : str
        Only this container.
    previous : bool
        Of the container that ran before the last restart; those that never restarted are left out.
    since_s : float, optional
        Only of the last so many seconds [s].
    tail : int
        The last lines of each container, at most 5,000; with `grep`, the last that match.
    grep : str
        A regular expression that lines must contain.
    """
    if not 0 < tail <= MOST_LINES:
        raise target.error(f"tail must be from 1 to {MOST_LINES:,}")
    wanted = _compiled(target, grep) if grep else None

    def keep(source: _Source, lines: Iterator[str]) -> None:
        last: deque[tuple[dt.datetime | None, str]] = deque(maxlen=tail)
        for line in lines:
            if wanted is None or wanted.search(line):
                last.append(_parted(line))
        source.kept = list(last)

    query = {"tailLines": SCANNED_LINES if grep else tail, "previous": previous, "since_s": since_s}
    sources, note = _read(target, (selector, workload, pod), container, query, keep)
    rows = [
        {"time": at, "pod": source.pod, "container": source.container, "line": text, "complete": source.complete}
        for source in sources
        for at, text in source.kept
    ]
    earliest = dt.datetime.min.replace(tzinfo=dt.UTC)
    rows.sort(key=lambda row: row["time"] or earliest)
    if len(rows) > MOST_LINES:
        note = "; ".join(filter(None, (note, f"the last {MOST_LINES:,} of {len(rows):,} lines")))
    return frame(rows[-MOST_LINES:], LINE, note=note)


@probe("logs.count")
def count(
    target: Target,
    patterns: dict[str, str],
    selector: str = "",
    workload: str = "",
    container: str = "",
    previous: bool = False,
    since_s: float = 3600.0,
) -> Frame:
    """How often each pattern was written: index `pattern`; first and last seen (UTC), in how many pods, an example.

    Parameters
    ----------
    target : Target
    patterns : dict
        Name and regular expression of each.
    selector, workload : str
        Which pods: a label selector, or `deployment/NAME`.
    container : str
        Only this container.
    previous : bool
        Of the containers that ran before the last restart.
    since_s : float
        How far back [s].
    """
    sources, note = _matches(target, patterns, (selector, workload, ""), container, previous, since_s)
    complete = note is None
    rows = []
    for name in patterns:
        hits = [(at, text, source.pod) for source in sources for found, at, text in source.kept if found == name]
        times = sorted(at for at, _, _ in hits if at is not None)
        rows.append(
            {
                "pattern": name,
                "count": len(hits),
                "first_seen": times[0] if times else None,
                "last_seen": times[-1] if times else None,
                "pods": len({pod for _, _, pod in hits}),
                "example": hits[-1][1][:300] if hits else None,
                "complete": complete,
            }
        )
    return frame(rows, COUNT, index="pattern", note=note)


@probe("logs.over_time")
def over_time(
    target: Target,
    patterns: dict[str, str],
    selector: str = "",
    workload: str = "",
    container: str = "",
    since_s: float = 3600.0,
    step_s: float = 60.0,
) -> Frame:
    """How often each pattern was written in each step of time: index `time` (UTC, its start), one column a pattern."""
    import pyarrow as pa

    if not step_s > 0 or since_s / step_s > _BUCKETS:
        raise target.error(f"since_s and step_s must give at most {_BUCKETS} steps")
    sources, note = _matches(target, patterns, (selector, workload, ""), container, False, since_s)
    now = time.time()
    first = int((now - since_s) // step_s)
    steps = range(first, int(now // step_s) + 1)
    counts = {name: dict.fromkeys(steps, 0) for name in patterns}
    for source in sources:
        for name, at, _ in source.kept:
            step = int(at.timestamp() // step_s) if at is not None else -1
            if step in counts[name]:
                counts[name][step] += 1
    starts = pa.array([round(step * step_s * 1000) for step in steps], pa.timestamp("ms", tz="UTC"))
    columns = {name: pa.array(list(found.values()), pa.int64()) for name, found in counts.items()}
    return Frame(pa.table({"time": starts, **columns}), "time", note)


def _matches(
    target: Target,
    patterns: dict[str, str],
    which: tuple[str, str, str],
    container: str,
    previous: bool,
    since_s: float,
) -> tuple[list[_Source], str | None]:
    """The lines that contain a pattern, as (name of the pattern, time, line), and what could not be read, in words."""
    if not patterns or "time" in patterns:
        raise target.error("name at least one pattern, none of them `time`")
    known = {name: _compiled(target, pattern) for name, pattern in patterns.items()}

    def keep(source: _Source, lines: Iterator[str]) -> None:
        for line in lines:
            for name, pattern in known.items():
                if pattern.search(line):
                    at, text = _parted(line)
                    source.kept.append((name, at, text))

    query = {"tailLines": SCANNED_LINES, "previous": previous, "since_s": since_s}
    return _read(target, which, container, query, keep)


def _compiled(target: Target, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise target.error(f"{pattern!r} is no regular expression: {error}") from error


def _parted(line: str) -> tuple[dt.datetime | None, str]:
    """The server's time of a line, and the line."""
    stamp, _, text = line.partition(" ")
    try:
        return dt.datetime.fromisoformat(stamp).astimezone(dt.UTC), text
    except ValueError:
        return None, line


def _read(
    target: Target,
    which: tuple[str, str, str],
    container: str,
    query: dict[str, Any],
    keep: Callable[[_Source, Iterator[str]], None],
) -> tuple[list[_Source], str | None]:
    """Read the log of each container of the chosen pods, several at once, within the time for all.

    Returns
    -------
    list of _Source
        Those that could be read.
    str or None
        In words: which logs could not be read, and which in part alone.

    Raises
    ------
    ProbeError
        When there is no such pod, or no log could be read at all.
    """
    selector, workload, pod = which
    until = time.monotonic() + BUDGET_S
    with reading(target) as cluster:
        if pod:
            found = [cluster.one("pods", pod)]
        else:
            chosen = selector or (workload_selector(cluster, workload) if workload else "")
            pods = cluster.all("pods", selector=chosen)
            found = [one for one in pods if not workload or objects.workload(one) == workload]
        if not found:
            raise ProbeError(f"there is no pod of {selector or workload or 'this namespace'}")
        if len(found) > MOST_PODS:
            raise ProbeError(f"there are {len(found)} pods; at most {MOST_PODS} are read: give a selector")
        sources = [
            _Source(one["metadata"]["name"], row["container"], "deletionTimestamp" in one["metadata"])
            for one in found
            for row in objects.container_rows(one)
            if (row["container"] == container if container else not row["prepares"])
            and (row["restarts"] > 0 or not query["previous"])
        ]
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda source: _stream(cluster, source, query, until, keep), sources))
    kept = [source for source in sources if not (source.leaving and source.unread)]
    sources = kept or sources  # the log of what has ended in a pod that is being deleted is there no more
    failures = [f"{source.pod}/{source.container}: {source.unread}" for source in sources if source.unread]
    if sources and len(failures) == len(sources):
        raise target.error(f"no log could be read: {'; '.join(failures)[:1000]}")
    return [source for source in sources if not source.unread], _unread(sources, failures)


def _unread(sources: list[_Source], failures: list[str]) -> str | None:
    """Which logs were not read, and which in part alone, in words; None where all were read."""
    notes = []
    if failures:
        notes.append(f"{len(failures)} of {len(sources)} logs could not be read: {'; '.join(failures)[:1000]}")
    if cut := [f"{source.pod}/{source.container}" for source in sources if not (source.complete or source.unread)]:
        notes.append(f"read in part, within the budget of lines, bytes and time: {', '.join(cut)}")
    return "; ".join(notes) or None


def _stream(
    cluster: Cluster,
    source: _Source,
    query: dict[str, Any],
    until: float,
    keep: Callable[[_Source, Iterator[str]], None],
) -> None:
    """Read one log; why it could not be read is kept with it."""
    asked: dict[str, Any] = {"container": source.container, "timestamps": "true", "tailLines": query["tailLines"]}
    if query["previous"]:
        asked["previous"] = "true"
    if query["since_s"] is not None:
        asked["sinceSeconds"] = max(1, int(query["since_s"]))
    try:
        with cluster.lines(cluster.path("pods", source.pod, "log"), asked, until=until) as lines:
            keep(source, _within(source, lines, query["tailLines"], until))
    except ProbeError as error:
        source.unread = str(error)


def _within(source: _Source, lines: Iterator[bytes], most: int, until: float) -> Iterator[str]:
    """The lines as text, each cut, within the bytes and the time; notes where they were not all."""
    size = number = 0
    for line in lines:
        size += len(line)
        number += 1
        yield line[:LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
        if size > SCANNED_BYTES or time.monotonic() > until:
            source.complete = False
            return
    if time.monotonic() > until or (most == SCANNED_LINES and number >= SCANNED_LINES):
        source.complete = False
