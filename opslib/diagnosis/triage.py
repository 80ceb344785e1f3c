"""A24 triage: what can be said of an alert that has no playbook of its own.

An alert was delivered because something fired. It is over only where its own rule is here, evaluates, and does not
hold; a Prometheus that does not know the rule says nothing of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from opslib.diagnosis.causes import evidence_of
from opslib.diagnosis.triage_seen import PARTS, REFUSED, SHOWN, SILENT, UNSEEN, UNWELL, health, look, named
from opslib.promql import condition

if TYPE_CHECKING:
    import pandas as pd

    from opslib.ops import Ops

__all__ = [
    "CHANGES", "PARTS", "Rule", "changes", "described", "drawn", "health", "look", "name_of",
    "named", "others", "rule", "rules", "stretch", "symptom",
]  # fmt: skip

CHANGES = {"minutes": "before the alert [min]", "time": "at", "kind": "", "name": "what", "what": "how", "by": ""}
_LONGEST_MIN = 1440.0  # that a rule is drawn over
_POINTS = 240
_SERIES = 8  # that are drawn


class Rule(NamedTuple):
    """What is known of the alert's own rule.

    Attributes
    ----------
    holds : bool or None
        None where that is not known.
    why : str
        In words, without a full stop.
    found : dict or None
        What `ops.prometheus.rule` answered.
    evidence : tuple of str
    """

    holds: bool | None
    why: str
    found: Any = None
    evidence: tuple[str, ...] = ()


def described(alert: Mapping[str, Any]) -> pd.DataFrame:
    """What an alert says of itself, a row a label or annotation; long texts are cut."""
    import pandas as pd

    rows = [
        (kind, str(name)[:SHOWN], str(value)[:SHOWN])
        for kind in ("labels", "annotations")
        for name, value in sorted(dict(alert.get(kind) or {}).items())
    ]
    rows += [
        ("", name, str(alert[name])[:SHOWN]) for name in ("startsAt", "generatorURL", "problem") if alert.get(name)
    ]
    return pd.DataFrame(rows, columns=["of", "name", "value"])


def name_of(alert: Mapping[str, Any]) -> str:
    """What the alert is called, on one line; empty where it has no name."""
    return " ".join(str(dict(alert.get("labels") or {}).get("alertname") or "").split())[:SHOWN]


def stretch(now: dt.datetime, began: dt.datetime | None, least_min: float) -> tuple[float, float]:
    """How far back a rule is drawn [min], so that the alert's beginning is in it, and the time between points [s]."""
    age_min = 0.0 if began is None else 1.25 * (now - began).total_seconds() / 60.0
    minutes = float(round(max(least_min, min(age_min, _LONGEST_MIN))))
    return minutes, float(max(5, round(minutes * 60.0 / _POINTS)))


def rule(ops: Ops, alert: Mapping[str, Any], known: pd.DataFrame | None, firing: pd.DataFrame | None) -> Rule:
    """Whether the alert's own rule holds now.

    Parameters
    ----------
    ops : Ops
    alert : mapping
        As it was delivered. Its labels are compared with those of the series that the rule gives.
    known : DataFrame or None
        The rules of Prometheus: `alert`.
    firing : DataFrame or None
        Its alerts, as `ops.prometheus.alerts` tells them.
    """
    name = str(dict(alert.get("labels") or {}).get("alertname") or "")
    if not name:
        return Rule(None, "the alert has no name by which its rule could be found")
    there = known is not None and name in set(known["alert"])
    found = ops.look("the alert's own rule", ops.prometheus.rule, name) if there else None
    told = _judged(found, alert) if found is not None else None
    if told is not None and told.holds:
        return told
    rows = [] if firing is None else firing[firing["alertname"] == name].to_dict("records")
    if any(row["state"] == "firing" and _mine(alert, row) for row in rows):
        return Rule(True, "Prometheus has it firing", found, evidence_of(firing))
    if told is not None:
        return told
    if known is None:
        return Rule(None, "no Prometheus could be asked for its rule")
    why = "its rule could not be evaluated" if there else "its rule is not in this Prometheus"
    return Rule(None, why, evidence=evidence_of(known))


def _judged(found: Any, alert: Mapping[str, Any]) -> Rule:
    """What an evaluated rule says of this alert, whose series are those that its labels do not contradict."""
    marks = evidence_of(found)
    given = dict(found.get("rule_labels") or {})  # which the rule lays over those of its series
    mine = [one for one in found["series"] if _same(alert, {**one["labels"], **given})]
    firing = [one for one in found["active"] if one["state"] == "firing" and _same(alert, one["labels"])]
    wanted = condition(found["expression"])
    true = [one["value"] for one in mine if wanted.holds(one["value"])]
    if firing or true:
        told = f"{found['measure']} is {wanted.worst(true):,.4g}" if true and wanted.sign else "its rule holds"
        limit = f" (fires where {wanted.sign} {wanted.limit:g})" if true and wanted.sign else ""
        return Rule(True, f"{told}{limit}"[: 2 * SHOWN], found, marks)
    if found["error"] or found["health"] != "ok":
        return Rule(None, f"its rule does not evaluate: {found['error'] or found['health'] or 'not yet'}", found, marks)
    if wanted.sign is not None and not mine:
        return Rule(None, "its rule has no figures of what the alert names", found, marks)
    return Rule(False, "its rule evaluates and does not hold", found, marks)


def _same(alert: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether labels that something has contradict none of the alert's."""
    theirs = dict(alert.get("labels") or {})
    return all(theirs.get(name, value) == value for name, value in labels.items() if isinstance(value, str) and value)


def _mine(alert: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a row of `ops.prometheus.alerts` is the alert that was delivered."""
    return _same(alert, {name: value for name, value in row.items() if name not in ("state", "since", "value")})


def drawn(history: pd.DataFrame, sign: str | None) -> pd.DataFrame:
    """The series that are worth drawing: of many, those that are furthest on the wrong side at the end."""
    if len(history.columns) <= _SERIES or not len(history):
        return history
    last = history.ffill().iloc[-1].sort_values(ascending=sign in ("<", "<="))
    return history[list(last.index[:_SERIES])]


def changes(ops: Ops, seen: Mapping[str, Any], began: dt.datetime | None, minutes: float) -> pd.DataFrame | None:
    """What changed in the last `minutes` [min], what is nearest to the alert first; None where nothing tells it.

    Parameters
    ----------
    ops : Ops
    seen : mapping
        As `look` gives it; `status` names the changes of configuration that the platform itself knows of.
    began : datetime or None
        When the alert did.
    minutes : float
    """
    import pandas as pd

    recent = ops.look("recent changes", ops.changes.recent, minutes) if ops.has("kubernetes") else None
    told = dict(seen.get("status") or {}).get("config_changes")
    if recent is None and told is None:
        return None
    rows = [] if recent is None else recent.dropna(subset=["time"]).to_dict("records")
    for one in told or ():
        how = f"{one.get('from', '')} became {one.get('to', '')}"
        rows.append(
            {"time": one.get("at"), "kind": "setting", "name": one.get("key"), "what": how, "by": one.get("by")}
        )
    found = pd.DataFrame(rows, columns=["time", "kind", "name", "what", "by"])
    found["time"] = pd.to_datetime(found["time"], utc=True, format="ISO8601", errors="coerce")
    reference = found["time"].max() if began is None else pd.Timestamp(began)
    found["minutes"] = ((reference - found["time"]).dt.total_seconds() / 60.0).round(1)
    found = found.iloc[found["minutes"].abs().argsort(kind="stable")].reset_index(drop=True)
    found.attrs["evidence"] = [mark for fact in (recent, seen.get("status")) for mark in evidence_of(fact)]
    return found


def rules(firing: pd.DataFrame) -> pd.DataFrame:
    """The rules that fire or are about to, with the time since when."""
    import pandas as pd

    return firing.assign(since=pd.to_datetime(firing["since"], utc=True, format="ISO8601"))


def others(firing: pd.DataFrame | None, alert: Mapping[str, Any], platform: str) -> list[str]:
    """The names of the other alerts that fire on the platform; one that always fires to show that it can is none."""
    if firing is None:
        return []
    name = dict(alert.get("labels") or {}).get("alertname")
    return sorted(
        {
            str(row["alertname"])
            for row in firing.to_dict("records")
            if row["state"] == "firing"
            and not (row["alertname"] == name and _mine(alert, row))
            and row.get("platform") in (None, "", platform)
            and row.get("severity") != "none"
        }
    )


def symptom(alert: Mapping[str, Any], parts: pd.DataFrame, own: Rule, fires: list[str]) -> tuple[bool | None, str]:
    """Whether anything is wrong, and what, in one sentence without a full stop.

    A part that is not well confirms, and so do one that does not take our identity, which may keep out others too, and
    a rule that fires, the alert's own first. It is over only where its own rule evaluates and does not hold, and every
    part was seen.
    """
    name = name_of(alert) or "the alert"
    about = f"{name} still fires: {own.why}" if own.holds else f"of {name}: {own.why}"
    unwell = parts[parts["state"].isin([UNWELL, SILENT, REFUSED])]
    missed = ", ".join(parts["part"][parts["state"] == UNSEEN])
    rest = f"{missed} could not be seen and the other parts are well" if missed else "every part that was asked is well"
    if len(parts) and parts["state"].isin([SILENT, UNSEEN]).all():
        return None, f"nothing of the platform answers here: either it is down, or the way to it; {_delivered(alert)}"
    if len(unwell):
        told = "; ".join(f"{row.part} is {row.state} ({row.seen})" for row in unwell.itertuples())
        return True, f"{told}; {about}" if alert else told
    if own.holds:
        return True, f"{about}, while {rest}"
    if fires:
        told = f"{' and '.join(fires)} {'fires' if len(fires) == 1 else 'fire'} while {rest}"
        return True, f"{told}; {about}"
    if not len(parts):
        return None, f"{name} names no platform whose parts could be asked; {_delivered(alert)}"
    if missed:
        return None, f"{missed} could not be seen; {about}"
    if alert and own.holds is None:
        return (
            None,
            f"every part answers, but of {name} it is not known whether it is over: {own.why}; {_delivered(alert)}",
        )
    return False, f"every part answers and {name} does not fire any more" if alert else "every part answers"


def _delivered(alert: Mapping[str, Any]) -> str:
    if not alert:
        return "no alert was delivered"
    word = "over" if alert.get("status") == "resolved" else "firing"
    return f"it was delivered as {word} at {str(alert.get('startsAt') or 'a time that it does not say')[:40]}"
