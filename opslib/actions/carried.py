"""What a plan carries: no secret, nor a token that stands for one, which a notebook sees and would write back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opslib.actions.action import Observation
from opslib.actions.documents import PlannedAction, Target, Undo
from opslib.canonical import storable
from opslib.errors import PlanError
from opslib.record.redaction import Redactor
from opslib.record.secret_shapes import DONE

_SHOWN = ("summary", "preview", "expected_effect", "blast_radius", "residual_risk")


def holds_secret(redact: Redactor, arguments: Mapping[str, Any] | None) -> bool:
    """Whether the value of an argument holds what looks like a secret, by its shape or its name, or stands for one.

    The arguments' own names say nothing: `secret` may name the one that is to be rotated.
    """
    return any(_holds(redact, value) for value in (arguments or {}).values())


def _holds(redact: Redactor, value: Any) -> bool:
    return DONE in json.dumps(value, ensure_ascii=False, default=str) or redact.counted(value)[1] > 0


def refuse_secrets(redact: Redactor, action: str, arguments: Mapping[str, Any]) -> None:
    """Raise where arguments hold a secret: every reader of the plan would know it; or a token, which is no value.

    Raises
    ------
    PlanError
    """
    if holds_secret(redact, arguments):
        raise PlanError(f"{action}: no plan carries what looks like a secret or stands for one; change it by hand")


def by_hand(redact: Redactor, undo: Undo, *, needs_more: bool) -> Undo:
    """An undo, unless it would carry a secret: then a person puts back what was, who needs one level more or not."""
    if not holds_secret(redact, undo.arguments):
        return undo.model_copy(update={"reason": redact.text(undo.reason)})
    reason = "what was before looks like a secret, which no plan carries; it can be put back by hand alone"
    return Undo(kind="none" if needs_more else "restore", reason=reason)


def shown(redact: Redactor, planned: PlannedAction) -> PlannedAction:
    """A planned action without secrets in what it shows and in what it depends on."""
    texts = {name: redact(getattr(planned, name)) for name in _SHOWN}
    return planned.model_copy(update={**texts, "target": target(redact, planned.target)})


def target(redact: Redactor, seen: Target) -> Target:
    """A target as a plan holds it: two of them can be compared, since the same secret has the same token."""
    return seen.model_copy(update={"fields": redact(seen.fields)})


def observation(redact: Redactor, seen: Observation) -> dict[str, Any]:
    """What was seen as the record keeps it, for all to read; as with targets, two of them can be compared."""
    told: dict[str, Any] = storable(redact(seen.as_json()))
    return told
