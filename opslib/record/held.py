"""What a record should hold, by its journal, against what lies there: tampering goes on the chain, never into a seal.

A seal lists what the journal knows, with the digest that the journal knows. So a file that was altered or taken away
stays altered or missing for `verify`, however often the record is sealed again, and a file that somebody added is not
listed. Each such finding is journalled once. What a crash kept from the journal is found, journalled and listed: only a
file of a run whose files are not told of yet, or that has gone on since the last seal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from opslib import store
from opslib.canonical import digest, file_digest
from opslib.errors import RecordError
from opslib.record import archive, journal
from opslib.settings import Settings
from opslib.sql import queries

ACTOR = "signer"
_EVIDENCE = re.compile(rf"{archive.EVIDENCE}/E\d{{3,}}-[a-z-]+\.(json|parquet)")
_KEPT = "altered"
_LARGEST_KEPT = 64 * 1024 * 1024
_log = structlog.get_logger("opslib.signer")


def settle(settings: Settings, connection: store.Connection, incident: str) -> dict[str, str]:
    """Compare a record with its journal, journal what is not as it should be, and tell what a seal lists.

    Parameters
    ----------
    settings : Settings
    connection : Connection
        Its transaction holds the incident's row.
    incident : str

    Returns
    -------
    dict
        Digest by name of every file that belongs into a seal, journal and seals left out.
    """
    row = connection.execute(queries("journal").incident, {"incident": incident}).fetchone()
    if row is None:
        raise RecordError(f"there is no incident {incident}")
    folder = archive.folder(settings, row)
    entries = journal.entries(connection, incident)
    known, told = known_files(entries), _told(entries)
    runs = connection.execute(queries("log").runs, {"incident": incident}).fetchall()
    going = tuple(f"{run['number']:02d}-" for run in runs if run["state"] == "running")
    unfinished = _unfinished(entries, row["sealed_seq"])
    ours = tuple(f"{run['number']:02d}-{run['runbook']}." for run in runs if run["id"] in unfinished)
    there = {name: file_digest(folder / name) for name in archive.files(folder) if not _of_seals(name)}
    findings: list[tuple[str, dict[str, Any]]] = []
    for name in sorted(known.keys() | there.keys()):
        expected, found = known.get(name), there.get(name)
        if expected is None:
            if going and (name.startswith(going) or name.startswith(f"{archive.EVIDENCE}/")):
                there.pop(name)
            elif (unfinished and _EVIDENCE.fullmatch(name)) or (name.startswith(ours) and "/" not in name):
                findings.append(("file-found", {"path": name, "sha256": found}))
            elif told.get(name) != found:
                findings.append(("record-altered", {"file": name, "expected": None, "found": found}))
        elif expected != found and told.get(name, expected) != found and not name.startswith(going or ("/",)):
            findings.append(("record-altered", {"file": name, "expected": expected, "found": found}))
    for kind, body in findings:
        if kind == "file-found":
            known[body["path"]] = body["sha256"]
        else:
            _log.warning("a record is not as it was written", incident=incident, **body)
    journal.append_all(connection, incident, findings, actor=ACTOR, settings=settings)
    return {name: sha256 for name, sha256 in known.items() if not name.startswith(going or ("/",))}


def _unfinished(entries: Iterable[dict[str, Any]], sealed: int) -> set[Any]:
    """The runs that a crash may have kept from telling of a file."""
    begun, closed, since = set(), set(), set()
    for entry in entries:
        run, kind = entry["body"].get("run"), entry["kind"]
        if kind == "run-queued" or entry["body"].get("began") is False:
            continue  # what never began has written nothing
        if kind in ("file", "apply-ended"):
            closed.add(run)
        elif kind in ("run-started", "apply-started", "evidence"):
            begun.add(run)
        if entry["seq"] > sealed and kind.startswith(("run-", "cell-", "apply-", "evidence")):
            since.add(run)
    return ((begun - closed) | since) - {None}


def keep_altered(settings: Settings, data: bytes) -> str:
    """Keep the bytes of a file that is about to be restored, below `HOME/.state/altered`; returns their digest."""
    found = digest(data)
    place = settings.state / _KEPT
    if len(data) <= _LARGEST_KEPT and not (place / found).exists():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        archive.write_atomic(place / found, data, mode=0o600)
    return found


def first_difference(there: bytes, whole: bytes) -> int:
    """The number of the first line in which two files differ."""
    pairs = zip(there.split(b"\n"), whole.split(b"\n"), strict=False)
    same = next((number for number, (one, other) in enumerate(pairs, start=1) if one != other), None)
    return same if same is not None else min(there.count(b"\n"), whole.count(b"\n")) + 1


def known_files(entries: Iterable[dict[str, Any]]) -> dict[str, str]:
    """The newest digest of every file that the journal names."""
    known = {}
    for entry in entries:
        body = entry["body"]
        if entry["kind"] == "evidence":
            known[str(body.get("file"))] = str(body.get("sha256"))
        elif entry["kind"] in ("file", "file-found"):
            known[str(body.get("path"))] = str(body.get("sha256"))
    return known


def _told(entries: Iterable[dict[str, Any]]) -> dict[str, str | None]:
    """What was found last of each file that was not as it should be."""
    return {entry["body"]["file"]: entry["body"]["found"] for entry in entries if entry["kind"] == "record-altered"}


def _of_seals(name: str) -> bool:
    return name == archive.JOURNAL or bool(archive.SEAL.fullmatch(name) or archive.PART.fullmatch(Path(name).name))
