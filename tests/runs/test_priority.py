"""Who goes first on a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from opslib.runs import priority

SESSION = Path("/proc/self/autogroup")
NICENESS = f"import os; print(os.nice(0), open({str(SESSION)!r}).read().split()[-1])"
needs_sessions = pytest.mark.skipif(not SESSION.exists(), reason="sessions do not count on this system")


def told(code: str) -> list[int]:
    """The niceness of a process and of its session, in a session of its own after some code."""
    command = [sys.executable, "-c", f"from opslib.runs import priority; {code}; {NICENESS}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=True)
    return [int(number) for number in done.stdout.split()]


@needs_sessions
def test_what_steps_back_does_so_with_its_session() -> None:
    assert told("priority.step_back(3)") == [os.nice(0) + 3, 3]


@needs_sessions
def test_the_share_of_a_session_can_be_taken_back_and_leaves_its_processes_alone() -> None:
    assert told("priority.share(9); priority.share(2, tries=20)") == [os.nice(0), 2]


def test_where_sessions_do_not_count_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(priority, "_SESSION", tmp_path / "away" / "autogroup")
    priority.share(5, tries=3)
    assert not (tmp_path / "away").exists()
