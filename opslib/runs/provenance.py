"""Which code a run is executed with: the commit, and the digest of the lock file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from opslib.canonical import file_digest
from opslib.settings import PROJECT

_WAIT_S = 2.0


def commit(folder: Path) -> str:
    """The commit of the checkout that `folder` is in, with `+changes` where files differ from it.

    Without a checkout, as in an image, the one in the project's file `COMMIT`; else `unknown`.
    """
    try:
        words = ("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "--untracked-files=no")
        told = _git(folder, *words).splitlines()
    except (OSError, subprocess.SubprocessError):
        path = PROJECT / "COMMIT"
        return path.read_text("utf-8").strip() or "unknown" if path.is_file() else "unknown"
    head = next(line.split()[-1] for line in told if line.startswith("# branch.oid "))
    return head if all(line.startswith("# ") for line in told) else f"{head}+changes"


def lock() -> str:
    """SHA-256 of the project's lock file; `unknown` where it was installed without one."""
    path = PROJECT / "requirements.lock"
    return file_digest(path) if path.is_file() else "unknown"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip()
