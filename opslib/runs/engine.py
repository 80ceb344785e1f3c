"""Our engine for papermill, which marks the state of every cell truthfully: `papermill --engine runbook`.

From papermill's own command or API it takes a warm kernel of the home that `RUNBOOK_HOME` names, where a nursery runs
there; else it starts one plainly. The log and the notebook's metadata (`run.kernel`) say which, and why.

It is no subclass of papermill's, since papermill imports it while it is being imported itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from opslib.errors import ConfigurationError, RecordError, RunbookError
from opslib.runs import cells, kernels
from opslib.runs.formats import NotebookNode
from opslib.runs.notebook import ExecutedNotebook, named
from opslib.runs.outputs import CellOutputs
from opslib.settings import Settings

State = Literal["succeeded", "failed", "timed-out", "cancelled", "kernel-died", "stopped", "handed-back"]
_STATES: dict[str, State] = {
    "error": "failed",
    "exit": "failed",
    "timed-out": "timed-out",
    "cancelled": "cancelled",
    "stopped": "stopped",
    "handed-back": "handed-back",
    "kernel-died": "kernel-died",
}

_log = logging.getLogger(__name__)


class RunFailed(RunbookError):
    """The notebook did not run to its end; the first lines of its record say at which cell and why."""

    state: State


class Events(Protocol):
    """Who is told, as it happens."""

    def cell_started(self, cell_id: str, index: int) -> None:
        """A code cell is about to be sent to the kernel."""

    def cell_ended(self, cell_id: str, status: str, took_s: float) -> None:
        """It ended."""

    def output(self, cell_id: str, text: str) -> None:
        """It printed or showed something."""


class Silence:
    """Nobody is told."""

    def cell_started(self, cell_id: str, index: int) -> None:
        """Tell nobody."""

    def cell_ended(self, cell_id: str, status: str, took_s: float) -> None:
        """Tell nobody."""

    def output(self, cell_id: str, text: str) -> None:
        """Tell nobody."""


def _unchanged(text: str) -> str:
    return text


@dataclass
class Recording:
    """All that a run needs beside its notebook.

    Attributes
    ----------
    path : Path or None
        The executed notebook's file.
    cell_timeout_s, run_timeout_s : float
        Bounds of each cell and of the whole [s].
    facts : dict
        For the notebook's metadata.
    events : Events
        Who is told.
    stop : cells.Stop
        Asks the run to end.
    redact : callable
        Takes secrets out of a text.
    kernel : Kernel or None
        The kernel, which may still be coming up; None: the engine starts one.
    executed : ExecutedNotebook or None
        Set by the engine as soon as there is one.
    """

    path: Path | None
    cell_timeout_s: float = 60.0
    run_timeout_s: float = 300.0
    facts: dict[str, Any] = field(default_factory=dict)
    events: Events = field(default_factory=Silence)
    stop: cells.Stop = field(default_factory=cells.Stop)
    redact: Callable[[str], str] = _unchanged
    kernel: kernels.Kernel | None = None
    executed: ExecutedNotebook | None = None


class RunbookEngine:
    """What papermill calls; `recording` comes through `execute_notebook(..., recording=...)`."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        *,
        recording: Recording | None = None,
        execution_timeout: float | None = None,
        **_others: Any,
    ) -> NotebookNode:
        """Execute a notebook, on a confined kernel.

        Raises
        ------
        RunFailed
            When it did not run to its end; it has been saved then, with the reason at its top. With a recording of
            the caller's, closing the notebook is left to the caller: the journal has to know first.
        """
        del kernel_name
        own = recording is None
        if recording is None:
            path = Path(output_path) if output_path and "://" not in output_path else None
            cell_s, run_s = bounds(nb, execution_timeout)
            recording = Recording(path, cell_timeout_s=cell_s, run_timeout_s=run_s)
        facts = nb.metadata.get("papermill", {})
        if not isinstance(facts.get("input_path"), str | None):
            facts["input_path"] = None  # papermill keeps a whole notebook here that came without a path
        executed = recording.executed = ExecutedNotebook(nb, recording.path, recording.facts)
        state, sentence = _run(executed, recording)
        if own:
            executed.finish("cancelled" if state == "stopped" else state, sentence)
            executed.save(force=True)
        if state != "succeeded":
            raise RunFailed(sentence, state=state)
        return nb

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """The kernel's name: the confined one serves every Python notebook."""
        return name or str(nb.metadata.get("kernelspec", {}).get("name", "python3"))

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """The language: Python."""
        del nb
        return language or "python"


def bounds(nb: NotebookNode, asked_s: float | None = None) -> tuple[float, float]:
    """The bounds of papermill's own command and API.

    Parameters
    ----------
    nb : NotebookNode
        Its metadata may declare both, as a runbook does.
    asked_s : float, optional
        `--execution-timeout`: of each cell; the whole run has at least as long [s].

    Returns
    -------
    cell_s, run_s : float
        Of a cell and of the whole run [s]: as asked, else as declared, else as the settings say.
    """
    try:
        settings: Settings | Recording = Settings()
    except ConfigurationError:  # told when the kernel is asked for
        settings = Recording(None)
    facts = nb.metadata.get("runbook", {})
    declared = [facts.get(name) if isinstance(facts, dict) else None for name in ("cell_timeout_s", "run_timeout_s")]
    cell, run = (value if isinstance(value, int | float) and value > 0 else None for value in declared)
    cell_s = float(asked_s or cell or settings.cell_timeout_s)
    return cell_s, max(cell_s, float(run or settings.run_timeout_s))


def _run(executed: ExecutedNotebook, recording: Recording) -> tuple[State, str]:
    """Run all cells; the state of the whole and, where it did not succeed, why."""
    given = recording.kernel
    try:
        executed.save(force=True)
        with nullcontext(given) if given is not None else _own_kernel(executed) as kernel:
            kernel.ready()
            return _run_cells(executed, recording, kernel, time.monotonic() + recording.run_timeout_s)
    except kernels.KernelDied as error:
        return "kernel-died", str(error)
    except RecordError as error:
        return "failed", str(error)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return "failed", f"{_at_work(executed)} could not go on: {error.strerror or error}{where}."


def _at_work(executed: ExecutedNotebook) -> str:
    """The cell that runs, for a reader; the run where none does."""
    for index, cell in enumerate(executed.notebook.cells):
        if cell.metadata.runbook["status"] == "running":
            return named(executed.notebook, index)
    return "The run"


def _own_kernel(executed: ExecutedNotebook) -> AbstractContextManager[kernels.Kernel]:
    """A kernel for papermill itself: warm where a nursery runs."""

    def tell(how: str) -> None:
        executed.notebook.metadata["run"]["kernel"] = how
        _log.log(logging.INFO if how.startswith("warm") else logging.WARNING, "Kernel: %s", how)

    try:
        settings = Settings()
    except ConfigurationError as error:
        _log.warning("No home is known: %s", error)
        return kernels.started(None, tell=tell)
    return kernels.started(settings if settings.state.is_dir() else None, tell=tell)


def _run_cells(
    executed: ExecutedNotebook, recording: Recording, kernel: kernels.Kernel, deadline: float
) -> tuple[State, str]:
    for index, cell in enumerate(executed.notebook.cells):
        if recording.stop.asked:
            return _STATES[recording.stop.reason], f"{named(executed.notebook, index)} {recording.stop.sentence}"
        if cell.cell_type != "code" or not cell.source.strip():
            executed.end(index, "succeeded", 0.0)
            continue
        result = _run_cell(executed, recording, kernel, deadline, index)
        if result.status != "succeeded":
            sentence = result.sentence
            if result.reason != "kernel-died":
                return _STATES[result.reason], f"{named(executed.notebook, index)} {sentence}"
            return "kernel-died", f"{named(executed.notebook, index)} was running. {sentence}"
    return "succeeded", ""


def _run_cell(
    executed: ExecutedNotebook, recording: Recording, kernel: kernels.Kernel, deadline: float, index: int
) -> cells.CellResult:
    cell = executed.notebook.cells[index]
    name = str(cell.get("id", index))
    side = None
    if recording.path is not None:
        side = recording.path.with_name(f"{recording.path.stem}.cell-{index + 1:02d}.txt.gz")
    outputs = CellOutputs(cell, side, tell=lambda text: recording.events.output(name, text), redact=recording.redact)

    def save() -> None:
        outputs.settle()
        executed.save()

    recording.events.cell_started(name, index)
    executed.begin(index)
    result = cells.execute(
        kernel,
        cell.source,
        outputs,
        timeout_s=recording.cell_timeout_s,
        deadline=deadline,
        stop=recording.stop,
        idle=save,
    )
    outputs.close()
    executed.end(index, result.status, result.took_s)
    recording.events.cell_ended(name, result.status, result.took_s)
    executed.save_end(index)
    return result
