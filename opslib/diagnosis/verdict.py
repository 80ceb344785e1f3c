"""The verdict: is the alert true, which cause stands behind it, how sure, and what was not seen."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

NONE_OF_THESE = "none-of-these"
Likelihood = Annotated[float, Field(ge=0.0, le=1.0)]


class CauseVerdict(BaseModel):
    """One cause and what the evidence says of it."""

    model_config = ConfigDict(extra="forbid")

    key: str
    likelihood: Likelihood
    because: str
    evidence: list[str] = []


class Verdict(BaseModel):
    """What a playbook concludes.

    Attributes
    ----------
    confirmed : bool
        Whether the alert is true now. A healthy platform yields no cause and no plan.
    cause : str or None
        The most likely cause above one half; `none-of-these` when the alert is true and nothing fits; None when it is
        not true, or when what could tell was not seen.
    confidence : float
        How sure the conclusion is, less for what could not be seen.
    causes : list of CauseVerdict
        Most likely first; several may be above one half. Of an alert that is not true now only those that are.
    unseen : list of str
        What could not be examined.
    plan : dict or None
        Filled in by the run: hash, state, actions.
    summary : str
        One sentence.
    """

    model_config = ConfigDict(extra="forbid")

    confirmed: bool
    cause: str | None = None
    confidence: Likelihood = 0.0
    causes: list[CauseVerdict] = []
    unseen: list[str] = []
    plan: dict[str, Any] | None = None
    summary: str

    def __repr__(self) -> str:
        """The summary, then the causes, a line each."""
        lines = [self.summary]
        lines += [f"  {100 * item.likelihood:3.0f} %  {item.key}: {item.because}" for item in self.causes]
        lines += [f"  not seen: {item}" for item in self.unseen]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'><b>{escape(item.key)}</b></td>"
            f"<td style='white-space:nowrap'>{100 * item.likelihood:.0f} %</td>"
            f"<td style='text-align:left'>{escape(item.because)} "
            f"<small>{escape(' '.join(item.evidence))}</small></td></tr>"
            for item in self.causes
        )
        left = "<th style='text-align:left'>"
        head = f"<tr>{left}cause</th><th>likely</th>{left}because <small>(evidence)</small></th></tr>"
        unseen = "".join(f"<li>{escape(item)}</li>" for item in self.unseen)
        return (
            f"<p><b>{escape(self.summary)}</b></p>"
            + (f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else "")
            + (f"<p>Not seen:</p><ul>{unseen}</ul>" if unseen else "")
        )
