"""One case: confirm the alert, examine each cause, conclude."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from opslib.diagnosis import alerts, calling
from opslib.diagnosis.causes import Cause, Finding, evidence_of, examine
from opslib.diagnosis.verdict import NONE_OF_THESE, CauseVerdict, Verdict

if TYPE_CHECKING:
    from opslib.record.shown import Context, Plan

_LONGEST = 80  # characters of a label that a sentence takes
_YOUNG = dt.timedelta(minutes=5)
UNSEEN_COSTS = 0.8  # the confidence keeps this share for each thing that could not be seen


class _Ops(Protocol):
    """What a case needs of `ops`."""

    @property
    def context(self) -> Context: ...

    @property
    def unseen(self) -> list[str]: ...

    def now(self) -> dt.datetime: ...

    def conclude(self, verdict: Verdict) -> object: ...


class Diagnosis:
    """The case that a playbook builds.

    Parameters
    ----------
    ops : Ops
        Where the verdict goes, and what knows which looks failed.
    causes : iterable of Cause
        Those that the playbook can tell apart.

    Attributes
    ----------
    began : datetime or None
        When the alert began [UTC], as far as `about` understood it.
    notes : list of str
        What must be known beside symptom and cause, sentences without a full stop; the verdict and the message tell
        them, whether the alert is true or not. An empty one is not told.
    """

    def __init__(self, ops: _Ops, causes: Iterable[Cause] = ()) -> None:
        self.ops = ops
        self.causes = {cause.key: cause for cause in causes}
        self.findings: dict[str, Finding] = {}
        self.confirmed: bool | None = None
        self.symptom = ""
        self.evidence: tuple[str, ...] = ()
        self.notes: list[str] = []
        self.began: dt.datetime | None = None
        self._doubts = ""
        self._unread: list[str] = []
        self._elsewhere: list[str] = []

    def about(self, alert: Any, **examined: str | Iterable[str]) -> dict[str, Any]:
        """The alert as far as it is understood; what it names and this case does not examine is never called healthy.

        Parameters
        ----------
        alert : Any
            As it was delivered, or written by hand; empty when run without one.
        **examined : str or iterable of str
            By label: the one value, or those, that the parameters name. A workload counts by its name.

        Returns
        -------
        dict
            Its `labels` and `annotations` as texts by name, and what else of it is text.
        """
        found = alerts.understood(alert, self.ops.context.started_at, self.ops.now)
        labels, self.began, self._doubts = found.alert.get("labels") or {}, found.began, found.told
        if found.told:
            print(f"ALERT NOT UNDERSTOOD IN FULL: {found.told}.")
        self._unread = [f"label {name} of the alert, which is not a text" for name in found.unread if name in examined]
        for label, known in examined.items():
            names = {str(one).rpartition("/")[2] for one in ([known] if isinstance(known, str) else known)}
            named = labels.get(label) or ""
            if named and named.rpartition("/")[2] not in names:
                told = " ".join(named.split())
                self._elsewhere.append(f"{label} {told if len(told) <= _LONGEST else told[:_LONGEST] + '...'}")
        if self._elsewhere:
            print(f"NOT EXAMINED: the alert names {', '.join(self._elsewhere)}; the parameters name something else.")
        return found.alert

    def confirm(self, confirmed: bool | None, symptom: str, *facts: Any) -> None:
        """Say whether the alert is true now.

        Parameters
        ----------
        confirmed : bool or None
            None where it could not be seen.
        symptom : str
            What is the case, in one sentence without a full stop.
        *facts : Any
            What was looked at.
        """
        self.confirmed = None if confirmed is None else bool(confirmed)
        self.symptom = symptom
        self.evidence = tuple(dict.fromkeys(mark for fact in facts for mark in evidence_of(fact)))

    def examine(self, key: str, **facts: Any) -> Finding:
        """Ask the question of one cause; facts that are None could not be looked at.

        Raises
        ------
        KeyError
            When the case knows no such cause.
        """
        self.findings[key] = examine(self.causes[key], facts)
        return self.findings[key]

    def verdict(self) -> Verdict:
        """What follows from everything examined so far."""
        unseen = [*self.ops.unseen, *self._unread, *(f"{one}, which the alert names" for one in self._elsewhere)]
        ranked = sorted(self.findings.values(), key=lambda finding: -finding.likelihood)
        holding = [item for item in ranked if item.likelihood > 0.5 and not item.unseen]
        holding = holding if self.confirmed or self._has_just_begun else []
        told = "; and ".join(
            f"{item.cause.key} ({100 * item.likelihood:.0f} %), because {item.strongest}" for item in holding
        )
        if not self.confirmed:
            known = self.confirmed is not None and not self._elsewhere
            symptom = f"{', '.join(self._elsewhere)} was not examined; of what was, {self.symptom}"
            symptom = symptom if self._elsewhere else self.symptom
            calm = "Not confirmed" if any(self.notes) or holding else "Nothing wrong"
            yet = f" Yet there is {told}. It may be about to begin, or hover about its level: look again."
            summary = self._noted(f"{calm if known else 'Not known'}: {symptom}.{yet if known and holding else ''}")
            certainty = UNSEEN_COSTS ** len(unseen) if known else 0.0
            return Verdict(
                confirmed=False,
                confidence=round(certainty, 3),
                causes=[_as_verdict(item) for item in holding] if known else [],
                unseen=unseen,
                summary=summary,
            )
        symptom = self.symptom[:1].upper() + self.symptom[1:]
        unexamined = [f"cause {key}" for key in self.causes if key not in self.findings]
        cause: str | None
        if holding:
            cause, likelihood = holding[0].cause.key, holding[0].likelihood
            summary = f"{symptom}: {told}."
        elif unexamined or any(item.unseen for item in ranked):
            cause, likelihood = None, 0.0
            summary = f"{symptom}. The cause is not known: not everything that could tell it was seen."
        else:
            best = max((item.likelihood for item in ranked), default=0.0)
            cause, likelihood = NONE_OF_THESE, 1.0 - best
            fits = "None of the known causes fits" if self.causes else "No cause is looked for here"
            summary = f"{symptom}. {fits}: escalate with what was measured."
        unseen += unexamined
        confidence = likelihood * UNSEEN_COSTS ** len(unseen)
        return Verdict(
            confirmed=True,
            cause=cause,
            confidence=round(confidence, 3),
            causes=[_as_verdict(item) for item in ranked],
            unseen=unseen,
            summary=self._noted(summary),
        )

    @property
    def _has_just_begun(self) -> bool:
        """Whether the alert came a short time before the run: then what its rule saw may come again."""
        started = None if self.began is None else self.ops.context.started_at
        return self.began is not None and started is not None and started - self.began < _YOUNG

    def _noted(self, summary: str) -> str:
        return " ".join([summary, *(f"{note}." for note in dict.fromkeys(self.notes) if note)])

    def conclude(self) -> Verdict:
        """The verdict, put on the record."""
        verdict = self.verdict()
        self.ops.conclude(verdict)
        return verdict

    def _whom(self, level: str) -> str:
        """A level of authority, and whom to call there."""
        found = self.ops.context.contacts.get(level)
        return level if found is None else f"{level} ({found['who']}, {found['how']}, within {found['within']})"

    def _proposed(self, plan: Plan | None) -> list[str]:
        """What is proposed and who decides; several actions a line each, in the order in which they are applied."""
        if plan is None:
            return ["Proposed: nothing."]
        decides = f"{self._whom(plan.authority)} decides; it shows {plan.shows}."
        if len(plan.actions) < 2:
            return [f"Proposed: {plan.summary}. {decides}"]
        steps = [action.get("summary") or action["action"] for action in plan.actions]
        return ["Proposed, in this order:", *(f"{place}. {step}" for place, step in enumerate(steps, 1)), decides]

    def message(self, title: str, plan: Plan | None, **_earlier: object) -> str:
        """The draft of the message to those who wait: what is the case, what is proposed, whom to call when.

        Parameters
        ----------
        title : str
            Of the alert, in words.
        plan : Plan or None
            What is proposed.
        **_earlier
            What archived notebooks gave, which run again; not used.
        """
        verdict, where = self.verdict(), self.ops.context
        known = self.confirmed is not None and not self._elsewhere
        state = "confirmed" if verdict.confirmed else "not confirmed" if known else "not known"
        lines = [f"[{where.incident}] {title} on {where.platform}, {state}. {verdict.summary}"]
        if self._doubts:
            lines.append(f"Of the alert itself: {self._doubts}.")
        if verdict.unseen:
            lines.append(f"Not seen: {'; '.join(verdict.unseen)}.")
        level = "L1" if plan is None else plan.authority
        lines += self._proposed(plan)
        holding = [self.causes[item.key].fix for item in verdict.causes if item.likelihood > 0.5]
        if plan is None and holding and verdict.confirmed:
            lines.append(f"To do by hand: {'; '.join(holding)}.")
        if plan is not None:
            lines.append(f"Stays at risk: {plan.risk}.")
        if known and not self.confirmed and not any(self.notes) and not holding:
            told = f"severity {where.severity or 'not told'}"
            return "\n".join([*lines, f"Nobody has to be called, and no update is due while it stays so ({told})."])
        now = self.ops.now()
        calls = calling.path(where, verdict.cause, now)
        lines += ["Call, as long as it is not over:", *calling.lines(calls, now)]
        if len(calls) > 1:
            lines.append("Where somebody does not answer within that time, call the next level at once.")
        above = f"L{int(level[1:]) + 1}"
        if above in where.contacts and not any(one.level > level for one in calls):
            lines.append(f"No time is set for {above}: where {level} does not end it, call {self._whom(above)}.")
        return "\n".join([*lines, calling.update(where, calls, now)])


def _as_verdict(finding: Finding) -> CauseVerdict:
    return CauseVerdict(
        key=finding.cause.key,
        likelihood=round(finding.likelihood, 3),
        because=finding.because,
        evidence=list(finding.evidence),
    )
