"""Files below a platform's folder: a JSON file written as a whole, a file removed, the kill switch on and off.

A file is written beside its place and then put there in one step, so that no reader sees half of it. What it held is in
the plan, so that the way back is a plan too. The kill switch has actions of its own and is out of reach for the others:
on stops new risk and is always allowed, off lets risk in again and needs the authority for that.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import secrets
import stat
from abc import ABC
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar

from pydantic import Field

from opslib.actions import firing
from opslib.actions.action import Action, ActionArguments, Check, Context, Description, Observation
from opslib.actions.documents import Target, Undo
from opslib.canonical import digest
from opslib.errors import ActionFailed, PlanError, ProbeError
from opslib.probes import files
from opslib.probes.registry import Target as Place
from opslib.record import redaction

SYSTEM = "files"
LARGEST = 64 * 1024  # a file that a plan holds as a whole [bytes]
_SWITCH = re.compile(r"(?:^|/)kill_?switch(?:\.\w+)?$", re.IGNORECASE)
FilePath = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f/][^\x00-\x1f\x7f]*$")]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


def place(context: Context) -> Place:
    """The platform's folder, as this identity sees it."""
    return Place(SYSTEM, context.endpoint(SYSTEM))


def held(context: Context, path: str) -> str | None:
    """The text of a file; None where there is none.

    Raises
    ------
    ProbeError
        When it cannot be read or is larger than a plan holds.
    """
    where = place(context)
    if not files.stat_(where, path)["exists"]:
        return None
    data = files.whole(where, path)
    if len(data) > LARGEST:
        raise ProbeError(f"{path} holds {len(data):,} bytes; at most {LARGEST:,} are written by a plan")
    return data.decode("utf-8", "replace")


def spelt(content: Any) -> str:
    """JSON as it is written."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def folder_of(context: Context, path: str) -> Iterator[tuple[int, str]]:
    """The folder of a file, opened part by part without following links out, and the file's name there."""
    if context.identity != "applier":
        raise ActionFailed(f"the {context.identity} may not change {context.platform}", sent=False)
    wanted = PurePosixPath(path)
    try:
        top, real = files.inside(place(context), str(wanted.parent))
        at = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in real.parts:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = below
            yield at, wanted.name
        finally:
            os.close(at)
    except ProbeError as error:
        raise ActionFailed(str(error), sent=False) from error
    except OSError as error:
        raise ActionFailed(f"{path} of {context.platform}: {error.strerror or error}", sent=False) from error


def put(context: Context, path: str, text: str) -> None:
    """Write a file as a whole: beside its place, to the disk, and then there in one step; its permissions stay.

    Raises
    ------
    ActionFailed
        When it cannot be written; nothing of it is there then.
    """
    with folder_of(context, path) as (at, name):
        mode = _mode(at, name)
        beside = f".{name}.{secrets.token_hex(6)}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=at)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.rename(beside, name, src_dir_fd=at, dst_dir_fd=at)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=at)
            raise
        os.fsync(at)


def _mode(at: int, name: str) -> int:
    """The permissions of the file that is replaced; those of a new one. A link is not written through."""
    try:
        facts = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return 0o644
    if not stat.S_ISREG(facts.st_mode):
        raise ActionFailed(f"{name} is no ordinary file; it is not written", sent=False)
    return stat.S_IMODE(facts.st_mode)


def take_away(context: Context, path: str) -> None:
    """Remove a file; one that is gone already is gone."""
    with folder_of(context, path) as (at, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=at)
        os.fsync(at)


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
        if bool(_SWITCH.search(self.path)) != self.switch:
            what = "is no kill switch" if self.switch else "is the kill switch, which has actions of its own"
            raise PlanError(f"{self.path} {what}")
        text = held(context, self.path)
        shown = None if text is None else str(redaction.default()(text))
        if shown != text and not self.switch:
            raise PlanError(f"{self.path} holds what looks like a secret; no plan carries that, change it by hand")
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
    """The file, the object that it shall hold, and why."""

    path: FilePath
    content: dict[str, Any]
    reason: Reason = "set by plan"


class WriteJson(_File):
    """Write a JSON file as a whole."""

    name = "files.write-json"
    kind = "configuration"
    Arguments = WriteJsonArguments
    arguments: WriteJsonArguments

    def describe(self, context: Context, seen: Observation) -> Description:
        """The difference, line by line."""
        del context  # all of it was observed
        before, after = seen.facts["text"], spelt(self.arguments.content)
        if len(after.encode()) > LARGEST:
            raise PlanError(f"the content is more than {LARGEST:,} bytes")
        if before is not None and _same(before, self.arguments.content):
            raise PlanError(f"{self.path} holds that already; there is nothing to write")
        return Description(
            summary=f"{'Create' if before is None else 'Change'} {self.path}",
            preview={"difference": _difference(self.path, before, after), "before": before, "count": 1},
            expected_effect="the platform reads it at its next look",
            blast_radius={"files": 1},
            residual_risk="what the platform does with it is not seen from here; the firing check tells",
            undo=_way_back(self.path, before),
        )

    def apply(self, context: Context, key: str) -> dict[str, Any]:
        """Write it."""
        del key  # written twice, it holds the same
        text = spelt(self.arguments.content)
        put(context, self.path, text)
        return {"written": self.path, "sha256": digest(text.encode())}

    def done(self, context: Context, before: Observation) -> bool:
        """Whether it holds what was asked for, and did not before."""
        now, was = held(context, self.path), before.facts["text"]
        content = self.arguments.content
        return now is not None and _same(now, content) and not (was is not None and _same(was, content))


def _same(text: str, content: Any) -> bool:
    try:
        return bool(json.loads(text) == content)
    except ValueError:
        return False


def _way_back(path: str, before: str | None) -> Undo:
    """The plan that takes a write back."""
    if before is None:
        gone = {"path": path, "reason": "undo"}
        return Undo(kind="inverse", reason="removes the file again", action=RemoveFile.name, arguments=gone)
    try:
        content = json.loads(before)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return Undo(kind="none", reason="what it held is no JSON object; it is in the preview, to be put back by hand")
    arguments = {"path": path, "content": content, "reason": "undo"}
    return Undo(kind="inverse", reason="writes what it held before", action=WriteJson.name, arguments=arguments)


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
        del context  # all of it was observed
        before = seen.facts["text"]
        if before is None:
            raise PlanError(f"{self.path} is not there; there is nothing to remove")
        return Description(
            summary=f"Remove {self.path}",
            preview={"difference": _difference(self.path, before, None), "before": before, "count": 1},
            expected_effect="the platform goes on without it from its next look",
            blast_radius={"files": 1},
            residual_risk="what the file held back is no longer held back",
            undo=_way_back(self.path, before),
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
