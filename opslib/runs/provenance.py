"""Which code a run is executed with: the commit, and the digest of the lock file."""

from __future__ import annotations

import contextlib
import subprocess
from functools import cached_property
from pathlib import Path

from opslib.canonical import file_digest
from opslib.settings import PROJECT

_WAIT_S = 2.0


class Commit:
    """The commit of the checkout that a folder is in: git is asked at once, and waited for when it is to be told.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        words = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no")
        self._asked: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError):  # there is no git
            self._asked = subprocess.Popen(
                ["git", "-C", str(folder), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )

    @cached_property
    def name(self) -> str:
        """The commit, with `+changes` where files differ from it.

        Without a checkout, as in an image, the one in the project's file `COMMIT`; else `unknown`.
        """
        told = [] if self._asked is None else _answer(self._asked).splitlines()
        if not told:
            path = PROJECT / "COMMIT"
            return path.read_text("utf-8").strip() or "unknown" if path.is_file() else "unknown"
        head = next(line.split()[-1] for line in told if line.startswith("# branch.oid "))
        return head if all(line.startswith("# ") for line in told) else f"{head}+changes"


def commit(folder: Path) -> str:
    """The commit of the checkout that `folder` is in: see `Commit`."""
    return Commit(folder).name


def lock() -> str:
    """SHA-256 of the project's lock file; `unknown` where it was installed without one."""
    path = PROJECT / "requirements.lock"
    return file_digest(path) if path.is_file() else "unknown"


def _answer(git: subprocess.Popen[str]) -> str:
    """What git says; nothing where it fails, or takes too long."""
    try:
        told, _ = git.communicate(timeout=_WAIT_S)
    except subprocess.TimeoutExpired:
        git.kill()
        git.communicate()
        return ""
    return told if git.returncode == 0 else ""
