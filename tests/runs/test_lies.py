"""How papermill lies, row by row, on warm kernels: here the record tells what happened.

Each test is a run on a kernel that came from the nursery; journal, row and notebook have to say the same, and it is so.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from opslib import store
from opslib.record import client
from opslib.runs import following, queue, run
from opslib.settings import Settings
from tests.runs import support
from tests.runs.support import entries, processes_of, queued, statuses, wait_for

pytestmark = pytest.mark.slow

Lie = Callable[..., dict[str, Any]]
SWALLOWS = "import time\nwhile True:\n    try:\n        time.sleep(0.1)\n    except KeyboardInterrupt:\n        pass"
INTERRUPTED = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
SLEEPS = "import time\nprint('begun')\ntime.sleep(600)"
AFTER = "print('never')"


@pytest.fixture(scope="module")
def nursery(_home: Settings) -> Iterator[None]:
    """Warm kernels for the home of these tests, started as a worker does."""
    with support.nursery(_home, 2):
        yield


@pytest.fixture
def warm_runs(runs: Settings, nursery: None) -> Settings:
    """The home, with a kernel that waits."""
    wait_for(lambda: support.warm(runs))
    return runs


@pytest.fixture
def told(warm_runs: Settings, notebook: Callable[..., str], request: pytest.FixtureRequest) -> Lie:
    """Runs these cells by hand, and holds journal, row and notebook against each other."""

    def execute(*cells: str, **facts: Any) -> dict[str, Any]:
        row = support.execute(warm_runs, notebook(f"lie-{os.urandom(4).hex()}", *cells, **facts))
        truthful(warm_runs, row)
        return row

    return execute


def truthful(settings: Settings, row: dict[str, Any]) -> None:
    """One end, the same everywhere; a warm kernel; papermill's words claim nothing that did not happen."""
    told = [one["body"] for one in entries(settings, row["incident"]) if one["body"].get("run") == row["id"]]
    assert [one["kernel"] for one in told if "kernel" in one] == ["warm"]
    kinds = [one for one in entries(settings, row["incident"]) if one["kind"] == "run-ended"]
    assert [one["body"]["state"] for one in kinds if one["body"]["run"] == row["id"]] == [row["state"]]
    node = nbformat.read(settings.home / row["record"], as_version=4)
    nbformat.validate(node)
    assert node.metadata.run.state == row["state"]
    ours = statuses(settings, row)
    theirs = {cell.id: cell.metadata.papermill.status for cell in node.cells if cell.cell_type == "code"}
    assert {name for name, one in ours.items() if one == "succeeded"} == {
        name for name, one in theirs.items() if one == "completed"
    }
    if row["state"] != "succeeded":
        assert set(ours.values()) != {"succeeded"}
        assert node.cells[0].metadata.tags == ["runbook-banner"]
    assert row["sealed_seq"] == row["journal_seq"]


def last(settings: Settings, row: dict[str, Any], number: int) -> list[str]:
    return list(statuses(settings, row).values())[-number:]


@pytest.mark.parametrize(
    ("cell", "state", "sentence", "status"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "kernel-died", "killed by SIGKILL", "failed"),
        ("import ctypes\nctypes.string_at(0)", "kernel-died", "killed by SIGSEGV", "failed"),
        ("import os\nos._exit(3)", "kernel-died", "exit status 3", "failed"),
        ("import sys\nsys.exit(0)", "failed", "SystemExit(0)", "failed"),
        ("exit()", "failed", "asked the kernel to exit", "failed"),
        ("input('which? ')", "failed", "raised StdinNotImplementedError", "failed"),
        ("while True:\n    pass", "timed-out", "its time-out of 2 s", "interrupted"),
        (SWALLOWS, "timed-out", "its time-out of 2 s", "interrupted"),
        (INTERRUPTED, "failed", "was interrupted", "interrupted"),
    ],
    ids=["killed", "segfault", "_exit", "sys.exit", "exit", "input", "endless", "swallows", "interrupted"],
)  # fmt: skip
def test_a_cell_that_does_not_end_well(
    warm_runs: Settings, told: Lie, cell: str, state: str, sentence: str, status: str
) -> None:
    row = told("print('before')", cell, AFTER, cell_timeout_s=2 if state == "timed-out" else 20)
    assert row["state"] == state, row["error"]
    assert sentence in row["error"]
    assert last(warm_runs, row, 3) == ["succeeded", status, "not-run"]


@pytest.mark.parametrize(
    ("cell", "size"),
    [("print('x' * 50_000_000)", 50_000_001), ("for number in range(500_000):\n    print(number)", 3_388_890)],
    ids=["50 MB", "500,000 prints"],
)
def test_much_output_is_cut_with_a_note_and_kept_whole(warm_runs: Settings, told: Lie, cell: str, size: int) -> None:
    row = told(cell, "print('on it goes')", cell_timeout_s=200)
    path = warm_runs.home / row["record"]
    assert row["state"] == "succeeded", row["error"]
    assert path.stat().st_size < 4_000_000
    side = next(path.parent.glob("*.txt.gz"))
    with gzip.open(side) as file:
        assert sum(map(len, iter(lambda: file.read(1 << 20), b""))) == size
    cut = nbformat.read(path, as_version=4).cells[-2].outputs[-1].text
    assert "bytes of output cut here" in cut
    assert side.name in cut


def test_a_process_in_the_background_ends_with_the_run(warm_runs: Settings, told: Lie) -> None:
    mark = f"3604.{os.getpid()}"
    row = told(f"import subprocess\nsubprocess.Popen(['setsid', 'nohup', 'sleep', '{mark}'], start_new_session=True)")
    assert row["state"] == "succeeded", row["error"]
    wait_for(lambda: not processes_of(f"sleep {mark}"))


def test_output_is_in_the_journal_while_the_cell_runs(warm_runs: Settings, notebook: Callable[..., str]) -> None:
    incident, number = run.start(warm_runs, notebook("talks", SLEEPS, AFTER), "test", {}, None, "plan", "ann")
    thread = threading.Thread(target=run.execute, args=(warm_runs, number), kwargs={"inline": True})
    thread.start()
    wait_for(lambda: has_begun(warm_runs, incident))
    saved = wait_for(lambda: following.read(warm_runs, number)["record"])
    wait_for(lambda: "begun" in (warm_runs.home / saved).read_text())  # saved within seconds, while it goes on
    with store.transaction(warm_runs) as connection:
        queue.cancel(connection, incident, "bob")
    thread.join(120)
    row = following.read(warm_runs, number)
    truthful(warm_runs, row)
    assert row["state"] == "cancelled"
    assert last(warm_runs, row, 2) == ["interrupted", "not-run"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_is_interrupted(warm_runs: Settings, notebook: Callable[..., str], number: int) -> None:
    words = ["run", notebook("by-hand", SLEEPS, AFTER), "--platform", "test", "--json"]
    command = [sys.executable, "-c", "from opslib.cli import main; main()", *words]
    environment = {**client.environment(warm_runs), "RUNBOOK_WARM_KERNELS": "2"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        incident = wait_for(lambda: going(warm_runs, "by-hand"))
        wait_for(lambda: has_begun(warm_runs, incident))
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert json.loads(said)["state"] == "cancelled"
    row = newest(warm_runs, incident)
    truthful(warm_runs, row)
    assert f"the command was ended with {signal.Signals(number).name}" in row["error"]
    assert last(warm_runs, row, 2) == ["interrupted", "not-run"]
    assert "begun" in (warm_runs.home / row["record"]).read_text()


def has_begun(settings: Settings, incident: str) -> bool:
    """The cell that sleeps has printed: not merely some cell before it."""
    return "begun\n" in [one["body"].get("text") for one in entries(settings, incident)]


def going(settings: Settings, name: str) -> str | None:
    with store.connect(settings) as connection:
        row = connection.execute(
            "SELECT incident FROM runs WHERE runbook = %s AND state = 'running'", (name,)
        ).fetchone()
    return None if row is None else str(row["incident"])


def newest(settings: Settings, incident: str) -> dict[str, Any]:
    with store.connect(settings) as connection:
        row = connection.execute("SELECT min(id) AS id FROM runs WHERE incident = %s", (incident,)).fetchone()
    assert row is not None
    return following.read(settings, row["id"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_worker_is_ended(
    warm_runs: Settings, notebook: Callable[..., str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("RUNBOOK_DRAIN_S", "0")
    mark = f"3605.{os.getpid()}"
    spawn = f"import subprocess\nsubprocess.Popen(['setsid', 'sleep', '{mark}'])"
    incident, first = queued(warm_runs, notebook("under-a-worker", spawn, SLEEPS, AFTER))
    with support.worker(warm_runs) as process:
        wait_for(lambda: has_begun(warm_runs, incident))
        process.send_signal(number)
        process.wait(60)
        wait_for(lambda: following.read(warm_runs, first)["state"] == "lost")
    with store.transaction(warm_runs) as connection:
        queue.cancel(connection, incident, "ann")
    wait_for(lambda: not processes_of(f"sleep {mark}"))
    row = wait_for(lambda: sealed(warm_runs, first))
    truthful(warm_runs, row)
    assert last(warm_runs, row, 3) == ["succeeded", "interrupted", "not-run"]
    text = "".join(one["body"]["text"] for one in entries(warm_runs, incident) if one["kind"] == "output")
    assert "begun" in text  # what it printed until then is kept


def sealed(settings: Settings, number: int) -> dict[str, Any] | None:
    row = following.read(settings, number)
    return row if row["sealed_seq"] == row["journal_seq"] else None


@pytest.fixture
def small_disk(warm_runs: Settings, notebook: Callable[..., str]) -> Iterator[tuple[str, int, Path]]:
    """A run whose record lies on a disk of 400 kB."""
    if os.geteuid() != 0:
        pytest.skip("a small tmpfs can only be mounted by root")
    name = notebook("fills-the-disk", "print('small')", "print('x' * 900_000)", AFTER)
    incident, number = run.start(warm_runs, name, "test", {}, None, "plan", "ann")
    with store.connect(warm_runs) as connection:
        row = connection.execute("SELECT folder FROM incidents WHERE id = %s", (incident,)).fetchone()
    assert row is not None
    folder = warm_runs.home / row["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield incident, number, folder
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def test_a_full_disk_leaves_the_last_good_notebook(warm_runs: Settings, small_disk: tuple[str, int, Path]) -> None:
    incident, number, folder = small_disk
    assert run.execute(warm_runs, number, inline=True) == "failed"
    row = following.read(warm_runs, number)
    assert "The record could not be saved: No space left on device" in row["error"]
    node = nbformat.read(warm_runs.home / row["record"], as_version=4)
    nbformat.validate(node)
    small = next(cell for cell in node.cells if cell.get("source") == "print('small')")
    assert (small.metadata.runbook.status, small.outputs[0].text) == ("succeeded", "small\n")
    told = [one["body"] for one in entries(warm_runs, incident) if one["kind"] == "run-ended"]
    assert [one["state"] for one in told] == ["failed"]
    assert not list(folder.glob(".*.part"))
