"""Alerts that were held back and fire on get their run, once the cool-down is over or the hour has room again."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import replace
from typing import Any

from opslib import store
from opslib.incidents.opening import BY_ALERT
from opslib.intake import bulk, limits, routes, writing
from opslib.settings import Settings
from opslib.sql import queries


def release(settings: Settings) -> int:
    """Look again at the suppressed alerts that fire and whose time has come; returns how many have a run now.

    Raises
    ------
    StoreError, psycopg.OperationalError
        When the database is away.
    """
    sql = queries("intake")
    with store.transaction(settings) as connection:
        seen = connection.execute(sql.held_back, {"ids": None}).fetchall()
        if not seen:
            return 0
        writing.lock(connection, {_place(row) for row in seen})
        rows = connection.execute(sql.held_back, {"ids": [row["id"] for row in seen]}).fetchall()
        connection.execute(sql.lock_chains, {"incidents": sorted({row["incident"] for row in rows})})
        return _release(settings, connection, rows)


def _release(settings: Settings, connection: store.Connection, rows: list[dict[str, Any]]) -> int:
    table = routes.current(settings)
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["incident"]].append(row)
    runs = writing.newest_runs(connection, groups)
    answers = {incident: run["id"] for incident, run in runs.items() if run["state"] in writing.WAITS}
    asking = {}
    for incident, (first, *_) in groups.items():
        if incident not in answers:
            platform, runbook, target = _place(first)
            routed = replace(table.route(first["labels"]), platform=platform, runbook=runbook, target=target)
            asking[incident] = limits.Asking(routed, first["severity"])
    held = limits.held(settings, connection, list(asking.values()))
    still = {incident: held[one.place] for incident, one in asking.items() if one.place in held}
    new = [
        bulk.NewRun(incident, group[0]["runbook"], group[0]["platform"], group[0]["payload"], group[0]["severity"])
        for incident, group in groups.items()
        if incident not in answers and incident not in still
    ]
    entries: dict[str, list[bulk.Entry]] = defaultdict(list)
    for incident, (run, entry) in bulk.start_runs(connection, new, requested_by=BY_ALERT).items():
        answers[incident] = run
        entries[incident].append(entry)
    for incident in answers:
        body = {"count": len(groups[incident]), "run": answers[incident]}
        entries[incident].insert(0, (writing.ACTOR, "suppression-over", body))
    bulk.append(settings, connection, entries)
    writing.answer_held_back(connection, answers)
    _hold_on(connection, {row["id"]: still[row["incident"]] for row in rows if row["incident"] in still})
    return sum(len(groups[incident]) for incident in answers)


def _hold_on(connection: store.Connection, held: dict[int, limits.Held]) -> None:
    """Later, then: the reason and the time of those that still start no run."""
    reasons = [one.reason for one in held.values()]
    times: list[dt.datetime] = [one.again_at for one in held.values()]
    facts = {"ids": list(held), "reasons": reasons, "times": times}
    connection.execute(queries("intake").hold_back, facts)


def _place(row: dict[str, Any]) -> writing.Place:
    return row["platform"], row["runbook"], row["target"]
