"""A01 greeks-latency: what each cause leaves behind, and how it is told from the others.

A computation takes long for one of four reasons: each takes longer, for want of a card; it waits behind others; it has
to make its model ready first; or it works through ever more of what the process keeps. So the quickest tenth of the
computations, which hardly waits, tells work from waiting; what the pods say of card, models and memory tells the rest.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opslib.diagnosis import lost_cards, service_pods
from opslib.diagnosis.causes import Cause, Reason, reason
from opslib.errors import ProbeError
from opslib.figures import percent

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

NO_CPU = "what the pods use of their CPU"
NO_CARD = "whether the pods have a card"
NO_QUEUE = "how many requests wait"
NO_MODELS = "which models are ready"
GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho")
EXAMPLE = {
    **{"spot": 100.0, "strike": 105.0, "expiry": 0.5, "rate": 0.03, "dividend": 0.01, "volatility": 0.25},
    "kind": "call",
}
_YEAR = 365.0
_AGREES = 1e-3  # of a Greek, as a share of it
_MORE, _ALIKE = 1.5, 1.2  # times as much as before is more load; is none
_SLOW = 2.0  # times as long as usual, from which on the work itself is slow
_MOST_PODS = 4  # that one plan deletes


def per_call(clock: Callable[[], dt.datetime], work: Callable[[], object], *, calls: int, rounds: int = 5) -> float:
    """How long a piece of work takes: the median of some rounds of many calls [us].

    Parameters
    ----------
    clock : callable
        `ops.now`: what it says is on the record, so that a replay finds the same figure.
    work : callable
    calls : int
        In a round; enough that a look at the clock does not count.
    rounds : int
    """
    work()
    times = []
    for _ in range(rounds):
        before = clock()
        for _ in range(calls):
            work()
        times.append((clock() - before).total_seconds())
    return 1e6 * sorted(times)[rounds // 2] / calls


def served(ops: Ops, keys: pd.DataFrame | None, cache: Mapping[str, Any]) -> dict[str, Any] | None:
    """A real request with what was served, out of the cache; None where there is none that is understood.

    That none of them could be read is told, and counts as unseen.

    Parameters
    ----------
    ops : Ops
    keys : DataFrame or None
        Keys of the cache: `key`.
    cache : mapping
        `key` (how one is made: `greeks:{underlying}:{kind}:{strike}:{days}:{spot}`), `fields` (of an entry, a JSON
        list, in their order), `rate` and `dividends` (by underlying), both continuously compounded [per year].
    """
    failed, read = None, False
    for key in () if keys is None else keys["key"]:
        try:
            entry = ops.redis.text(str(key))
        except ProbeError as error:
            failed = error
            continue  # its life may have ended between the two looks
        read = True
        found = understood(str(key), entry, cache)
        if found is not None:
            return found
    if failed is not None and not read:
        ops.unseen.append(f"what is served ({failed})")
        print(f"Not seen: what is served ({failed}). The diagnosis goes on without it.")
    return None


def understood(key: str, entry: str, cache: Mapping[str, Any]) -> dict[str, Any] | None:
    """A key of the cache and what lies there as `key`, `option` (for `engine.european`) and `served` (by Greek)."""
    form = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^:]+)", re.escape(str(cache["key"])))
    found = re.fullmatch(form, key)
    try:
        values = dict(zip(cache["fields"], json.loads(entry), strict=True))
        if found is None:
            return None
        option = {
            "spot": float(values["spot"]),
            "strike": float(found["strike"]),
            "expiry": float(found["days"]) / _YEAR,
            "rate": float(cache["rate"]),
            "dividend": float(cache["dividends"][found["underlying"]]),
            "volatility": float(values["volatility"]),
            "kind": found["kind"],
        }
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    return {"key": key, "option": option, "served": {name: float(values[name]) for name in GREEKS if name in values}}


def compared(served: Mapping[str, float], computed: Any) -> pd.DataFrame:
    """Served Greeks beside those of the engine: `served`, `engine`, `off` (of the larger), `agrees`."""
    import pandas as pd

    rows = {}
    for name, value in served.items():
        mine = float(getattr(computed, name))
        off = abs(value - mine) / max(abs(value), abs(mine), 1e-9)
        rows[name] = {"served": value, "engine": mine, "off": off, "agrees": off < _AGREES}
    return pd.DataFrame.from_dict(rows, orient="index")


def disagreement(key: str, check: pd.DataFrame) -> str:
    """What is told of served Greeks that differ from those of the engine; empty where none does."""
    wrong = check[~check["agrees"]].sort_values("off", ascending=False)
    if not len(wrong):
        return ""
    named = ", ".join(f"{name} by {percent(float(row['off']), 1)}" for name, row in wrong.iterrows())
    return f"The Greeks served as {key} DIFFER from those computed here ({named}): call L2 at once"


def gpu_unavailable(pods: pd.DataFrame, usual_us: float, outlook: lost_cards.Outlook) -> list[Reason]:
    """Pods compute without a card, each computation takes several times as long."""
    if pods["card"].isna().all():
        return [reason("", math.nan, threshold=0, decisive=1, missing=NO_CARD)]
    off, on = pods[pods["card"] == 0.0], pods[pods["card"] > 0.0]
    if not len(off):
        return [Reason(f"each of the {len(pods)} pods seen computes on a card", -3.0)]
    whole = float(pods["rate"].sum())
    share = float(off["rate"].sum()) / whole if whole > 0 else len(off) / len(pods)
    nodes = ", ".join(sorted({str(node) for node in off["node"].dropna()})) or "not known where"
    text = f"{len(off)} of {len(pods)} pods have no card ({nodes}), and compute {percent(share)} of the Greeks"
    reasons = [reason(text, share, threshold=0.03, decisive=0.15)]
    figure = "quick_us" if off["quick_us"].notna().any() else "p50_us"
    theirs = service_pods.middle(off[figure])
    others = service_pods.middle(on[figure]) if on[figure].notna().any() else usual_us
    than = "with a card" if on[figure].notna().any() else "usual"
    what = "the quickest tenth takes" if figure == "quick_us" else "a computation takes"
    text = f"there {what} {theirs:.0f} us, {theirs / others:.1f} times as long as {than}"
    reasons.append(reason(text, theirs / others, threshold=2.0, decisive=4.0))
    if outlook.release:
        return [*reasons, Reason(f"{outlook.release}; those before it had a card", 0.5)]
    return [*reasons, *(Reason(f"{node} has lost its card: {told}", 0.5) for node, told in outlook.lost.items())]


def high_load(pods: pd.DataFrame, cpu: service_pods.CpuUse, times: float, usual_us: float) -> list[Reason]:
    """More is asked than the pods can compute: requests wait for each other.

    What the pods use of their CPU is a mean over some time; a load of a moment ago shows in the requests alone. Where
    hardly more is asked than before, or each computation itself has become slow, requests wait for another reason:
    then that they do, and that the pods are busy, does not speak for a load.
    """
    deepest = float(pods["queue"].max())
    text = f"requests that wait in one pod: {deepest:.0f} at most"
    waits = [reason(text, deepest, threshold=4.0, decisive=10.0, missing=NO_QUEUE), cpu.reason(NO_CPU)]
    slower = service_pods.middle(pods["quick_us"]) / usual_us
    slow = slower > _SLOW
    if times < _ALIKE or (slow and not times >= _MORE):
        waits = [Reason(item.text, min(0.0, item.weight), item.missing) for item in waits]
    if slow:
        text = f"the quickest tenth, which hardly waits, takes {slower:.1f} times as long as usual: the work is slow"
        found = reason(text, slower, threshold=_SLOW, decisive=0.5 * _SLOW)
        waits.append(Reason(text, max(-1.5, found.weight)))
    if times < _ALIKE:
        text = f"{times:.1f} times as many computations are asked for as before: hardly more than before"
        return [*waits, reason(text, times, threshold=_ALIKE, decisive=_ALIKE + 0.1)]
    if times > _MORE:
        text = f"{times:.1f} times as many computations are asked for as before"
        return [*waits, reason(text, times, threshold=_MORE, decisive=2.5)]
    return waits


def model_not_cached(pods: pd.DataFrame, total: int, lines: float) -> list[Reason]:
    """Models are not ready: whoever asks for one waits until it is made, the next one does not."""
    lacking = total - pods["models"]
    most = float(lacking.max())
    where = str(lacking.idxmax()) if not math.isnan(most) else ""
    text = f"{where} has {total - most:.0f} of {total} models ready" if most > 0 else f"all {total} models are ready"
    reasons = [reason(text, most / total, threshold=0.04, decisive=0.25, missing=NO_MODELS)]
    rate, loads = float(pods["rate"].sum()), float(pods["loads"].sum(min_count=1))
    if rate > 0 and not math.isnan(loads):
        text = f"{percent(loads / rate, 1)} of the computations made a model ready first"
        reasons.append(reason(text, loads / rate, threshold=0.01, decisive=0.05))
    if lines > 0:
        reasons.append(Reason("the log tells of models that were not there at the start", 1.0))
    return reasons


def memory_leak(held: pd.DataFrame, horizon_min: float) -> list[Reason]:
    """The process keeps ever more, and works through all of it."""
    return service_pods.leaks(held, horizon_min)


CAUSES = (
    Cause(
        "gpu-unavailable",
        "Do pods compute without a card?",
        gpu_unavailable,
        "restart those pods, one by one, where a node with a card that works takes them; roll back where a release "
        "dropped the card; else have the node mended",
    ),
    Cause(
        "high-load",
        "Do requests wait for each other?",
        high_load,
        "scale up at once; it recovers within one or two minutes",
    ),
    Cause(
        "model-not-cached",
        "Are models made ready while clients wait?",
        model_not_cached,
        "restart the service, now that the model store is there; find out why it was not",
    ),
    Cause(
        "memory-leak",
        "Does the service keep ever more?",
        memory_leak,
        "restart the service pod by pod; then look in the code for what is kept",
    ),
)


def latest(rule: Mapping[str, Any] | None, stats: Mapping[str, Any] | None) -> tuple[float | None, str]:
    """The 95th percentile [us] and whose it is: of all pods as the alert has it, else of one pod; None: not seen."""
    value = None if rule is None else rule.get("value")
    if value is not None and math.isfinite(float(value)):
        return float(value), "all pods"
    engine = {} if stats is None else stats.get("greeks_engine") or {}
    own = engine.get("p95_time_microseconds")
    return (None, "") if own is None else (float(own), "the pod that answered")


def average(stats: Mapping[str, Any]) -> str:
    """What one pod says of its average; one that has just come, or is asked nothing, has none."""
    own = (stats.get("greeks_engine") or {}).get("average_time_microseconds")
    told = "computed nothing" if own is None else f"{float(own):.0f} us on average,"
    return f"One pod: {told} in half a minute."


def fixes(
    causes: Sequence[str],
    *,
    workload: str,
    pods: pd.DataFrame | None,
    outlook: lost_cards.Outlook,
    workloads: pd.DataFrame | None,
    autoscalers: pd.DataFrame | None,
    scale_to: int,
) -> list[tuple[str, dict[str, Any]]]:
    """The seed's fix of each cause that holds, as small as it can be; none for a cause whose fix cannot be aimed.

    Parameters
    ----------
    causes : sequence of str
        That hold, the most likely first.
    workload : str
        `deployment/NAME`.
    pods, workloads, autoscalers : DataFrame or None
        As seen.
    outlook : Outlook
        Where pods find a card: none is deleted that would not.
    scale_to : int
        How many pods carry a high load.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    restart, undo = ((name, {"workload": workload}) for name in ("kubernetes.restart", "kubernetes.undo-rollout"))
    for cause in causes:
        if cause == "gpu-unavailable" and outlook.release:
            found.append(undo)
        elif cause == "gpu-unavailable" and pods is not None and outlook.free and not outlook.hindrance:
            off = [str(name) for name, row in pods.iterrows() if row["card"] == 0.0 and row["node"]]
            found += [("kubernetes.delete-pod", {"pod": name}) for name in sorted(off)[:_MOST_PODS]]
        elif cause == "high-load":
            found += service_pods.more_pods(workload, workloads, autoscalers, scale_to)
        elif cause in ("model-not-cached", "memory-leak") and restart not in found:
            found.append(restart)
    if undo in found:  # it replaces every pod, as a restart does
        return [one for one in found if one != restart]
    if restart in found:  # so are those without a card
        found = [one for one in found if one[0] != "kubernetes.delete-pod"]
    return found
