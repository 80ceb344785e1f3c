"""The offline verifier: whether the records are exactly as they were sealed, and all of them there.

It needs the files alone. Every byte under the home counts, but for `.state`. An incident is

- `intact`: every file is as its last seal says, and every seal is in the log;
- `open`: what was sealed is intact, and the journal or a run goes on after it, unsealed yet;
- `altered`: a file differs, was added or removed, or a signature does not hold;
- `missing`: the log holds seals of it and its folder is gone.

What a run has told of in the journal is final once a seal has that: no line after the seal makes another version of the
file right. Only what was sealed before its run had told of it, since that was cut off, may be written once more by it.

Whoever holds the private key, or replaces home and key together, cannot be caught from inside; nor can who sets the
whole home back to an earlier state of its own. Keep the public key (`trust`) and now and then a checkpoint
(`checkpoint`) somewhere else. What is `open` is not signed yet, so nothing vouches for what came after the last seal.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from opslib.errors import NotFound, RecordError
from opslib.record import archive, verify_log
from opslib.record.verify_incident import Problem, check, is_executable

State = Literal["open", "intact", "altered", "missing"]
STATE_FOLDER = ".state"
_LOOKS, _LOOK_AGAIN_S = 3, 0.7
__all__ = ["IncidentReport", "Problem", "Report", "verify"]


@dataclass
class IncidentReport:
    """One incident: its state, how much of it was looked at, and what is wrong.

    Attributes
    ----------
    incident, folder : str
    state : {"open", "intact", "altered", "missing"}
    seals, files, entries : int
        How many seals, files and journal entries were checked.
    sealed : int
        How many of the journal's entries the last seal covers; nothing vouches for those after it.
    problems : list of Problem
        What is wrong, or (state `open`) not sealed yet.
    """

    incident: str
    folder: str
    state: State
    seals: int = 0
    files: int = 0
    entries: int = 0
    sealed: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass
class Report:
    """What `verify` found.

    Attributes
    ----------
    ok : bool
        Every incident asked for is intact, and the log is whole.
    incidents : list of IncidentReport
    log : list of Problem
        What is wrong with the log and with the home itself.
    """

    ok: bool
    incidents: list[IncidentReport]
    log: list[Problem]

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "ok": self.ok,
            "incidents": [asdict(report) for report in self.incidents],
            "log": [asdict(problem) for problem in self.log],
        }


def verify(
    home: Path, incident: str | None = None, *, trust: Path | None = None, checkpoint: Path | None = None
) -> Report:
    """Verify all records of a home, or those of one incident, and the log.

    Parameters
    ----------
    home : Path
        `RUNBOOK_HOME`.
    incident : str, optional
        Only this one.
    trust : Path, optional
        A public key from outside, to be trusted instead of the home's own.
    checkpoint : Path, optional
        An earlier checkpoint from outside: the log must continue it.

    Raises
    ------
    RecordError
        When there is no home, or the files from outside cannot be read.
    NotFound
        When there is no trace of the incident.
    """
    if not home.is_dir():
        raise RecordError(f"{home} is no folder; set RUNBOOK_HOME to where the records are")
    try:
        return _verify(home, incident, trust, checkpoint)
    except OSError as error:
        raise RecordError(f"{error.filename or home} cannot be read: {error.strerror}") from error


def _verify(home: Path, incident: str | None, trust: Path | None, checkpoint: Path | None) -> Report:
    with _quiet(home / archive.LOG):
        log = verify_log.read(home, trust=trust, checkpoint=checkpoint)
        problems = list(log.problems)
        folders = _folders(home)
        logged = {leaf["folder"]: leaf["incident"] for leaf in log.leaves}
        if incident is None:
            problems += _home_problems(home, log, logged)
        reports = [
            _incident(home, name, log, folders)
            for name in sorted(folders | set(logged))
            if incident in (None, logged.get(name), name.rpartition("/")[2])
        ]
    if incident is not None and not reports:
        raise NotFound(f"there is no record of {incident} under {home}")
    ok = not problems and all(report.state == "intact" for report in reports)
    return Report(ok, reports, problems)


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """Keep a signer of this machine from writing meanwhile; a copy elsewhere has none."""
    try:
        lock = archive.locked(folder, shared=True, wait_s=20.0)
        lock.__enter__()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _folders(home: Path) -> set[str]:
    """`date/incident` of every folder that a record may lie in."""
    return {
        f"{date.name}/{path.name}"
        for date in _listed(home)
        if archive.DATE.fullmatch(date.name) and _is_folder(date)
        for path in _listed(date)
        if archive.INCIDENT.fullmatch(path.name) and _is_folder(path)
    }


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _closed(folder: Path, name: str) -> Iterator[Problem]:
    """That nobody can tell what lies in a folder."""
    try:
        list(folder.iterdir())
    except OSError as error:
        yield Problem(name, "", f"altered: it cannot be read ({error.strerror})")


def _is_folder(path: Path) -> bool:
    """Whether it is a folder itself, no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _home_problems(home: Path, log: verify_log.Log, logged: dict[str, str]) -> Iterator[Problem]:
    """What lies in the home and is neither record nor log."""
    yield from _closed(home, ".")
    for path in _listed(home):
        name = path.name
        if name == STATE_FOLDER:
            continue
        if path.is_symlink():
            if name != archive.LOG:
                yield Problem(name, "", "added: it is a link")
        elif name in log.home:
            yield from _own_file(path, log.home[name])
        elif name == archive.LOG and path.is_dir():
            continue
        elif archive.DATE.fullmatch(name) and path.is_dir():
            yield from _date_problems(path, logged)
        elif name in verify_log.HOME_FILES and path.is_file():
            if log.leaves:
                yield Problem(name, "", "added: it was not there when the last checkpoint was signed")
        else:
            yield Problem(name, "", "added: neither a record nor the log")
    for name in sorted(set(log.home) - {path.name for path in _listed(home)}):
        yield Problem(name, "", "missing: it was there when the last checkpoint was signed")


def _own_file(path: Path, expected: str) -> Iterator[Problem]:
    try:
        same = archive.opened_digest(path) == expected
    except OSError as error:
        yield Problem(path.name, "", f"altered: it cannot be read ({error.strerror})")
        return
    if not same:
        yield Problem(path.name, "", "altered since the last checkpoint was signed")
    elif is_executable(path):
        yield Problem(path.name, "", "altered: it was made executable")


def _date_problems(date: Path, logged: dict[str, str]) -> Iterator[Problem]:
    yield from _closed(date, date.name)
    names = _listed(date)
    if not names and not any(folder.startswith(f"{date.name}/") for folder in logged):
        yield Problem(date.name, "", "added: an empty folder")
    for path in names:
        if not _is_folder(path) or not archive.INCIDENT.fullmatch(path.name):
            yield Problem(f"{date.name}/{path.name}", "", "added: no folder of an incident")


def _incident(home: Path, folder: str, log: verify_log.Log, folders: set[str]) -> IncidentReport:
    name = folder.rpartition("/")[2]
    leaves = [leaf for leaf in log.leaves if leaf["folder"] == folder]
    path = home / folder
    if not (_is_folder(path) and _is_folder(path.parent)):
        seals = "1 seal" if len(leaves) == 1 else f"{len(leaves)} seals"
        reason = f"missing: the log holds {seals} of this incident and its folder is gone"
        return IncidentReport(name, folder, "missing", problems=[Problem(folder, "", reason)])
    found = check(path, folder, leaves, log.key)
    for _ in range(_LOOKS):
        if not (found.wrong and found.closing):
            break
        time.sleep(_LOOK_AGAIN_S)  # its files are a moment ahead of its journal
        found = check(path, folder, leaves, log.key)
    places = folders | {leaf["folder"] for leaf in log.leaves}
    if not leaves and any(other != folder and other.endswith(f"/{name}") for other in places):
        found.bad("", "added: this incident has its record in another folder")
    state: State = "altered" if found.wrong else "open" if found.unsealed else "intact"
    problems = found.wrong or found.unsealed
    return IncidentReport(name, folder, state, len(leaves), len(found.files), found.entries, found.sealed, problems)
