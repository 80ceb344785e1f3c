"""Files below a platform's folder as an action sees them: read whole, written and removed in one step each."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from opslib.actions.action import ActionArguments, Context
from opslib.errors import ActionFailed, ProbeError
from opslib.probes import files
from opslib.probes.registry import Target as Place

SYSTEM = "files"
LARGEST = 64 * 1024  # a file that a plan holds as a whole [bytes]


def _plain(path: str) -> str:
    """One spelling a file: what is named twice could be changed twice at once, or pass for another."""
    if str(PurePosixPath(path)) != path:
        raise ValueError("spell the path plainly, such as config/limits.json")
    return path


FilePath = Annotated[
    str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f/][^\x00-\x1f\x7f]*$"), AfterValidator(_plain)
]


class Access(ActionArguments):
    """Who may do what with a file: its permissions in octal (`0640`), its owner and its group by their numbers."""

    mode: Annotated[str, Field(pattern=r"^0[0-7]{3}$")]
    owner: Annotated[int, Field(ge=0, lt=2**31)]
    group: Annotated[int, Field(ge=0, lt=2**31)]

    @classmethod
    def of(cls, facts: os.stat_result) -> Access:
        """Those of a file."""
        return cls(mode=f"0{facts.st_mode & 0o777:03o}", owner=facts.st_uid, group=facts.st_gid)


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


def access(context: Context, path: str) -> Access | None:
    """Who may do what with a file; None where there is none.

    Raises
    ------
    ProbeError
        When it cannot be read or is no ordinary file.
    """
    where = place(context)
    if not files.stat_(where, path)["exists"]:
        return None
    with files.opened(where, path) as (_, facts):
        return Access.of(facts)


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


def put(context: Context, path: str, text: str, new: Access | None = None) -> None:
    """Write a file as a whole: beside its place, to the disk, and then there in one step.

    Its permissions, owner and group stay; one that was not there gets those of `new`, else it is ours for all to read.

    Raises
    ------
    ActionFailed
        When it cannot be written, or its owner could not read it then; nothing of it is there then.
    """
    with folder_of(context, path) as (at, name):
        wanted = _access(at, name) or new
        beside = f".{name}.{secrets.token_hex(6)}"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=at)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                _hand_over(file.fileno(), path, wanted)
                os.fsync(file.fileno())
            os.rename(beside, name, src_dir_fd=at, dst_dir_fd=at)
        except (OSError, ActionFailed):
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=at)
            raise
        os.fsync(at)


def _access(at: int, name: str) -> Access | None:
    """Who may do what with the file that is replaced; None where there is none. A link is not written through."""
    try:
        facts = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        raise ActionFailed(f"{name} is no ordinary file; it is not written", sent=False)
    return Access.of(facts)


def _hand_over(file: int, path: str, wanted: Access | None) -> None:
    """Give a file that we wrote to whom it shall be of, as far as we may: to the group alone where not to the owner."""
    if wanted is None:
        os.fchmod(file, 0o644)
        return
    for owner in (wanted.owner, -1):
        with contextlib.suppress(OSError):  # not ours to give, or nobody of that number in this container
            os.fchown(file, owner, wanted.group)
            break
    mode, now = int(wanted.mode, 8), os.fstat(file)
    through_group = now.st_gid == wanted.group and mode & stat.S_IRGRP
    if now.st_uid != wanted.owner and not (through_group or mode & stat.S_IROTH):
        message = f"{path} is of user {wanted.owner}, who could not read it after us; that user has to change it"
        raise ActionFailed(message, sent=False)
    if now.st_gid != wanted.group and mode & stat.S_IRGRP and not mode & stat.S_IROTH:
        message = f"{path} is for group {wanted.group}, who could not read it after us; its owner has to change it"
        raise ActionFailed(message, sent=False)
    os.fchmod(file, mode)


def take_away(context: Context, path: str) -> None:
    """Remove a file; one that is gone already is gone."""
    with folder_of(context, path) as (at, name):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=at)
        os.fsync(at)
