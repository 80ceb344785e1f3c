"""One run, from its request to its sealed record: `python -m opslib.runs.run RUN --parent PID`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
import structlog

from opslib import incidents, platforms, store
from opslib.errors import RecordError, StoreError
from opslib.intake.cleaning import clean
from opslib.record import redaction
from opslib.runs import catalogue, descendants, ending, parameters, provenance, queue
from opslib.runs.cells import Stop
from opslib.runs.engine import Recording
from opslib.runs.execution import Execution
from opslib.runs.processes import ELSEWHERE, HAND_BACK
from opslib.runs.pulse import Pulse
from opslib.runs.scribe import ACTOR, RunJournal
from opslib.settings import Settings
from opslib.sql import queries

ENDED = ("succeeded", "failed", "timed-out", "cancelled", "kernel-died", "lost")
NOT_TAKEN = 75
"""The exit code of a run that nothing became of, since the store was away: it is to be started again."""
_CONNECTIONS = 2  # the run's own, and its journal's
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
        claimed = connection.execute(queries("runs").claim, {"run": run, "worker": descendants.me()}).fetchone()
        row = connection.execute(queries("runs").one, {"run": run}).fetchone()
    if row is None:
        raise RecordError(f"there is no run {run}")
    if claimed is None:
        return str(row["state"])
    commit = provenance.Commit(settings.notebooks)
    journal = RunJournal(settings, row["incident"], run)
    pulse = Pulse(settings, row["incident"], run, stop)
    redact = redaction.default(settings)
    recording, before = Recording(None, events=journal, stop=stop, redact=redact), redact.replaced
    try:
        state, sentence = Execution(settings, row, recording, journal, commit).examine()
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
        except (StoreError, psycopg.Error):
            ending.spool_end(settings, row["incident"], run, state, sentence, actor=ACTOR)
        notebook = recording.executed.notebook if recording.executed is not None else None
        ending.close_record(settings, run, notebook, state, sentence)
    finally:
        pulse.close()
        journal.close()
    return state


def _flushed(journal: RunJournal, state: str, sentence: str) -> tuple[str, str]:
    """The state, once the journal has all that led to it; a run whose journal has gaps did not succeed."""
    try:
        journal.flush()
    except RecordError as error:
        return ("failed", str(error)) if state == "succeeded" else (state, sentence)
    return state, sentence


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


def serve(asked: Callable[[], int | None], parent: int) -> int:
    """Get ready, ask for a run's number, and execute that run for a worker; end with its process.

    Parameters
    ----------
    asked : callable
        Waits for the number; None where there is to be no run.
    parent : int
        The process with which this one ends.

    Returns
    -------
    int
        0 once the run has ended, in whatever state; `ELSEWHERE` where another process has it; `NOT_TAKEN`.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stop = Stop()
    with heeding_signals(stop, inline=False):
        descendants.end_with_parent(signal.SIGTERM, parent)
        settings = Settings()
        with closing(store.Kept(settings, most=_CONNECTIONS)) as kept, kept:
            _get_ready(settings)
            run = asked()
            try:
                if run is not None and execute(settings, run, stop=stop) == "running":
                    return ELSEWHERE
            except (StoreError, psycopg.OperationalError) as error:
                _log.warning("the store is away", run=run, why=str(error).strip())
                return NOT_TAKEN
    return 0


def _get_ready(settings: Settings) -> None:
    """Connections on which PostgreSQL has made the plans of the first questions; there is no run 0."""
    sql = queries("runs")
    with suppress(StoreError, psycopg.Error), store.transaction(settings) as connection:
        for question in (sql.claim, sql.one):
            connection.execute(question, {"run": 0, "worker": ""})
        with store.transaction(settings) as another:
            another.execute(sql.one, {"run": 0})


def main(arguments: list[str]) -> int:
    """Execute one run for a worker: see `serve`."""
    parser = argparse.ArgumentParser(prog="python -m opslib.runs.run", description=__doc__)
    parser.add_argument("run", type=int)
    parser.add_argument("--parent", type=int, required=True, help="the worker's process")
    asked = parser.parse_args(arguments)
    return serve(lambda: int(asked.run), asked.parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
