"""Writing what a delivery means: episodes, incidents, runs and journal, in the caller's transaction."""

from __future__ import annotations

import datetime as dt
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from opslib import incidents, store
from opslib.incidents.opening import BY_ALERT, NewIncident, opening_entry
from opslib.intake import bulk, limits
from opslib.intake.episodes import Episode
from opslib.intake.models import Alert, worse
from opslib.intake.routes import Routed
from opslib.runs import queue
from opslib.settings import Settings
from opslib.sql import queries

ACTOR = "intake"
SUPPRESSED = "resolved before it was seen firing"
_LOCK_SPACE = 0x52554E42
_BUCKETS = 512
_SHOWN = 20
WAITS = ("waiting", "running")

Place = tuple[str, str, str]


@dataclass
class Fired:
    """A new episode, on its way into the store.

    Attributes
    ----------
    alert : Alert
        As delivered, redacted.
    episode : Episode
        What the delivery made of it: it may be over again already.
    routed : Routed
    severity : str
    suppressed, again_at : str or None, datetime or None
        Why it starts no run, and when that is looked at again.
    incident, run : str or None, int or None
        What answers it; no run for one that is suppressed, and no incident for one that was over before it was seen.
    after : Episode or None
        The episode that a person's resolve ended though the alert fires on.
    """

    alert: Alert
    episode: Episode
    routed: Routed
    severity: str
    suppressed: str | None = None
    again_at: dt.datetime | None = None
    incident: str | None = None
    run: int | None = None
    after: Episode | None = None

    @property
    def place(self) -> Place:
        """What names its incident."""
        return self.routed.place


@dataclass
class Opened:
    """The incidents of a delivery: rows by place, and those that were opened for it."""

    rows: dict[Place, dict[str, Any]] = field(default_factory=dict)
    new: set[str] = field(default_factory=set)


def lock(connection: store.Connection, places: Iterable[Place] | None) -> None:
    """Work alone on the incidents of these places (None: of all) until the transaction ends."""
    numbers = range(_BUCKETS) if places is None else {zlib.crc32("\0".join(one).encode()) for one in places}
    buckets = sorted({number % _BUCKETS for number in numbers})
    connection.execute(queries("intake").lock_buckets, {"space": _LOCK_SPACE, "buckets": buckets})


def find_or_open(connection: store.Connection, wanted: Sequence[NewIncident], now: dt.datetime) -> Opened:
    """The open incident of each place, opened where there is none; its journal is not begun yet.

    The caller holds the lock of the places and writes `opening_entry` first for those in `new`.
    """
    places = {(one.platform, one.runbook, one.target): one for one in wanted}
    columns = list(zip(*places, strict=True)) or [(), (), ()]
    rows = connection.execute(
        queries("incidents").find_open,
        {"platforms": list(columns[0]), "runbooks": list(columns[1]), "targets": list(columns[2])},
    ).fetchall()
    found = Opened({(row["platform"], row["runbook"], row["target"]): row for row in rows})
    missing = [one for place, one in places.items() if place not in found.rows]
    for row in incidents.open_all(connection, missing, now, begin=False):
        found.rows[(row["platform"], row["runbook"], row["target"])] = row
        found.new.add(row["id"])
    return found


def newest_runs(connection: store.Connection, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The newest examining run of each incident."""
    rows = connection.execute(queries("intake").newest_runs, {"incidents": sorted(names)})
    return {row["incident"]: row for row in rows}


def answer(
    settings: Settings, connection: store.Connection, fired: Sequence[Fired], sender: str, now: dt.datetime
) -> list[str]:
    """Give each new episode an incident, and a run unless it is held back; returns the incidents."""
    groups: dict[Place, list[Fired]] = defaultdict(list)
    for one in fired:
        groups[one.place].append(one)
    worst = {place: _worst(group) for place, group in groups.items()}
    wanted = [NewIncident(*place, worst[place], _title(group[0])) for place, group in groups.items()]
    found = find_or_open(connection, wanted, now)
    runs = newest_runs(connection, {row["id"] for row in found.rows.values()} - found.new)
    answers = {incident: run["id"] for incident, run in runs.items() if run["state"] in WAITS}
    severities = {place: worse(found.rows[place]["severity"], worst[place]) for place in groups}
    asking = [
        limits.Asking(group[0].routed, severities[place])
        for place, group in groups.items()
        if found.rows[place]["id"] not in answers
    ]
    held = limits.held(settings, connection, asking)
    entries: dict[str, list[bulk.Entry]] = {}
    new_runs: list[bulk.NewRun] = []
    for place, group in groups.items():
        row, severity = found.rows[place], severities[place]
        incident = row["id"]
        entries[incident] = [opening_entry(row)] if incident in found.new else []
        entries[incident].append((ACTOR, "alert-accepted", _accepted(group, sender)))
        if severity != row["severity"]:
            connection.execute(queries("incidents").set_severity, {"incident": incident, "severity": severity})
            if incident in answers:
                queue.hasten(connection, answers[incident], severity)
        if place in held:
            told = {"count": len(group), "reason": held[place].reason, "again_at": held[place].again_at}
            entries[incident].append((ACTOR, "run-suppressed", told))
        elif incident not in answers:
            new_runs.append(bulk.NewRun(incident, row["runbook"], row["platform"], group[0].alert.payload, severity))
    started = bulk.start_runs(connection, new_runs, requested_by=BY_ALERT)
    for incident, (run, entry) in started.items():
        answers[incident] = run
        entries[incident].append(entry)
    answer_held_back(connection, {incident: run for incident, (run, _) in started.items() if incident not in found.new})
    for place, group in groups.items():
        for before in sorted({one.after.incident or "" for one in group if one.after is not None}):
            text = f"An alert fires on although the incident was resolved: {found.rows[place]['id']} has it now."
            entries.setdefault(before, []).append((ACTOR, "note", {"person": ACTOR, "text": text}))
    bulk.append(settings, connection, entries)
    for place, group in groups.items():
        for one in group:
            one.incident = one.episode.incident = found.rows[place]["id"]
            one.run = answers.get(one.incident)
            if place in held:
                one.suppressed, one.again_at = held[place].reason, held[place].again_at
    if reopened := [row["id"] for row in found.rows.values() if row["state"] == "mitigated"]:
        connection.execute(queries("incidents").set_state, {"state": "open", "incidents": reopened})
    return [row["id"] for row in found.rows.values()]


def answer_held_back(connection: store.Connection, answers: Mapping[str, int]) -> None:
    """The alerts of these incidents that fire and were held back are answered by these runs."""
    if answers:
        facts = {"incidents": list(answers), "runs": list(answers.values())}
        connection.execute(queries("intake").answer_held_back, facts)


def store_episodes(
    connection: store.Connection, known: Sequence[Episode], fired: Sequence[Fired], now: dt.datetime
) -> None:
    """Write the changed episodes, then the new ones."""
    if known:
        connection.execute(
            queries("intake").update_episodes,
            {
                "ids": [one.id for one in known],
                "states": [one.state for one in known],
                "ends": [one.ends_at for one in known],
                "resolved": [one.resolved_at for one in known],
                "seen": [one.last_seen_at for one in known],
                "repeats": [one.repeats for one in known],
            },
        )
    with connection.cursor() as cursor, cursor.copy(queries("intake").add_episodes) as copy:
        for one in fired:
            copy.write_row(
                (
                    one.alert.key,
                    one.alert.fingerprint,
                    Jsonb(one.alert.labels),
                    Jsonb(one.alert.annotations),
                    Jsonb(one.alert.payload),
                    one.routed.platform,
                    one.episode.starts_at,
                    one.episode.ends_at,
                    one.episode.state,
                    now,
                    one.episode.last_seen_at,
                    one.episode.resolved_at,
                    one.episode.repeats,
                    one.incident,
                    one.run,
                    one.suppressed,
                    one.again_at,
                )
            )


def close_what_is_over(connection: store.Connection, names: Iterable[str]) -> list[str]:
    """Incidents of which every episode has ended are mitigated, and their plans void; returns them."""
    candidates = sorted(set(names))
    if not candidates:
        return []
    over = [row["id"] for row in connection.execute(queries("intake").incidents_all_over, {"incidents": candidates})]
    if over:
        connection.execute(queries("incidents").set_state, {"state": "mitigated", "incidents": over})
    for incident in over:
        incidents.void_plans(connection, incident, "the alert is resolved", actor=ACTOR)
    return over


def _worst(group: Sequence[Fired]) -> str:
    severity = ""
    for one in group:
        severity = worse(severity, one.severity)
    return severity


def _title(one: Fired) -> str:
    """One line for people: the alert's name and target."""
    name = one.alert.labels.get("alertname") or "An alert without a name"
    shown = f"{name} {one.routed.target}" if one.routed.target and one.routed.target != name else name
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in shown).split())
    return line if len(line) <= 160 else f"{line[:159]}…"


def _accepted(group: Sequence[Fired], sender: str) -> dict[str, Any]:
    """What the journal says of new episodes: all of them counted, the first twenty told."""
    told = [
        {
            "fingerprint": one.alert.fingerprint,
            "starts_at": one.alert.starts_at,
            "labels": one.alert.labels,
            "annotations": one.alert.annotations,
        }
        for one in group[:_SHOWN]
    ]
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    after = {one.after.incident: one.after.closed_at for one in group if one.after is not None}
    again = {"again": [{"incident": name, "resolved_at": at} for name, at in after.items()]} if after else {}
    return {
        **again,
        "alertname": f"{_title(group[0])}{more}",
        "count": len(group),
        "alerts": told,
        "sender": sender,
        "route": group[0].routed.why,
    }
