"""Silences in Alertmanager: made for one alert of one platform, for hours at most, and expired again.

A silence ends no alert: it goes on firing, and is only no longer sent. So none of these actions mitigates an incident.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import AfterValidator, Field, StringConstraints

from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.crypto import Reason
from opslib.actions.documents import Bounds, Target, Undo
from opslib.errors import PlanError, ProbeError

LONGEST_MIN = 240
AUTHOR = "runbook"
_NEEDED = ("alertname", "platform")
_NO_INCIDENT = "no incident"
_MEASURE = "alerts that are sent"
_ROWS = 20

Label = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,99}$")]
Value = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r'^[^"\\\n]+$')]


def _narrow(matchers: dict[str, str]) -> dict[str, str]:
    lacking = [name for name in _NEEDED if name not in matchers]
    if lacking:
        raise ValueError(f"name {' and '.join(lacking)}; a silence is for one alert of one platform")
    return matchers


Matchers = Annotated[dict[Label, Value], Field(max_length=20), AfterValidator(_narrow)]


class SilenceArguments(ActionArguments):
    """Which alerts, by labels that must be exactly so; for how long [min]; why."""

    matchers: Matchers
    duration_min: Annotated[int, Field(ge=1, le=LONGEST_MIN)]
    reason: Reason = "set by plan"


class ExpireArguments(ActionArguments):
    """Whose silences: those with exactly these labels, of one incident where it is named; why."""

    matchers: Matchers
    incident: Annotated[str, Field(pattern=r"^(INC-\d{4}-\d{6,})?$")] = ""
    reason: Reason = "set by plan"


class _Silences(Action):
    """What making and expiring have in common."""

    kind = "silence"
    mitigates = False
    effect_within_s = 15.0

    def _mine(self, context: Context, matchers: Mapping[str, str]) -> None:
        """Refuse the alerts of another platform."""
        if matchers["platform"] != context.platform:
            raise PlanError(
                f"the matchers are for {matchers['platform']}; a plan of {context.platform} leaves it alone"
            )

    def _target(self, matchers: Mapping[str, str], ids: list[str], live: dict[str, Bounds] | None = None) -> Target:
        labels = ", ".join(f"{name}={matchers[name]}" for name in sorted(matchers))
        return Target(kind="silence", name=labels, uid=labels, fields={"silences": ids}, live=live or {})


class Silence(_Silences):
    """Have Alertmanager not send the alerts with these labels for a while."""

    name = "alertmanager.silence"
    Arguments = SilenceArguments
    arguments: SilenceArguments

    def observe(self, context: Context) -> Observation:
        """The silences of these labels that are in force, and how many alerts a new one would silence."""
        matchers = self.arguments.matchers
        self._mine(context, matchers)
        there = _in_force(context, matchers)
        sent = _sent(context, matchers)
        # Another alert that begins to fire before it is applied is one that nobody has looked at.
        live = {"alerts": Bounds(previewed=len(sent), high=len(sent))}
        return Observation(self._target(matchers, sorted(str(one["id"]) for one in there), live), {"alerts": sent})

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: the alerts that would no longer be sent."""
        given = self.arguments
        if seen.target.fields["silences"]:
            until = max(str(one["endsAt"]) for one in _in_force(context, given.matchers))
            raise PlanError(f"{seen.target.name} is silenced already, until {until}")
        sent: list[dict[str, str]] = seen.facts["alerts"]
        return Description(
            summary=f"Silence {seen.target.name} for {_minutes(given.duration_min)}: {_count(len(sent))} now",
            preview={
                "measure": _MEASURE,
                "unit": "",
                "before": float(len(sent)),
                "after": 0.0,
                "rows": sent[:_ROWS],
            },
            expected_effect="Alertmanager sends none of them any more; they go on firing, and the incident stays open",
            blast_radius={"alerts": len(sent), "minutes": given.duration_min},
            residual_risk=f"for {_minutes(given.duration_min)} nobody hears of these alerts, nor of new ones with the "
            "same labels; what they tell of goes on",
            undo=Undo(
                kind="inverse",
                reason="expires the silence: the alerts are sent again at once",
                action=ExpireSilence.name,
                arguments={"matchers": given.matchers, "incident": context.incident, "reason": "undo"},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Make it, once a key: a silence whose comment names the key is this one, also when it has ended since."""
        given, mark = self.arguments, f"{context.incident or _NO_INCIDENT}, plan {key}: "
        for one in _silences(context, given.matchers):
            if str(one.get("comment", "")).startswith(mark):
                return {"silenceID": one["id"], "endsAt": one["endsAt"], "made": "before"}
        now = dt.datetime.now(dt.UTC)
        body = {
            "matchers": [
                {"name": name, "value": value, "isRegex": False, "isEqual": True}
                for name, value in sorted(given.matchers.items())
            ],
            "startsAt": now.isoformat(),
            "endsAt": (now + dt.timedelta(minutes=given.duration_min)).isoformat(),
            "createdBy": AUTHOR,
            "comment": f"{mark}{given.reason}",
        }
        return {**context.post("alertmanager", "/api/v2/silences", body, key=key), "endsAt": body["endsAt"]}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether a silence made for this incident is in force that was not there before."""
        known = before.target.fields["silences"]
        return any(
            one["id"] not in known and one.get("createdBy") == AUTHOR and _of(one, context.incident)
            for one in _in_force(context, self.arguments.matchers)
        )

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether it is in force, and all that matches is silenced."""
        del before
        if not _in_force(context, self.arguments.matchers):
            return "the silence is not in force"
        sent = _sent(context, self.arguments.matchers)
        return f"{_count(len(sent))} still sent" if sent else None

    def check(self, context: Context) -> Check | None:
        """What this action is to end: that they are sent. None where no alert has these labels."""
        matching = _alerts(context, self.arguments.matchers)
        if not matching:
            return None
        sent = _sent(context, self.arguments.matchers)
        return Check(bool(sent), _MEASURE, float(len(sent)), 0.0, "", {"alerts": float(len(sent))})


class ExpireSilence(_Silences):
    """End silences before their time; the alerts are sent again."""

    name = "alertmanager.expire-silence"
    Arguments = ExpireArguments
    arguments: ExpireArguments

    def observe(self, context: Context) -> Observation:
        """The silences that it would end."""
        self._mine(context, self.arguments.matchers)
        found = self._found(context)
        return Observation(
            self._target(self.arguments.matchers, sorted(str(one["id"]) for one in found)),
            {
                "silences": [
                    {name: str(one[name]) for name in ("id", "endsAt", "createdBy", "comment")} for one in found
                ]
            },
        )

    def describe(self, context: Context, seen: Observation) -> Description:
        """Preview it: the silences, and the alerts that are sent again."""
        rows: list[dict[str, str]] = seen.facts["silences"]
        if not rows:
            of = f" of {self.arguments.incident}" if self.arguments.incident else ""
            raise PlanError(f"no silence{of} is in force for {seen.target.name}; there is nothing to expire")
        ids = {row["id"] for row in rows}
        again = sum(
            set(one["status"]["silencedBy"]) <= ids and not one["status"]["inhibitedBy"]
            for one in _alerts(context, self.arguments.matchers)
            if one["status"]["silencedBy"]
        )
        sent = len(_sent(context, self.arguments.matchers))
        left = max(_time(row["endsAt"]) for row in rows) - dt.datetime.now(dt.UTC)
        minutes = min(LONGEST_MIN, max(1, math.ceil(left.total_seconds() / 60)))
        return Description(
            summary=f"Expire {len(rows)} silence{'s' if len(rows) > 1 else ''} of {seen.target.name}",
            preview={
                "measure": _MEASURE,
                "unit": "",
                "before": float(sent),
                "after": float(sent + again),
                "rows": rows[:_ROWS],
            },
            expected_effect="what matches and fires is sent again, with the next evaluation of its group",
            blast_radius={"silences": len(rows), "alerts": again},
            residual_risk="the on-call is paged for what was silenced",
            undo=Undo(
                kind="inverse",
                reason=f"silences them again for what was left, at most {_minutes(LONGEST_MIN)}",
                action=Silence.name,
                arguments={"matchers": self.arguments.matchers, "duration_min": minutes, "reason": "undo"},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """End each that is still in force."""
        ended = [str(one["id"]) for one in self._found(context)]
        for name in ended:
            context.post("alertmanager", f"/api/v2/silence/{name}", {}, key=f"{key}-{name}", method="DELETE")
        return {"expired": ended}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether all that were in force then have ended."""
        known = set(before.target.fields["silences"])
        return bool(known) and not known & {str(one["id"]) for one in self._found(context)}

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether one is still in force."""
        return None if self.done(context, before) else "a silence is still in force"

    def check(self, context: Context) -> None:
        """None: that an alert is sent again says nothing of what it tells of."""
        del context

    def _found(self, context: Context) -> list[dict[str, Any]]:
        found = _in_force(context, self.arguments.matchers)
        return [one for one in found if not self.arguments.incident or _of(one, self.arguments.incident)]


def _silences(context: Context, matchers: Mapping[str, str]) -> list[dict[str, Any]]:
    """The silences that have exactly these matchers, whatever became of them."""
    wanted = {(name, value, False, True) for name, value in matchers.items()}
    found = _listed(context, "/api/v2/silences", matchers)
    return [
        one
        for one in found
        if {(m["name"], m["value"], bool(m["isRegex"]), bool(m.get("isEqual", True))) for m in one["matchers"]}
        == wanted
    ]


def _in_force(context: Context, matchers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Those of them that silence now, or will."""
    return [one for one in _silences(context, matchers) if one["status"]["state"] != "expired"]


def _alerts(context: Context, matchers: Mapping[str, str]) -> list[dict[str, Any]]:
    """The alerts with these labels that fire, sent or not."""
    return _listed(context, "/api/v2/alerts", matchers)


def _sent(context: Context, matchers: Mapping[str, str]) -> list[dict[str, str]]:
    """The labels of those that no silence keeps from being sent."""
    found = [one["labels"] for one in _alerts(context, matchers) if not one["status"]["silencedBy"]]
    return sorted(found, key=lambda labels: sorted(labels.items()))


def _listed(context: Context, path: str, matchers: Mapping[str, str]) -> list[dict[str, Any]]:
    """What Alertmanager lists of these labels."""
    query = urlencode([("filter", f'{name}="{value}"') for name, value in sorted(matchers.items())])
    try:
        told = context.get("alertmanager", f"{path}?{query}").json()
    except ValueError as error:
        raise ProbeError(f"Alertmanager of {context.platform} did not answer JSON to {path}") from error
    if not isinstance(told, list) or not all(isinstance(one, dict) and "status" in one for one in told):
        raise ProbeError(f"Alertmanager of {context.platform} did not answer a list to {path}")
    return told


def _of(silence: Mapping[str, Any], incident: str) -> bool:
    """Whether a silence was made for an incident, by its comment."""
    return str(silence.get("comment", "")).startswith(f"{incident or _NO_INCIDENT}, plan ")


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _minutes(count: int) -> str:
    hours, minutes = divmod(count, 60)
    told = [f"{hours} h"] if hours else []
    return " ".join([*told, f"{minutes} min"] if minutes else told)


def _count(number: int) -> str:
    return f"{number} alert{'' if number == 1 else 's'}"
