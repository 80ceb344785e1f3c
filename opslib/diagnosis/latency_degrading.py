"""A05 latency-degrading: what each cause leaves behind, and how it is told from the others.

Latency that rises follows something. It jumps with a release, or with an index that is dropped, and stays; it follows
the memory of a process, the number of requests, or the size of a table. So the series of latency is tested for a trend
and for a jump, the jump's moment is held against the roll-outs, and what rose beside it is held against how slow the
work itself has become.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis import grown_tables, lost_indexes, service_pods
from opslib.diagnosis.causes import Cause, Reason, evidence_of, reason
from opslib.diagnosis.trends import chance, step, trend
from opslib.figures import figure

if TYPE_CHECKING:
    import pandas as pd


_RATE = 'sum(rate(derivatives_api_requests_total{platform="$platform"}[$window]))'
_ALL = 'sum by (le) (rate(derivatives_greeks_latency_seconds_bucket{platform="$platform"}[$window]))'
# Of the whole service over time: a figure's name, and what is asked of Prometheus.
SERIES: dict[str, str] = {
    "greeks_us": 'max(derivatives_greeks_latency_p95{platform="$platform"})',
    "requests_ms": 'max(derivatives_api_request_p95{platform="$platform"})',
    "quick_us": f"1e6 * histogram_quantile(0.1, {_ALL})",  # computations that hardly wait
    "rate": _RATE,  # [1/s]
    "queue": 'max(max_over_time(derivatives_queue_depth{platform="$platform"}[$window]))',
}
NAMES = {"greeks_us": "Greeks, 95th percentile [us]", "requests_ms": "requests, 95th percentile [ms]",
         "quick_us": "Greeks, quickest tenth [us]", "rate": "requests [1/s]",
         "queue": "waiting in one pod"}  # fmt: skip
NO_PAST = "latency before it rose"
NO_QUEUE = "how many requests wait"
NO_ROWS = "how many rows the tables had"
NO_STATEMENTS = "what the statements take"
_RESTARTED = "restarted at"
_CHANCE = 0.01
_FEW = 8  # values of a young pod, of which less tell nothing
_ALIKE = 1.2  # times as many requests as before, which are hardly more
_ROSE = 1.4  # times as long as before
_HEIGHTS = {"greeks_us": "Greeks", "requests_ms": "whole requests"}


def levels(
    series: pd.DataFrame | None, engine: Any, *, now_s: float, before_s: float, before_span_s: float
) -> pd.DataFrame | None:
    """Each figure before and now, whether it rises, and when it jumped.

    Parameters
    ----------
    series : DataFrame or None
        Columns of `SERIES` over time.
    engine : module
        `engine`, for its tests of a series.
    now_s, before_s, before_span_s : float
        Now is the mean of the last `now_s`; before is that of `before_span_s`, ending `before_s` ago; as the alert's
        rule has it [s].

    Returns
    -------
    DataFrame or None
        Index: the figures; `before`, `now`, `ratio`, `p` (of a trend), `per_min` (its slope), `jumped` (when),
        `creeps` (a slope explains it better than two levels), `rise` (by how much), `jump_p` (the chance of such a
        jump).
    """
    import pandas as pd

    if series is None or not len(series):
        return None
    end = series.index[-1]
    rows: dict[str, dict[str, Any]] = {}
    for name in SERIES:
        values = series[name] if name in series else pd.Series(dtype=float, index=series.index[:0])
        then = values[values.index <= end - pd.Timedelta(seconds=before_s)]
        then = then[then.index > end - pd.Timedelta(seconds=before_s + before_span_s)]
        before, now = float(then.mean()), float(values[values.index > end - pd.Timedelta(seconds=now_s)].mean())
        since = values[values.index > end - pd.Timedelta(seconds=before_s + before_span_s)]
        rises, jumps = trend(since, engine), step(since, engine)
        rows[name] = {
            "before": before,
            "now": now,
            "ratio": now / before if before > 0 else math.nan,
            "p": rises.p,
            "per_min": 60.0 * rises.slope,
            "jumped": pd.Timestamp(jumps.at) if jumps.at else pd.NaT,
            "creeps": jumps.gradual,
            "rise": jumps.after - jumps.before,
            "jump_p": jumps.p,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.attrs["evidence"] = list(evidence_of(series))
    return table


def worse(found: pd.DataFrame) -> str | None:
    """Which of the two latencies rose more; None where neither has a past."""
    ratios = found.loc[list(_HEIGHTS), "ratio"].dropna()
    return str(ratios.idxmax()) if len(ratios) else None


def symptom(rule: Mapping[str, Any] | None, found: pd.DataFrame | None) -> tuple[bool | None, str]:
    """Whether the alert is true now, and what is the case."""
    told = "latency over time could not be seen"
    worst = None if found is None else worse(found)
    if found is not None and worst is not None:
        row, unit = found.loc[worst], worst.rpartition("_")[2]
        times = f"{row['ratio']:,.{int(row['ratio'] < 10)}f} times as long as before"
        told = f"{_HEIGHTS[worst]} take {figure(row['now'])} {unit} (95th percentile), {times}"
    return (None if rule is None else bool(rule["holds"])), told


def rollout(
    history: pd.DataFrame | None,
    pods: pd.DataFrame | None,
    medians: pd.DataFrame | None,
    *,
    workload: str,
    warm_up_s: float,
) -> dict[str, Any] | None:
    """The revision that runs: since when, what it changed, and how its pods compare with those before.

    Parameters
    ----------
    history, pods : DataFrame or None
        The workload's revisions and pods, as the cluster tells.
    medians : DataFrame or None
        Of each pod over time: the median computation [us].
    workload : str
        `deployment/NAME`.
    warm_up_s : float
        A pod's first seconds, that tell nothing [s].
    """
    if history is None or pods is None or not len(history) or not history["current"].any():
        return None
    row = history[history["current"]].iloc[0]
    mine = pods[pods["status"] != "Terminating"]
    newest = mine.sort_values("created")["revision"].iloc[-1] if len(mine) else None
    begun = mine.loc[mine["revision"] == newest, "created"].min() if len(mine) else None
    changes = [one for one in str(row["changes"]).split("; ") if one and not one.startswith(_RESTARTED)]
    new, old = _sides(medians, workload, str(newest), warm_up_s, begun)
    return service_pods.Facts(
        [mark for fact in (history, pods, medians) for mark in evidence_of(fact)],
        revision=int(row["revision"]),
        begun=begun,
        created=row["created"],
        changes="; ".join(changes) if changes and changes != ["nothing"] else "",
        cause=row["change_cause"],
        taken_back=service_pods.taken_back(history),
        new_us=new,
        old_us=old,
    )


def _sides(
    medians: pd.DataFrame | None, workload: str, newest: str, warm_up_s: float, begun: Any
) -> tuple[float, float]:
    """The median computation in pods of the newest revision and in those that it replaced [us]; nan where not seen.

    Pods that had ended before it began are another story, those of its own revision too, where that came back: of
    what was replaced, the last that there was counts. Of a pod that is too young to be warm, the later half of its
    seconds counts.
    """
    import pandas as pd

    name = workload.partition("/")[2]
    sides: dict[bool, list[tuple[Any, float]]] = {True: [], False: []}
    for pod in medians.columns if medians is not None else ():
        values = medians[pod].dropna() if medians is not None else pd.Series(dtype=float)
        side = str(pod).startswith(f"{name}-{newest}-")
        if side and begun is not None:
            values = values[values.index >= begun]
        if not str(pod).startswith(f"{name}-") or not len(values):
            continue
        settled = values[values.index >= values.index[0] + pd.Timedelta(seconds=warm_up_s)]
        if not len(settled):
            settled = values.iloc[len(values) // 2 :] if len(values) >= _FEW else settled
        if len(settled):
            sides[side].append((values.index[-1], float(settled.median())))
    last = max((end for end, _ in sides[False]), default=None)
    if last is not None and begun is not None:
        sides[False] = [(end, value) for end, value in sides[False] if end >= min(begun, last)]
    new, old = (
        service_pods.middle(pd.Series([value for _, value in sides[side]], dtype=float)) for side in (True, False)
    )
    return new, old


def memory_leak(held: pd.DataFrame, horizon_min: float) -> list[Reason]:
    """The process keeps ever more, and works through all of it."""
    return service_pods.leaks(held, horizon_min)


def recent_deployment(release: Mapping[str, Any], risen: pd.DataFrame, tolerance_s: float) -> list[Reason]:
    """Latency jumped with a roll-out that changed something, and is where it jumped to since.

    A roll-back is a roll-out too: what it came back to may be the slower one.
    """
    new, old = float(release["new_us"]), float(release["old_us"])
    changed, jumped = str(release["changes"]), risen.at["greeks_us", "jumped"]
    if math.isnan(old) and not math.isnan(new):
        return [Reason(f"all pods since latency was lower are of revision {release['revision']}: no roll-out", -3.0)]
    if not changed:
        return [Reason(f"revision {release['revision']} changed nothing but the pods", -3.0)]
    named = f"revision {release['revision']}{', which ran earlier and came back' if release['taken_back'] else ''}"
    text = f"a computation takes {new:.0f} us in pods of {named}, {old:.0f} us in those before it"
    reasons = [reason(text, new / old if old > 0 else math.nan, threshold=1.4, decisive=1.75, missing=NO_PAST)]
    reasons.append(Reason(f"revision {release['revision']} changed {changed[:160]}", 0.5))
    if _known(jumped) and _known(release["begun"]):
        late = (jumped - release["begun"]).total_seconds()
        when = f"{abs(late):.0f} s {'after' if late >= 0 else 'before'} it"
        text = f"latency jumped at {jumped:%H:%M:%S}, {when} (its first pod: {release['begun']:%H:%M:%S})"
        off = late / tolerance_s if late >= 0 else -3.0 * late / tolerance_s
        reasons.append(reason(text, off, threshold=1.0, decisive=0.2))
    return reasons


def _known(moment: Any) -> bool:
    return moment is not None and moment == moment


def load_growth(risen: pd.DataFrame, cpu: service_pods.CpuUse) -> list[Reason]:
    """More is asked than before, and requests wait for each other.

    Where hardly more is asked, they wait for another reason: that they do does not speak for a load.
    """
    rate, queue = risen.loc["rate"], risen.loc["queue"]
    text = f"requests that wait in one pod: {queue['now']:.0f} at most (before: {queue['before']:.0f})"
    waits = [reason(text, float(queue["now"]), threshold=4.0, decisive=10.0, missing=NO_QUEUE)]
    waits += [] if math.isnan(cpu.share) else [cpu.reason()]
    if rate["ratio"] < _ALIKE:
        waits = [Reason(item.text, min(0.0, item.weight), item.missing) for item in waits]
    text = f"{rate['now']:.0f} requests a second, {rate['ratio']:.1f} times as many as before"
    return [reason(text, float(rate["ratio"]), threshold=1.5, decisive=2.5, missing=NO_PAST), *waits]


def data_growth(risen: pd.DataFrame, grown: pd.DataFrame, answered: bool) -> list[Reason]:
    """A table became so large that what reads it is slow; the computations are as quick as ever."""
    if not len(grown):
        return [reason("no table is seen", math.nan, threshold=0, decisive=1, missing=NO_ROWS)]
    name = grown_tables.culprit(grown)
    first = grown.loc[name]
    taken, ratio = float(first["mean_ms"]), float(first["ratio"])
    if ratio < grown_tables.GROWN or first["rows"] < grown_tables.LARGE:
        return [Reason(f"no large table has {grown_tables.GROWN:g} times the rows of before", -3.0)]
    if math.isnan(taken) or taken < grown_tables.SLOW_MS:
        return [Reason("no statement on a table that grew is slow", -3.0)]
    proven = first["least"] >= grown_tables.GROWN
    if not answered and not proven:
        text = f"no index of {name} begins with what its slow statement asks for: it is slow however many rows are new"
        return [Reason(text, -3.0)]
    told = "" if proven else "up to "
    text = f"{name} has {first['rows']:,.0f} rows, {told}{ratio:.1f} times as many as before"
    reasons = [reason(text, ratio, threshold=grown_tables.GROWN, decisive=2.0, missing=NO_ROWS)]
    text = f"a statement that reads it takes {taken:.0f} ms"
    reasons.append(reason(text, taken, threshold=grown_tables.SLOW_MS, decisive=60.0))
    requests = float(risen.at["requests_ms", "ratio"])
    text = f"whole requests take {requests:.1f} times as long as before"
    found = reason(text, requests, threshold=1.3, decisive=2.5, missing=NO_PAST)
    return [*reasons, Reason(text, min(1.0, found.weight), found.missing)]


def reading(risen: pd.DataFrame) -> str:
    """What the tests say of the two latencies, a sentence each."""
    lines = []
    for name, what in _HEIGHTS.items():
        row, unit = risen.loc[name], name.rpartition("_")[2]
        jumps = _known(row["jumped"]) and row["jump_p"] < _CHANCE
        if jumps and not (row["creeps"] and row["p"] < _CHANCE):
            told = f"jumps {_way(row['rise'])} at {row['jumped']:%H:%M:%S} ({chance(row['jump_p'])})"
        elif row["p"] < _CHANCE:
            told = f"creeps {_way(row['per_min'])} ({row['per_min']:+.3g} {unit} a minute, {chance(row['p'])})"
        elif row["ratio"] > _ROSE:
            told = "rose; whether it crept or jumped cannot be told from what is seen"
        else:
            told = f"shows no trend ({chance(row['p'])})"
        lines.append(f"Latency of {what} {told}.")
    return "\n".join(lines)


def _way(change: float) -> str:
    return "up" if change > 0 else "down"


CAUSES = (
    Cause(
        "memory-leak",
        "Does latency follow what the service keeps?",
        memory_leak,
        "restart the service pod by pod; then look in the code for what is kept",
    ),
    Cause(
        "recent-deployment",
        "Did latency jump with a roll-out?",
        recent_deployment,
        "roll back to the revision before; its owner looks at what it changed",
    ),
    Cause(
        "load-growth",
        "Does latency follow the number of requests?",
        load_growth,
        "scale up; then plan the capacity anew",
    ),
    Cause(
        "data-growth",
        "Does latency follow the size of a table?",
        data_growth,
        "analyze and vacuum the table; its owner decides on an index, an archive or partitions",
    ),
    Cause(
        "missing-index",
        "Does a statement lack its index?",
        lost_indexes.missing_index,
        "build the index again, without locking anybody out; then find who dropped it, and why",
    ),
)


def fixes(
    causes: Sequence[str],
    *,
    workload: str,
    workloads: pd.DataFrame | None,
    autoscalers: pd.DataFrame | None,
    grown: pd.DataFrame | None,
    index: Mapping[str, Any] | None,
    lacking: Mapping[str, Any] | None,
    scale_to: int,
) -> list[tuple[str, dict[str, Any]]]:
    """The fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    workload : str
        `deployment/NAME`.
    workloads, autoscalers, grown : DataFrame or None
        As seen: the cluster's, and of `tables`.
    index : mapping or None
        Of `index_for`: `table` and `columns` of an index that would answer the slow statement alone.
    lacking : mapping or None
        Of `lost_indexes.index_for`: `table` and `columns` of the index that a slow statement lacks.
    scale_to : int
        How many pods carry a high load.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    for cause in causes:
        if cause == "recent-deployment":
            found.append(("kubernetes.undo-rollout", {"workload": workload}))
        elif cause == "memory-leak" and "recent-deployment" not in causes:  # rolling back replaces the pods as well
            found.append(("kubernetes.restart", {"workload": workload}))
        elif cause == "load-growth":
            found += service_pods.more_pods(workload, workloads, autoscalers, scale_to)
        elif cause == "data-growth" and grown is not None and len(grown):
            table = grown_tables.culprit(grown)
            if index is not None:
                found.append(("postgres.create-index", {**index, "reason": f"{table} outgrew its index"}))
            found.append(("postgres.vacuum", {"table": table, "reason": f"{table} has grown"}))
        elif cause == "missing-index" and lacking:
            reason = f"what reads {lacking['table']} reads all of it for want of an index"
            found.append(("postgres.create-index", {**lacking, "reason": reason}))
    return found
