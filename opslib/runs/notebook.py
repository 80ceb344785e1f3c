"""The executed notebook while it fills: the state of each cell, the banner of a run that failed, atomic saves."""

# nbformat and nbconvert have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import copy
import datetime as dt
import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

from opslib.errors import RecordError
from opslib.record import archive
from opslib.runs.formats import NotebookNode, rwbase, v4

SAVE_EVERY_S = 2.0
SMALL = 2**20  # a notebook of fewer characters is saved at the end of every cell
_SHARE = 4
BANNER = "runbook-banner"
_PAPERMILL = {"succeeded": "completed", "interrupted": "failed"}


class ExecutedNotebook:
    """A notebook and the file that it is saved in.

    Parameters
    ----------
    notebook : NotebookNode
        As papermill prepared it; changed in place.
    path : Path or None
        The file; None keeps it in memory only.
    facts : dict
        Goes into the notebook's metadata as `run`: incident, run, number, parameters and the like.
    """

    def __init__(self, notebook: NotebookNode, path: Path | None, facts: dict[str, Any] | None = None) -> None:
        self.notebook = notebook
        self.path = path
        self._saved_at = 0.0
        self._size = self._fresh = 0  # characters of the last save, and of the cells that have ended since
        self._settled: dict[int, str] = {}
        self._began = time.monotonic()
        notebook.metadata["run"] = {**(facts or {}), "state": "running", "started_at": _now(), "ended_at": None}
        notebook.metadata.setdefault("papermill", {})
        notebook.metadata.papermill |= {"start_time": _now(), "end_time": None, "duration": None, "exception": None}
        for cell in notebook.cells:
            cell.metadata["papermill"] = dict.fromkeys(("exception", "start_time", "end_time", "duration"))
            self._set(cell, "not-run")
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None

    @staticmethod
    def _set(cell: NotebookNode, status: str) -> None:
        """The state of a cell: ours precisely, papermill's in papermill's words where it has one."""
        cell.metadata["runbook"] = {**cell.metadata.get("runbook", {}), "status": status}
        cell.metadata.papermill["status"] = _PAPERMILL.get(status, status)

    def begin(self, index: int) -> None:
        """A cell starts."""
        cell = self.notebook.cells[index]
        cell.metadata.papermill |= {"start_time": _now(), "exception": False}
        self._set(cell, "running")

    def end(self, index: int, status: str, took_s: float) -> None:
        """A cell ended as `status`: succeeded, failed, interrupted."""
        cell = self.notebook.cells[index]
        failed = status != "succeeded"
        cell.metadata.papermill |= {"end_time": _now(), "duration": round(took_s, 6), "exception": failed}
        cell.metadata["runbook"] = {**cell.metadata.get("runbook", {}), "took_s": round(took_s, 6)}
        self._set(cell, status)
        self._settled.pop(index, None)
        self._fresh += len(self._cell_text(index))
        if failed:
            self.notebook.metadata.papermill["exception"] = True

    def finish(self, state: str, sentence: str) -> None:
        """The run ended as `state`; `sentence` says why where it did not succeed, at the top of the notebook."""
        close(self.notebook, state, sentence, took_s=time.monotonic() - self._began)
        self._settled.clear()

    def save(self, *, force: bool = False) -> None:
        """Save atomically; without `force` at most every two seconds.

        Raises
        ------
        RecordError
            When the disk does not take it; the file is then as it was.
        """
        if self.path is None or (not force and time.monotonic() - self._saved_at < SAVE_EVERY_S):
            return
        try:
            text = self._text()
            archive.put(self.path, text.encode("utf-8", "replace"))
        except OSError as error:
            raise not_saved(error, self.path) from error
        self._saved_at = time.monotonic()
        self._size, self._fresh = len(text), 0

    def save_end(self, index: int) -> None:
        """Save at the end of a cell, unless that would write a large notebook for the sake of a small cell.

        Then the cell is saved with what follows, within two seconds. A cell that failed and the last one always are;
        the others where a quarter of the last save has come since, so that all saves together write a multiple of what
        the notebook holds in the end, and not its square.

        Raises
        ------
        RecordError
            When the disk does not take it.
        """
        cells = self.notebook.cells
        failed = cells[index].metadata.runbook["status"] != "succeeded"
        last = not any(cell.cell_type == "code" and cell.source.strip() for cell in cells[index + 1 :])
        small = self._size + self._fresh < SMALL
        self.save(force=failed or last or small or self._fresh * _SHARE >= self._size)

    def _text(self) -> str:
        """The notebook as nbformat writes it; cells that have ended are written out once only."""
        cells = [self._cell_text(index) for index in range(len(self.notebook.cells))]
        shell = rwbase.strip_transient(copy.copy(self.notebook))
        rest = {key: value for key, value in shell.items() if key != "cells"}
        listed = "[]" if not cells else "[\n  " + ",\n  ".join(cells) + "\n ]"
        parts = [f' "{key}": {_dumped(rest[key], " ")}' for key in sorted(rest)]
        return "{\n" + ",\n".join([f' "cells": {listed}', *parts]) + "\n}\n"

    def _cell_text(self, index: int) -> str:
        """A cell as nbformat writes it; kept once the cell has ended."""
        text = self._settled.get(index)
        if text is None:
            cell = self.notebook.cells[index]
            text = _dumped(rwbase.split_lines(_wrapped(cell)).cells[0], "  ")
            if cell.metadata.runbook["status"] not in ("running", "not-run"):
                self._settled[index] = text
        return text


def close(notebook: NotebookNode, state: str, sentence: str, *, took_s: float | None = None) -> None:
    """Mark a notebook's end: state, what of it never ran, and a banner where it did not succeed."""
    notebook.metadata.setdefault("run", {})
    notebook.metadata["run"] |= {"state": state, "error": sentence or None, "ended_at": _now()}
    notebook.metadata.setdefault("papermill", {})
    notebook.metadata.papermill["end_time"] = _now()
    if took_s is not None:
        notebook.metadata.papermill["duration"] = round(took_s, 6)
    for cell in notebook.cells:
        cell.metadata.setdefault("papermill", {})
        status = cell.metadata.get("runbook", {}).get("status", "not-run")
        ExecutedNotebook._set(cell, "interrupted" if status == "running" else status)
    if state != "succeeded":
        notebook.metadata.papermill["exception"] = True
        cell = v4.new_markdown_cell(f"**This run {_AS[state]}.** {escaped(sentence)}", id=uuid.uuid4().hex[:8])
        cell.metadata |= {"tags": [BANNER], "papermill": {"status": "completed"}, "runbook": {"status": "succeeded"}}
        notebook.cells.insert(0, cell)


_AS = {
    "failed": "failed",
    "timed-out": "ran out of time",
    "cancelled": "was cancelled",
    "kernel-died": "ended because its kernel died",
    "lost": "was lost",
}


def named(notebook: NotebookNode, index: int) -> str:
    """A cell for a reader: its number and the heading that it stands under."""
    heading = ""
    for cell in notebook.cells[: index + 1]:
        if cell.cell_type == "markdown":
            found = re.findall(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", cell.source, re.MULTILINE)
            heading = found[-1] if found else heading
    return f'Cell {index + 1}, under "{heading}",' if heading else f"Cell {index + 1}"


def not_saved(error: OSError, path: Path) -> RecordError:
    """What to raise where the disk does not take a part of the record."""
    return RecordError(f"The record could not be saved: {error.strerror or error} ({error.filename or path}).")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~$])", r"\\\1", text.replace("\n", " ").replace("\r", " "))


def _wrapped(cell: NotebookNode) -> NotebookNode:
    """A notebook of one copied cell, for nbformat's own way of splitting lines."""
    return NotebookNode(cells=[copy.deepcopy(cell)])


def _dumped(value: Any, indent: str) -> str:
    """JSON as nbformat lays it out, with every line but the first indented."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).replace("\n", "\n" + indent)


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
