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

from sandbox.faults import parts
from sandbox.gameday.rounds import Round

__all__ = ["Observed", "broken", "calm", "calm_s", "goes_on", "lacking", "needed", "summary"]

LIKELY = 0.5
"""Above it a cause counts as named, where several are true."""

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
        Alerts that fired, and whose condition held, only after the plan was asked for.
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
    causes = [{"key": cause["key"], "likelihood": cause["likelihood"]} for cause in verdict.get("causes") or []]
    ranked = [cause["key"] for cause in causes]
    confirmed = bool(verdict.get("confirmed"))
    told: dict[str, Any] = {"expected": one.expected[0], "named": verdict.get("cause") if confirmed else None}
    told["correct"] = told["named"] == told["expected"]
    if len(one.expected) > 1:
        likely = [cause["key"] for cause in causes if confirmed and cause["likelihood"] > LIKELY]
        told = {"expected": list(one.expected), "named": likely, "correct": set(one.expected) <= set(likely)}
    names = [action["action"] for plan in seen.plans for action in plan["document"]["actions"]]
    wanted = needed(one.fault or "")
    unneeded = [name for name in names if wanted is not None and name not in wanted]
    harm = _harm(seen, brings(one.fault or ""))
    return {
        "fault": one.fault,
        "round": one.name,
        "seed": one.seed,
        "decoys": decoys,
        "platform": one.platforms[0],
        **told,
        "rank": max(map(ranked.index, one.expected)) + 1 if set(one.expected) <= set(ranked) else None,
        "confidence": verdict.get("confidence"),
        "causes": causes,
        "alert_s": _rounded(seen.alert_s),
        "verdict_s": _rounded(seen.verdict_s),
        "recovery_s": _rounded(seen.recovery_s),
        "plan": names,
        "plan_state": seen.plans[-1]["state"] if seen.plans else None,
        "plan_ok": _plan_ok(one, seen, names, wanted, unneeded),
        "lacking": lacking(one.fault or "", names) if seen.plans else [],
        "harmful": len(harm),
        "harm": harm,
        "unneeded": len(unneeded),
        "not_needed": unneeded,
        "others": seen.others,
        "new_after": seen.new_after,
        "incident": (seen.incident or {}).get("id"),
        "record": (seen.run or {}).get("record"),
        "missing": seen.missing,
        "problem": seen.problem,
    }


def _plan_ok(
    one: Round, seen: Observed, names: Sequence[str], wanted: tuple[str, ...] | None, unneeded: Sequence[str]
) -> bool:
    """Whether the plan was what was needed and did what it promised; where none is needed, whether there is none.

    Of a cause that the playbook does not know, no plan is as good as one that helps, where none is demanded.
    """
    optional = one.unlisted and not lacking(one.fault or "", ())
    if wanted == () or (optional and not seen.plans):
        return seen.run is not None and not seen.plans
    verified = bool(seen.plans) and all(plan["state"] == "verified" for plan in seen.plans)
    return verified and seen.recovery_s is not None and not unneeded and not lacking(one.fault or "", names)


def _harm(seen: Observed, brought: tuple[str, ...]) -> list[str]:
    """What got worse by the plan, in words: alerts that came with it, a change that was left half done.

    Alerts that the fault brings by itself do not count.
    """
    every = [action["action"] for plan in seen.plans for action in plan["document"]["actions"]]
    found = [f"{name} came with {', '.join(every)}" for name in seen.new_after if name not in brought]
    for plan in seen.plans:
        steps = (plan.get("result") or {}).get("steps") or []
        actions = [action["action"] for action in plan["document"]["actions"]]
        failed = [name for name, step in zip(actions, steps, strict=False) if step["state"] == "failed"]
        if plan["state"] in _DONE_BADLY and any(step["state"] == "failed" for step in steps):
            found.append(f"{', '.join(failed) or 'a step'} was left half done")
    return found


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
    """What `plans.yaml` says of a fault, or of several at once.

    Attributes
    ----------
    actions : tuple of str
        What a plan may hold.
    must : tuple of tuple of str
        What it has to hold: of each entry at least one.
    goes_on : bool
        Whether the alert goes on whatever is done.
    brings : tuple of str
        Alerts of other playbooks that come by themselves.
    calm_s : float
        How long the platform has to be healthy before [s].
    """

    actions: tuple[str, ...]
    must: tuple[tuple[str, ...], ...] = ()
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
            tuple((one,) if isinstance(one, str) else tuple(one) for one in told.get("must", _alone(told["actions"]))),
            told.get("alert") == "goes-on",
            tuple(told.get("brings", ())),
            float(told.get("calm_s", 0.0)),
        )
        for name, told in whole.items()
    }


def _alone(actions: Sequence[str]) -> Sequence[str]:
    """What is demanded where nothing is said: the action that alone may help."""
    return actions if len(actions) == 1 else ()


def _declared(fault: str) -> _Declared | None:
    """Of several faults at once: what may help any, what each demands; None where one of them is not declared."""
    plans = _plans().items()
    found = [next((told for name, told in plans if fnmatchcase(part, name)), None) for part in parts(fault)]
    known = [told for told in found if told is not None]
    if len(known) < len(found):
        return None
    return _Declared(
        tuple(dict.fromkeys(action for told in known for action in told.actions)),
        tuple(dict.fromkeys(entry for told in known for entry in told.must)),
        any(told.goes_on for told in known),
        tuple(dict.fromkeys(alert for told in known for alert in told.brings)),
        max(told.calm_s for told in known),
    )


def needed(fault: str) -> tuple[str, ...] | None:
    """The actions that a plan for this fault may hold; None where that is not declared."""
    told = _declared(fault)
    return None if told is None else told.actions


def lacking(fault: str, actions: Sequence[str]) -> list[str]:
    """What the seed demands for this fault and is not among these actions; alternatives as `A or B`."""
    told = _declared(fault)
    return [" or ".join(entry) for entry in told.must if not set(entry) & set(actions)] if told is not None else []


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


def summary(
    faults: Sequence[Mapping[str, Any]],
    healthy: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]] = (),
    unlisted: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The score of a game day.

    Accuracy, plans and Brier score are of the single faults that the playbooks know; times and what a plan did too
    much are of every round in which something was broken.

    Accuracy is over all faults, those without a playbook too. The Brier score is the mean over faults and causes of the
    squared difference between the stated likelihood and the truth, which is 1 for what was broken and 0 for all else;
    of a fault without a verdict it is 1 [0 best, 1 worst].
    """
    correct = sum(bool(one["correct"]) for one in faults)
    broken = [*faults, *pairs, *unlisted]
    verdicts = [one["verdict_s"] for one in broken if one["verdict_s"] is not None]
    return {
        "n": len(faults),
        "correct": correct,
        "accuracy": round(correct / len(faults), 4) if faults else None,
        "missing": sum(bool(one["missing"]) for one in faults),
        "problems": sum(one["problem"] is not None for one in [*broken, *healthy]),
        "pairs": len(pairs),
        "pairs_correct": sum(bool(one["correct"]) for one in pairs),
        "unlisted": len(unlisted),
        "unlisted_correct": sum(bool(one["correct"]) for one in unlisted),
        "healthy": len(healthy),
        "false_alarms": sum(one["false_alarms"] for one in healthy),
        "median_alert_s": _median(broken, "alert_s"),
        "median_verdict_s": _median(broken, "verdict_s"),
        "worst_verdict_s": max(verdicts, default=None),
        "median_recovery_s": _median(broken, "recovery_s"),
        "plans_ok": sum(bool(one["plan_ok"]) for one in faults),
        "harmful": sum(one["harmful"] for one in broken),
        "unneeded": sum(one["unneeded"] for one in broken),
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
