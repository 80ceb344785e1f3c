"""What the pods of a service do, side by side: how quick each is, what waits, what it holds, and whether that grows.

The figures come from one query of Prometheus; without it one pod tells of itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

from opslib.diagnosis.causes import Reason, evidence_of, reason
from opslib.diagnosis.trends import chance, together, trend
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

_MATERIAL = 0.003  # of the memory, that it has to grow by in the recent stretch
_CHANCE = 0.05  # of a trend without one: how fast and how far it rises is weighed by itself
_LEVEL = 1.5  # load that is so many times what it was, or the other way round, is another load
_FEW = 20  # points over time, of which less tells no before and now
NO_PAST = "what the pods held before"
_BUCKETS = 'sum by (pod, le) (rate(derivatives_greeks_latency_seconds_bucket{platform="$platform"}[$window]))'
_COUNT = 'sum by (pod) (rate(derivatives_greeks_latency_seconds_count{platform="$platform"}[$window]))'
# Of each pod now: a figure's name, and what is asked of Prometheus.
FIGURES: dict[str, str] = {
    "card": 'max by (pod) (derivatives_gpu_available{platform="$platform"})',  # 1 where it computes on a card
    "rate": _COUNT,  # computations [1/s]
    "quick_us": f"1e6 * histogram_quantile(0.1, {_BUCKETS})",  # one in ten, those that hardly wait, takes less [us]
    "p50_us": f"1e6 * histogram_quantile(0.5, {_BUCKETS})",
    "p95_us": f"1e6 * histogram_quantile(0.95, {_BUCKETS})",
    "queue": 'max by (pod) (max_over_time(derivatives_queue_depth{platform="$platform"}[$window]))',
    "models": 'max by (pod) (derivatives_models_resident{platform="$platform"})',
    "loads": 'sum by (pod) (rate(derivatives_model_loads_total{platform="$platform"}[$window]))',  # made ready [1/s]
    "sessions": 'max by (pod) (derivatives_sessions{platform="$platform"})',
    "memory_mb": 'max by (pod) (process_resident_memory_bytes{platform="$platform", pod!=""}) / 1e6',
}
LATENCY = {"latency over time": 'max(derivatives_greeks_latency_p95{platform="$platform"})'}
# Of each pod over time: what it is in words, and what is asked.
OVER_TIME: dict[str, str] = {
    "memory over time": FIGURES["memory_mb"],
    "sessions over time": FIGURES["sessions"],
    "the quickest computations over time": FIGURES["quick_us"],
    "computations a second over time": f"sum({_COUNT})",
}
# What a reader is shown of `by_pod` and of `growth`: columns and their headings.
SERVING = {"card": "on a card", "rate": "asked [1/s]", "quick_us": "quickest tenth [us]",
           "p95_us": "95th percentile [us]", "queue": "waiting", "models": "models ready", "memory_mb": "",
           "node": ""}  # fmt: skip
HELD = {"first_mb": "at first [MB]", "now_mb": "now [MB]", "mb_per_min": "grows by [MB/min]",
        "minutes_left": "at its limit in [min]", "sessions_first": "sessions at first",
        "sessions_now": "sessions now"}  # fmt: skip
MEDIAN = {"each pod's median over time": FIGURES["p50_us"]}


class Facts(dict[str, Any]):
    """Facts by name, with the evidence that they were read from."""

    def __init__(self, evidence: list[str], **facts: Any) -> None:
        super().__init__(facts)
        self.evidence = evidence


def promql(text: str, platform: str, window_s: float) -> str:
    """A query with the platform's name and the window over which rates are taken [s]."""
    return Template(text).substitute(platform=platform, window=f"{window_s:.0f}s")


def at_once(queries: Mapping[str, str], platform: str, window_s: float) -> str:
    """Several queries as one; a label `figure` tells their answers apart."""
    named = (f'label_replace({query}, "figure", "{name}", "", "")' for name, query in queries.items())
    return promql("\nor ".join(named), platform, window_s)


def over_time(
    ops: Ops, queries: Mapping[str, str], platform: str, window_s: float, stretch: tuple[float, float], *, watched: bool
) -> list[pd.DataFrame | None]:
    """Several queries over time, one look each; nothing is asked of a Prometheus that did not answer before.

    Parameters
    ----------
    ops : Ops
    queries : mapping
        What is looked at, in words, and what is asked.
    platform : str
    window_s : float
        Over which rates are taken [s].
    stretch : (float, float)
        How far back [min], and the time between two points [s].
    watched : bool
        Whether Prometheus answered.
    """
    return [
        ops.look(what, ops.prometheus.range, promql(query, platform, window_s), *stretch) if watched else None
        for what, query in queries.items()
    ]


def by_pod(
    answer: pd.DataFrame | None,
    stats: Mapping[str, Any] | None,
    pods: pd.DataFrame | None,
    nodes: pd.DataFrame | None,
) -> pd.DataFrame | None:
    """The pods that serve, side by side: index `pod`, a column each of `FIGURES`, then `node` and `on_gpu_node`.

    Parameters
    ----------
    answer : DataFrame or None
        Of `at_once(FIGURES, ...)`: `figure`, `pod`, `value`.
    stats : mapping or None
        What one pod says of itself at `/stats/engines`, where Prometheus says nothing.
    pods, nodes : DataFrame or None
        The cluster's; pods that it does not list, or that end, are left out.
    """
    import pandas as pd

    table = _pivoted(answer)
    if table is None and stats is not None:
        table = pd.DataFrame([_of_stats(stats)], index=pd.Index(["the pod that answered"], name="pod"))
    if table is None or not len(table):
        return None
    for name in FIGURES:
        if name not in table:
            table[name] = math.nan
    table = table[[*FIGURES]].astype(float)
    table["node"], table["on_gpu_node"] = None, math.nan
    if pods is not None and len(pods):
        known = table.index.intersection(pods.index[pods["status"] != "Terminating"])
        table = table.loc[known].copy() if len(known) else table
        table["node"] = pods["node"].reindex(table.index)
        if nodes is not None:
            table["on_gpu_node"] = table["node"].map(nodes["gpu_node"].astype(float))
    table["card"] = table["card"].fillna(table["on_gpu_node"])
    table.attrs["evidence"] = [mark for fact in (answer, stats, pods, nodes) for mark in evidence_of(fact)]
    return table


def _pivoted(answer: pd.DataFrame | None) -> pd.DataFrame | None:
    if answer is None or not len(answer) or not {"figure", "pod"} <= set(answer.columns):
        return None
    return answer.pivot_table(index="pod", columns="figure", values="value", aggfunc="max").copy()


def _of_stats(stats: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one pod, as far as it tells them."""
    engine, memory = stats.get("greeks_engine") or {}, stats.get("memory") or {}
    told = {
        "card": None if "device" not in engine else float(engine["device"] != "cpu"),
        "p50_us": engine.get("p50_time_microseconds"),
        "p95_us": engine.get("p95_time_microseconds"),
        "queue": engine.get("queue_depth"),
        "models": engine.get("models_resident"),
        "sessions": memory.get("sessions"),
        "memory_mb": None if memory.get("rss_mib") is None else float(memory["rss_mib"]) * 1.048576,
    }
    return {name: math.nan if value is None else float(value) for name, value in told.items()}


def level_since(load: pd.DataFrame | None) -> Any:
    """Since when as much is asked as now, give or take a third; None where it always was, or is not seen.

    Before that, what grows cannot be told from what more clients need.
    """
    if load is None or not len(load) or not len(load.columns):
        return None
    values = load.iloc[:, 0].dropna()
    if not len(values):
        return None
    now = float(values.iloc[-max(1, len(values) // 20) :].median())
    other = values[(values < now / _LEVEL) | (values > now * _LEVEL)]
    return other.index[-1] if len(other) else None


def times_as_many(load: pd.DataFrame | None, latency: pd.DataFrame | None = None, promised: float = math.inf) -> float:
    """How many times as much is asked now as before; nan where too little is seen.

    Parameters
    ----------
    load : DataFrame or None
        Over time, one column: what is asked of all pods [1/s].
    latency, promised : DataFrame or None, float
        Over time, one column. Before is the first quarter of what is seen; with this, of that in which it was not
        above `promised`: what was asked while it was too slow already is no measure.
    """
    if load is None or not len(load.columns):
        return math.nan
    values = load.iloc[:, 0].dropna()
    if len(values) < _FEW:
        return math.nan
    before = values
    if latency is not None and len(latency.columns):
        kept = latency.iloc[:, 0].dropna()
        before = values[(kept.reindex(values.index, method="nearest") <= promised).to_numpy()] if len(kept) else values
    if len(before) < _FEW // 4:
        return math.nan
    usual, now = float(before.iloc[: max(len(before) // 4, 3)].median()), float(values.iloc[-3:].median())
    return now / usual if usual > 0 else math.nan


def taken_back(history: pd.DataFrame) -> bool:
    """Whether the revision that runs ran before the one it took the place of: whoever did that took a change back."""
    current = history[history["current"]]
    earlier = history[history["revision"] < current["revision"].max()] if len(current) else current
    if not len(earlier):
        return False
    return bool(earlier.sort_values("revision")["created"].iloc[-1] > current["created"].iloc[0])


def growth(
    memory: pd.DataFrame | None,
    sessions: pd.DataFrame | None,
    quick: pd.DataFrame | None,
    load: pd.DataFrame | None,
    serving: Sequence[str] | None,
    engine: Any,
    *,
    warm_up_s: float,
    recent_s: float,
    limit_mb: float,
) -> pd.DataFrame | None:
    """Whether what each pod holds grows, and whether its computations get slower with it; the worst pod first.

    Parameters
    ----------
    memory, sessions, quick : DataFrame or None
        Over time, a column a pod: memory [MB], client sessions, and the quickest tenth of the computations [us].
    load : DataFrame or None
        Over time, one column: what is asked of all pods [1/s]. Only since it is level does growth count.
    serving : sequence of str or None
        Pods that count; None for all.
    engine : module
        `engine`, for its test of a trend.
    warm_up_s : float
        A pod's first seconds, and those after its load changed, in which it fills its memory anyway [s].
    recent_s : float
        The stretch in which it has to grow still [s].
    limit_mb : float
        What a pod may hold [MB]; nan where nothing limits it.

    Returns
    -------
    DataFrame or None
        Index `pod`; `first_mb`, `now_mb`; of the trend in the recent stretch `mb_per_min`, `p` and `grown` (share);
        `minutes_left` (to the limit), `sessions_first`, `sessions_now`, `with_memory` (Kendall's tau of memory and the
        quickest tenth).
    """
    import pandas as pd

    if memory is None:
        return None
    since = level_since(load)
    rows: dict[str, dict[str, float]] = {}
    for pod in memory.columns:
        held = memory[pod].dropna()
        held = held if since is None else held[held.index > since]
        if serving is not None and pod not in serving and len(memory.columns) > 1:
            continue
        held = held[held.index >= held.index[0] + pd.Timedelta(seconds=warm_up_s)] if len(held) else held
        recent = held[held.index >= held.index[-1] - pd.Timedelta(seconds=recent_s)] if len(held) else held
        found = trend(recent, engine)
        kept = _beside(sessions, str(pod), held.index).dropna()
        grown = found.last / found.first - 1.0 if found.first > 0 else math.nan
        left = (limit_mb - float(held.iloc[-1])) / (60.0 * found.slope) if found.rises and len(held) else math.inf
        rows[str(pod)] = {
            "first_mb": float(held.iloc[0]) if len(held) else math.nan,
            "now_mb": float(held.iloc[-1]) if len(held) else math.nan,
            "mb_per_min": 60.0 * found.slope,
            "p": found.p,
            "grown": grown,
            "minutes_left": max(left, 0.0) if not math.isnan(left) else math.inf,
            "sessions_first": float(kept.iloc[0]) if len(kept) else math.nan,
            "sessions_now": float(kept.iloc[-1]) if len(kept) else math.nan,
            "with_memory": together(held, _beside(quick, str(pod), held.index)),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("pod")
    if len(table):
        table = table.sort_values("mb_per_min", ascending=False, na_position="last")
    table.attrs["evidence"] = [mark for fact in (memory, sessions, quick, load) for mark in evidence_of(fact)]
    return table


class CpuUse(NamedTuple):
    """What the pods use of the CPU that they may use.

    Attributes
    ----------
    share : float
        The median pod; nan where it is not seen.
    until : Timestamp or None
        When it was measured, as a mean over the seconds before.
    lags : bool
        Most of those seconds lie before the alert: it may be more by now.
    evidence : tuple of str
    """

    share: float
    until: Any = None
    lags: bool = False
    evidence: tuple[str, ...] = ()

    def reason(self, missing: str = "") -> Reason:
        """Whether the pods are short of CPU; what was measured before the alert cannot speak against it."""
        text = f"the pods use {percent(self.share)} of the CPU that they may use"
        if self.lags:
            text = f"the pods used {percent(self.share)} of the CPU that they may use, mostly before the alert"
        found = reason(text, self.share, threshold=0.7, decisive=0.95, missing=missing)
        return Reason(text, max(0.0, found.weight), found.missing) if self.lags else found


def cpu_use(top: pd.DataFrame | None, pods: pd.DataFrame | None, began: Any = None) -> CpuUse:
    """What the pods use of the CPU that they may use.

    Parameters
    ----------
    top, pods : DataFrame or None
        The cluster's.
    began : Timestamp or None
        When the alert fired.
    """
    import pandas as pd

    if top is None or pods is None:
        return CpuUse(math.nan)
    used = top.reindex(pods.index)
    until = used["time"].max()
    window = pd.to_timedelta(used["window"], errors="coerce").max()
    lags = began is not None and bool(until - window / 2 < began)  # no time and no window: taken for fresh
    return CpuUse(middle(used["cpu_of_limit"]), until, lags, evidence_of(top))


def more_pods(
    workload: str, workloads: pd.DataFrame | None, autoscalers: pd.DataFrame | None, scale_to: int
) -> list[tuple[str, dict[str, Any]]]:
    """The step that gives a workload more pods; none where it has as many.

    An autoscaler would take back what is scaled by hand: where there is one, the least that it may choose is raised.
    """
    if autoscalers is not None and (autoscalers["workload"] == workload).any():
        row = autoscalers[autoscalers["workload"] == workload].iloc[0]
        bounds = {"least": scale_to, "most": max(scale_to, int(row["most"]))}
        step = ("kubernetes.set-autoscaler", {"autoscaler": str(row.name), **bounds})
        return [step] if int(row["least"]) < scale_to else []
    desired = 0 if workloads is None or workload not in workloads.index else int(workloads.at[workload, "desired"])
    return [("kubernetes.scale", {"workload": workload, "replicas": scale_to})] if desired < scale_to else []


def middle(values: pd.Series[float]) -> float:
    """The median of what is known; nan where nothing is."""
    known = values.dropna()
    return float(known.median()) if len(known) else math.nan


def _beside(table: pd.DataFrame | None, pod: str, index: Any) -> pd.Series[float]:
    """A pod's column at other times than its own: two looks never fall on the same moment."""
    import pandas as pd

    if table is None or pod not in table or len(index) < 2:
        return pd.Series(math.nan, index=index, dtype=float)
    own = table[pod].dropna()
    apart = (index[1:] - index[:-1]).median()
    return own.reindex(index, method="nearest", tolerance=apart) if len(own) else own.reindex(index)


def leaks(held: pd.DataFrame, horizon_min: float) -> list[Reason]:
    """What speaks for a leak: memory that grows on, towards its limit, and computations that get slower with it.

    Parameters
    ----------
    held : DataFrame
        Of `growth`.
    horizon_min : float
        Memory that reaches its limit within this time is an incident of today [min].
    """
    known = held.dropna(subset=["mb_per_min"]) if len(held) else held
    if not len(known):
        return [Reason("no pod has worked under an even load for long enough to have kept much", -0.5)]
    worst = known.iloc[0]
    rises = float(worst["mb_per_min"]) if worst["p"] < _CHANCE and worst["grown"] > _MATERIAL else 0.0
    share = rises * horizon_min / float(worst["now_mb"])
    tested = chance(float(worst["p"]))
    text = f"memory of {known.index[0]} grows by {worst['mb_per_min']:.2g} MB a minute (trend test: {tested})"
    reasons = [reason(text, share, threshold=0.3, decisive=1.2)]
    if math.isfinite(worst["minutes_left"]):
        text = f"at this rate it is at its limit in {worst['minutes_left']:,.0f} min"
        reasons.append(reason(text, horizon_min / max(float(worst["minutes_left"]), 1e-3), threshold=0.5, decisive=2.0))
    if rises:
        tau = float(worst["with_memory"])
        text = f"its quickest computations get slower as it grows (rank correlation {tau:.2f})"
        reasons.append(reason(text, tau, threshold=0.3, decisive=0.7, missing=NO_PAST))
    first, now = float(worst["sessions_first"]), float(worst["sessions_now"])
    if rises and first > 0:
        text = f"it holds {now:,.0f} client sessions, {now / first:.1f} times as many as at first"
        reasons.append(reason(text, now / first, threshold=2.0, decisive=6.0))
    return reasons
