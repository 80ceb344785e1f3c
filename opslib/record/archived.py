"""A record as it lies in the archive: its runs with their evidence, plans and verdicts. Read from the files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opslib.actions.documents import Plan, parse
from opslib.canonical import canonical, digest
from opslib.errors import NotFound, RecordError
from opslib.record import archive, evidence
from opslib.record.verify import IncidentReport, verify

__all__ = ["ArchivedRun", "Key", "Proposal", "checked", "incidents", "journal_of", "read", "require_sealed", "runs_in"]

_TELLING = ("run-queued", "run-started", "run-ended", "session", "evidence", "verdict", "proposal-refused")
Key = tuple[str, bytes, int]
"""Probe, canonical arguments, ordinal: what a call is known by."""


@dataclass(frozen=True)
class Proposal:
    """One call of `ops.propose`, and what it was answered.

    Attributes
    ----------
    actions : list of dict
        `action` and `arguments` of each; of a plan with their defaults filled in.
    plan : dict or None
        The plan as it was handed to the notebook.
    refusal : (str, str) or None
        Class and message of the error instead.
    """

    actions: list[dict[str, Any]]
    plan: dict[str, Any] | None = None
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True)
class ArchivedRun:
    """One run of a runbook, as its record tells it.

    Attributes
    ----------
    incident : str
    folder : Path
        The record.
    facts : dict
        Of its start: run, number, runbook, platform, mode, parameters, notebook, commit, lock.
    requested : dict
        The parameters that were asked for.
    state, error : str, str or None
        How it ended.
    session : dict
        `systems`, `environment`, `title` of the platform as the notebook was told.
    answers : dict
        Journal entry of each piece of evidence by its `Key`.
    verdict : dict or None
        The last one that the notebook concluded.
    proposals : list of Proposal
        In their order.
    last : int
        The journal's last entry that it is told by.
    """

    incident: str
    folder: Path
    facts: dict[str, Any]
    requested: dict[str, Any]
    state: str
    error: str | None
    session: dict[str, Any]
    answers: dict[Key, dict[str, Any]]
    verdict: dict[str, Any] | None
    proposals: list[Proposal]
    last: int = 0

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.folder / f"{self.facts['number']:02d}-{self.facts['runbook']}.ipynb"

    @property
    def alert(self) -> dict[str, Any]:
        """The alert that the notebook was given; empty for a run by hand."""
        return dict(self.facts["parameters"].get("alert") or {})

    def answer(self, entry: dict[str, Any]) -> evidence.Evidence:
        """A piece of evidence with its answer.

        Raises
        ------
        RecordError
            When its file is not the one that the journal tells of.
        """
        path = self.folder / entry["file"]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror}") from error
        if digest(data) != entry["sha256"]:
            raise RecordError(f"{path} is not what the journal says; `runbook verify` tells more")
        return evidence.opened(entry, data)


def incidents(home: Path) -> list[str]:
    """The incidents that have a record, oldest first."""
    return sorted({path.name for path in home.glob("*/*") if _is_record(path)})


def checked(home: Path, incident: str) -> IncidentReport:
    """Verify one record, which must be as it was sealed as far as it is sealed.

    Raises
    ------
    NotFound
        When there is none.
    RecordError
        When it was altered, or the log does not hold: what is wrong is listed.
    """
    if not archive.INCIDENT.fullmatch(incident):
        raise NotFound(f"{incident!r} is no incident; `runbook incidents` lists those there are")
    report = verify(home, incident)
    bad = [one for one in report.incidents if one.state in ("altered", "missing")]
    found = (bad or report.incidents)[0]
    wrong = [*report.log, *(problem for one in bad for problem in one.problems)]
    if wrong:
        listed = "\n".join(f"  {one.file}: {one.reason}" for one in wrong)
        raise RecordError(
            f"{incident} is {found.state}; what was altered proves nothing and is not replayed:\n{listed}"
        )
    return found


def require_sealed(report: IncidentReport, runs: Iterable[ArchivedRun]) -> None:
    """Refuse a run that ended and is not sealed yet: nothing vouches for what the journal and its files say of it.

    Raises
    ------
    NotFound
    """
    unsealed = {problem.file for problem in report.problems}
    for run in runs:
        names = [run.notebook.name, *(body["file"] for body in run.answers.values())]
        folder = f"{run.folder.parent.name}/{run.folder.name}"
        if run.last > report.sealed or any(f"{folder}/{name}" in unsealed for name in names):
            raise NotFound(f"run {run.facts['number']} of {run.incident} is not sealed yet; try again in a moment")


def read(home: Path, incident: str) -> list[ArchivedRun]:
    """The runs of an incident that have ended, in their order; what applied plans is none.

    Raises
    ------
    NotFound, RecordError
        When there is no record, or its journal cannot be read.
    """
    folders = [path for path in home.glob(f"*/{incident}") if _is_record(path)]
    if not folders:
        raise NotFound(f"there is no record of {incident} under {home}")
    if len(folders) > 1:
        raise RecordError(f"{incident} has several folders under {home}; `runbook verify` tells which was added")
    return runs_in(folders[0])


def runs_in(folder: Path) -> list[ArchivedRun]:
    """The runs in the folder of a record.

    Raises
    ------
    RecordError
        When its journal cannot be read.
    """
    entries = journal_of(folder)
    return [run for entry in entries if entry["kind"] == "run-started" for run in _run(folder, entries, entry["body"])]


def journal_of(folder: Path) -> list[dict[str, Any]]:
    """The entries of a record's journal, as exported.

    Raises
    ------
    RecordError
        When it cannot be read.
    """
    path = folder / archive.JOURNAL
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from error


def _is_record(path: Path) -> bool:
    named = archive.DATE.fullmatch(path.parent.name) and archive.INCIDENT.fullmatch(path.name)
    return bool(named) and path.is_dir() and not path.is_symlink()


def _run(folder: Path, entries: list[dict[str, Any]], facts: dict[str, Any]) -> Iterator[ArchivedRun]:
    """The run that these facts are of, if it has ended."""
    own = [entry for entry in entries if entry["body"].get("run") == facts["run"]]
    told = {entry["kind"]: entry["body"] for entry in own}
    if "run-ended" not in told:
        return
    answers = {
        (body["probe"], canonical(body["arguments"]), body["ordinal"]): body
        for body in (entry["body"] for entry in own if entry["kind"] == "evidence")
    }
    yield ArchivedRun(
        incident=str(facts["incident"]),
        folder=folder,
        facts=facts,
        requested=dict(told.get("run-queued", {}).get("requested") or {}),
        state=told["run-ended"]["state"],
        error=told["run-ended"].get("error"),
        session=told.get("session", {}),
        answers=answers,
        verdict=told.get("verdict", {}).get("verdict"),
        proposals=[*_proposals(entries, facts["run"])],
        last=max(entry["seq"] for entry in own if entry["kind"] in _TELLING),
    )


def _proposals(entries: list[dict[str, Any]], run: int) -> Iterator[Proposal]:
    """What a run proposed; plans as they were then: approved already where a standing approval said so."""
    for entry in entries:
        body = entry["body"]
        if entry["kind"] == "proposal-refused" and body["run"] == run:
            yield Proposal([_action(one) for one in body["actions"]], refusal=(body["type"], body["error"]))
        if entry["kind"] != "plan-proposed":
            continue
        document = parse(canonical(body["document"]).decode())
        if document.run != run or document.undo_of is not None:
            continue
        moved = next(
            (one for one in entries if one["kind"] == "plan-state" and one["body"]["hash"] == body["hash"]), None
        )
        by_itself = moved is not None and moved["actor"].startswith("standing:")
        plan = Plan(
            hash=body["hash"],
            state="approved" if by_itself else "proposed",
            document=document,
            expires_at=document.expires_at,
            reason=moved["body"]["reason"] if moved is not None and by_itself else None,
        ).as_json()
        yield Proposal([_action(one) for one in plan["actions"]], plan)


def _action(one: dict[str, Any]) -> dict[str, Any]:
    return {"action": str(one.get("action")), "arguments": dict(one.get("arguments") or {})}
