"""What a run does between its claim and its end: resolved, given a session and a kernel, executed."""

# nbformat and nbconvert have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from opslib import platforms, store
from opslib.canonical import file_digest, storable
from opslib.errors import RecorderError, RunbookError, StoreError
from opslib.record import archive
from opslib.record.client import running
from opslib.runs import catalogue, html, kernels, parameters, provenance
from opslib.runs.catalogue import Runbook
from opslib.runs.engine import Recording, RunFailed
from opslib.runs.formats import NotebookNode, nbformat
from opslib.runs.notebook import ExecutedNotebook
from opslib.runs.scribe import RunJournal
from opslib.settings import Settings
from opslib.sql import queries

_SESSION_S = 5.0
_log = structlog.get_logger(__name__)


@dataclass
class Execution:
    """One run while it is executed."""

    settings: Settings
    row: dict[str, Any]
    recording: Recording
    journal: RunJournal
    commit: provenance.Commit
    runbook: Runbook | None = None
    resolved: dict[str, Any] = field(default_factory=dict)

    def examine(self) -> tuple[str, str]:
        """Resolve, open a session with the recorder, run the notebook; the state and why.

        The state is `stopped` when this process had to end, `handed-back` when the worker asked for that, and
        `forsaken` when recorder or store went away: none says anything of the notebook, which may be run again.
        """
        row, journal = self.row, self.journal
        try:
            runbook = self.runbook = catalogue.find(self.settings, row["runbook"])
            where = platforms.load(self.settings, row["platform"])
            self.resolved = parameters.resolve(runbook, where, row["requested"], row["alert"])
            self._prepare(runbook)
            journal.write("run-started", self.recording.facts | {"confinement": kernels.confinement()})
            journal.flush()
            return self._run(runbook)
        except (RunbookError, OSError, psycopg.Error) as error:
            sentence = f"No cell ran: {error}" if self.recording.executed is None else str(error)
            self._unexecuted()
            away = isinstance(error, (RecorderError, StoreError, psycopg.OperationalError))
            return "forsaken" if away else "failed", sentence

    def _run(self, runbook: Runbook) -> tuple[str, str]:
        """Read the notebook while recorder and kernel come up, then run it."""
        subject = {name: self.row[name] for name in ("incident", "platform", "runbook", "mode", "alert")}
        with ThreadPoolExecutor(1, "ahead") as ahead:
            reading = ahead.submit(_read_ahead, runbook)
            with (
                running(self.settings) as recorder,
                recorder.session(run=self.row["id"], parameters=self.resolved, **subject) as session,
                kernels.started(
                    self.settings,
                    ops_socket=session.socket_path,
                    card=runbook.card,
                    tell=lambda how: self.journal.write("kernel", {"kernel": how}),
                ) as self.recording.kernel,
            ):
                source = reading.result()  # two threads must not import one package at once
                try:
                    return _run_notebook(source, self.resolved, self.recording)
                except RunFailed as error:
                    if error.state != "failed" or session_serves(session.socket_path):
                        return error.state, str(error)
                    return "forsaken", f"{error} The recorder ended while the run went on."

    def _prepare(self, runbook: Runbook) -> None:
        """The file, the bounds and the facts of the run, which the store gets to know too."""
        settings, row, recording = self.settings, self.row, self.recording
        recording.path = archive.folder(settings, row) / f"{row['number']:02d}-{runbook.name}.ipynb"
        recording.cell_timeout_s = runbook.cell_timeout_s or settings.cell_timeout_s
        recording.run_timeout_s = runbook.run_timeout_s or settings.run_timeout_s
        recording.facts = {
            **{name: row[name] for name in ("incident", "number", "runbook", "platform", "mode", "attempt")},
            "run": row["id"],
            "parameters": self.resolved,
            "notebook": file_digest(runbook.path),
            "commit": self.commit.name,
            "lock": provenance.lock(),
        }
        values = {
            "run": row["id"],
            "parameters": Jsonb(storable(self.resolved)),
            "record": recording.path.relative_to(settings.home).as_posix(),
        }
        with store.transaction(settings) as connection:
            connection.execute(queries("runs").begin, values)

    def _unexecuted(self) -> None:
        """The record of a run that could not begin: its notebook, of which nothing ran."""
        recording = self.recording
        if recording.executed is not None or self.runbook is None:
            return
        try:
            if recording.path is None:
                self._prepare(self.runbook)
            source = nbformat.read(self.runbook.path, as_version=4)
            recording.executed = ExecutedNotebook(source, recording.path, recording.facts)
        except (RunbookError, OSError, psycopg.Error) as error:
            _log.error("no notebook could be put into the record", run=self.row["id"], why=str(error))


def session_serves(path: str) -> bool:
    """Whether the recorder's session behind a socket can be asked."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_SESSION_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _read_ahead(runbook: Runbook) -> NotebookNode:
    """The notebook, and what the run imports later, while it waits for recorder and kernel and imports nothing."""
    import papermill  # noqa: F401

    from opslib.actions import plans  # noqa: F401

    html.exporter()
    source: NotebookNode = nbformat.read(runbook.path, as_version=4)
    return source


def _run_notebook(source: NotebookNode, resolved: dict[str, Any], recording: Recording) -> tuple[str, str]:
    """Hand over to papermill with our engine; a node goes in, so that no path is made of a parameter."""
    import papermill

    papermill.execute_notebook(
        _papermill_ready(source),
        None,
        resolved,
        engine_name="runbook",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        recording=recording,
    )
    return "succeeded", ""


def _papermill_ready(source: NotebookNode) -> NotebookNode:
    """The notebook without what an earlier execution left in it."""
    for cell in source.cells:
        cell.metadata.pop("papermill", None)
    source.metadata.pop("papermill", None)
    return source
