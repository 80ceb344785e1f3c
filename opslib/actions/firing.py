"""The firing check of any system: the alert's own rule, found by its name, evaluated again in its Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from opslib.errors import ConfigurationError, ProbeError
from opslib.promql import condition

if TYPE_CHECKING:
    from opslib.actions.action import Check, Context


def check(context: Context) -> Check | None:
    """Whether an alert of the incident would fire now; None where there is no alert, no Prometheus, or no such rule.

    Of several alerts, the one that fires.

    Raises
    ------
    ProbeError
        When Prometheus cannot be reached or does not evaluate the rule.
    """
    if not context.alerts:
        return None
    try:
        context.endpoint("prometheus")
    except ConfigurationError:
        return None
    rules = _rules(context)
    found = [_checked(context, rule, labels) for labels in context.alerts for rule in rules if _is_of(rule, labels)]
    return next((one for one in found if one.firing), found[0] if found else None)


def _rules(context: Context) -> list[dict[str, Any]]:
    """The alerting rules that Prometheus has loaded."""
    groups = _answer(context, "/api/v1/rules", {"type": "alert"})["groups"]
    return [rule for group in groups for rule in group["rules"] if rule.get("type") == "alerting"]


def _is_of(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether an alert with these labels is of this rule; labels that the rule computes tell nothing."""
    fixed = {key: value for key, value in (rule.get("labels") or {}).items() if "{{" not in value}
    same = all(labels.get(key, value) == value for key, value in fixed.items())
    return bool(rule["name"] == labels.get("alertname")) and same


def _checked(context: Context, rule: Mapping[str, Any], labels: Mapping[str, str]) -> Check:
    """One rule, evaluated for the series that the alert is about."""
    from opslib.actions.action import Check

    wanted = condition(str(rule["query"]))
    by = _series(context, wanted.measure, labels)
    if wanted.sign is None or wanted.limit is None:
        return Check(bool(by), f"series for which {rule['name']} holds", len(by), 0.0, "series", by)
    fires = {name: value for name, value in by.items() if wanted.holds(value)}
    worst = wanted.worst(list((fires or by).values()) or [0.0])
    return Check(bool(fires), f"{rule['name']} ({wanted.measure})"[:200], worst, wanted.limit, "", by, wanted.sign)


def _series(context: Context, promql: str, labels: Mapping[str, str]) -> dict[str, float]:
    """The value of each series that is of the alert: no label of it is another than the alert's."""
    data = _answer(context, "/api/v1/query", {"query": promql})
    if data["resultType"] == "scalar":
        return {"value": float(data["result"][1])}
    found: dict[str, float] = {}
    for row in data["result"]:
        own = {key: value for key, value in row["metric"].items() if key != "__name__"}
        value = float(row["value"][1])
        if math.isfinite(value) and all(labels.get(key, told) == told for key, told in own.items()):
            found[", ".join(own[key] for key in sorted(own) if key not in labels) or "value"] = value
    return found


def _answer(context: Context, path: str, query: Mapping[str, str]) -> Any:
    """The data that Prometheus answers."""
    answer = context.get("prometheus", f"{path}?{urlencode(query)}")
    try:
        told = answer.json()
    except ValueError as error:
        raise ProbeError(f"Prometheus of {context.platform} did not answer JSON to {path}") from error
    if told.get("status") != "success":
        raise ProbeError(f"Prometheus of {context.platform}: {told.get('error') or 'no success'}")
    return told["data"]
