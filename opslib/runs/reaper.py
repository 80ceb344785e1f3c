"""The reaper: a run whose process is gone is `lost`, never running for ever; a waiting run is never forgotten."""

from __future__ import annotations

import datetime as dt
import shutil
import time

import psycopg
import structlog

from opslib import store
from opslib.errors import RecordError, RunbookError, StoreError
from opslib.record import journal, remote
from opslib.runs import descendants, ending, expiry, queue, undecided
from opslib.runs.silence import SILENT_S, Silence
from opslib.settings import Settings
from opslib.sql import queries

FORGOTTEN_S = 10.0
ABANDONED_S = 60.0  # a kernel of a loaded machine takes a while between its folder and its process
UNCLOSED_S = 10.0
CLOSE_AGAIN_S = 60.0
ACTOR = "reaper"
_log = structlog.get_logger(__name__)
_silence = Silence()
_archived: dict[str, dt.datetime] = {}  # up to which end this process has brought the files of a folder
_ended: dict[
    int, float
] = {}  # the runs that this process has yet to close the records of, and not before [s, monotonic]
_tried: dict[int, float] = {}  # when this process last tried to close the record of a run [s, monotonic]


def reap(settings: Settings) -> list[int]:
    """All that the reaper does, what is urgent first; as `attend`, then `tidy`."""
    lost = attend(settings)
    tidy(settings)
    return lost


def attend(settings: Settings) -> list[int]:
    """End the runs whose process is gone, queue each again once; end what waited too long, defer what has no job.

    Runs that ended undecided are queued once more, since it may show by now.

    Nothing here waits for an archive or a signer: what a run's record still needs is done by `tidy`.

    Returns
    -------
    list of int
        The runs that were lost.

    Raises
    ------
    StoreError
        When the store is away.
    """
    lost = end_gone(settings)
    expiry.expire(settings)
    _remind(settings)
    undecided.look_again(settings)
    return lost


def tidy(settings: Settings) -> None:
    """Close the records of runs that ended without doing so, bring them into the archive, remove what kernels left.

    Raises
    ------
    StoreError
        When the store is away.
    """
    _sweep(settings)
    close_ended(settings)
    _close(settings)
    _archive(settings)


def end_gone(settings: Settings) -> list[int]:
    """End every run whose process is gone, and queue each again once; returns those that were lost."""
    journal.drain(settings)
    with store.transaction(settings) as connection:
        rows = connection.execute(queries("runs").running).fetchall()
    silent = _silence.look({row["id"]: row["heartbeat_at"] for row in rows})
    lost = []
    for row in rows:
        why = "It had ended." if row["ended"] else _gone(row["worker"] or "", silent.get(row["id"], 0.0))
        try:
            if why and lose(settings, row["id"], why):
                lost.append(row["id"])
        except StoreError:
            raise
        except (RunbookError, psycopg.DataError) as error:  # of this run; the others are ended all the same
            _log.error("a run could not be ended", run=row["id"], why=str(error))
    return lost


def lose(settings: Settings, run: int, why: str) -> bool:
    """End a run as lost, or as the journal already knows it ended; whether it is lost. Its record is closed later."""
    sentence = f"{why} What it had saved until then is in the record."
    state = ending.lose(settings, run, sentence, actor=ACTOR)
    if state is None:
        return False  # it has ended by itself since it was looked for
    with store.transaction(settings) as connection:
        connection.execute(queries("runs").end_jobs, {"task": queue.TASK, "run": run})
    _ended[run] = 0.0
    _log.warning("a run was lost", run=run, why=why, state=state)
    return state == "lost"


def close_ended(settings: Settings) -> None:
    """Close the records of the runs that this process ended; what cannot be closed is tried again later."""
    for run in [run for run, after in _ended.items() if time.monotonic() >= after]:
        with store.transaction(settings) as connection:
            row = connection.execute(queries("runs").one, {"run": run}).fetchone()
        ended = row is not None and row["ended_at"] is not None
        if row is None or not ended or ending.close_record(settings, run, None, row["state"], row["error"] or ""):
            _ended.pop(run, None)
        else:
            _ended[run] = time.monotonic() + CLOSE_AGAIN_S


def hand_back(settings: Settings, run: int) -> None:
    """End a run whose process its worker had to kill as it ended, and queue it again; unless it has ended itself."""
    with store.transaction(settings) as connection:
        row = connection.execute(queries("runs").one, {"run": run}).fetchone()
    if row is not None and row["state"] == "running":
        sentence = "Its worker had to end, killed it, and handed the run back to the queue."
        ending.end(settings, run, "lost", sentence, actor=ACTOR, handed_back=True)


def _gone(worker: str, silent_s: float) -> str:
    """Why a run's process is taken for gone; empty where it is not."""
    gone = descendants.seen_gone(worker)
    if gone:
        return f"The process that executed it ({descendants.spoken(worker)}) is gone."
    if gone is None and silent_s:
        return f"The process that executed it ({descendants.spoken(worker)}) was silent for {silent_s:.0f} s."
    return ""  # it lives: the store was away, or the machine is slow; the run has time-outs of its own


def _close(settings: Settings) -> None:
    """Close the records that nobody closed: the process was killed just then, or the disk was full."""
    with store.transaction(settings) as connection:
        rows = connection.execute(queries("runs").unclosed, {"older_s": UNCLOSED_S}).fetchall()
    for row in rows:
        now = time.monotonic()
        if now - _tried.get(row["id"], -CLOSE_AGAIN_S) >= CLOSE_AGAIN_S and _gone(row["worker"] or "", SILENT_S):
            _tried[row["id"]] = now
            ending.close_record(settings, row["id"], None, row["state"], row["error"] or "")


def _archive(settings: Settings) -> None:
    """Bring what this host closed lately into the archive, where it was away then."""
    if settings.archive is None:
        return
    with store.transaction(settings) as connection:
        rows = connection.execute(queries("runs").closed_lately).fetchall()
    for row in rows:
        if _archived.get(row["folder"]) == row["ended_at"]:
            continue
        try:
            remote.push(settings, row["folder"])
        except RecordError as error:
            _log.error("the archive is away", why=str(error))
            return
        _archived[row["folder"]] = row["ended_at"]


def _sweep(settings: Settings) -> None:
    """Remove the scratch folders of kernels whose run was killed, once no process has named them for a while."""
    for folder in settings.runtime.glob("kernel-*"):
        mark = folder / "abandoned"
        try:
            if descendants.named(f"{folder}/"):
                mark.unlink(missing_ok=True)
            elif not mark.exists():
                mark.touch()
            elif time.time() - mark.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue  # whoever had it has just removed it


def _remind(settings: Settings) -> None:
    """Defer again what waits without a job that could start it."""
    values = {"task": queue.TASK, "older_s": FORGOTTEN_S}
    with store.transaction(settings) as connection:
        for row in connection.execute(queries("runs").forgotten, values).fetchall():
            connection.execute(queries("runs").end_jobs, {"task": queue.TASK, "run": row["id"]})
            queue.defer(connection, row["id"], in_lane=row["lane"])
            _log.warning("a forgotten run was queued again", run=row["id"])
