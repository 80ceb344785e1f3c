"""What was cut out of a record is counted, not shown: in each piece of evidence, and at the end of the run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema

from opslib import store
from opslib.ops import Ops
from opslib.record import evidence, journal
from opslib.record.redaction import Redactor
from opslib.runs import ending
from opslib.settings import PROJECT, Settings
from tests.record.conftest import INCIDENT

ADDRESS = "postgresql://desk:hunter2-of-the-desk@db.example/risk"


def bodies(settings: Settings, kind: str) -> list[dict]:
    with store.connect(settings) as connection:
        return [entry["body"] for entry in journal.entries(connection, INCIDENT) if entry["kind"] == kind]


def test_each_piece_of_evidence_says_how_many_secrets_were_taken_out(desk: Settings, ops: Ops, run_id: int) -> None:
    ops.http.json("/api/status")  # a password of the platform
    ops.http.json("/list")
    ops.redis.text("note")  # the same, in a text
    ops.look("the address", ops.redis.text, ADDRESS)  # in the arguments, and in what the error says of them
    ops.redis.series("var_pct", ["A"])
    told = bodies(desk, "evidence")
    assert [body.get("redacted") for body in told] == [1, None, 1, 2, None]
    schema = json.loads((PROJECT / "docs" / "schemas" / "evidence.json").read_text("utf-8"))
    for body in told:
        [path] = desk.home.glob(f"*/*/{body['file']}")
        head = evidence.read_head(path.read_bytes(), path.name)
        jsonschema.validate(head, schema)
        assert head.get("redacted") == body.get("redacted")
    ending.end(desk, run_id, "succeeded", "", actor="worker", redacted=3)  # three in what its cells wrote
    assert bodies(desk, "run-ended") == [{"run": run_id, "state": "succeeded", "error": None, "redacted": 7}]


def test_a_run_that_met_no_secret_counts_none(desk: Settings, ops: Ops, run_id: int) -> None:
    ops.http.json("/list")
    ending.end(desk, run_id, "succeeded", "", actor="worker")
    assert bodies(desk, "run-ended") == [{"run": run_id, "state": "succeeded", "error": None}]


def test_each_thread_counts_its_own(tmp_path: Path) -> None:
    redact = Redactor(Settings(home=tmp_path))

    def count(number: int) -> int:
        return redact.counted({"text": [ADDRESS] * number, "password": "opaque words"})[1]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(count, range(50))) == [number + 1 for number in range(50)]
    assert redact.replaced == sum(range(50)) + 50
