"""Our engine under papermill itself, and the saving of notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from opslib.runs import notebook
from opslib.runs.formats import v4


def papermill(tmp_path: Path, *cells: str) -> tuple[subprocess.CompletedProcess[str], nbformat.NotebookNode]:
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    spec = {"name": "python3", "language": "python", "display_name": "Python"}
    node = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": spec})
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
        with pytest.raises(OSError, match=r"a\.ipynb"):
            notebook.write(path, "after")
    finally:
        tmp_path.chmod(0o700)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ipynb"]
    assert (tmp_path / "a.ipynb").read_text() == "before"
