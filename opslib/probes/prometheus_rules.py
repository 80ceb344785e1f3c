"""The rules that fire, evaluated again; a series beside its own past; the targets that are scraped."""

from __future__ import annotations

import math
import time
from typing import Any

from opslib.probes.prometheus import data_of, label_columns, series_names
from opslib.probes.registry import ROWS, Frame, Target, probe
from opslib.promql import condition

_PAST_S = {"now": 0, "hour before": 3600, "day before": 86400, "week before": 7 * 86400}
_COMPARED_S = 15.0  # no past is asked for later than this


@probe("prometheus.rules")
def rules(target: Target) -> Frame:
    """The alert rules: `alert`, `state`, `expression`, `for_s` [s], `health`, `error`, `severity`, `firing`."""
    import pyarrow as pa

    found = _alert_rules(target)
    texts = {
        "alert": [rule["name"] for rule in found],
        "state": [rule.get("state", "unknown") for rule in found],
        "expression": [rule["query"] for rule in found],
        "health": [rule.get("health", "") for rule in found],
        "error": [rule.get("lastError") or "" for rule in found],
        "severity": [rule.get("labels", {}).get("severity", "") for rule in found],
    }
    columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["for_s"] = pa.array([float(rule.get("duration", 0)) for rule in found], pa.float64())
    columns["firing"] = pa.array([_count(rule, "firing") for rule in found], pa.int64())
    return Frame(pa.table(columns))


@probe("prometheus.rule")
def rule(target: Target, alert: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """The rule of an alert, evaluated again now.

    Parameters
    ----------
    target : Target
    alert : str
        Its name.
    labels : dict, optional
        Only series with these labels count: those of the alert's target.

    Returns
    -------
    dict
        `state` and `expression` as Prometheus holds them, `for_s` [s], `health`, `error`, `active` (its alerts);
        evaluated again: `holds`, `measure`, `sign`, `limit`, `value` (the worst), and `series` with labels and values.
        Of several rules with the name, the first whose condition holds, else the first.
    """
    named = [rule for rule in _alert_rules(target) if rule["name"] == alert]
    if not named:
        there = ", ".join(sorted({rule["name"] for rule in _alert_rules(target)})) or "none"
        raise target.error(f"there is no alert rule {alert!r}; there are {there}")
    told = [_evaluated(target, rule, labels or {}) for rule in named]
    return next((one for one in told if one["holds"]), told[0])


def _evaluated(target: Target, rule: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    wanted = condition(rule["query"])
    answer = data_of(target, "/api/v1/query", {"query": wanted.measure})
    found = answer["result"] if answer["resultType"] == "vector" else [{"metric": {}, "value": answer["result"]}]
    series: list[dict[str, Any]] = [
        {"labels": dict(row["metric"]), "value": float(row["value"][1])}
        for row in found
        if all(row["metric"].get(name, value) == value for name, value in labels.items())
    ]
    true = [row for row in series if wanted.holds(row["value"])]
    return {
        "alert": rule["name"],
        "state": rule.get("state", "unknown"),
        "expression": rule["query"],
        "for_s": float(rule.get("duration", 0)),
        "health": rule.get("health", ""),
        "error": rule.get("lastError") or "",
        "rule_labels": rule.get("labels", {}),
        "active": [
            {"labels": one["labels"], "state": one["state"], "since": one.get("activeAt"), "value": one.get("value")}
            for one in rule.get("alerts") or ()
        ],
        "holds": bool(true),
        "measure": wanted.measure,
        "sign": wanted.sign,
        "limit": wanted.limit,
        "value": wanted.worst([row["value"] for row in series]),
        "series": sorted(series, key=lambda row: -row["value"])[:1000],
    }


def _alert_rules(target: Target) -> list[dict[str, Any]]:
    groups = data_of(target, "/api/v1/rules", {"type": "alert"})["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _count(rule: dict[str, Any], state: str) -> int:
    return sum(one.get("state") == state for one in rule.get("alerts") or ())


@probe("prometheus.compared")
def compared(target: Target, promql: str, minutes: float = 60.0, step_s: float = 60.0) -> Frame:
    """A query over the last `minutes`, and the same an hour, a day and a week before, laid beside it.

    Index `time` (UTC) of now; columns `now`, `hour before`, `day before`, `week before`, each with the series' name
    behind it where there are several. A past that Prometheus no longer holds is left out and said, and so is one for
    which no time was left: none is asked for later than 15 s from the beginning.
    """
    import pyarrow as pa

    if not minutes > 0 or not step_s > 0 or minutes * 60 / step_s > 2_000:
        raise target.error("minutes and step_s must be above zero and give at most 2,000 points")
    end = math.floor(time.time() / step_s) * step_s
    found: dict[str, dict[int, float]] = {}
    missing, late, until = [], [], time.monotonic() + _COMPARED_S
    for past, back_s in _PAST_S.items():
        if time.monotonic() > until:
            late.append(past)
            continue
        limits = {"start": f"{end - minutes * 60 - back_s:.3f}", "end": f"{end - back_s:.3f}", "step": f"{step_s:g}"}
        result = data_of(target, "/api/v1/query_range", {"query": promql, **limits})["result"]
        if not result:
            missing.append(past)
        for name, row in zip(series_names([row["metric"] for row in result]), result, strict=True):
            points = {round((float(at) + back_s) * 1000): float(value) for at, value in row["values"]}
            found[past if len(result) == 1 else f"{past}, {name}"] = points
    if sum(map(len, found.values())) > ROWS:
        raise target.error(f"{promql!r} gives more than {ROWS:,} points")
    times = sorted(set().union(*found.values()))
    columns: dict[str, Any] = {"time": pa.array(times, pa.timestamp("ms", tz="UTC"))}
    for name, points in found.items():
        columns[name] = pa.array([points.get(at) for at in times], pa.float64())
    notes = [
        f"Prometheus holds nothing of {promql} for: {', '.join(missing)}" if missing else "",
        f"no time was left to ask for: {', '.join(late)}" if late else "",
    ]
    return Frame(pa.table(columns), "time", "; ".join(filter(None, notes)) or None)


@probe("prometheus.targets")
def targets(target: Target) -> Frame:
    """What Prometheus scrapes: `job`, `instance`, `health` (up, down), `error`, `took_s` [s], `last_scrape`, labels."""
    import pyarrow as pa

    found = data_of(target, "/api/v1/targets", {"state": "active"})["activeTargets"]
    labels = [dict(row["labels"]) for row in found]
    taken = ("job", "instance", "health", "error", "took_s", "last_scrape")
    columns = {
        "job": pa.array([row.pop("job", "") for row in labels], pa.string()),
        "instance": pa.array([row.pop("instance", "") for row in labels], pa.string()),
        "health": pa.array([row.get("health", "") for row in found], pa.string()),
        "error": pa.array([row.get("lastError") or "" for row in found], pa.string()),
        "took_s": pa.array([float(row.get("lastScrapeDuration", "nan")) for row in found], pa.float64()),
        "last_scrape": pa.array([row.get("lastScrape") for row in found], pa.string()),
    }
    return Frame(pa.table({**columns, **label_columns(labels, taken)}))
