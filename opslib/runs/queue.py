"""The queue: a run and its job come to be in the caller's transaction, with whatever else it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from psycopg.types.json import Jsonb

from opslib import store
from opslib.canonical import storable
from opslib.errors import NotFound, PlanError
from opslib.record import journal, redaction
from opslib.settings import Settings
from opslib.sql import queries

QUEUE, CRITICAL = "runs", "critical"
"""The queues: workers take runs from both, and each keeps one slot for those of the lane `critical`."""
TASK = "opslib.runs.run"
ACTOR = "queue"
Mode = Literal["observe", "plan", "apply", "interactive"]
Lane = Literal["critical", "high", "warning", "info", "routine"]
PRIORITIES: dict[Lane, int] = {"critical": 100, "high": 80, "warning": 60, "info": 40, "routine": 20}
"""The lanes in their order: a run of an earlier lane overtakes all that wait in later ones."""
_LANES: dict[str, Lane] = {
    "critical": "critical",
    "p0": "critical",
    "high": "high",
    "p1": "high",
    "warning": "warning",
    "p2": "warning",
    "info": "info",
    "p3": "info",
    "p4": "info",
}
_PLACES = 0x52554E50


def lane(severity: str, kind: str = "alert") -> Lane:
    """The lane of a run: by severity for a diagnosis, behind all of these for routine work.

    Parameters
    ----------
    severity : str
        Of the incident; an unknown one counts as a warning.
    kind : str
        Of the runbook.
    """
    return "routine" if kind == "routine" else _LANES.get(severity.strip().lower(), "warning")


def create_run(
    connection: store.Connection,
    incident: str,
    *,
    runbook: str,
    platform: str,
    mode: Mode,
    requested: Mapping[str, Any],
    alert: Mapping[str, Any] | None,
    requested_by: str,
    attempt: int = 1,
    retry_of: int | None = None,
) -> int:
    """A waiting run of an incident, numbered and journalled.

    Parameters
    ----------
    connection : Connection
        Its transaction holds the incident's row from here on.
    incident : str
    runbook, platform : str
        Names; they are checked when the run starts.
    mode : {"observe", "plan", "apply", "interactive"}
    requested : mapping
        Parameters given with the request.
    alert : mapping or None
        The alert as one document.
    requested_by : str
        Who asked: a person, or `alert`.
    attempt, retry_of : int
        For a run that replaces a lost one.

    Returns
    -------
    int
        The run's id.

    Raises
    ------
    NotFound
        When there is no such incident.
    """
    row = connection.execute(
        queries("runs").create,
        {
            "incident": incident,
            "runbook": runbook,
            "platform": platform,
            "mode": mode,
            "requested": Jsonb(storable(dict(requested))),
            "alert": None if alert is None else Jsonb(storable(dict(alert))),
            "requested_by": requested_by,
            "attempt": attempt,
            "retry_of": retry_of,
        },
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    body = {
        "run": row["id"],
        "number": row["number"],
        "runbook": runbook,
        "mode": mode,
        "requested": dict(requested),
        "attempt": attempt,
        "retry_of": retry_of,
    }
    journal.append(connection, incident, "run-queued", body, actor=requested_by)
    return int(row["id"])


def run_again(connection: store.Connection, before: Mapping[str, Any], *, attempt: int = 1, lost: bool = False) -> int:
    """Queue the same as an earlier run once more: same incident, runbook, values, alert and lane; whoever asked asks.

    Parameters
    ----------
    connection : Connection
    before : mapping
        The earlier run's row.
    attempt : int
        Which one it is.
    lost : bool
        Whether it replaces a run that was lost: then it also answers that one's alerts.

    Returns
    -------
    int
        The new run's id.
    """
    run = create_run(
        connection,
        before["incident"],
        runbook=before["runbook"],
        platform=before["platform"],
        mode=before["mode"],
        requested=before["requested"],
        alert=before["alert"],
        requested_by=before["requested_by"],
        attempt=attempt,
        retry_of=before["id"] if lost else None,
    )
    defer(connection, run, in_lane=before["lane"])
    if lost:
        connection.execute(queries("runs").answer_instead, {"old": before["id"], "new": run})
    return run


def defer(connection: store.Connection, run: int, *, severity: str = "", in_lane: Lane | None = None) -> None:
    """Put a run into the queue, in the caller's transaction: into the lane given, or that of the severity."""
    defer_all(connection, [(run, in_lane or lane(severity))])


def defer_all(connection: store.Connection, runs: Sequence[tuple[int, Lane]]) -> None:
    """Put runs into the queue, each in its lane and in this order, in the caller's transaction."""
    if not runs:
        return
    values = {
        "queues": [_queue_of(one) for _, one in runs],
        "task": TASK,
        "runs": [run for run, _ in runs],
        "lanes": [one for _, one in runs],
        "priorities": [PRIORITIES[one] for _, one in runs],
    }
    connection.execute(queries("runs").set_lanes, values)
    connection.execute(queries("runs").defer, values)


def hasten(connection: store.Connection, run: int, severity: str) -> None:
    """Move a run that waits to the lane of a severity, if that is an earlier one than its own."""
    to = lane(severity)
    values = {"run": run, "task": TASK, "lane": to, "priority": PRIORITIES[to], "lanes": list(PRIORITIES)}
    values["queue"] = _queue_of(to)
    connection.execute(queries("runs").hasten, values)


def _queue_of(in_lane: Lane) -> str:
    return CRITICAL if in_lane == "critical" else QUEUE


def lock_place(connection: store.Connection, run: int) -> None:
    """Decide alone, until the transaction ends, which run of this one's platform, runbook and target goes on."""
    connection.execute(queries("runs").lock_place, {"run": run, "space": _PLACES})


def next_of_place(connection: store.Connection, run: int) -> None:
    """Queue again what waited for the end of a run of the same platform, runbook and target."""
    rows = connection.execute(queries("runs").waits_for_place, {"run": run, "task": TASK}).fetchall()
    defer_all(connection, [(row["id"], row["lane"]) for row in rows])


def cancel(connection: store.Connection, incident: str, person: str, text: str = "") -> list[int]:
    """Cancel the runs of an incident: one that waits ends here, one that runs is asked to end.

    One that applies a plan is never cut in the middle, and is not asked.

    Returns
    -------
    list of int
        The runs concerned; none when none waits or runs.

    Raises
    ------
    NotFound
        When there is no such incident.
    PlanError
        When all that goes on is an apply.
    """
    sql, text = queries("runs"), str(storable(redaction.default()(text)))
    if connection.execute(queries("journal").lock_incident, {"incident": incident}).fetchone() is None:
        raise NotFound(f"there is no incident {incident}; `runbook incidents` lists those there are")
    found = connection.execute(sql.unfinished, {"incident": incident}).fetchall()
    runs = [run for run in found if run["mode"] != "apply"]
    if found and not runs:
        raise PlanError(not_cut(connection, incident))
    for run in runs:
        body = {"run": run["id"], "person": person, "reason": text}
        journal.append(connection, incident, "cancel-requested", body, actor=person)
        if run["state"] == "waiting":
            sentence = f"{person} cancelled it before it began." + (f" {text}" if text else "")
            end_unbegun(connection, incident, run, "cancelled", sentence, actor=person)
        else:
            connection.execute(sql.announce_cancel, {"run": run["id"]})
    return [int(run["id"]) for run in runs]


def end_unbegun(
    connection: store.Connection,
    incident: str,
    run: Mapping[str, Any],
    state: str,
    sentence: str,
    *,
    actor: str,
    settings: Settings | None = None,
) -> None:
    """Give a run that waits its terminal state, in the caller's transaction, which holds incident and run."""
    facts = {"run": run["id"], "state": state, "error": sentence}
    body = facts | {"number": run["number"], "began": False}
    journal.append(connection, incident, "run-ended", body, actor=actor, settings=settings)
    connection.execute(queries("runs").finish, facts | {"verdict": None})


def not_cut(connection: store.Connection, incident: str) -> str:
    """What to do about the apply of an incident that goes on, which no cancel ends; empty where none does."""
    runs = connection.execute(queries("runs").unfinished, {"incident": incident}).fetchall()
    numbers = [str(run["number"]) for run in runs if run["mode"] == "apply"]
    if not numbers:
        return ""
    return (
        f"Run {', '.join(numbers)} of {incident} applies a plan and is not cancelled: cut in the middle, it would "
        "leave the platform half changed. It ends by itself. `runbook hold --reason TEXT` keeps the next ones from "
        f"beginning; `runbook undo {incident} --plan HASH` proposes to undo this one."
    )
