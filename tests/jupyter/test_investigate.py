"""An archived notebook in JupyterLab: its evidence answers, then the platform; the record is never written over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from opslib.errors import RecordError
from opslib.jupyter import copies
from opslib.jupyter.interactive import InteractiveRun
from opslib.record.verify import verify
from opslib.settings import Settings
from tests.jupyter.test_kernels import opened

pytestmark = pytest.mark.slow
LIVE = "ops.live()\nops.http.json('/api/status')"


@pytest.fixture
def record(lab_settings: Settings, rows: Any) -> Path:
    """The sealed notebook of a run; the platform that it looked at is gone since."""
    with opened(lab_settings) as one:
        one.run_all()
    (run,) = rows("SELECT record FROM runs")
    endpoints = {"api": "http://127.0.0.1:9", "redis": None, "redis_admin": None}
    (lab_settings.state / "sandbox" / "crypto.json").write_text(json.dumps({"endpoints": endpoints}))
    return lab_settings.home / run["record"]


def test_it_answers_from_the_evidence_then_from_the_platform(lab_settings: Settings, record: Path, rows: Any) -> None:
    before = hashlib.sha256(record.read_bytes()).hexdigest()
    incident = record.parent.name
    path = copies.investigate(lab_settings, incident)
    assert copies.investigate(lab_settings, incident) == path, "a copy that is there is left alone"
    assert copies.of(path) == copies.CopyOf("status", "crypto", incident, 1, before)
    book = nbformat.read(path, as_version=4)
    assert book.cells[0].source.startswith(f"**You investigate run 1 of {incident}.**")
    assert "kelly 0.25 1.5" in str(book.cells), "with what it put out then"
    with opened(lab_settings, f"investigate/{path.name}") as one:
        one.run_all()
        assert "kelly 0.25 1.5" in str(one.book.cells)
        assert "holds no answer for http.text" in one.run(nbformat.v4.new_code_cell("ops.http.text('/new')"))
        assert "connection refused" in one.run(nbformat.v4.new_code_cell(LIVE))
    first, second = rows("SELECT number, incident, mode, state, verdict FROM runs ORDER BY number")
    assert (second["number"], second["incident"], second["mode"]) == (2, first["incident"], "interactive")
    assert second["state"] == "succeeded"
    assert second["verdict"]["summary"] == "Nothing is wrong."
    assert hashlib.sha256(record.read_bytes()).hexdigest() == before
    assert record.with_name("02-status.ipynb").is_file()
    entries = [json.loads(line) for line in (record.parent / "journal.jsonl").read_text().splitlines()]
    started = [entry["body"] for entry in entries if entry["kind"] == "run-started"]
    assert started[1]["investigates"] == {"number": 1, "sha256": before}
    assert [entry["body"]["replayed"] for entry in entries if entry["kind"] == "went-live"] == [1]
    looked = [entry["body"]["run"] for entry in entries if entry["kind"] == "evidence"]
    assert len(looked) == 2, "the first run's look, and the one after going live"
    assert looked[0] != looked[1]
    report = verify(lab_settings.home, incident)
    assert report.ok, report.document()


def test_a_record_that_was_altered_is_not_investigated(lab_settings: Settings, record: Path) -> None:
    path = copies.investigate(lab_settings, record.parent.name)
    copy = copies.of(path)
    assert copy is not None
    record.write_text(record.read_text().replace("kelly 0.25", "kelly 0.05"))
    with pytest.raises(RecordError, match="is altered"):
        copies.investigate(lab_settings, record.parent.name)
    with pytest.raises(RecordError, match="is altered"):
        InteractiveRun.open(lab_settings, path, copy)
