"""What a notebook uses, read from its code, against what it declares; of ours also against what their records show."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from opslib.errors import ConfigurationError
from opslib.probes import registry
from opslib.record import evidence
from opslib.runs import catalogue, uses
from opslib.settings import PROJECT
from tests.clusters.test_rights import notebook

RUNBOOKS = sorted(PROJECT.glob("notebooks/*/*.ipynb"))
JOURNALS = sorted(PROJECT.glob("tests/golden/*/journal.jsonl"))
OF_NO_SYSTEM = {"clock.now", "random.numbers"}


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_declares_what_its_code_uses_and_nothing_else(path: Path) -> None:
    runbook = catalogue.read(path)
    assert uses.undeclared(runbook) == []
    assert (set(runbook.reads), set(runbook.proposes)) == uses.of(runbook)


def name_of(file: Path, probe: str) -> str:
    """As a notebook declares the look that this evidence is of."""
    if file.suffix == ".parquet":
        arguments = json.loads(pq.read_schema(file).metadata[evidence.METADATA])["arguments"]
    else:
        arguments = json.loads(file.read_text("utf-8"))["arguments"]
    usual = registry.find(probe).system
    system = arguments.get("system") or usual
    return probe if system == usual else f"{probe}@{system}"


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.parent.name)
def test_a_runbook_declares_what_its_golden_records_show(path: Path) -> None:
    told = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    [name] = {one["body"]["runbook"] for one in told if one["kind"] == "run-started"}
    [runbook] = [catalogue.read(path) for path in RUNBOOKS if path.stem == name]
    looks = [one["body"] for one in told if one["kind"] == "evidence" and one["body"]["probe"] not in OF_NO_SYSTEM]
    asked = {name_of(path.parent / one["file"], one["probe"]) for one in looks}
    planned = [one["body"]["document"] for one in told if one["kind"] == "plan-proposed"]
    proposed = {action["action"] for document in planned for action in document["actions"]}
    assert asked
    assert asked <= set(runbook.reads)
    assert proposed <= set(runbook.proposes)


def test_what_is_not_declared_fails_the_check(tmp_path: Path) -> None:
    code = 'ops.look("keys", ops.redis.keys, "*")\nops.propose("kubernetes.restart", workload="x")'
    path = tmp_path / "alerts" / "one.ipynb"
    with pytest.raises(ConfigurationError) as found:
        uses.check(notebook(path, code))
    assert found.value.facts["mistakes"] == [
        "one.ipynb: it reads redis.keys: add it to metadata.runbook.reads",
        "one.ipynb: it may propose kubernetes.restart: add it to metadata.runbook.proposes",
    ]
    uses.check(notebook(path, code, reads=["redis.keys"], proposes=["kubernetes.restart"]))


def test_what_is_declared_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as found:
        uses.check(notebook(tmp_path / "alerts" / "one.ipynb", "1", reads=["redis.key"], proposes=["redis.ping"]))
    assert found.value.facts["mistakes"] == [
        "one.ipynb: there is no probe redis.key",
        "one.ipynb: there is no action redis.ping",
    ]


@pytest.mark.parametrize(
    ("code", "reads", "proposes"),
    [
        ("ops.redis.keys('*')", {"redis.keys"}, set()),
        ("ops.look('x', ops.http.json, '/x', system='board')", {"http.json@board"}, set()),
        ("ops.http.text('/x', system='api')", {"http.text"}, set()),
        ("ops.http.text('/x', system='board'); ops.http.text('/x')", {"http.text", "http.text@board"}, set()),
        ("ops.probe('redis.text', key='x')", {"redis.text"}, set()),
        ("steps = [('postgres.vacuum', {})]", set(), {"postgres.vacuum"}),
        ("ops.postgres.vacuum()", {"postgres.vacuum"}, set()),
        ("found.redis.keyboard()", set(), set()),
    ],
)
def test_probes_and_actions_are_found_in_code(code: str, reads: set[str], proposes: set[str]) -> None:
    assert uses.used(ast.parse(code)) == (reads, proposes)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("from opslib.diagnosis import triage\ntriage.rule(ops, alert, None, None)", {"prometheus.rule"}),
        ("from opslib.diagnosis.triage import changes as late\nlate(ops)", {"changes.recent"}),
        ("from opslib.diagnosis import triage\ntriage.described(alert)", set()),
        ("from opslib.diagnosis import Diagnosis\nDiagnosis(ops)", set()),
    ],
)
def test_of_a_module_counts_what_is_reached(tmp_path: Path, code: str, reads: set[str]) -> None:
    assert uses.of(notebook(tmp_path / "alerts" / "one.ipynb", code))[0] == reads
