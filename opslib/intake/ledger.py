"""The ledger: every accepted alert with its run, that it waits, its suppression and reason, or its recorded loss."""

from __future__ import annotations

from typing import Any

from opslib import store
from opslib.sql import queries

OUTCOMES = ("run", "waiting", "suppressed", "lost")


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
    for row in connection.execute(queries("intake").ledger):
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
    """The counts of the ledger alone."""
    counted = ledger(connection)
    return {name: counted[name] for name in ("accepted", "repeats", *OUTCOMES)}


def _outcome(row: dict[str, Any]) -> tuple[str, str]:
    """What became of one episode, and why."""
    if row["suppressed"] is not None:
        return "suppressed", row["suppressed"]
    state = row["run_state"]
    if state is None:
        return ("lost", row["lost"]) if row["lost"] is not None else ("waiting", "its run is not known yet")
    if state == "lost":
        return "lost", row["run_error"] or row["lost"] or "the run was lost and not run again"
    if state == "waiting" and row["run_started_at"] is None:
        return "waiting", "its run waits for a worker"
    return "run", f"its run is {state}" if state in ("waiting", "running") else f"its run ended {state}"
