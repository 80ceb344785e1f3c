"""The ledger: every accepted alert with its run, that it waits, its suppression and reason, or its recorded loss."""

from __future__ import annotations

from typing import Any

from opslib import store
from opslib.runs import queue
from opslib.sql import queries

OUTCOMES = ("run", "waiting", "suppressed", "lost")
FORGOTTEN_S = 60.0
"""A run that waits for so long without a job has been forgotten; the reaper queues it again much earlier [s]."""


def ledger(connection: store.Connection) -> dict[str, Any]:
    """Counts and alerts; `run + waiting + suppressed + lost = accepted`.

    Returns
    -------
    dict
        `{accepted, run, waiting, suppressed, lost, repeats, alerts: [{fingerprint, starts_at, labels,
        outcome, incident, reason}]}`.
    """
    alerts = []
    repeats = 0
    counts = dict.fromkeys(OUTCOMES, 0)
    for row in connection.execute(queries("ledger").ledger):
        outcome, reason = _outcome(row)
        counts[outcome] += 1
        repeats += row["repeats"]
        alerts.append(
            {
                "fingerprint": row["fingerprint"],
                "starts_at": row["starts_at"],
                "labels": row["labels"],
                "outcome": outcome,
                "incident": row["incident"],
                "reason": reason,
            }
        )
    return {"accepted": len(alerts), **counts, "repeats": repeats, "alerts": alerts}


def totals(connection: store.Connection) -> dict[str, int]:
    """The counts of the ledger alone, counted by the store."""
    row = connection.execute(queries("ledger").totals).fetchone() or {}
    return {name: int(row.get(name, 0)) for name in ("accepted", "repeats", *OUTCOMES)}


def mistakes(connection: store.Connection) -> list[str]:
    """What does not hold that always has to: the ledger adds up, and every run ended once; empty where all is well."""
    counted = totals(connection)
    told = sum(counted[name] for name in OUTCOMES)
    found = []
    if told != counted["accepted"]:
        parts = " + ".join(f"{counted[name]} {name}" for name in OUTCOMES)
        found.append(f"{parts} = {told}, but {counted['accepted']} alerts were accepted")
    rows = connection.execute(queries("ledger").mistakes, {"older_s": FORGOTTEN_S, "task": queue.TASK})
    return found + [f"{row['count']} {row['what']}, the first {row['first']}" for row in rows]


def _outcome(row: dict[str, Any]) -> tuple[str, str]:
    """What became of one episode, and why."""
    if row["suppressed"] is not None:
        return "suppressed", row["suppressed"]
    state = row["run_state"]
    if state is None:
        return "lost", row["lost"] or "nothing answers it: `runbook doctor` says more"
    if state == "timed-out" and row["run_started_at"] is None:
        return "lost", row["run_error"] or "its run waited too long and never began"
    if state == "lost":
        return "lost", row["run_error"] or row["lost"] or "the run was lost and not run again"
    if state == "waiting":
        return "waiting", "its run waits for a worker"
    return "run", "its run goes on" if state == "running" else f"its run ended {state}"
