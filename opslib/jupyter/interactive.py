"""A run by hand in JupyterLab: one for every kernel, with an incident, evidence, an end and a seal like any other."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from opslib import incidents, people, platforms, store
from opslib.canonical import file_digest, plain, storable
from opslib.errors import RecordError, StoreError
from opslib.jupyter import copies
from opslib.record import archive, archived, journal, redaction
from opslib.record.client import running
from opslib.runs import catalogue, descendants, ending, kernels, parameters, provenance, queue
from opslib.runs.cells import Asked, Stop
from opslib.runs.formats import NotebookNode, nbformat
from opslib.runs.pulse import Pulse
from opslib.settings import Settings
from opslib.sql import queries

ACTOR = "jupyter"
_log = structlog.get_logger(__name__)


@dataclass
class InteractiveRun:
    """A run whose cells a person executes.

    Attributes
    ----------
    settings : Settings
    path : Path
        The working copy.
    incident : str
    run : int
    record : Path
        Where its notebook goes in the record.
    ops_socket : str
        The recorder's socket for the kernel.
    interrupt : callable
        Interrupts what the kernel does; called when somebody cancels the run.
    """

    settings: Settings
    path: Path
    incident: str
    run: int
    record: Path
    facts: dict[str, Any]
    ops_socket: str = ""
    interrupt: Callable[[], None] = lambda: None
    _held: ExitStack = field(default_factory=ExitStack)
    _pulse: Pulse | None = None
    _over: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, settings: Settings, path: Path, copy: copies.CopyOf, incident: str | None = None) -> InteractiveRun:
        """Begin a run of a working copy, and a session with the recorder for it.

        Parameters
        ----------
        settings : Settings
        path : Path
        copy : CopyOf
        incident : str, optional
            The incident of the kernel that is started again; a new one where it is left out.

        Raises
        ------
        UsageError
            When runbook, platform or parameters are wrong.
        RecordError
            When the record that is investigated was altered.
        RecorderError, StoreError
            When the recorder or the store cannot be reached.
        """
        runbook = catalogue.find(settings, copy.runbook)
        then = _investigated(settings, copy)
        if then is None:
            resolved = parameters.resolve(runbook, platforms.load(settings, copy.platform), {}, None)
        else:
            incident, resolved = then.incident, then.facts["parameters"]
        person = people.operator(settings)
        with store.transaction(settings) as connection:
            if incident is None:
                row = incidents.open_incident(
                    connection,
                    platform=copy.platform,
                    runbook=runbook.name,
                    target="",
                    severity=runbook.severity,
                    title=f"{runbook.title}, by hand",
                    opened_by=person,
                )
                incident = str(row["id"])
            run = queue.create_run(
                connection,
                incident,
                runbook=runbook.name,
                platform=copy.platform,
                mode="interactive",
                requested={},
                alert=then.alert or None if then is not None else None,
                requested_by=person,
            )
            connection.execute(queries("runs").claim, {"run": run, "worker": descendants.me()})
            row = connection.execute(queries("runs").one, {"run": run}).fetchone() or {}
            record = archive.folder(settings, row) / f"{row['number']:02d}-{runbook.name}.ipynb"
            values = {
                "run": run,
                "parameters": Jsonb(storable(resolved)),
                "record": record.relative_to(settings.home).as_posix(),
            }
            connection.execute(queries("runs").begin, values)
            facts = {
                **{name: row[name] for name in ("incident", "number", "runbook", "platform", "mode", "attempt")},
                "run": run,
                "parameters": resolved,
                "notebook": file_digest(path),
                "commit": provenance.commit(runbook.path.parent),
                "lock": provenance.lock(),
            }
            if then is not None:
                facts["investigates"] = {"number": copy.run, "sha256": copy.sha256}
            body = facts | {"confinement": kernels.confinement()}
            journal.append(connection, incident, "run-started", body, actor=person, settings=settings)
        begun = cls(settings, path, incident, run, record, facts)
        begun._pulse = Pulse(settings, incident, run, _Cancelled(begun))
        try:
            recorder = begun._held.enter_context(running(settings))
            subject = {name: facts[name] for name in ("incident", "run", "platform", "runbook", "mode", "parameters")}
            if then is not None:
                subject |= {"alert": then.alert or None, "replays": copy.run}
            begun.ops_socket = begun._held.enter_context(recorder.session(**subject)).socket_path
            if begun._over.locked():  # cancelled meanwhile: what was opened after that is closed here
                begun._held.close()
                raise RecordError("the run was cancelled before it had a kernel")
        except BaseException as error:
            begun.close(died=f"no session with the recorder: {error}")
            raise
        return begun

    def close(self, *, died: str = "", cancelled: str = "") -> None:
        """End the session, put the notebook as it was last saved into the record, and seal; once.

        Parameters
        ----------
        died : str
            How the kernel died, where nobody asked it to end.
        cancelled : str
            Who cancelled the run, where somebody did.
        """
        if not self._over.acquire(blocking=False):
            return
        self._held.close()
        book = self._saved()
        state, sentence = ("cancelled", cancelled) if cancelled else ("kernel-died", died) if died else _outcome(book)
        try:
            state = ending.end(self.settings, self.run, state, sentence, actor=ACTOR, again=False)
        except (StoreError, psycopg.Error):
            ending.spool_end(self.settings, self.incident, self.run, state, sentence, actor=ACTOR)
        finally:
            if self._pulse is not None:
                self._pulse.close()
        ending.close_record(self.settings, self.run, book, state, sentence)
        _log.info("run ended", incident=self.incident, run=self.run, state=state)

    def _saved(self) -> NotebookNode | None:
        """The working copy as last saved, without secrets, each cell marked as it stands."""
        try:
            read = nbformat.read(self.path, as_version=4)
        except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
            _log.error("the working copy cannot be read", path=str(self.path), why=str(error))
            return None
        book: NotebookNode = nbformat.from_dict(redaction.default(self.settings)(plain(read)))
        for cell in book.cells:
            cell.metadata["runbook"] = {**cell.metadata.get("runbook", {}), "status": _status(cell)}
        book.metadata["run"] = {**plain(self.facts), "state": "running"}
        return book


def _investigated(settings: Settings, copy: copies.CopyOf) -> archived.ArchivedRun | None:
    """The archived run that a working copy investigates; None: it is of the runbook as it is.

    Raises
    ------
    RecordError
        When the record was altered, or the copy is of another notebook.
    """
    if copy.incident is None:
        return None
    report = archived.checked(settings.home, copy.incident)
    for run in archived.read(settings.home, copy.incident):
        if run.facts["number"] == copy.run and file_digest(run.notebook) == copy.sha256:
            archived.require_sealed(report, [run])
            return run
    raise RecordError(f"run {copy.run} of {copy.incident} is not what this notebook is a copy of; investigate it anew")


class _Cancelled(Stop):
    """Ends a run by hand when somebody cancels it: its session, not its kernel, which sees nothing from then on."""

    def __init__(self, run: InteractiveRun) -> None:
        super().__init__()
        self._run = run

    def ask(self, reason: Asked, sentence: str) -> None:
        """The first who asks has it ended, by a thread that may wait for the pulse which heard it."""
        first = not self.asked
        super().ask(reason, sentence)
        if first:
            threading.Thread(target=self._end, name="cancelled", daemon=True).start()

    def _end(self) -> None:
        try:
            self._run.interrupt()
        except OSError as error:
            _log.warning("the kernel could not be interrupted", run=self._run.run, why=str(error))
        self._run.close(cancelled=f"It {self.sentence} Its kernel was interrupted and has no session any more.")


def end_forgotten(settings: Settings) -> int:
    """End the interactive runs whose JupyterLab on this host is gone, as lost; returns how many."""
    with store.connect(settings, autocommit=True) as connection:
        rows = connection.execute(queries("lab").open_runs).fetchall()
    lost = 0
    for row in rows:
        sentence = "JupyterLab ended before the run did."
        if not descendants.seen_gone(str(row["worker"])):
            continue
        state = ending.lose(settings, row["id"], sentence, actor=ACTOR)
        if state is not None:
            ending.close_record(settings, row["id"], None, state, sentence if state == "lost" else "")
            lost += 1
    return lost


def _status(cell: NotebookNode) -> str:
    """How a cell stands in the saved notebook."""
    if cell.cell_type != "code":
        return "succeeded"
    if any(output.output_type == "error" for output in cell.outputs):
        return "failed"
    return "succeeded" if cell.execution_count is not None or not cell.source.strip() else "not-run"


def _outcome(book: NotebookNode | None) -> tuple[str, str]:
    """The state of a run by hand, which succeeded only when the saved notebook shows that every cell did."""
    if book is None:
        return "failed", "its notebook could not be read when the kernel ended."
    cells = [_status(cell) for cell in book.cells if cell.cell_type == "code"]
    if "failed" in cells:
        return "failed", f"{cells.count('failed')} of {len(cells)} cells ended with an error."
    if "not-run" in cells:
        ran = len(cells) - cells.count("not-run")
        return "cancelled", f"The kernel was shut down when {ran} of {len(cells)} cells of the saved notebook had run."
    return "succeeded", ""
