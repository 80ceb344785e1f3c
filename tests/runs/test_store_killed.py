"""PostgreSQL killed in the middle of a run: the run goes on, and its record has no gap."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from opslib import store
from opslib.runs import following, run
from opslib.settings import Settings
from tests.runs.conftest import write_runbook
from tests.runs.support import entries, statuses, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def alone(offline: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home with a PostgreSQL that only this test uses."""
    for name in ("home", "params", "notebooks"):
        monkeypatch.setenv(f"RUNBOOK_{name.upper()}", str(getattr(offline, name)))
    store.ensure(offline)
    yield offline
    store.stop(offline)


def postgres(settings: Settings) -> list[int]:
    """The first process of the embedded server."""
    files = settings.state.rglob("postmaster.pid")
    return [int(file.read_text().splitlines()[0]) for file in files]


def test_run_outlives_its_store(alone: Settings) -> None:
    code = "import time\nfor number in range(60):\n    print(number, flush=True)\n    time.sleep(0.1)"
    write_runbook(alone.notebooks / "alerts" / "counts.ipynb", code, "print('over')")
    incident, number = run.start(alone, "counts", "test", {}, None, "plan", "ann")
    thread = threading.Thread(target=run.execute, args=(alone, number), kwargs={"inline": True})
    thread.start()
    wait_for(lambda: any(entry["kind"] == "output" for entry in entries(alone, incident)))
    for process in postgres(alone):
        os.kill(process, signal.SIGKILL)
    thread.join(120)
    assert not thread.is_alive()
    row = following.read(alone, number)
    assert (row["state"], row["error"]) == ("succeeded", None)
    assert set(statuses(alone, row).values()) == {"succeeded"}
    told = entries(alone, incident)
    assert [entry["seq"] for entry in told] == list(range(1, len(told) + 1))
    text = "".join(entry["body"]["text"] for entry in told if entry["kind"] == "output")
    assert text == "".join(f"{number}\n" for number in range(60)) + "over\n"
    assert [entry["kind"] for entry in told].count("run-ended") == 1
