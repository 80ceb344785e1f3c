"""The offline verifier, on a real small record: whatever is changed is caught, with the right file named."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from opslib.cli import main
from opslib.errors import NotFound, RecordError
from opslib.record import evidence
from opslib.record.verify import verify
from opslib.settings import PROJECT
from tests.record.verifying.sealed import DATE, FIRST, SECOND, caught, files


def flip(home: Path, path: Path, position: int, bit: int) -> None:
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[position] ^= 1 << bit
    path.write_bytes(changed)
    caught(home, path)
    path.write_bytes(whole)


def test_documents_are_as_their_schemas_say(home: Path) -> None:
    def check(name: str, document: object, part: str | None = None) -> None:
        schema = json.loads((PROJECT / "docs" / "schemas" / f"{name}.json").read_text("utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(document, schema["$defs"][part] if part else schema)

    for path in files(home):
        if path.name == "journal.jsonl":
            for line in path.read_bytes().splitlines():
                check("journal", json.loads(line))
        elif path.parent.name == "evidence":
            check("evidence", evidence.read_head(path.read_bytes(), path.name))
        elif path.name.startswith("seal-"):
            envelope = json.loads(path.read_bytes())
            check("seal", envelope)
            check("seal", json.loads(base64.b64decode(envelope["payload"])), "statement")
        elif path.name == "leaves.jsonl":
            for line in path.read_bytes().splitlines():
                check("seal", json.loads(line), "leaf")
        elif path.name == "checkpoint.json":
            check("checkpoint", json.loads(path.read_bytes()))


def test_first_middle_and_last_byte_of_every_file_count(home: Path) -> None:
    for path in files(home):
        size = path.stat().st_size
        for position in {0, size // 2, size - 1}:
            flip(home, path, position, 0)
    assert verify(home).ok


@pytest.mark.slow
def test_any_byte_counts(home: Path) -> None:
    """A dense sample over all files."""
    everywhere = [(path, position) for path in files(home) for position in range(path.stat().st_size)]
    chance = random.Random(20261120)
    for path, position in chance.sample(everywhere, min(2500, len(everywhere))):
        flip(home, path, position, chance.randrange(8))
    assert verify(home).ok


def test_a_file_that_is_deleted_or_cut_is_named(home: Path) -> None:
    for path in files(home):
        whole = path.read_bytes()
        path.unlink()
        caught(home, path)
        for size in (0, 1, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            caught(home, path)
        path.write_bytes(whole + b"\n")
        caught(home, path)
        path.write_bytes(whole)
    assert verify(home).ok


def added(home: Path, path: Path, make: Callable[[Path], object]) -> None:
    make(path)
    caught(home, path)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


def test_whatever_is_added_is_named(home: Path) -> None:
    folder = home / DATE / FIRST
    for place in (home, home / "log", home / DATE, folder, folder / "evidence"):
        for name in ("new.txt", ".hidden", "seal-0009.json", "02-more.ipynb", "E009-redis-text.json"):
            added(home, place / name, lambda path: path.write_bytes(b"{}"))
        added(home, place / "link", lambda path: path.symlink_to(folder / "journal.jsonl"))
        added(home, place / "folder", lambda path: path.mkdir())
    added(home, home / "2026-11-21", lambda path: path.mkdir())
    added(home, home / DATE / "INC-2026-000009", lambda path: path.mkdir())
    path = folder / "01-var-breach.html"
    path.chmod(0o755)
    caught(home, path)
    path.chmod(0o644)
    assert verify(home).ok


def test_it_works_on_a_copy_elsewhere(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns(".state"))
    assert verify(copy).ok
    with pytest.raises(NotFound, match="there is no record of INC-1999-000001"):
        verify(copy, "INC-1999-000001")
    with pytest.raises(RecordError, match="is no folder; set RUNBOOK_HOME"):
        verify(tmp_path / "nowhere")


def test_the_command_names_files_and_exits_with_one(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(home))

    def exit_code(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["verify", *words])
        return int(ended.value.code or 0)

    assert exit_code() == 0
    assert "verified: 2 intact; the log is whole" in capsys.readouterr().out
    (home / DATE / FIRST / "01-var-breach.html").write_bytes(b"<p>all was well</p>")
    assert exit_code() == 1
    shown = capsys.readouterr().out
    assert f"{DATE}/{FIRST}/01-var-breach.html: altered: it is not as it was sealed" in shown
    assert "NOT verified: 1 altered, 1 intact" in shown
    assert exit_code("--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["incidents"][0]["problems"][0]["file"] == f"{DATE}/{FIRST}/01-var-breach.html"
    assert exit_code(SECOND) == 0
