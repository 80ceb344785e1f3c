"""Journal lines and runs of many incidents at once, so that 5,000 alerts in one body take a second or two.

The lines are those that `opslib.record.journal.append_all` and `opslib.runs.queue.create_run` write one incident at a
time; a test holds them together.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from opslib import store
from opslib.canonical import canonical, digest, plain
from opslib.record import journal, redaction
from opslib.runs import queue
from opslib.settings import Settings
from opslib.sql import queries

Entry = tuple[str, str, Mapping[str, Any]]
"""Who did it, what kind, the facts."""


@dataclass(frozen=True)
class NewRun:
    """A run that an alert starts."""

    incident: str
    runbook: str
    platform: str
    alert: Mapping[str, Any]
    severity: str


def append(settings: Settings, connection: store.Connection, entries: Mapping[str, Sequence[Entry]]) -> None:
    """Write the next lines of several journals, each incident's in order, in the caller's transaction."""
    wanted = {incident: added for incident, added in entries.items() if added}
    if not wanted:
        return
    redact = redaction.default(settings)
    stamp = plain(dt.datetime.now(dt.UTC))
    rows = connection.execute(queries("intake").lock_chains, {"incidents": sorted(wanted)}).fetchall()
    lines: list[tuple[str, int, str, str]] = []
    heads: dict[str, tuple[int, str]] = {}
    for row in rows:
        incident, seq, head = row["id"], row["journal_seq"], row["journal_head"]
        for actor, kind, body in wanted[incident]:
            seq += 1
            line = canonical(
                {
                    "actor": redact(actor),
                    "at": stamp,
                    "body": journal.capped(redact(plain(dict(body)))),
                    "incident": incident,
                    "kind": kind,
                    "prev": head,
                    "seq": seq,
                }
            )
            head = digest(line)
            lines.append((incident, seq, line.decode(), head))
        heads[incident] = (seq, head)
    with connection.cursor() as cursor, cursor.copy(queries("intake").add_lines) as copy:
        for told in lines:
            copy.write_row(told)
    advanced = {
        "incidents": list(heads),
        "seqs": [seq for seq, _ in heads.values()],
        "heads": [head for _, head in heads.values()],
    }
    connection.execute(queries("intake").advance_chains, advanced)


def start_runs(
    connection: store.Connection, new: Sequence[NewRun], *, requested_by: str
) -> dict[str, tuple[int, Entry]]:
    """A waiting run and its job for each of several incidents, whose rows are locked.

    Returns
    -------
    dict
        By incident: the run's id, and the journal entry that the caller writes.
    """
    if not new:
        return {}
    rows = connection.execute(
        queries("intake").add_runs,
        {
            "incidents": [run.incident for run in new],
            "runbooks": [run.runbook for run in new],
            "platforms": [run.platform for run in new],
            "alerts": [Jsonb(plain(dict(run.alert))) for run in new],
            "lanes": [queue.lane(run.severity) for run in new],
            "requested_by": requested_by,
        },
    ).fetchall()
    started: dict[str, tuple[int, Entry]] = {}
    for row in rows:
        body = {
            "run": row["id"],
            "number": row["number"],
            "runbook": row["runbook"],
            "mode": row["mode"],
            "requested": {},
            "attempt": row["attempt"],
            "retry_of": row["retry_of"],
        }
        started[row["incident"]] = (row["id"], (requested_by, "run-queued", body))
    queue.defer_all(connection, [(started[run.incident][0], queue.lane(run.severity)) for run in new])
    return started
