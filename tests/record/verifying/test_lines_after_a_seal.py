"""The offline verifier on journals that go on after their seal: open is not intact, and no line excuses a change."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from opslib.canonical import file_digest
from opslib.record import journal
from opslib.record.verify import verify
from tests.record.verifying.sealed import DATE, FIRST, caught, line_added


def test_the_last_line_of_a_journal_cannot_be_cut_or_replaced(home: Path) -> None:
    path = home / DATE / FIRST / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    problem = verify(home).incidents[0].problems[0]
    assert problem.reason == f"cut: {len(lines) - 1} of {len(lines)} sealed lines are left"
    assert problem.where.startswith(f"line {len(lines)}, byte ")
    entry = json.loads(lines[-1])
    entry["body"]["text"] = "acknowledged by nobody, so to say"  # well spelt, well chained, and not what was sealed
    path.write_bytes(b"".join([*lines[:-1], journal.canonical(entry), b"\n"]))
    caught(home, path)
    assert verify(home).incidents[0].state == "altered"


def test_a_line_added_to_a_journal_is_open_not_intact(home: Path) -> None:
    path = home / DATE / FIRST / "journal.jsonl"
    data = path.read_bytes()
    last = json.loads(data.splitlines()[-1])
    more = {**last, "seq": last["seq"] + 1, "prev": journal.digest(data.splitlines()[-1])}
    path.write_bytes(data + journal.canonical(more) + b"\n")
    report = verify(home)
    assert (report.ok, report.incidents[0].state) == (False, "open")
    assert report.incidents[0].problems[0].where.startswith(f"line {last['seq'] + 1}, byte ")


@pytest.mark.parametrize(("told", "state"), [(True, "open"), (False, "altered")])
def test_a_record_that_is_being_closed_is_looked_at_again(home: Path, told: bool, state: str) -> None:
    folder = home / DATE / FIRST
    line_added(folder, "run-ended", {"run": 99, "state": "succeeded"})
    notebook = folder / "02-var-breach.ipynb"
    notebook.write_bytes(b'{"cells": []}')
    facts = {"run": 99, "path": notebook.name, "sha256": file_digest(notebook)}
    telling = threading.Timer(0.5, line_added, (folder, "file", facts) if told else (folder, "note", {"text": "a"}))
    telling.start()
    assert verify(home).incidents[0].state == state
    telling.join()


@pytest.mark.parametrize("name", ["01-var-breach.html", "01-var-breach.ipynb"])
@pytest.mark.parametrize("kind", ["file", "file-found"])
def test_what_a_seal_has_is_altered_whatever_a_line_after_it_says(home: Path, name: str, kind: str) -> None:
    page = home / DATE / FIRST / name
    page.write_bytes(page.read_bytes().replace(b"fine", b"calm") + b" ")
    line_added(page.parent, kind, {"run": 1, "path": name, "sha256": file_digest(page)})
    report = verify(home).incidents[0]
    assert (report.state, [problem.file for problem in report.problems]) == ("altered", [f"{DATE}/{FIRST}/{name}"])
    told = ", whatever a line after the seal says" if kind == "file" else ""
    assert report.problems[0].reason == f"altered: it is not as it was sealed{told}"


def test_what_a_seal_has_is_altered_though_a_run_pretends_to_go_on(home: Path) -> None:
    page = home / DATE / FIRST / "01-var-breach.html"
    page.write_bytes(page.read_bytes() + b" ")
    line_added(page.parent, "run-started", {"run": 1, "number": 1})
    line_added(page.parent, "file", {"run": 1, "path": page.name, "sha256": file_digest(page)})
    assert verify(home).incidents[0].state == "altered"


@pytest.mark.parametrize("run", [[], {"a": 1}, 1.5])
def test_a_line_that_is_none_of_ours_is_named(home: Path, run: object) -> None:
    line_added(home / DATE / FIRST, "run-ended", {"run": run})
    report = verify(home).incidents[0]
    assert (report.state, report.problems[0].reason) == ("altered", "altered: it is no journal line as it is written")
