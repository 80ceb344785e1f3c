"""What the pages show, read from the store in one go."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib import platforms, store
from opslib.actions import approval
from opslib.actions.documents import parse
from opslib.errors import ConfigurationError, NotFound
from opslib.incidents import wording
from opslib.people import Person
from opslib.record import remote
from opslib.settings import Settings
from opslib.sql import queries

STATES = ("open", "acknowledged", "mitigated", "resolved")
_MOST_INCIDENTS = 200
_MOST_ALERTS = 50
_NOTEBOOK = ".ipynb"


@dataclass(frozen=True)
class Plan:
    """A plan as its card shows it.

    Attributes
    ----------
    facts : dict
        Its row: hash, state, proposed_at, expires_at, reason, result, undo_of, requested_by.
    actions : list of dict
    rationale : str
        Why the runbook proposes it.
    decisions : list of dict
    authority : str
        The least role that may approve.
    may_act : bool
        Whether the person who looks may reject, apply and undo.
    why_not : str or None
        Why the person who looks may not approve; None where they may.
    could : list of str
        Who may, where this person may not.
    """

    facts: dict[str, Any]
    actions: list[dict[str, Any]]
    rationale: str
    decisions: list[dict[str, Any]]
    authority: str
    may_act: bool
    why_not: str | None
    could: list[str]

    @property
    def result(self) -> dict[str, Any]:
        """Before, done, after and check; empty before it was applied."""
        result = self.facts["result"]
        return result if isinstance(result, dict) else {}


@dataclass(frozen=True)
class Entry:
    """A line of the timeline."""

    seq: int
    at: str
    kind: str
    actor: str
    text: str
    minor: bool
    evidence: str


@dataclass(frozen=True)
class Record:
    """How far the record is sealed.

    Attributes
    ----------
    entries, sealed : int
        The journal's last entry, and the last one that a seal covers.
    seals : list of str
        The seals' files.
    sealed_at : datetime or None
    folder : str
        The record's folder, below RUNBOOK_HOME.
    files : list of str
        What lies in it, evidence aside.
    """

    entries: int
    sealed: int
    seals: list[str]
    sealed_at: dt.datetime | None
    folder: str
    files: list[str]


@dataclass(frozen=True)
class IncidentView:
    """Everything on an incident's page."""

    incident: dict[str, Any]
    alerts: list[dict[str, Any]]
    more_alerts: int
    runs: list[dict[str, Any]]
    run: dict[str, Any] | None
    verdict: dict[str, Any] | None
    plans: list[Plan]
    timeline: list[Entry]
    evidence: list[dict[str, Any]]
    record: Record
    notebook: int | None
    notebook_version: str
    live: bool
    holds: list[dict[str, Any]]
    may_act: bool


def incidents(connection: store.Connection, state: str | None) -> dict[str, Any]:
    """The list: rows, counts by state, holds."""
    q = queries("console")
    rows = connection.execute(q.incidents, {"state": state, "limit": _MOST_INCIDENTS}).fetchall()
    for row in rows:
        row["verdict"] = verdict_of(row["verdict"])
    counts = dict.fromkeys(STATES, 0) | {row["state"]: row["count"] for row in connection.execute(q.counts)}
    total = sum(counts.values())
    return {
        "rows": rows,
        "filters": [("all", total), ("active", total - counts["resolved"]), *counts.items()],
        "active": total - counts["resolved"],
        "total": total,
        "state": state,
        "most": _MOST_INCIDENTS,
        "holds": connection.execute(q.holds, {"platform": None}).fetchall(),
    }


def find(connection: store.Connection, incident: str) -> dict[str, Any]:
    """The incident's row.

    Raises
    ------
    NotFound
        When there is none of that id.
    """
    row = connection.execute(queries("console").incident, {"incident": incident}).fetchone()
    if row is None:
        raise NotFound(f"there is no incident {wording.cut(incident, 40)}")
    return row


def may_act(settings: Settings, platform: str, person: Person) -> bool:
    """Whether a person may acknowledge, note and resolve incidents of a platform: L1 or above there."""
    try:
        environment = platforms.load(settings, platform).environment
    except ConfigurationError:
        environment = "production"
    return person.may(1, platform, environment)


def plan_hashes(connection: store.Connection, incident: str) -> set[str]:
    """The hashes of an incident's plans."""
    return {row["hash"] for row in connection.execute(queries("console").plan_hashes, {"incident": incident})}


def incident(connection: store.Connection, settings: Settings, identifier: str, person: Person) -> IncidentView:
    """The whole page of one incident, as `person` may see it.

    Raises
    ------
    NotFound
        When there is none of that id.
    """
    q, key = queries("console"), {"incident": identifier}
    row = find(connection, identifier)
    remote.fetch_shown(settings, row)
    runs = connection.execute(q.runs, key).fetchall()
    alerts = connection.execute(q.alerts, key | {"limit": _MOST_ALERTS}).fetchall()
    count = connection.execute(q.count_alerts, key).fetchone() or {"count": 0}
    entries = [(line["seq"], json.loads(line["line"])) for line in connection.execute(q.journal, key)]
    looks = [run for run in runs if run["mode"] != "apply"]
    shown = looks[-1] if looks else None
    judged = next((run for run in reversed(looks) if run["verdict"]), None)
    verdict = verdict_of(judged["verdict"]) if judged else None
    folder = settings.home / row["folder"]
    notebook = _newest_notebook(settings, row, runs)
    return IncidentView(
        incident=row,
        alerts=alerts,
        more_alerts=max(0, count["count"] - len(alerts)),
        runs=[_shown(settings, row, run) for run in runs],
        run=shown,
        verdict=verdict,
        plans=_plans(connection, row, person),
        timeline=[_entry(seq, line) for seq, line in entries],
        evidence=[line["body"] | {"at": line["at"]} for _, line in entries if line.get("kind") == "evidence"],
        record=_record(row, folder),
        notebook=notebook["number"] if notebook else None,
        notebook_version=_version(settings, row, notebook),
        live=any(run["state"] in ("waiting", "running") for run in runs),
        holds=connection.execute(q.holds, {"platform": row["platform"]}).fetchall(),
        may_act=may_act(settings, row["platform"], person),
    )


def verdict_of(value: Any) -> dict[str, Any] | None:
    """A verdict with every key that a page reads, its causes in order of likelihood."""
    if not isinstance(value, dict):
        return None
    causes = [cause for cause in value.get("causes") or [] if isinstance(cause, dict)]
    return {
        "confirmed": bool(value.get("confirmed")),
        "cause": value.get("cause"),
        "confidence": value.get("confidence"),
        "causes": sorted(causes, key=lambda cause: -_number(cause.get("likelihood"))),
        "unseen": value.get("unseen") or [],
        "summary": value.get("summary") or "",
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _entry(seq: int, line: dict[str, Any]) -> Entry:
    kind, body = str(line.get("kind", "")), line.get("body")
    body = body if isinstance(body, dict) else {}
    look = str(body.get("id", "")) if kind == "evidence" else ""
    said, actor = wording.sentence(kind, body), str(line.get("actor", ""))
    return Entry(seq, str(line.get("at", "")), kind, actor, said, wording.minor(kind), look)


def _plans(connection: store.Connection, incident: dict[str, Any], person: Person) -> list[Plan]:
    q, key = queries("console"), {"incident": incident["id"]}
    decisions = connection.execute(q.decisions, key).fetchall()
    plans = []
    for row in connection.execute(q.plans, key):
        document = parse(row["document"])
        mine = [decision for decision in decisions if decision["plan"] == row["hash"]]
        why_not = approval.may_decide(document, person)
        could = approval.who_could(connection, document) if why_not else []
        actions = [action.model_dump(mode="json") for action in document.actions]
        level = f"L{approval.level_needed(document)}"
        broke = any(decision["break_glass"] and decision["person"] == person.name for decision in mine)
        may_act = approval.may_decide(document, person, "apply", break_glass=broke) is None
        plans.append(Plan(row, actions, document.reason, mine, level, may_act, why_not, could))
    return plans


def _record(row: dict[str, Any], folder: Path) -> Record:
    found = [item for item in folder.iterdir() if item.is_file()] if folder.is_dir() else []
    names = sorted(item.name for item in found if not item.name.startswith("."))
    seals = [name for name in names if name.startswith("seal-")]
    last = dt.datetime.fromtimestamp((folder / seals[-1]).stat().st_mtime, dt.UTC) if seals else None
    return Record(row["journal_seq"], row["sealed_seq"], seals, last, row["folder"], names)


def notebook_file(settings: Settings, incident: dict[str, Any], run: dict[str, Any]) -> Path | None:
    """The executed notebook of a run, if it has been written; never one outside the incident's folder."""
    folder = settings.home / incident["folder"]
    found = sorted(folder.glob(f"{run['number']:02d}-*{_NOTEBOOK}")) if folder.is_dir() else []
    return next((path for path in found if path.is_file() and not path.is_symlink()), None)


def _shown(settings: Settings, incident: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """A run's row with what the page adds: whether there is a notebook, and how long it took."""
    took = wording.between(run["started_at"], run["ended_at"])
    return run | {"file": notebook_file(settings, incident, run) is not None, "took": took}


def _newest_notebook(settings: Settings, incident: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The run whose notebook is shown: the newest diagnosis that has one, else the newest run of all."""
    written = [run for run in runs if notebook_file(settings, incident, run)]
    looks = [run for run in written if run["mode"] != "apply"]
    return next(iter((looks or written)[::-1]), None)


def _version(settings: Settings, incident: dict[str, Any], run: dict[str, Any] | None) -> str:
    """A value that changes whenever the notebook that is shown does."""
    path = notebook_file(settings, incident, run) if run else None
    return f"{run['number']}-{run['state']}-{path.stat().st_mtime_ns}" if run and path else ""
