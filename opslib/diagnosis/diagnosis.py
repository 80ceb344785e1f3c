"""One case: confirm the alert, examine each cause, conclude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from opslib.diagnosis.causes import Cause, Finding, evidence_of, examine
from opslib.diagnosis.verdict import NONE_OF_THESE, CauseVerdict, Verdict

if TYPE_CHECKING:
    from opslib.record.shown import Context, Plan

_LONGEST = 80  # characters of a label that a sentence takes
UNSEEN_COSTS = 0.8  # the confidence keeps this share for each thing that could not be seen


class _Ops(Protocol):
    """What a case needs of `ops`."""

    @property
    def context(self) -> Context: ...

    @property
    def unseen(self) -> list[str]: ...

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
        self._elsewhere: list[str] = []

    def about(self, alert: Mapping[str, Any], **examined: str | Iterable[str]) -> None:
        """Compare what the alert names with what this case examines; what is not examined is never called healthy.

        Parameters
        ----------
        alert : mapping
            As it was delivered; empty when run by hand.
        **examined : str or iterable of str
            By label: the one value, or those, that the parameters name. A workload counts by its name.
        """
        labels = alert.get("labels") or {}
        for label, known in examined.items():
            names = {str(one).rpartition("/")[2] for one in ([known] if isinstance(known, str) else known)}
            named = str(labels.get(label) or "")
            if named and named.rpartition("/")[2] not in names:
                told = " ".join(named.split())
                self._elsewhere.append(f"{label} {told if len(told) <= _LONGEST else told[:_LONGEST] + '...'}")
        if self._elsewhere:
            print(f"NOT EXAMINED: the alert names {', '.join(self._elsewhere)}; the parameters name something else.")

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
        unseen = [*self.ops.unseen, *(f"{one}, which the alert names" for one in self._elsewhere)]
        if not self.confirmed:
            known = self.confirmed is not None and not self._elsewhere
            symptom = f"{', '.join(self._elsewhere)} was not examined; of what was, {self.symptom}"
            symptom = symptom if self._elsewhere else self.symptom
            calm = "Not confirmed" if any(self.notes) else "Nothing wrong"
            summary = self._noted(f"{calm if known else 'Not known'}: {symptom}.")
            certainty = UNSEEN_COSTS ** len(unseen) if known else 0.0
            return Verdict(confirmed=False, confidence=round(certainty, 3), unseen=unseen, summary=summary)
        symptom = self.symptom[:1].upper() + self.symptom[1:]
        unexamined = [f"cause {key}" for key in self.causes if key not in self.findings]
        ranked = sorted(self.findings.values(), key=lambda finding: -finding.likelihood)
        causes = [
            CauseVerdict(
                key=item.cause.key,
                likelihood=round(item.likelihood, 3),
                because=item.because,
                evidence=list(item.evidence),
            )
            for item in ranked
        ]
        cause: str | None
        holding = [item for item in ranked if item.likelihood > 0.5 and not item.unseen]
        if holding:
            told = [f"{item.cause.key} ({100 * item.likelihood:.0f} %), because {item.strongest}" for item in holding]
            cause, likelihood = holding[0].cause.key, holding[0].likelihood
            summary = f"{symptom}: {'; and '.join(told)}."
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
            causes=causes,
            unseen=unseen,
            summary=self._noted(summary),
        )

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

    def message(self, title: str, plan: Plan | None, *, update: str) -> str:
        """The draft of the message to those who wait: what is the case, what is proposed, and when more is told.

        Parameters
        ----------
        title : str
            Of the alert, in words.
        plan : Plan or None
            What is proposed.
        update : str
            When the next update is due: "in 15 minutes".
        """
        verdict, where = self.verdict(), self.ops.context
        known = self.confirmed is not None and not self._elsewhere
        state = "confirmed" if verdict.confirmed else "not confirmed" if known else "not known"
        lines = [f"[{where.incident}] {title} on {where.platform}, {state}. {verdict.summary}"]
        if verdict.unseen:
            lines.append(f"Not seen: {'; '.join(verdict.unseen)}.")
        level = "L1" if plan is None else plan.authority
        told = "nothing" if plan is None else f"{plan.summary}. {self._whom(level)} decides; it shows {plan.shows}"
        lines.append(f"Proposed: {told}.")
        holding = [self.causes[item.key].fix for item in verdict.causes if item.likelihood > 0.5]
        if plan is None and holding:
            lines.append(f"To do by hand: {'; '.join(holding)}.")
        if plan is not None:
            lines.append(f"Stays at risk: {plan.risk}.")
        above = f"L{int(level[1:]) + 1}"
        if (self.confirmed or not known) and above in where.contacts:
            lines.append(f"Where that does not end it, call {self._whom(above)}.")
        return "\n".join([*lines, f"Next update {update}."])
