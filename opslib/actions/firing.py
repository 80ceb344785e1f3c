"""The firing check of any system: the alert's own rule, evaluated again in the platform's Prometheus.

The rule is found by the alert's name. Where its expression ends in a comparison with a number, the left side is
evaluated, so that the figure is known whether or not the alert fires; other expressions fire where they give a series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from opslib.errors import ConfigurationError, ProbeError

if TYPE_CHECKING:
    from opslib.actions.action import Check, Context

_COMPARISON = re.compile(
    r"^(?P<left>.+?)\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?P<limit>[-+]?[0-9.]+(?:e[-+]?\d+)?)\s*$", re.S
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {">": gt, "<": lt, ">=": ge, "<=": le, "==": eq, "!=": ne}


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

    left, sign, limit = parted(str(rule["query"]))
    if not sign:
        by = _series(context, str(rule["query"]), labels)
        return Check(bool(by), f"series for which {rule['name']} holds", len(by), 0.0, "series", by)
    by = _series(context, left, labels)
    fires = {name: value for name, value in by.items() if _SIGNS[sign](value, limit)}
    worst = (min if sign in ("<", "<=") else max)(fires.values() or by.values(), default=0.0)
    return Check(bool(fires), f"{rule['name']} ({left})"[:200], worst, limit, "", by, sign)


def parted(expression: str) -> tuple[str, str, float]:
    """Left side, sign and number of an expression that ends in a comparison; sign "" where it does not so end."""
    found = _COMPARISON.match(expression.strip())
    if found is None or found["left"].count("(") != found["left"].count(")"):
        return expression, "", 0.0
    if re.search(r"\b(and|or|unless)\b", found["left"]) or found["left"].rstrip().endswith(
        ("bool", ">", "<", "=", "!")
    ):
        return expression, "", 0.0
    return found["left"], found["sign"], float(found["limit"])


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
