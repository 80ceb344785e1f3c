"""Files below a platform's folder: a JSON file written as a whole, a file removed, the kill switch on and off.

A file is written beside its place and then put there in one step, so that no reader sees half of it. What it held is in
the plan, so that the way back is a plan too. The kill switch has actions of its own and is out of reach for the others:
on stops new risk and is always allowed, off lets risk in again and needs the authority for that.
"""

from __future__ import annotations

import difflib
import json
import re
from abc import ABC
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from opslib.actions import firing
from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.documents import Target, Undo
from opslib.actions.files_access import LARGEST, Access, FilePath, access, held, put, spelt, take_away
from opslib.canonical import digest
from opslib.errors import PlanError
from opslib.record import redaction

_SWITCH = re.compile(r"(?:^|/)kill_?switch(?:\.\w+)?$", re.IGNORECASE)
_NO_TEXT = "\ufffd"  # what stands for a byte that is no UTF-8

Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


def is_switch(path: str) -> bool:
    """Whether a file is a kill switch, by its name."""
    return bool(_SWITCH.search(path))


class _File(Action, ABC):
    """An action on one file: it depends on what the file holds."""

    effect_within_s = 30.0
    switch: ClassVar[bool] = False  # whether it is about the kill switch, which the others may not touch

    @property
    def path(self) -> str:
        """The file, relative to the platform's folder."""
        return str(getattr(self.arguments, "path"))  # noqa: B009 - each action's own arguments have it

    def observe(self, context: Context) -> Observation:
        """What the file holds."""
        if is_switch(self.path) != self.switch:
            what = "is no kill switch" if self.switch else "is the kill switch, which has actions of its own"
            raise PlanError(f"{self.path} {what}")
        text = held(context, self.path)
        shown = None if text is None else str(redaction.default()(text))
        if shown != text and not self.switch:
            raise PlanError(f"{self.path} holds what looks like a secret; no plan carries that, change it by hand")
        if not self.switch and _NO_TEXT in (text or ""):
            raise PlanError(f"{self.path} holds bytes that are no text; no plan puts them back, change it by hand")
        target = Target(
            kind="file",
            name=self.path,
            uid=f"{context.platform}/{self.path}",
            generation=None if text is None else digest(text.encode())[:16],
            fields={"exists": text is not None},
        )
        return Observation(target, {"text": shown})

    def check(self, context: Context) -> Check | None:
        """The alert's own rule, evaluated again."""
        return firing.check(context)

    def leaves(self, seen: Observation) -> dict[str, Any]:
        """All that the file holds."""
        return {"contents": seen.target.generation, **super().leaves(seen)}

    def effect(self, context: Context, before: Observation) -> str | None:
        """Whether the file is as it was to be: the platform itself may have written it again."""
        return None if self.done(context, before) else f"{self.path} is not, or no longer, as it was to be"


def _difference(path: str, before: str | None, after: str | None) -> str:
    """What changes, line by line."""
    lines = difflib.unified_diff(
        (before or "").splitlines(), (after or "").splitlines(), f"{path} (now)", f"{path} (then)", lineterm="", n=3
    )
    return "\n".join(lines)


class WriteJsonArguments(ActionArguments):
    """The file, the object that it shall hold, or how exactly that is spelt, whose it is where it is new, and why."""

    path: FilePath
    content: dict[str, Any] | None = None
    text: Annotated[str, Field(max_length=LARGEST)] | None = None
    access: Access | None = None
    reason: Reason = "set by plan"

    @model_validator(mode="after")
    def _one(self) -> WriteJsonArguments:
        if (self.content is None) == (self.text is None):
            raise ValueError("say what the file shall hold: content, or text, and not both")
        if not isinstance(self.content if self.text is None else _read(self.text), dict):
            raise ValueError("the text is no JSON object")
        return self

    @property
    def spelt(self) -> str:
        """The text that the file shall hold."""
        return self.text if self.text is not None else spelt(self.content)

    def shown_by(self, text: str) -> bool:
        """Whether a text is what the file shall hold."""
        return text == self.text if self.content is None else _spells(text, self.content)


class WriteJson(_File):
    """Write a JSON file as a whole."""

    name = "files.write-json"
    kind = "configuration"
    Arguments = WriteJsonArguments
    arguments: WriteJsonArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """The difference, line by line."""
        del context  # all of it was observed
        before, after = seen.facts["text"], self.arguments.spelt
        if len(after.encode()) > LARGEST:
            raise PlanError(f"the content is more than {LARGEST:,} bytes")
        if before is not None and self.arguments.shown_by(before):
            raise PlanError(f"{self.path} holds that already; there is nothing to write")
        new = {} if before is not None or self.arguments.access is None else {"access": dict(self.arguments.access)}
        return Description(
            summary=f"{'Create' if before is None else 'Change'} {self.path}",
            preview={"difference": _difference(self.path, before, after), "before": before, "count": 1, **new},
            expected_effect="the platform reads it at its next look",
            blast_radius={"files": 1},
            residual_risk="what the platform does with it is not seen from here; the firing check tells",
            undo=_way_back(self.path, before),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Write it."""
        del key  # written twice, it holds the same
        put(context, self.path, self.arguments.spelt, self.arguments.access)
        return {"written": self.path, "sha256": digest(self.arguments.spelt.encode())}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it holds what was asked for, and did not before."""
        now, was = held(context, self.path), before.facts["text"]
        shown_by = self.arguments.shown_by
        return now is not None and shown_by(now) and (was is None or not shown_by(was))


def _read(text: str) -> Any:
    """The JSON of a text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _spells(text: str, content: Any) -> bool:
    """Whether a text is a value in JSON, to whom 1 and true are two things."""
    found = _read(text)
    return bool(found == content) and json.dumps(found, sort_keys=True) == json.dumps(content, sort_keys=True)


def _way_back(path: str, before: str | None, was: Access | None = None) -> Undo:
    """The plan that takes a write back, or with `was` a removal: the file is for whom it was for."""
    if before is None:
        gone = {"path": path, "reason": "undo"}
        return Undo(kind="inverse", reason="removes the file again", action=RemoveFile.name, arguments=gone)
    if not isinstance(_read(before), dict):
        return Undo(kind="none", reason="what it held is no JSON object; it is in the preview, to be put back by hand")
    as_it_was = {"path": path, "text": before, "reason": "undo", **({} if was is None else {"access": dict(was)})}
    return Undo(kind="inverse", reason="writes what it held before", action=WriteJson.name, arguments=as_it_was)


class PathArguments(ActionArguments):
    """The file, and why."""

    path: FilePath
    reason: Reason = "removed by plan"


class RemoveFile(_File):
    """Remove a JSON file: an override, a freeze."""

    name = "files.remove"
    kind = "configuration"
    Arguments = PathArguments
    arguments: PathArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """What it holds."""
        before, was = seen.facts["text"], access(context, self.path)
        if before is None:
            raise PlanError(f"{self.path} is not there; there is nothing to remove")
        return Description(
            summary=f"Remove {self.path}",
            preview={"difference": _difference(self.path, before, None), "before": before, "count": 1},
            expected_effect="the platform goes on without it from its next look",
            blast_radius={"files": 1},
            residual_risk="what the file held back is no longer held back",
            undo=_way_back(self.path, before, was),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Remove it."""
        del key  # gone is gone
        take_away(context, self.path)
        return {"removed": self.path}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it was there and is gone."""
        return before.facts["text"] is not None and held(context, self.path) is None


class SwitchArguments(ActionArguments):
    """The kill switch's file, and why."""

    path: FilePath = "KILL_SWITCH"
    reason: Reason = "kill switch"


class KillSwitchOn(_File):
    """Set the kill switch: no new risk. Always allowed; what is open stays open."""

    name = "files.kill-switch-on"
    kind = "stop-new-risk"
    stops_new_risk = True
    switch = True
    Arguments = SwitchArguments
    arguments: SwitchArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """That it is set, and what it does not do."""
        del context  # all of it was observed
        if seen.target.fields["exists"]:
            raise PlanError(f"the kill switch {self.path} is set already")
        return Description(
            summary=f"Set the kill switch {self.path}",
            preview={"difference": _difference(self.path, None, self._text()), "count": 1},
            expected_effect="the platform opens no new position",
            blast_radius={"files": 1},
            residual_risk="open orders and positions stay as they are; closing them is a step of its own",
            undo=Undo(
                kind="inverse",
                reason="takes the switch away again, by someone with the authority to let risk in",
                action=KillSwitchOff.name,
                arguments={"path": self.path, "reason": "undo"},
            ),
        )

    def _text(self) -> str:
        return spelt({"reason": self.arguments.reason, "set_by": "runbook"})

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Set it; one that is set stays as it is."""
        del key  # set twice, it is set
        if held(context, self.path) is None:
            put(context, self.path, self._text())
        return {"set": self.path}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it is set now and was not before."""
        return not before.target.fields["exists"] and held(context, self.path) is not None


class KillSwitchOff(_File):
    """Take the kill switch away: the platform may open positions again."""

    name = "files.kill-switch-off"
    kind = "allow-new-risk"
    lifts = "kill-switch"
    switch = True
    Arguments = SwitchArguments
    arguments: SwitchArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """What it says, and that risk may come in again."""
        del context  # all of it was observed
        before = seen.facts["text"]
        if before is None:
            raise PlanError(f"the kill switch {self.path} is not set; there is nothing to take away")
        return Description(
            summary=f"Take the kill switch {self.path} away",
            preview={"difference": _difference(self.path, before, None), "before": before, "count": 1},
            expected_effect="the platform may open positions again",
            blast_radius={"files": 1},
            residual_risk="if the cause is still there, losses go on",
            undo=Undo(
                kind="inverse",
                reason="sets the switch again",
                action=KillSwitchOn.name,
                arguments={"path": self.path, "reason": "undo"},
            ),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Take it away."""
        del key  # gone is gone
        take_away(context, self.path)
        return {"removed": self.path}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it was set and is gone."""
        return bool(before.target.fields["exists"]) and held(context, self.path) is None
