"""Which commit a run is executed with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from opslib.runs import provenance


def git(folder: Path, *words: str) -> str:
    told = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(["git", "-C", str(folder), *told, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_checkout_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "one.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message", "One")
    head = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "another.py").write_text("not of the checkout\n")
    assert provenance.commit(tmp_path) == head
    (tmp_path / "one.py").write_text("2\n")
    assert provenance.commit(tmp_path) == f"{head}+changes"
    git(tmp_path, "add", ".")
    assert provenance.commit(tmp_path) == f"{head}+changes"


def test_without_a_checkout_it_is_not_known(tmp_path: Path) -> None:
    assert provenance.commit(tmp_path) == "unknown"
