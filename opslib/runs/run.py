"""One run, from its request to its sealed record: `python -m opslib.runs.run RUN --parent PID`."""

# nbformat and nbconvert have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from opslib import incidents, platforms, store
from opslib.canonical import file_digest
from opslib.errors import RecorderError, RecordError, RunbookError, StoreError
from opslib.intake.cleaning import clean
from opslib.record import archive, redaction
from opslib.record.client import running
from opslib.runs import catalogue, descendants, ending, html, kernels, parameters, provenance, queue
from opslib.runs.catalogue import Runbook
from opslib.runs.cells import Stop
from opslib.runs.engine import Recording, RunFailed
from opslib.runs.formats import NotebookNode, nbformat
from opslib.runs.notebook import ExecutedNotebook
from opslib.runs.processes import HAND_BACK
from opslib.runs.pulse import Pulse
from opslib.runs.scribe import ACTOR, RunJournal
from opslib.settings import Settings
from opslib.sql import queries

ENDED = ("succeeded", "failed", "timed-out", "cancelled", "kernel-died", "lost")
NOT_TAKEN = 75
"""The exit code of a run that nothing became of, since the store was away: it is to be started again."""
_SESSION_S = 5.0
_log = structlog.get_logger(__name__)


def start(
    settings: Settings,
    name: str,
    platform: str,
    given: Mapping[str, Any],
    alert: Mapping[str, Any] | None,
    mode: queue.Mode,
    requested_by: str,
    *,
    defer: bool = False,
) -> tuple[str, int]:
    """A run by hand, with an incident of its own; everything is checked before anything is stored.

    Parameters
    ----------
    settings : Settings
    name, platform : str
        The runbook and where.
    given : mapping
        Parameters.
    alert : mapping or None
        Handed to the notebook as it is.
    mode : {"observe", "plan"}
    requested_by : str
        Who asks.
    defer : bool
        Whether a worker is to execute it.

    Returns
    -------
    incident, run : str, int

    Raises
    ------
    UsageError
        When runbook, platform or parameters are wrong: nothing was stored then.
    StoreError
        When the store is away.
    """
    runbook = catalogue.find(settings, name)
    where = platforms.load(settings, platform)
    resolved = parameters.resolve(runbook, where, given, alert)
    labels = alert.get("labels") if alert else None
    facts = {**resolved, **(labels if isinstance(labels, dict) else {})}
    target = ",".join(str(facts[key])[:200] for key in runbook.target if facts.get(key))
    severity = str(facts.get("severity") or runbook.severity)[:40]
    with store.transaction(settings) as connection:
        row = incidents.open_incident(
            connection,
            platform=platform,
            runbook=name,
            target=target,
            severity=severity,
            title=runbook.title,
            opened_by=requested_by,
        )
        run = queue.create_run(
            connection,
            row["id"],
            runbook=name,
            platform=platform,
            mode=mode,
            requested=redaction.default(settings)(given),
            alert=None if alert is None else redaction.default(settings)(clean(dict(alert))),
            requested_by=requested_by,
        )
        if defer:
            queue.defer(connection, run, in_lane=queue.lane(severity, runbook.kind))
    return row["id"], run


def execute(settings: Settings, run: int, *, inline: bool = False, stop: Stop | None = None) -> str:
    """The whole life of one run: claimed, examined, ended, closed, sealed.

    Parameters
    ----------
    settings : Settings
    run : int
    inline : bool
        Whether this process was started by the person who wants the run: ending it then cancels the run. Otherwise
        a run that has to end with this process is lost, and queued again.
    stop : Stop, optional
        Through which the caller can end the run.

    Returns
    -------
    str
        The terminal state; the present one where another process has the run.

    Raises
    ------
    RecordError, StoreError
        When the run cannot be claimed, or neither store nor spool could take how it ended.
    """
    stop = stop or Stop()
    with store.transaction(settings) as connection:
        queue.lock_place(connection, run)
        claimed = connection.execute(queries("runs").claim, {"run": run, "worker": _me()}).fetchone()
        row = connection.execute(queries("runs").one, {"run": run}).fetchone()
    if row is None:
        raise RecordError(f"there is no run {run}")
    if claimed is None:
        return str(row["state"])
    journal = RunJournal(settings, row["incident"], run)
    pulse = Pulse(settings, row["incident"], run, stop)
    redact = redaction.default(settings)
    recording, before = Recording(None, events=journal, stop=stop, redact=redact), redact.replaced
    try:
        state, sentence = _examine(settings, row, recording, journal)
        handed_back = state == "handed-back"
        if state in ("stopped", "handed-back"):
            state = "cancelled" if inline else "lost"
        elif state == "forsaken":
            state = "failed" if inline else "lost"
        state, sentence = _flushed(journal, state, sentence)
        journal.close()
        try:
            cut = redact.replaced - before
            state = ending.end(
                settings, run, state, sentence, actor=ACTOR, again=not inline, handed_back=handed_back, redacted=cut
            )
        except (StoreError, psycopg.OperationalError):
            ending.spool_end(settings, row["incident"], run, state, sentence, actor=ACTOR)
        notebook = recording.executed.notebook if recording.executed is not None else None
        ending.close_record(settings, run, notebook, state, sentence)
    finally:
        pulse.close()
        journal.close()
    return state


def session_serves(path: str) -> bool:
    """Whether the recorder's session behind a socket can be asked."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_SESSION_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _import_ahead() -> None:
    """What the run needs later, imported while it waits for recorder and kernel, and imports nothing itself."""
    import papermill  # noqa: F401

    from opslib.actions import plans  # noqa: F401

    html.exporter()


def _flushed(journal: RunJournal, state: str, sentence: str) -> tuple[str, str]:
    """The state, once the journal has all that led to it; a run whose journal has gaps did not succeed."""
    try:
        journal.flush()
    except RecordError as error:
        return ("failed", str(error)) if state == "succeeded" else (state, sentence)
    return state, sentence


def _examine(settings: Settings, row: dict[str, Any], recording: Recording, journal: RunJournal) -> tuple[str, str]:
    """Resolve, open a session with the recorder, run the notebook; the state and why.

    The state is `stopped` when this process had to end, `handed-back` when the worker asked for that, and `forsaken`
    when recorder or store went away: none says anything of the notebook, which may be run again.
    """
    runbook: Runbook | None = None
    resolved: dict[str, Any] = {}
    try:
        runbook = catalogue.find(settings, row["runbook"])
        where = platforms.load(settings, row["platform"])
        resolved = parameters.resolve(runbook, where, row["requested"], row["alert"])
        _prepare(settings, row, runbook, resolved, recording)
        journal.write("run-started", recording.facts | {"confinement": kernels.confinement()})
        journal.flush()
        ahead = threading.Thread(target=_import_ahead, name="imports", daemon=True)
        ahead.start()
        subject = {name: row[name] for name in ("incident", "platform", "runbook", "mode", "alert")}
        with (
            running(settings) as recorder,
            recorder.session(run=row["id"], parameters=resolved, **subject) as session,
            kernels.started(
                settings,
                ops_socket=session.socket_path,
                card=runbook.card,
                tell=lambda how: journal.write("kernel", {"kernel": how}),
            ) as recording.kernel,
        ):
            ahead.join()  # two threads must not import one package at once
            try:
                return _run_notebook(runbook, resolved, recording)
            except RunFailed as error:
                if error.state != "failed" or session_serves(session.socket_path):
                    return error.state, str(error)
                return "forsaken", f"{error} The recorder ended while the run went on."
    except (RunbookError, OSError, psycopg.Error) as error:
        sentence = f"No cell ran: {error}" if recording.executed is None else str(error)
        _unexecuted(settings, row, runbook, resolved, recording)
        away = isinstance(error, (RecorderError, StoreError, psycopg.OperationalError))
        return "forsaken" if away else "failed", sentence


def _prepare(
    settings: Settings, row: dict[str, Any], runbook: Runbook, resolved: dict[str, Any], recording: Recording
) -> None:
    """The file, the bounds and the facts of the run, which the store gets to know too."""
    recording.path = archive.folder(settings, row) / f"{row['number']:02d}-{runbook.name}.ipynb"
    recording.cell_timeout_s = runbook.cell_timeout_s or settings.cell_timeout_s
    recording.run_timeout_s = runbook.run_timeout_s or settings.run_timeout_s
    recording.facts = {
        **{name: row[name] for name in ("incident", "number", "runbook", "platform", "mode", "attempt")},
        "run": row["id"],
        "parameters": resolved,
        "notebook": file_digest(runbook.path),
        "commit": provenance.commit(runbook.path.parent),
        "lock": provenance.lock(),
    }
    values = {
        "run": row["id"],
        "parameters": Jsonb(resolved),
        "record": recording.path.relative_to(settings.home).as_posix(),
    }
    with store.transaction(settings) as connection:
        connection.execute(queries("runs").begin, values)


def _run_notebook(runbook: Runbook, resolved: dict[str, Any], recording: Recording) -> tuple[str, str]:
    """Hand over to papermill with our engine; a node goes in, so that no path is made of a parameter."""
    import papermill

    source = nbformat.read(runbook.path, as_version=4)
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


def _unexecuted(
    settings: Settings, row: dict[str, Any], runbook: Runbook | None, resolved: dict[str, Any], recording: Recording
) -> None:
    """The record of a run that could not begin: its notebook, of which nothing ran."""
    if recording.executed is not None or runbook is None:
        return
    try:
        if recording.path is None:
            _prepare(settings, row, runbook, resolved, recording)
        source = nbformat.read(runbook.path, as_version=4)
        recording.executed = ExecutedNotebook(source, recording.path, recording.facts)
    except (RunbookError, OSError, psycopg.Error) as error:
        _log.error("no notebook could be put into the record", run=row["id"], why=str(error))


def _me() -> str:
    """This process, named so that another one on this host can tell whether it still lives."""
    return f"{socket.gethostname()}/{os.getpid()}/{descendants.birth(os.getpid())}"


@contextmanager
def heeding_signals(stop: Stop, *, inline: bool) -> Iterator[None]:
    """Signals end the run, and not this process in the middle of it.

    A worker's run hears SIGTERM when its worker is gone and HAND_BACK when the worker asks; Ctrl-C is for the worker.
    """

    def ask(number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        if inline:
            stop.ask("cancelled", f"was stopped: the command was ended with {name}.")
        elif number == HAND_BACK:
            stop.ask("handed-back", "was stopped: its worker had to end, and handed the run back to the queue.")
        elif number == signal.SIGTERM:
            stop.ask("stopped", f"was stopped: the worker ended ({name}) while it ran.")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, HAND_BACK)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str]) -> int:
    """Execute one run for a worker, and end with it; 0 once the run has ended, in whatever state."""
    parser = argparse.ArgumentParser(prog="python -m opslib.runs.run", description=__doc__)
    parser.add_argument("run", type=int)
    parser.add_argument("--parent", type=int, required=True, help="the worker's process")
    asked = parser.parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stop = Stop()
    with heeding_signals(stop, inline=False):
        descendants.end_with_parent(signal.SIGTERM, asked.parent)
        settings = Settings()
        try:
            with closing(store.Kept(settings)) as kept, kept:
                execute(settings, asked.run, stop=stop)
        except (StoreError, psycopg.OperationalError) as error:
            _log.warning("the store is away", run=asked.run, why=str(error).strip())
            return NOT_TAKEN
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
