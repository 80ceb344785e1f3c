"""A cause, the question that tells it from the others, and what an answer weighs.

Each test turns facts into reasons. A reason is one measured value against one threshold; it speaks for the
cause above the threshold and against it below, the more the further away, and never beyond a bound: no single
measurement can decide alone. The log-odds of a cause are those of its prior plus the sum of its reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

BOUND = 3.0  # the most that one reason weighs [log-odds]: 20 to 1
SURE = 2.2  # log-odds, 9 to 1, that a cause needs either way when a part of what could tell it is missing


@dataclass(frozen=True)
class Reason:
    """One measured value against its threshold.

    Attributes
    ----------
    text : str
        What was measured, in words with units.
    weight : float
        Log-odds for (positive) or against (negative) the cause.
    missing : str
        What could not be measured for want of something to compare with; empty where it was measured.
    """

    text: str
    weight: float
    missing: str = ""


def reason(text: str, value: float, *, threshold: float, decisive: float, missing: str = "") -> Reason:
    """Weigh a value: 0 at the threshold, +2 (88 %) where it is decisive, linear, bounded by `BOUND` both ways.

    Parameters
    ----------
    text : str
        What was measured, with its unit and threshold.
    value, threshold, decisive : float
        In one unit; `decisive` on that side of the threshold which speaks for the cause. A value of nan weighs nothing.
    missing : str
        What a value of nan means: the thing that was not there to compare with.

    Raises
    ------
    ValueError
        When `decisive` equals `threshold`.
    """
    if decisive == threshold:
        raise ValueError("decisive must differ from threshold")
    if math.isnan(value):
        return Reason(text, 0.0, missing)
    return Reason(text, max(-BOUND, min(BOUND, 2.0 * (value - threshold) / (decisive - threshold))))


@dataclass(frozen=True)
class Cause:
    """Something that can be behind an alert.

    Attributes
    ----------
    key : str
        As the inventory names it.
    question : str
        What is asked of the platform.
    test : callable
        Takes the facts by name, returns reasons; never sees a fact that could not be looked at.
    fix : str
        What the runbook does about it.
    prior : float
        Likelihood before anything was looked at.
    """

    key: str
    question: str
    test: Callable[..., list[Reason]]
    fix: str
    prior: float = 0.25


@dataclass(frozen=True)
class Finding:
    """The answer to one cause's question.

    Attributes
    ----------
    cause : Cause
    reasons : tuple of Reason
    evidence : tuple of str
        The evidence that was used.
    unseen : tuple of str
        Facts that could not be looked at; with any of them the cause stays unexamined.
    """

    cause: Cause
    reasons: tuple[Reason, ...] = ()
    evidence: tuple[str, ...] = ()
    unseen: tuple[str, ...] = field(default=())

    @property
    def log_odds(self) -> float:
        """Prior and reasons together; an unexamined cause has less than its prior."""
        prior = math.log(self.cause.prior / (1 - self.cause.prior))
        return prior + (-1.0 if self.unseen else sum(item.weight for item in self.reasons))

    @property
    def likelihood(self) -> float:
        """Between 0 and 1."""
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, self.log_odds))))

    @property
    def because(self) -> str:
        """The reasons in words, what speaks for the cause first, what contradicts it marked."""
        if self.unseen:
            return f"could not be examined: {', '.join(self.unseen)} not seen"
        speaking = [item.text for item in sorted(self.reasons, key=lambda item: -item.weight) if item.weight >= 0]
        against = [item.text for item in sorted(self.reasons, key=lambda item: item.weight) if item.weight < 0]
        if self.likelihood > 0.5:
            return "; ".join(speaking) + (f" (against it: {'; '.join(against)})" if against else "")
        return "; ".join(against or speaking)

    @property
    def strongest(self) -> str:
        """The reason that weighs most for the cause."""
        return max(self.reasons, key=lambda item: item.weight).text if self.reasons else self.because

    @property
    def answer(self) -> str:
        """`yes`, `no` or `not seen`."""
        if self.unseen:
            return "not seen"
        return "yes" if self.likelihood > 0.5 else "no"

    @property
    def branch(self) -> str:
        """Where to go from here."""
        if self.unseen:
            return "look at it by hand"
        return self.cause.fix if self.likelihood > 0.5 else "go on"

    def __repr__(self) -> str:
        """The finding as two lines of text."""
        likelihood = f"{100 * self.likelihood:.0f} %"
        return f"{self.cause.question} {self.answer.upper()} ({likelihood}): {self.because}\n-> {self.branch}"

    def _repr_html_(self) -> str:
        mark = {"yes": "●", "no": "○", "not seen": "?"}[self.answer]
        return (
            f"<p><b>{mark} {escape(self.answer)}</b>, likelihood {100 * self.likelihood:.0f} %: "
            f"{escape(self.because)}.<br>"
            f"→ <i>{escape(self.branch)}</i></p>"
        )


def examine(cause: Cause, facts: Mapping[str, Any]) -> Finding:
    """Ask one cause's question of the facts; a fact that is None could not be looked at.

    Where a part of what could tell the cause is missing, the rest has to be `SURE`; else the cause stays unexamined.
    """
    unseen = tuple(name.removesuffix("_s").replace("_", " ") for name, value in facts.items() if value is None)
    evidence = tuple(dict.fromkeys(identifier for value in facts.values() for identifier in evidence_of(value)))
    if unseen:
        return Finding(cause, evidence=evidence, unseen=unseen)
    finding = Finding(cause, tuple(cause.test(**facts)), evidence)
    missing = tuple(dict.fromkeys(item.missing for item in finding.reasons if item.missing))
    if not missing:
        return finding
    if abs(finding.log_odds) < SURE:
        return Finding(cause, evidence=evidence, unseen=missing)
    return Finding(cause, tuple(item for item in finding.reasons if not item.missing), evidence)


def evidence_of(fact: Any) -> tuple[str, ...]:
    """The evidence that a fact was read from: its own mark, or the one in a frame's attributes."""
    mark = getattr(fact, "evidence", None)
    if mark is None or not isinstance(mark, str | list | tuple):
        attributes = getattr(fact, "attrs", None)
        mark = attributes.get("evidence") if isinstance(attributes, dict) else None
    if mark is None:
        return ()
    return (mark,) if isinstance(mark, str) else tuple(mark)
