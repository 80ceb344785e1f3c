"""The end of a run: one transaction writes the journal, then the state; then the record is closed and sealed."""

# nbformat and nbconvert have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from opslib import incidents, store
from opslib.canonical import file_digest, storable
from opslib.errors import RecordError, RunbookError, StoreError
from opslib.record import archive, journal, remote
from opslib.runs import html, notebook, queue
from opslib.runs.formats import NotebookNode, nbformat
from opslib.settings import Settings
from opslib.sql import queries

ATTEMPTS = 2
_KEEP_TRYING_S = 10.0
_log = structlog.get_logger(__name__)


def end(
    settings: Settings,
    run: int,
    state: str,
    sentence: str,
    *,
    actor: str,
    again: bool = True,
    handed_back: bool = False,
    redacted: int = 0,
) -> str:
    """Give a run its terminal state, once; a run that is `lost` is queued again once.

    Parameters
    ----------
    settings : Settings
    run : int
    state : str
        A terminal state.
    sentence : str
        Why, where it is not `succeeded`.
    actor : str
        Who says so.
    again : bool
        Whether a lost run may be queued again.
    handed_back : bool
        Whether its worker gave it back, which is no attempt that failed: it is queued again in any case.
    redacted : int
        How many secrets were taken out of what its cells wrote; those of its evidence are counted by the journal.

    Returns
    -------
    str
        The state it has now: the one given, or the one it already had.

    Raises
    ------
    RecordError
        When neither the store nor the spool can be written.
    """
    how: dict[str, Any] = {"again": again, "handed_back": handed_back, "redacted": redacted}
    return _try_to_end(settings, run, state, sentence, actor=actor, **how)[0]


def lose(settings: Settings, run: int, sentence: str, *, actor: str) -> str | None:
    """End a run as `lost`, or as the journal already knows it ended; as `end`.

    Returns
    -------
    str or None
        The state that this call gave it; None: it had ended by then.
    """
    state, here = _try_to_end(settings, run, "lost", sentence, actor=actor, again=True, handed_back=False, redacted=0)
    return state if here else None


def _try_to_end(settings: Settings, run: int, state: str, sentence: str, **how: Any) -> tuple[str, bool]:
    """The state that a run has, and whether it was given here; tried again for a while where the store is away."""
    deadline = time.monotonic() + _KEEP_TRYING_S
    while True:
        try:
            journal.drain(settings)  # what happened while the store was away comes before the end
            with store.transaction(settings) as connection:
                return _end(connection, run, state, sentence, **how)
        except (StoreError, psycopg.Error):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _end(
    connection: store.Connection,
    run: int,
    state: str,
    sentence: str,
    *,
    actor: str,
    again: bool,
    handed_back: bool,
    redacted: int,
) -> tuple[str, bool]:
    sql, sentence = queries("runs"), storable(sentence)
    row = connection.execute(sql.one, {"run": run}).fetchone()
    if row is None:
        raise RecordError(f"there is no run {run}")
    queue.lock_place(connection, run)
    connection.execute(queries("journal").lock_incident, {"incident": row["incident"]})
    now = connection.execute(sql.lock, {"run": run}).fetchone()
    if now is not None and now["state"] not in ("waiting", "running"):
        return str(now["state"]), False
    told = connection.execute(sql.ended_in_journal, {"incident": row["incident"], "run": run}).fetchone()
    if told is not None:  # the store was away when it ended: the journal, which came from the spool, knows
        state, sentence = told["state"], told["error"] or ""
    else:
        seen = connection.execute(sql.redacted, {"incident": row["incident"], "run": run}).fetchone()
        redacted += int(seen["redacted"]) if seen else 0
        body = {"run": run, "state": state, "error": sentence or None, **({"redacted": redacted} if redacted else {})}
        journal.append(connection, row["incident"], "run-ended", body, actor=actor)
    verdict = _verdict(connection, row)
    values = {"run": run, "state": state, "error": sentence or None}
    connection.execute(sql.finish, {**values, "verdict": None if verdict is None else Jsonb(storable(verdict))})
    may_again = again and row["mode"] in ("observe", "plan") and (handed_back or row["attempt"] < ATTEMPTS)
    if state == "lost" and may_again:  # a runbook only reads, so it is simply run once more
        queue.run_again(connection, row, attempt=row["attempt"] + (not handed_back), lost=True)
    queue.next_of_place(connection, run)
    by_hand = row["opened_by"] != "alert" and row["incident_state"] != "resolved"
    if state == "succeeded" and by_hand and verdict and not verdict["confirmed"] and verdict["plan"] is None:
        incidents.resolve(connection, row["incident"], actor, "Run by hand; nothing was found to be wrong.")
    return state, True


def _verdict(connection: store.Connection, row: dict[str, Any]) -> dict[str, Any] | None:
    """What the notebook concluded, with the newest plan of the run."""
    from opslib.actions import plans

    found = connection.execute(
        queries("runs").newest_verdict, {"incident": row["incident"], "run": row["id"]}
    ).fetchone()
    if found is None:
        return None
    proposed = plans.of_run(connection, row["id"])
    return {**found["verdict"], "plan": proposed[-1].as_json() if proposed else None}


def spool_end(settings: Settings, incident: str, run: int, state: str, sentence: str, *, actor: str) -> None:
    """The store stayed away: the journal's spool knows how the run ended, and the reaper will read it there."""
    body = {"run": run, "state": state, "error": sentence or None}
    journal.record(settings, incident, "run-ended", body, actor=actor)


def close_record(settings: Settings, run: int, executed: NotebookNode | None, state: str, sentence: str) -> bool:
    """Write the notebook's last version and its page, tell the journal of the files, and seal.

    What fails here changes nothing of how the run ended; it is told in the log, and the next seal covers the rest.

    Parameters
    ----------
    settings : Settings
    run : int
    executed : NotebookNode or None
        None: as it was last saved.
    state, sentence : str
        As the journal has them.

    Returns
    -------
    bool
        Whether nothing is left to do.
    """
    from opslib.record import seal

    own = executed is not None
    try:
        with store.connect(settings) as connection:
            row = connection.execute(queries("runs").one, {"run": run}).fetchone()
        if row is None or not row["record"]:
            return True
        path = settings.home / row["record"]
        if executed is None and path.is_file():
            executed = nbformat.read(path, as_version=4)
            _as_told(settings, executed, row["incident"], run)
        if executed is not None:
            contents = _contents(path, executed, state, sentence)
            # Who else closes it waits here, and then finds it told: two would write it, and tell, each its own.
            with store.transaction(settings) as connection:
                connection.execute(queries("journal").lock_incident, {"incident": row["incident"]})
                told = connection.execute(
                    queries("runs").files_told, {"incident": row["incident"], "run": run}
                ).fetchone()
                # What is told and sealed stays: `verify` takes no other version of it.
                if told is None or not told["so"] or (own and not told["sealed"]):
                    for file, data in contents.items():
                        archive.write_atomic(file, data)
                    written = [*contents, *sorted(path.parent.glob(f"{path.stem}.cell-*.txt.gz"))]
                    _tell(connection, path.parent, row["incident"], run, written)
            # A seal may lie there that has the files as they were before: the signer is too late to tell `verify` why.
            with store.transaction(settings) as connection:
                journal.export(connection, settings, row["incident"])
            remote.try_to_push(settings, row["folder"])
        seal.seal(settings, row["incident"])
    except (RunbookError, OSError, psycopg.Error, nbformat.reader.NotJSONError) as error:
        _log.error("the record could not be closed", run=run, why=str(error))
        return False
    return True


def _as_told(settings: Settings, executed: NotebookNode, incident: str, run: int) -> None:
    """The state of each cell as the journal has it, which knows of cells that began after the last save.

    So does it of what they printed, of which it has the beginning.
    """
    with store.connect(settings) as connection:
        rows = connection.execute(queries("runs").follow, {"incident": incident, "after": 0}).fetchall()
    told: dict[str, str] = {}
    printed: dict[str, str] = {}
    for entry in (row["entry"] for row in rows if row["entry"]["body"].get("run") == run):
        if entry["kind"] == "cell-started":
            told[entry["body"]["cell_id"]] = "running"
            printed.pop(entry["body"]["cell_id"], None)
        elif entry["kind"] == "cell-ended":
            told[entry["body"]["cell_id"]] = entry["body"]["status"]
        elif entry["kind"] == "output":
            text = entry["body"].get("text", "")
            text = text if isinstance(text, str) else str(text.get("cut", ""))  # a long one, as the journal cuts it
            printed[entry["body"]["cell_id"]] = printed.get(entry["body"]["cell_id"], "") + text
    for cell in executed.cells:
        facts = cell.metadata.setdefault("runbook", {})
        if facts.get("status", "not-run") in ("running", "not-run") and cell.get("id") in told:
            facts["status"] = told[cell.id]
            if cell.cell_type == "code" and not cell.outputs and cell.id in printed:
                text = f"{printed[cell.id]}\n[from the journal: the run ended before this was saved here]\n"
                cell.outputs = [NotebookNode(output_type="stream", name="stdout", text=text)]


def _contents(path: Path, executed: NotebookNode, state: str, sentence: str) -> dict[Path, bytes]:
    """The notebook and its page, as they shall be written: at once, since rendering takes long beside writing."""
    if executed.metadata.get("run", {}).get("state") == "running":
        notebook.close(executed, state, sentence)
    page = html.render(executed).encode()
    return {path: nbformat.writes(executed).encode("utf-8", "replace"), path.with_suffix(".html"): page}


def _tell(connection: store.Connection, folder: Path, incident: str, run: int, written: list[Path]) -> None:
    entries = [
        ("file", {"run": run, "path": file.relative_to(folder).as_posix(), "sha256": file_digest(file)})
        for file in written
    ]
    journal.append_all(connection, incident, entries, actor="worker")
