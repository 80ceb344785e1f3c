"""A real record, changed in every way that comes to mind: the command says so, names the file, and where."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib.canonical import canonical, digest, file_digest
from opslib.record import merkle, signing
from tests.acceptance.conftest import RUNBOOK, Installation

pytestmark = pytest.mark.acceptance


class Told(NamedTuple):
    """What `runbook verify` said: its exit code, and where each thing that is wrong lies and why."""

    code: int
    problems: dict[str, str]
    states: set[str]


class Record:
    """A copy of a home with one incident, applied and sealed; no server of it runs."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def verify(self, *words: str) -> Told:
        """Ask the command."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")}
        done = subprocess.run(
            [RUNBOOK, "verify", "--json", *words],
            env={**environment, "RUNBOOK_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        document = json.loads(done.stdout)
        assert document["ok"] is (done.returncode == 0)
        incidents = document["incidents"]
        problems = [*document["log"], *(problem for one in incidents for problem in one["problems"])]
        assert all(problem["file"] and problem["reason"] for problem in problems)
        told: dict[str, str] = {}
        for problem in problems:
            told[problem["file"]] = f"{told.get(problem['file'], '')}{problem['reason']} ({problem['where']})\n"
        return Told(done.returncode, told, {one["state"] for one in incidents})

    @property
    def folder(self) -> Path:
        """The incident's folder."""
        [folder] = self.home.glob("*/INC-*")
        return folder

    @property
    def files(self) -> list[Path]:
        """Every file under the home."""
        return sorted(path for path in self.home.rglob("*") if path.is_file())

    def name(self, path: Path) -> str:
        """As the command names it."""
        return path.relative_to(self.home).as_posix()

    def caught(self, path: Path, reason: str = "") -> None:
        """The command names this file, and ends with 1."""
        told = self.verify()
        assert told.code == 1, f"{self.name(path)}: not caught"
        assert reason in told.problems.get(self.name(path), ""), told.problems
        assert self.name(path) in told.problems, told.problems


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a run whose plan was approved and applied."""
    installation = Installation(tmp_path_factory.mktemp("tampering") / "home")
    try:
        installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
        installation.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "3")
        told = installation.json("run", "var-breach", "--platform", "crypto")
        plan = told["verdict"]["plan"]["hash"]
        installation.runbook("approve", told["incident"], "--plan", plan, "--as", "demo-l1", "--apply")
        installation.runbook("verify")
        copy = installation.home.parent / "copy"
        shutil.copytree(installation.home, copy, ignore=shutil.ignore_patterns(".state"))
    finally:
        installation.end()
    return copy


@pytest.fixture
def record(sealed: Path, tmp_path: Path) -> Record:
    """A copy that a test may change."""
    shutil.copytree(sealed, tmp_path / "home")
    return Record(tmp_path / "home")


def test_any_byte_of_any_file_and_any_file(record: Record) -> None:
    assert record.verify().code == 0
    kinds = {path.suffix for path in record.files}
    assert {".ipynb", ".html", ".json", ".parquet", ".jsonl", ".pub"} <= kinds
    for path in record.files:
        data = path.read_bytes()
        for place in sorted({0, len(data) // 2, len(data) - 1}):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            record.caught(path)
        path.write_bytes(data[:-1])
        record.caught(path)
        path.unlink()
        record.caught(path, "missing")
        path.write_bytes(data)
    assert record.verify().code == 0


@pytest.mark.parametrize("where", ["", "evidence", "..", "../..", "../../log"])
def test_any_file_added(record: Record, where: str) -> None:
    added = (record.folder / where / "E999-more.json").resolve()
    added.write_text("{}")
    record.caught(added, "added")
    added.unlink()
    assert record.verify().code == 0


def test_what_is_moved_cut_and_swapped(record: Record) -> None:
    journal = record.folder / "journal.jsonl"
    data = journal.read_bytes()
    lines = data.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    record.caught(journal, f"cut: {len(lines) - 1} of {len(lines)} sealed lines are left (line {len(lines)}, byte ")
    journal.write_bytes(b"".join([*lines[:2], lines[3], lines[2], *lines[4:]]))
    record.caught(journal, "line 3, byte ")
    journal.write_bytes(data)

    one, other, *_ = sorted((record.folder / "evidence").iterdir())
    kept = one.read_bytes(), other.read_bytes()
    one.write_bytes(kept[1])
    other.write_bytes(kept[0])
    record.caught(one, "not the evidence that the journal names")
    record.caught(other)
    one.write_bytes(kept[0])
    other.write_bytes(kept[1])

    leaves = record.home / "log" / "leaves.jsonl"
    data = leaves.read_bytes()
    leaves.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
    record.caught(leaves, "cut")
    leaves.write_bytes(data)

    folder = record.folder
    folder.rename(record.home.parent / "away")
    record.caught(folder, "missing")
    assert record.verify().states == {"missing"}
    shutil.move(record.home.parent / "away", folder)
    assert record.verify().code == 0


def test_all_signed_again_with_another_key_is_caught_by_a_key_kept_elsewhere(record: Record) -> None:
    log, own = record.home / "log", record.home.parent / "kept.pub"
    shutil.copy(log / "signer.pub", own)
    shutil.copy(log / "checkpoint.json", record.home.parent / "kept.json")
    assert record.verify("--trust", str(own), "--checkpoint", str(record.home.parent / "kept.json")).code == 0
    key = Ed25519PrivateKey.generate()
    (log / "signer.pub").write_bytes(signing.public_pem(key.public_key()))
    record.caught(log / "checkpoint.json", "another key")

    page = next(record.folder.glob("01-*.html"))
    page.write_bytes(page.read_bytes().replace(b"VaR", b"var"))
    _sign_all_again(record, key)
    assert record.verify().code == 0  # from inside it cannot be told, hence
    told = record.verify("--trust", str(own))
    assert told.code == 1
    assert "it is not the trusted key" in told.problems["log/signer.pub"]
    assert "it is signed by another key" in told.problems[record.name(record.folder / "seal-0001.json")]
    assert record.verify("--checkpoint", str(record.home.parent / "kept.json")).code == 1


def _sign_all_again(record: Record, key: Ed25519PrivateKey) -> None:
    """As somebody would who owns the folder, and not the key: every seal, every leaf, the checkpoint."""
    log, previous, lines = record.home / "log", None, []
    for line in (log / "leaves.jsonl").read_bytes().splitlines():
        leaf: dict[str, Any] = json.loads(line)
        path = record.home / leaf["folder"] / leaf["seal"]
        statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
        statement["predicate"]["previous"] = previous
        for subject in statement["subject"]:
            if subject["name"] != "journal.jsonl":
                subject["digest"]["sha256"] = file_digest(path.parent / subject["name"])
        path.write_bytes(signing.envelope(statement, key))
        previous = leaf["sha256"] = digest(path.read_bytes())
        lines.append(canonical(leaf))
    (log / "leaves.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    facts = json.loads((log / "checkpoint.json").read_bytes())
    facts = {name: facts[name] for name in ("at", "home", "size")}
    hashes = [merkle.leaf_hash(line) for line in lines]
    before = {"size": len(lines) - 1, "root": merkle.root(hashes[:-1]).hex()} if len(lines) > 1 else None
    facts |= {"root": merkle.root(hashes).hex(), "previous": before}
    (log / "checkpoint.json").write_bytes(signing.sign_checkpoint(facts, key))


def test_the_token_of_a_person_is_written_nowhere(installation: Installation, tmp_path: Path) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    installation.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "4")
    token = installation.runbook("people", "add", "ines", "--role", "L1").stdout.strip().split()[-1]
    assert token.startswith("rb_")
    alert = tmp_path / "alert.json"
    labels = {"alertname": "VarBreach", "platform": "crypto", "symbol": "SOL-USD", "note": f"mine is {token}"}
    alert.write_text(json.dumps({"labels": labels, "annotations": {token: f"Bearer {token}"}}))
    seen = _words_of_processes(
        lambda: installation.runbook(
            "run", "var-breach", "--platform", "crypto", "--alert", str(alert), RUNBOOK_TOKEN=token
        )
    )
    [incident] = installation.incidents()
    plan = installation.show(incident["id"])["plans"][0]["hash"]
    words = ("approve", incident["id"], "--plan", plan, "--reason", f"I am {token}", "--apply")
    installation.runbook(*words, RUNBOOK_TOKEN=token)
    installation.runbook("verify")
    alert.unlink()
    assert token not in seen
    assert installation.show(incident["id"])["opened_by"] == "ines"
    for place in (installation.home, installation.settings.runtime):
        for path in place.rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                data += b"".join(_decoded(data)) if path.name.startswith("seal-") else b""
                assert token.encode() not in data, path


def _decoded(data: bytes) -> list[bytes]:
    """What a seal states."""
    return [base64.b64decode(json.loads(data)["payload"])]


def _words_of_processes(do: Callable[[], object]) -> str:
    """The command lines of all processes, looked at again and again while something is done."""
    over, found = threading.Event(), set[str]()

    def look() -> None:
        while not over.wait(0.1):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    found.add(entry.read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        do()
    finally:
        over.set()
        watcher.join()
    return "\n".join(found)


def test_a_run_that_observes_yields_no_plan(installation: Installation) -> None:
    installation.runbook("sandbox", "up", "crypto", "--no-monitoring")
    installation.runbook("sandbox", "break", "var-breach/single-symbol", "--seed", "5")
    told = installation.json("run", "var-breach", "--platform", "crypto", "--mode", "observe")
    assert told["verdict"]["confirmed"] is True
    assert told["verdict"]["plan"] is None
    assert installation.show(told["incident"])["plans"] == []
