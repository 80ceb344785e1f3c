"""The release that errors may have come with: which one is in effect, since when, and when the errors began."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opslib.diagnosis.api_errors import ALL, EXPLAINS, kind_of
from opslib.diagnosis.causes import Finding
from opslib.diagnosis.database import Facts, marks
from opslib.diagnosis.revisions import harmless

if TYPE_CHECKING:
    import pandas as pd


def unexplained(errors: pd.DataFrame, findings: Mapping[str, Finding]) -> dict[str, float]:
    """The share of the errors of each kind that nothing else explains; what was not seen may explain its own."""
    found = {}
    for kind, share in errors["share"].items():
        causes = [findings[key] for key in EXPLAINS.get(str(kind), ()) if key in findings]
        seen = [one.likelihood for one in causes if not one.unseen]
        known = max(seen, default=1.0) if causes else float(kind == "cache away")
        found[str(kind)] = float(share) * (1.0 - known)
    return found


def rollout(
    history: pd.DataFrame | None,
    pods: pd.DataFrame | None,
    workload: str,
    series: pd.DataFrame | None,
    errors: pd.DataFrame | None,
    findings: Mapping[str, Finding],
) -> Facts | None:
    """The release in effect, and when the errors began that nothing else explains; None where no history was seen.

    Roll-outs after it that changed no program are passed over: a restart neither is a release nor hides one. It is
    dated by its revision, not by its pods: those may have been replaced since. A roll-back is a release too, and so is
    one that was there before and came again; their revisions were made long before, so the oldest pod dates them.

    Parameters
    ----------
    history : DataFrame or None
        Of the service's workload, as `ops.kubernetes` tells it.
    pods : DataFrame or None
        All pods.
    workload : str
        `deployment/NAME`.
    series : DataFrame or None
        Shares by error over time [%], indexed by time.
    errors : DataFrame or None
        As `failing` tells.
    findings : mapping
        Those of the other causes.
    """
    if history is None or errors is None:
        return None
    left = unexplained(errors, findings)
    facts = Facts(unexplained=sum(left.values()), says="", gap_s=math.nan, revision=0, previous=0, changes="")
    facts |= {"rolled_back": False, "passed_over": "", "began_seen": False}
    facts.seen_in(marks(history, pods, series, errors))
    worst = max(left, key=lambda kind: left[kind], default="")
    facts["says"] = str(errors.at[worst, "says"]) if worst else ""
    kept = history.sort_values("revision", ascending=False)
    rows = kept[kept["revision"] <= kept.loc[kept["current"], "revision"].max()].to_dict("records")
    if not rows:
        return facts
    place = next((at for at, row in enumerate(rows) if not harmless(str(row["changes"]))), len(rows) - 1)
    row, earlier = rows[place], rows[place + 1 :]
    facts |= {"revision": int(row["revision"]), "changes": str(row["changes"])}
    facts["previous"] = int(earlier[0]["revision"]) if earlier else 0
    if place:
        facts["passed_over"] = f"revision {rows[0]['revision']} changed no program: {rows[0]['changes']}"
    at: dt.datetime | None = row["created"]
    facts["rolled_back"] = bool(earlier) and earlier[0]["created"] > row["created"]
    if facts["rolled_back"] or row.get("came_back"):
        at = None if place else _oldest(pods, workload)
    began, facts["began_seen"] = onset(series, worst)
    if began is not None and at is not None:
        facts["gap_s"] = (began - at).total_seconds()
    return facts


def _oldest(pods: pd.DataFrame | None, workload: str) -> dt.datetime | None:
    """When the oldest pod was made of the revision that the newest is of; None where that was not seen."""
    own = None if pods is None else pods[(pods["workload"] == workload) & pods["created"].notna()]
    if own is None or not len(own):
        return None
    newest = own.sort_values("created")["revision"].iloc[-1]
    found: dt.datetime = own.loc[own["revision"] == newest, "created"].min().to_pydatetime()
    return found


def rollouts(history: pd.DataFrame | None, since: dt.datetime) -> dict[str, dt.datetime]:
    """The roll-outs since a moment, as a picture marks them."""
    if history is None:
        return {}
    late = history[history["created"] >= since]
    return {f"revision {row.revision}": row.created.to_pydatetime() for row in late.itertuples()}


def onset(series: pd.DataFrame | None, kind: str) -> tuple[dt.datetime | None, bool]:
    """When errors of a kind began that last until now, None where there are none; and whether that is seen.

    It is not where the series begins with errors: then it is only the latest moment. A counter is there from its first
    error on, so they may have begun just then, or before what is looked at.
    """
    columns = [] if series is None else [name for name in series.columns if name != ALL and kind_of(str(name)) == kind]
    if series is None or not columns:
        return None, False
    there = series[columns].sum(axis=1).fillna(0.0)
    on = (there > max(0.05 * float(there.iloc[-5:].max()), 1e-9)).tolist()
    place = len(on) - 1
    while place >= 0 and any(on[max(0, place - 1) : place + 1]):  # one point without errors is no end
        place -= 1
    begun = next((at for at in range(place + 1, len(on)) if on[at]), None)
    if begun is None:
        return None, False
    return series.index[begun].to_pydatetime(), begun > 0
