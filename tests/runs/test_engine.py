"""Our engine under papermill itself, and the saving of notebooks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest

from opslib.errors import RecordError
from opslib.runs import cells, engine, notebook, outputs
from opslib.runs.formats import v4


def papermill(
    tmp_path: Path, *cells: str, **metadata: Any
) -> tuple[subprocess.CompletedProcess[str], nbformat.NotebookNode]:
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    spec = {"name": "python3", "language": "python", "display_name": "Python"}
    node = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": spec, **metadata})
    nbformat.write(node, source)
    command = [sys.executable, "-m", "papermill", "--engine", "runbook", "--no-progress-bar", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    return done, nbformat.read(target, as_version=4)


@pytest.mark.slow
def test_papermill_uses_the_engine_by_name(tmp_path: Path) -> None:
    done, node = papermill(tmp_path, "print(6 * 7)")
    assert done.returncode == 0, done.stderr
    assert node.cells[0].outputs[0].text == "42\n"
    assert node.cells[0].metadata.papermill.status == "completed"
    assert node.metadata.run.state == "succeeded"


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["import sys; sys.exit(0)", "import os; os._exit(0)", "1 / 0", "exit()"])
def test_what_did_not_succeed_is_no_success_for_papermill_either(tmp_path: Path, cell: str) -> None:
    done, node = papermill(tmp_path, cell, "2 + 2")
    assert done.returncode != 0
    assert [one.metadata.papermill.status for one in node.cells] == ["completed", "failed", "not-run"]


@pytest.mark.parametrize(
    ("declared", "asked", "expected"),
    [
        ({}, None, (60.0, 300.0)),
        ({}, 1000, (1000.0, 1000.0)),
        ({"cell_timeout_s": 5, "run_timeout_s": 900}, None, (5.0, 900.0)),
        ({"cell_timeout_s": 5, "run_timeout_s": 900}, 20, (20.0, 900.0)),
        ({"cell_timeout_s": "x", "run_timeout_s": -1}, None, (60.0, 300.0)),
        (["no object"], None, (60.0, 300.0)),
    ],
)
def test_papermill_has_the_bounds_it_asks_for_or_the_notebook_declares(
    declared: Any, asked: float | None, expected: tuple[float, float]
) -> None:
    node = v4.new_notebook(metadata={"runbook": declared})
    assert engine.bounds(node, asked) == expected


def test_papermill_has_the_bounds_of_the_settings_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_CELL_TIMEOUT_S", "7")
    monkeypatch.setenv("RUNBOOK_RUN_TIMEOUT_S", "3600")
    assert engine.bounds(v4.new_notebook()) == (7.0, 3600.0)
    monkeypatch.setenv("RUNBOOK_PORT", "none")  # settings that do not validate
    assert engine.bounds(v4.new_notebook()) == (60.0, 300.0)


@pytest.mark.slow
def test_a_cell_that_declares_its_bound_is_cut_there_under_papermill(tmp_path: Path) -> None:
    done, node = papermill(tmp_path, "import time; time.sleep(60)", runbook={"cell_timeout_s": 0.5})
    assert done.returncode != 0
    assert node.metadata.run.state == "timed-out"
    assert "ran past its time-out of 0.5 s" in done.stderr


def test_saved_file_is_what_nbformat_writes(tmp_path: Path) -> None:
    node = v4.new_notebook(
        cells=[v4.new_markdown_cell("a\nb é"), v4.new_code_cell("x\ny", outputs=[]), v4.new_code_cell("")]
    )
    executed = notebook.ExecutedNotebook(node, tmp_path / "a.ipynb")
    executed.begin(1)
    node.cells[1].outputs.append(v4.new_output("stream", text="one\ntwo\n"))
    executed.end(1, "succeeded", 0.5)
    executed.save(force=True)
    first = (tmp_path / "a.ipynb").read_text()
    assert first == nbformat.writes(node) + "\n"
    executed.finish("failed", "It *broke*.")
    executed.save(force=True)
    saved = nbformat.read(tmp_path / "a.ipynb", as_version=4)
    nbformat.validate(saved)
    assert saved.cells[0].source == r"**This run failed.** It \*broke\*."


def test_failed_save_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text("before")
    tmp_path.chmod(0o500)
    try:
        if os.getuid() == 0:
            path = Path("/proc/a.ipynb")
        executed = notebook.ExecutedNotebook(v4.new_notebook(), path)
        with pytest.raises(RecordError, match=r"could not be saved: .*a\.ipynb"):
            executed.save(force=True)
    finally:
        tmp_path.chmod(0o700)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ipynb"]
    assert (tmp_path / "a.ipynb").read_text() == "before"


class NoKernel:
    """A kernel that the system refuses; only what the engine asks before the first cell."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error

    def ready(self) -> None:
        if self.error is not None:
            raise self.error


def ended(tmp_path: Path, kernel: NoKernel) -> str:
    """How a run of one cell ends, by the sentence of its failure."""
    recording = engine.Recording(tmp_path / "a.ipynb", kernel=cast(Any, kernel))
    node = v4.new_notebook(cells=[v4.new_markdown_cell("# Why?"), v4.new_code_cell("1")])
    with pytest.raises(engine.RunFailed) as failed:
        engine.RunbookEngine.execute_notebook(node, "python3", recording=recording)
    assert failed.value.state == "failed"
    return str(failed.value)


def test_a_refusal_of_the_system_is_not_called_one_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    assert ended(tmp_path, NoKernel(refused)) == "The run could not go on: Resource temporarily unavailable."

    def refuse(*_args: Any, **_facts: Any) -> None:
        raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), "ops.sock")

    monkeypatch.setattr(cells, "execute", refuse)
    assert ended(tmp_path, NoKernel()) == 'Cell 2, under "Why?", could not go on: Connection refused (ops.sock).'


def test_a_record_that_the_disk_does_not_take_is_told_as_that(tmp_path: Path) -> None:
    told = r"^The record could not be saved: No such file or directory \(.*away"
    with pytest.raises(RecordError, match=told):
        notebook.ExecutedNotebook(v4.new_notebook(), tmp_path / "away" / "a.ipynb").save(force=True)
    aside = outputs.CellOutputs(
        v4.new_code_cell(""), tmp_path / "away.gz" / "a", tell=lambda _: None, redact=lambda it: it, limit=1
    )
    with pytest.raises(RecordError, match=told):
        aside.take({"msg_type": "stream", "content": {"name": "stdout", "text": "too long"}})
    assert ended(tmp_path / "away", NoKernel()).startswith("The record could not be saved: No such file or directory")


def saving(monkeypatch: pytest.MonkeyPatch, number: int) -> tuple[list[int], int, notebook.ExecutedNotebook]:
    """Sizes of the saves at the ends of `number` cells of 20 kB, and how much was put into JSON."""
    written: list[int] = []
    made: list[int] = []
    dumped = notebook._dumped

    def dump(value: Any, indent: str) -> str:
        made.append(len(text := dumped(value, indent)))
        return text

    monkeypatch.setattr(notebook, "SMALL", 100_000)
    monkeypatch.setattr(notebook, "SAVE_EVERY_S", 1e9)
    monkeypatch.setattr(notebook.archive, "put", lambda _path, data: written.append(len(data)))
    monkeypatch.setattr(notebook, "_dumped", dump)
    node = v4.new_notebook(cells=[v4.new_code_cell("x") for _ in range(number)])
    executed = notebook.ExecutedNotebook(node, Path("a.ipynb"))
    for index, cell in enumerate(node.cells):
        executed.begin(index)
        cell.outputs.append(v4.new_output("stream", text="y" * 20_000))
        executed.end(index, "succeeded", 0.1)
        executed.save_end(index)
    monkeypatch.setattr(notebook, "_dumped", dumped)
    return written, sum(size for size in made if size > 10_000), executed


def test_saving_costs_the_same_per_cell_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    few, made_few, _ = saving(monkeypatch, 40)
    many, made_many, executed = saving(monkeypatch, 320)
    assert sum(many) / 320 < 2 * sum(few) / 40  # saves of the whole at each end would cost eight times as much
    assert sum(many) < 6 * many[-1] + 10 * notebook.SMALL
    assert made_many / 320 == pytest.approx(made_few / 40, rel=0.01)
    assert many[-1] == len(executed._text())  # the last cell is saved with all before it


def test_the_end_of_a_cell_is_saved_at_once_where_that_is_cheap_or_matters(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    node = v4.new_notebook(cells=[v4.new_code_cell("x") for _ in range(6)])
    executed = notebook.ExecutedNotebook(node, path)
    saved = []
    for index, (size, status) in enumerate(
        [(9, "succeeded"), (2 * notebook.SMALL, "succeeded"), (9, "succeeded"), (9, "failed"), (9, "succeeded")]
    ):
        executed.begin(index)
        node.cells[index].outputs.append(v4.new_output("stream", text="y" * size))
        executed.end(index, status, 0.1)
        executed.save_end(index)
        saved.append(nbformat.read(path, as_version=4).cells[index].metadata.runbook.status)
    assert saved == ["succeeded", "succeeded", "not-run", "failed", "not-run"]
    executed._saved_at -= notebook.SAVE_EVERY_S  # two seconds later
    executed.save()
    executed.begin(5)
    executed.end(5, "succeeded", 0.1)
    executed.save_end(5)
    node = nbformat.read(path, as_version=4)
    told = [cell.metadata.runbook.status for cell in node.cells]
    assert told == ["succeeded", "succeeded", "succeeded", "failed", "succeeded", "succeeded"]
