"""A home with sealed records: what it holds, what the verifier names of it, and what is done to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from opslib import store
from opslib.record import journal
from opslib.record.verify import Report, verify
from opslib.settings import Settings

FIRST, SECOND = "INC-2026-000001", "INC-2026-000002"
DATE = "2026-11-20"


def note(settings: Settings, incident: str, text: str) -> None:
    with store.transaction(settings) as connection:
        journal.append(connection, incident, "note", {"text": text}, actor="somebody", settings=settings)


class Original(NamedTuple):
    """A home with three seals, and the same with one seal more; without a database."""

    before: Path
    after: Path


def files(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*") if path.is_file() and ".state" not in path.parts)


def named(report: Report) -> set[str]:
    problems = [*report.log, *(problem for item in report.incidents for problem in item.problems)]
    assert all(problem.reason for problem in problems)
    return {problem.file for problem in problems}


def caught(home: Path, path: Path) -> None:
    """Not ok, and the file is among those named."""
    report = verify(home)
    assert not report.ok, path
    assert path.relative_to(home).as_posix() in named(report), (path, report.document())


def line_added(folder: Path, kind: str, body: dict[str, Any]) -> None:
    """A line that follows the journal's last one as it should."""
    data = (folder / "journal.jsonl").read_bytes()
    before = data.splitlines()[-1]
    last = json.loads(before)
    more = {**last, "seq": last["seq"] + 1, "prev": journal.digest(before), "kind": kind, "body": body}
    (folder / "journal.jsonl").write_bytes(data + journal.canonical(more) + b"\n")
