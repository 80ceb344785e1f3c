"""Kernels of JupyterLab: each is a run on the record, and finds no secret."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbformat import NotebookNode

from opslib.jupyter import copies, interactive, lab
from opslib.runs import descendants, queue
from opslib.settings import Settings
from tests.runs import support

pytestmark = pytest.mark.slow


@dataclass
class Open:
    """A working copy that is open in JupyterLab, with its kernel."""

    path: Path
    book: NotebookNode
    manager: KernelManager
    client: BlockingKernelClient

    def connect(self) -> None:
        """Open the channels, and wait until the kernel answers."""
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, cell: NotebookNode) -> str:
        """Execute a cell; what it put out, as text."""
        cell.outputs = []

        def keep(message: dict[str, Any]) -> None:
            if message["header"]["msg_type"] in ("stream", "error", "display_data", "execute_result"):
                cell.outputs.append(nbformat.v4.output_from_msg(message))

        reply = self.client.execute_interactive(cell.source, output_hook=keep, timeout=120)
        while reply["content"]["status"] == "aborted":  # for a moment after an error a kernel gives up what is asked
            reply = self.client.execute_interactive(cell.source, output_hook=keep, timeout=120)
        cell.execution_count = reply["content"].get("execution_count")
        return str(cell.outputs)

    def run_all(self) -> None:
        """Run All, then save."""
        for cell in self.book.cells:
            if cell.cell_type == "code":
                self.run(cell)
        nbformat.write(self.book, self.path)


@contextmanager
def opened(settings: Settings, name: str = "crypto/status.ipynb") -> Iterator[Open]:
    """Open a working copy; its kernel is shut down at the end of the block."""
    path = lab.ready(settings, browser=False).folder / name
    folder = settings.state / "lab" / "share" / "kernels"
    specs = KernelSpecManager(kernel_dirs=[str(folder)], ensure_native_kernel=False)
    manager = KernelManager(kernel_name=copies.KERNEL, kernel_spec_manager=specs)
    manager.start_kernel(env={**os.environ, "JPY_SESSION_NAME": str(path), "RUNBOOK_TOKEN": "rb_secret"})
    found = Open(path, nbformat.read(path, as_version=4), manager, manager.blocking_client())
    try:
        found.connect()
        yield found
    finally:
        found.client.stop_channels()
        manager.shutdown_kernel()


def test_run_all_is_a_sealed_run(lab_settings: Settings, rows: Any) -> None:
    with opened(lab_settings) as one:
        one.run_all()
        assert "kelly 0.25 1.5" in str(one.book.cells)
        assert rows("SELECT state, mode FROM runs") == [{"state": "running", "mode": "interactive"}]
    (run,) = rows("SELECT * FROM runs")
    assert run["state"] == "succeeded"
    assert run["verdict"]["summary"] == "Nothing is wrong."
    record = lab_settings.home / run["record"]
    assert "kelly 0.25" in record.read_text()
    assert record.with_suffix(".html").exists()
    assert list(record.parent.glob("seal-*.json"))
    kinds = [json.loads(line)["kind"] for line in (record.parent / "journal.jsonl").read_text().splitlines()]
    assert {"run-queued", "run-started", "evidence", "verdict", "run-ended", "file"} <= set(kinds)


@pytest.fixture
def nursery(lab_settings: Settings) -> Iterator[None]:
    """Warm kernels for this home."""
    with support.nursery(lab_settings):
        support.wait_for(lambda: support.warm(lab_settings))
        yield


def test_kernel_comes_from_the_nursery_and_is_told_of(lab_settings: Settings, rows: Any, nursery: None) -> None:
    with opened(lab_settings) as one:
        assert "True" in one.run(nbformat.v4.new_code_cell("import sys\nprint('pandas' in sys.modules)"))
        one.client.execute("import time\nprint('sleeps')\ntime.sleep(600)")
        while one.client.get_iopub_msg(timeout=60)["content"].get("text") != "sleeps\n":
            continue
        one.manager.interrupt_kernel()
        assert one.client.get_shell_msg(timeout=60)["content"]["ename"] == "KeyboardInterrupt"
        one.run_all()  # what is asked before the reply would be given up with the cell
        one.client.stop_channels()
        one.manager.restart_kernel()
        one.client = one.manager.blocking_client()
        one.connect()
        one.run_all()
        folder = Path(one.manager.connection_file).parent
    runs = rows("SELECT id, state FROM runs ORDER BY id")
    assert [run["state"] for run in runs] == ["succeeded", "succeeded"]
    lines = rows("SELECT line FROM journal WHERE (line::jsonb ->> 'kind') = 'kernel' ORDER BY seq")
    told = [json.loads(row["line"])["body"] for row in lines]
    assert told == [
        {"run": runs[0]["id"], "kernel": "warm"},
        {"run": runs[1]["id"], "kernel": "plain: it was started again"},
    ]
    assert not folder.exists()


def test_kernel_finds_no_secret_and_an_unfinished_run_is_no_success(lab_settings: Settings, rows: Any) -> None:
    secret = lab_settings.state / "keys" / "recorder-control"
    with opened(lab_settings) as one:
        told = one.run(nbformat.v4.new_code_cell(f"import os\nprint(sorted(os.environ))\nopen({str(secret)!r}).read()"))
        assert "RUNBOOK_OPS_SOCKET" in told
        assert "RUNBOOK_TOKEN" not in told
        assert "PermissionError" in told
    assert secret.exists()
    (run,) = rows("SELECT state, error FROM runs")
    assert run["state"] == "cancelled"
    assert "0 of 4 cells" in run["error"]


def test_kernel_that_was_killed_is_told_as_such(lab_settings: Settings, rows: Any) -> None:
    with opened(lab_settings) as one:
        one.client.execute("import os\nos._exit(9)")
        while one.manager.is_alive():
            time.sleep(0.1)
    assert rows("SELECT state FROM runs") == [{"state": "kernel-died"}]


def test_restarted_kernel_is_another_run_of_the_same_incident(lab_settings: Settings, rows: Any) -> None:
    with opened(lab_settings) as one:
        one.client.stop_channels()
        one.manager.restart_kernel()
        one.client = one.manager.blocking_client()
        one.client.start_channels()
        one.client.wait_for_ready(timeout=120)
        one.run_all()
        one.client.stop_channels()
    runs = rows("SELECT number, state, incident FROM runs ORDER BY number")
    assert [run["state"] for run in runs] == ["cancelled", "succeeded"]
    assert len({run["incident"] for run in runs}) == 1


def test_lab_that_was_killed_leaves_no_run_that_runs(lab_settings: Settings, rows: Any) -> None:
    path = copies.prepare(lab_settings) / "crypto" / "status.ipynb"
    run = interactive.InteractiveRun.open(lab_settings, path, copies.CopyOf("status", "crypto"))
    run._held.close()
    assert run._pulse is not None
    run._pulse.close()
    assert interactive.end_forgotten(lab_settings) == 0
    with interactive.store.transaction(lab_settings) as connection:
        gone = descendants.me().rsplit("/", 1)[0] + "/1"
        connection.execute("UPDATE runs SET worker = %s", [gone])
    assert interactive.end_forgotten(lab_settings) == 1
    assert rows("SELECT state FROM runs") == [{"state": "lost"}]


def test_cancelled_run_ends_with_its_session_and_its_kernel_is_interrupted(lab_settings: Settings, rows: Any) -> None:
    with opened(lab_settings) as one:
        before = rows("SELECT heartbeat_at FROM runs")
        support.wait_for(lambda: rows("SELECT heartbeat_at FROM runs") != before)
        asked = one.client.execute("import time\nfor _ in range(6000): time.sleep(0.1)")
        support.wait_for(lambda: rows("SELECT 1 FROM runs WHERE heartbeat_at > started_at + interval '1 second'"))
        with interactive.store.transaction(lab_settings) as connection:
            (row,) = connection.execute("SELECT id, incident FROM runs").fetchall()
            assert queue.cancel(connection, row["incident"], "ann", "not needed") == [row["id"]]
        reply = one.client.get_shell_msg(timeout=120)
        while reply["parent_header"].get("msg_id") != asked:
            reply = one.client.get_shell_msg(timeout=120)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        support.wait_for(lambda: rows("SELECT 1 FROM runs WHERE state = 'cancelled'"))
        told = one.run(nbformat.v4.new_code_cell("import opslib\nopslib.connect().http.json('/api/status')"))
        assert "kelly" not in told
        assert "Error" in told
    (run,) = rows("SELECT state, error FROM runs")
    assert run["state"] == "cancelled"
    assert "ann cancelled the run (not needed)" in run["error"]
