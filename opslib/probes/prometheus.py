"""What Prometheus answers: instant and range queries, and the rules that fire."""

from __future__ import annotations

import time
from typing import Any

from opslib.probes.http import get, parsed
from opslib.probes.registry import ROWS, Frame, Target, probe

_LARGEST_RANGE_MINUTES = 60 * 24 * 31


def data_of(target: Target, path: str, parameters: dict[str, Any] | None = None) -> Any:
    """The `data` of an answer of its API.

    Raises
    ------
    ProbeError
        With what Prometheus says is wrong.
    """
    status, body = get(target, path, parameters)
    answer = parsed(target, path, body)
    if not isinstance(answer, dict) or answer.get("status") != "success" or "data" not in answer:
        said = answer.get("error") if isinstance(answer, dict) else None
        raise target.error(f"{path} answered {status}: {said or 'no success'}")
    return answer["data"]


def label_columns(rows: list[dict[str, str]], taken: tuple[str, ...]) -> dict[str, Any]:
    """One column a label; one whose name is taken already becomes `label_<name>`."""
    import pyarrow as pa

    columns = {}
    for label in sorted({label for row in rows for label in row}):
        name = "metric" if label == "__name__" else label
        columns[f"label_{name}" if name in taken else name] = pa.array([row.get(label) for row in rows], pa.string())
    return columns


@probe("prometheus.query")
def query(target: Target, promql: str, at: str | float | None = None) -> Frame:
    """An instant query: one column a label, then `value` and `time` (UTC).

    Parameters
    ----------
    target : Target
    promql : str
    at : str or float, optional
        RFC 3339, or seconds since 1970; now where it is left out.
    """
    import pyarrow as pa

    data = data_of(target, "/api/v1/query", {"query": promql, **({} if at is None else {"time": at})})
    result = data["result"]
    if data["resultType"] in ("scalar", "string"):
        result = [{"metric": {}, "value": result}]
    elif data["resultType"] != "vector":
        raise target.error(f"{promql!r} gives a {data['resultType']}; `ops.prometheus.range` reads those")
    columns = label_columns([row["metric"] for row in result], ("value", "time"))
    columns["value"] = pa.array([float(row["value"][1]) for row in result], pa.float64())
    times = [round(float(row["value"][0]) * 1000) for row in result]
    columns["time"] = pa.array(times, pa.timestamp("ms", tz="UTC"))
    return Frame(pa.table(columns))


def series_names(labels: list[dict[str, str]]) -> list[str]:
    """A short name a series: the values of the labels in which the series differ."""
    differ = [
        label
        for label in sorted({label for row in labels for label in row})
        if len({row.get(label) for row in labels}) > 1
    ]
    if len(labels) == 1:
        return [labels[0].get("__name__") or "value"]
    if len(differ) == 1:
        return [row.get(differ[0], "") for row in labels]
    return [", ".join(f'{label}="{row.get(label, "")}"' for label in differ) for row in labels]


@probe("prometheus.range")
def range_(target: Target, promql: str, minutes: float, step_s: float = 15.0) -> Frame:
    """A query over the last `minutes`: index `time` (UTC), one column a series, named by what tells them apart."""
    import pyarrow as pa

    if not 0 < minutes <= _LARGEST_RANGE_MINUTES or not step_s > 0 or minutes * 60 / step_s > 11_000:
        raise target.error("minutes and step_s must be above zero and give at most 11,000 points")
    end = time.time()
    limits = {"start": f"{end - minutes * 60:.3f}", "end": f"{end:.3f}", "step": f"{step_s:g}"}
    result = data_of(target, "/api/v1/query_range", {"query": promql, **limits})["result"]
    points = [{round(float(at) * 1000): float(value) for at, value in row["values"]} for row in result]
    if sum(map(len, points)) > ROWS:
        raise target.error(f"{promql!r} gives {sum(map(len, points)):,} points; at most {ROWS:,} are read")
    times = sorted(set().union(*points))
    columns: dict[str, Any] = {"time": pa.array(times, pa.timestamp("ms", tz="UTC"))}
    for name, found in zip(series_names([row["metric"] for row in result]), points, strict=True):
        columns[name] = pa.array([found.get(at) for at in times], pa.float64())
    return Frame(pa.table(columns), index="time")


@probe("prometheus.alerts")
def alerts(target: Target) -> Frame:
    """The alerts that fire or are about to: `alertname`, `state`, `since` (UTC), `value`, then one column a label."""
    import pyarrow as pa

    found = data_of(target, "/api/v1/alerts")["alerts"]
    labels = [dict(row["labels"]) for row in found]
    columns: dict[str, Any] = {
        "alertname": pa.array([row.pop("alertname", "") for row in labels], pa.string()),
        "state": pa.array([row["state"] for row in found], pa.string()),
        "since": pa.array([row.get("activeAt") for row in found], pa.string()),
        "value": pa.array([float(row.get("value", "nan")) for row in found], pa.float64()),
    }
    return Frame(pa.table({**columns, **label_columns(labels, ("alertname", "state", "since", "value"))}))
