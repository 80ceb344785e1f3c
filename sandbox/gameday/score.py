"""Scores: what a playbook named against what was broken, and what its plan did against what was needed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sandbox.gameday.rounds import Round

__all__ = ["Observed", "broken", "calm", "calm_s", "goes_on", "needed", "summary"]

_DONE_BADLY = ("partial", "failed")


@dataclass
class Observed:
    """What was seen of one fault.

    Attributes
    ----------
    alert_s : float or None
        From the moment of breaking to the incident [s].
    verdict_s : float or None
        From the alert's arrival to the verdict [s].
    recovery_s : float or None
        From the request to apply until the plan is verified and the alert over [s].
    incident, run : dict or None
        As the service tells them, at the end.
    plans : list of dict
        What was proposed, as the service tells it; more than one where the playbook had to be run again.
    others : list of str
        What else fired: `RUNBOOK: CAUSE`.
    new_after : list of str
        Alerts that fired only after the plan was applied.
    problem : str or None
        Why the round did not come to its end.
    missing : bool
        There is no such playbook yet.
    """

    alert_s: float | None = None
    verdict_s: float | None = None
    recovery_s: float | None = None
    incident: dict[str, Any] | None = None
    run: dict[str, Any] | None = None
    plans: list[dict[str, Any]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    new_after: list[str] = field(default_factory=list)
    problem: str | None = None
    missing: bool = False


def broken(one: Round, decoys: int, seen: Observed) -> dict[str, Any]:
    """The score of a fault, as `runbook gameday --json` prints it."""
    verdict: dict[str, Any] = (seen.run or {}).get("verdict") or {}
    named = verdict.get("cause") if verdict.get("confirmed") else None
    causes = [{"key": cause["key"], "likelihood": cause["likelihood"]} for cause in verdict.get("causes") or []]
    ranked = [cause["key"] for cause in causes]
    names = [action["action"] for plan in seen.plans for action in plan["document"]["actions"]]
    wanted = needed(one.name)
    unneeded = sum(name not in wanted for name in names) if wanted is not None else 0
    return {
        "fault": one.name,
        "seed": one.seed,
        "decoys": decoys,
        "platform": one.platforms[0],
        "expected": one.cause,
        "named": named,
        "correct": named == one.cause,
        "rank": ranked.index(one.cause) + 1 if one.cause in ranked else None,
        "confidence": verdict.get("confidence"),
        "causes": causes,
        "alert_s": _rounded(seen.alert_s),
        "verdict_s": _rounded(seen.verdict_s),
        "recovery_s": _rounded(seen.recovery_s),
        "plan": names,
        "plan_state": seen.plans[-1]["state"] if seen.plans else None,
        "plan_ok": _plan_ok(seen, wanted, unneeded),
        "harmful": _harm(seen, brings(one.name)),
        "unneeded": unneeded,
        "others": seen.others,
        "new_after": seen.new_after,
        "incident": (seen.incident or {}).get("id"),
        "record": (seen.run or {}).get("record"),
        "missing": seen.missing,
        "problem": seen.problem,
    }


def _plan_ok(seen: Observed, wanted: tuple[str, ...] | None, unneeded: int) -> bool:
    """Whether the plan was what was needed and did what it promised; where none is needed, whether there is none."""
    if wanted == ():
        return seen.run is not None and not seen.plans
    verified = bool(seen.plans) and all(plan["state"] == "verified" for plan in seen.plans)
    return verified and seen.recovery_s is not None and not unneeded


def _harm(seen: Observed, brought: tuple[str, ...]) -> int:
    """How many things got worse by the plan: alerts that came with it, a change that was left half done.

    Alerts that the fault brings by itself do not count.
    """
    half = 0
    for plan in seen.plans:
        steps = (plan.get("result") or {}).get("steps") or []
        half += plan["state"] in _DONE_BADLY and any(step["state"] == "failed" for step in steps)
    return sum(name not in brought for name in seen.new_after) + half


def calm(
    one: Round,
    decoys: int,
    watched_s: float,
    alerts: Sequence[str],
    runs: Iterable[Mapping[str, Any]],
    problem: str | None,
) -> dict[str, Any]:
    """The score of a healthy round.

    Parameters
    ----------
    one : Round
    decoys : int
    watched_s : float
        How long alerts were waited for [s].
    alerts : sequence of str
        Those that came.
    runs : iterable of mapping
        What each playbook concluded on the healthy platform: as `runbook run --json` prints it.
    problem : str or None
        Why the round did not come to its end.
    """
    told = [
        {
            "runbook": run["runbook"],
            "platform": run["platform"],
            "state": run["state"],
            "confirmed": bool((run["verdict"] or {}).get("confirmed")),
            "cause": (run["verdict"] or {}).get("cause"),
            "plan": bool((run["verdict"] or {}).get("plan")),
            "incident": run["incident"],
        }
        for run in runs
    ]
    failed = next((run for run in told if run["state"] != "succeeded"), None)
    fooled = [run for run in told if run["confirmed"] or run["cause"] or run["plan"]]
    return {
        "round": one.name,
        "seed": one.seed,
        "decoys": decoys,
        "platforms": list(one.platforms),
        "watched_s": _rounded(watched_s),
        "alerts": list(alerts),
        "runs": told,
        "false_alarms": len(alerts) + len(fooled),
        "problem": problem or (f"{failed['runbook']} ended as {failed['state']}" if failed else None),
    }


@dataclass(frozen=True)
class _Declared:
    """What `plans.yaml` says of a fault: actions, whether its alert goes on whatever is done, alerts that it brings.

    `calm_s`: how long the platform has to be healthy before [s].
    """

    actions: tuple[str, ...]
    goes_on: bool = False
    brings: tuple[str, ...] = ()
    calm_s: float = 0.0


@cache
def _plans() -> dict[str, _Declared]:
    """By pattern."""
    text = files("sandbox.gameday").joinpath("plans.yaml").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    whole = {name: told if isinstance(told, dict) else {"actions": told} for name, told in found.items()}
    return {
        name: _Declared(
            tuple(told["actions"]),
            told.get("alert") == "goes-on",
            tuple(told.get("brings", ())),
            float(told.get("calm_s", 0.0)),
        )
        for name, told in whole.items()
    }


def _declared(fault: str) -> _Declared | None:
    return next((told for name, told in _plans().items() if fnmatchcase(fault, name)), None)


def needed(fault: str) -> tuple[str, ...] | None:
    """The actions that a plan for this fault may hold; None where that is not declared."""
    told = _declared(fault)
    return None if told is None else told.actions


def goes_on(fault: str) -> bool:
    """Whether the alert of this fault goes on whatever is done on the platform: its plan is over once verified."""
    told = _declared(fault)
    return told is not None and told.goes_on


def brings(fault: str) -> tuple[str, ...]:
    """The alerts of other playbooks that this fault brings by itself: they are no harm of a plan."""
    told = _declared(fault)
    return () if told is None else told.brings


def calm_s(fault: str) -> float:
    """How long the platform has to be healthy before this fault, as its rule compares with that time [s]."""
    told = _declared(fault)
    return 0.0 if told is None else told.calm_s


def summary(faults: Sequence[Mapping[str, Any]], healthy: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The score of a game day.

    Accuracy is over all faults, those without a playbook too. The Brier score is the mean over faults and causes of the
    squared difference between the stated likelihood and the truth, which is 1 for what was broken and 0 for all else;
    of a fault without a verdict it is 1 [0 best, 1 worst].
    """
    correct = sum(bool(one["correct"]) for one in faults)
    return {
        "n": len(faults),
        "correct": correct,
        "accuracy": round(correct / len(faults), 4) if faults else None,
        "missing": sum(bool(one["missing"]) for one in faults),
        "problems": sum(one["problem"] is not None for one in [*faults, *healthy]),
        "healthy": len(healthy),
        "false_alarms": sum(one["false_alarms"] for one in healthy),
        "median_alert_s": _median(faults, "alert_s"),
        "median_verdict_s": _median(faults, "verdict_s"),
        "median_recovery_s": _median(faults, "recovery_s"),
        "plans_ok": sum(bool(one["plan_ok"]) for one in faults),
        "harmful": sum(one["harmful"] for one in faults),
        "unneeded": sum(one["unneeded"] for one in faults),
        "brier": round(statistics.fmean(_brier(one) for one in faults), 4) if faults else None,
    }


def _brier(one: Mapping[str, Any]) -> float:
    stated = {cause["key"]: float(cause["likelihood"]) for cause in one["causes"]}
    stated.setdefault(one["expected"], 0.0)
    return statistics.fmean((value - (key == one["expected"])) ** 2 for key, value in stated.items())


def _median(faults: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [one[name] for one in faults if one[name] is not None]
    return round(statistics.median(values), 2) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
