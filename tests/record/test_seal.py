"""Sealing: by a signer started for it, by the one that runs, and after crashes between the steps."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from opslib import store
from opslib.canonical import digest
from opslib.errors import NotFound, RecordError
from opslib.record import journal, merkle, signing
from opslib.record.client import environment
from opslib.record.seal import seal
from opslib.record.verify import verify
from opslib.runs import queue
from opslib.settings import Settings
from opslib.store import processes

INCIDENT = "INC-2026-000001"


@contextmanager
def signer(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A signer as `runbook serve` has one."""
    process = subprocess.Popen([sys.executable, "-m", "opslib.record.signer"], env=environment(settings), cwd="/")
    try:
        deadline = time.monotonic() + 20
        with store.connect(settings, autocommit=True) as connection:
            while not processes.alive(connection, "signer") and time.monotonic() < deadline:
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def note(settings: Settings, text: str, incident: str = INCIDENT) -> None:
    with store.transaction(settings) as connection:
        journal.append(connection, incident, "note", {"text": text}, actor="somebody", settings=settings)


def finish_run(settings: Settings, run: int) -> None:
    with store.transaction(settings) as connection:
        journal.append(connection, INCIDENT, "run-ended", {"run": run, "state": "succeeded"}, actor="worker")
        connection.execute("UPDATE runs SET state = 'succeeded', ended_at = now() WHERE id = %s", (run,))


def statement(path: Path) -> dict:
    return json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))


def leaves(settings: Settings) -> list[dict]:
    return [json.loads(line) for line in (settings.home / "log" / "leaves.jsonl").read_text().splitlines()]


def test_a_run_that_never_began_has_no_files(desk: Settings, run_id: int) -> None:
    note(desk, "one")
    with store.transaction(desk) as connection:
        row = connection.execute("UPDATE runs SET state = 'waiting' WHERE id = %s RETURNING *", (run_id,)).fetchone()
        assert row is not None
        journal.append(connection, INCIDENT, "run-queued", {"run": run_id, "number": row["number"]}, actor="ann")
        queue.end_unbegun(connection, INCIDENT, row, "cancelled", "ann cancelled it", actor="ann", settings=desk)
    page = desk.home / "2026-11-20" / INCIDENT / "01-var-breach.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<p>All is well.</p>")
    path = seal(desk, INCIDENT)
    assert {item["name"] for item in statement(path)["subject"]} == {"journal.jsonl"}
    with store.transaction(desk) as connection:
        told = [entry["body"] for entry in journal.entries(connection, INCIDENT) if entry["kind"] == "record-altered"]
    assert told == [{"file": page.name, "expected": None, "found": digest(page.read_bytes())}]


def test_a_seal_names_every_file_and_what_it_came_from(desk: Settings, run_id: int) -> None:
    note(desk, "one")
    finish_run(desk, run_id)
    folder = desk.home / "2026-11-20" / INCIDENT
    (folder / "evidence").mkdir(parents=True)
    (folder / "01-var-breach.ipynb").write_text("{}")
    path = seal(desk, INCIDENT)
    document = statement(path)
    assert path == folder / "seal-0001.json"
    assert {item["name"] for item in document["subject"]} == {"journal.jsonl", "01-var-breach.ipynb"}
    predicate = document["predicate"]
    assert predicate["journal"]["seq"] == 3  # the third: that the notebook was found, which nobody had told of
    assert predicate["journal"]["head"] == digest((folder / "journal.jsonl").read_bytes().splitlines()[-1])
    assert predicate["runs"][0]["state"] == "succeeded"
    assert predicate["policy"]["sha256"] == digest(b"standing_approvals: []\n")
    assert predicate["lock"]["sha256"] is not None
    assert (desk.state / "keys" / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert leaves(desk)[0]["sha256"] == digest(path.read_bytes())
    note(desk, "two")
    second = seal(desk, INCIDENT)
    assert statement(second)["predicate"]["previous"] == digest(path.read_bytes())
    assert seal(desk, INCIDENT) == second  # nothing new: no new seal
    assert not (folder / "evidence").exists()  # it was empty
    assert verify(desk.home).ok


def test_what_a_run_is_still_writing_is_left_to_the_next_seal(desk: Settings, run_id: int) -> None:
    with store.transaction(desk) as connection:
        body = {"run": run_id, "number": 1, "runbook": "var-breach"}
        journal.append(connection, INCIDENT, "run-started", body, actor="worker")
    folder = desk.home / "2026-11-20" / INCIDENT
    folder.mkdir(parents=True)
    (folder / "01-var-breach.ipynb").write_text("{}")
    assert [item["name"] for item in statement(seal(desk, INCIDENT))["subject"]] == ["journal.jsonl"]
    report = verify(desk.home)
    assert (report.ok, report.incidents[0].state) == (False, "open")
    finish_run(desk, run_id)
    seal(desk, INCIDENT)
    assert verify(desk.home).ok


def test_the_running_signer_seals_what_is_quiet_and_what_is_asked_for(desk: Settings, run_id: int) -> None:
    with signer(desk):
        finish_run(desk, run_id)
        assert seal(desk, INCIDENT).name == "seal-0001.json"
        with store.transaction(desk) as connection:
            connection.execute("UPDATE runs SET ended_at = now() - interval '1 hour'")
        note(desk, "afterwards")
        deadline = time.monotonic() + 20
        while len(leaves(desk)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(leaves(desk)) == 2
    assert verify(desk.home).ok


def test_a_crash_between_the_steps_is_made_good(desk: Settings, run_id: int) -> None:
    finish_run(desk, run_id)
    folder = desk.home / "2026-11-20" / INCIDENT
    folder.mkdir(parents=True)
    (folder / "seal-0001.json").write_bytes(b"half a se")  # the file was written, the leaf was not
    seal(desk, INCIDENT)
    assert verify(desk.home).ok
    whole = (desk.home / "log" / "leaves.jsonl").read_bytes()
    note(desk, "more")
    seal(desk, INCIDENT)
    (desk.home / "log" / "leaves.jsonl").write_bytes(whole + b'{"at":')  # the leaf is in the database, torn in the file
    (folder / "journal.jsonl").write_bytes((folder / "journal.jsonl").read_bytes()[:-3])
    assert not verify(desk.home).ok
    note(desk, "and more")
    seal(desk, INCIDENT)
    assert len(leaves(desk)) == 3
    assert verify(desk.home).ok


def test_killed_signer_leaves_one_leaf_a_seal(desk: Settings, run_id: int) -> None:
    finish_run(desk, run_id)
    for turn in range(6):
        note(desk, f"turn {turn}")
        process = subprocess.Popen(
            [sys.executable, "-m", "opslib.record.signer", "--once", INCIDENT], env=environment(desk), cwd="/"
        )
        time.sleep(0.25 + 0.12 * turn)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    note(desk, "at last")
    seal(desk, INCIDENT)
    names = [leaf["seal"] for leaf in leaves(desk)]
    assert names == [f"seal-{number:04d}.json" for number in range(1, len(names) + 1)]
    assert verify(desk.home).ok


def test_a_key_that_is_gone_or_foreign_is_told(desk: Settings, run_id: int) -> None:
    finish_run(desk, run_id)
    seal(desk, INCIDENT)
    note(desk, "more")
    private = desk.state / "keys" / "signing.pem"
    kept = private.read_bytes()
    private.unlink()
    with pytest.raises(RecordError, match="restore it from its backup"):
        seal(desk, INCIDENT)
    private.write_bytes(kept)
    assert seal(desk, INCIDENT).name == "seal-0002.json"


def test_there_must_be_something_to_seal(desk: Settings, run_id: int) -> None:
    with pytest.raises(RecordError, match="has no journal yet"):
        seal(desk, INCIDENT)
    with pytest.raises(NotFound, match="there is no incident INC-1999-000009"):
        seal(desk, "INC-1999-000009")


def test_merkle_root_is_that_of_rfc_6962() -> None:
    """The values of the reference implementation's own tests (certificate-transparency, merkle_tree_test)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    hashes = [merkle.leaf_hash(bytes.fromhex(text)) for text in inputs]
    assert [merkle.root(hashes[: size + 1]).hex() for size in range(8)] == roots
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def entries_of(settings: Settings, kind: str) -> list[dict]:
    with store.connect(settings) as connection:
        return [entry["body"] for entry in journal.entries(connection, INCIDENT) if entry["kind"] == kind]


def written(settings: Settings, run: int, name: str, data: bytes) -> Path:
    """A file of the record as a run leaves it: written, and told of."""
    path = settings.home / "2026-11-20" / INCIDENT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with store.transaction(settings) as connection:
        body = {"run": run, "path": name, "sha256": digest(data)}
        journal.append(connection, INCIDENT, "file", body, actor="worker", settings=settings)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("sealed_before", [True, False])
@pytest.mark.parametrize("change", ["altered", "missing", "added"])
def test_sealing_again_hides_no_tampering(desk: Settings, run_id: int, change: str, sealed_before: bool) -> None:
    page = written(desk, run_id, "01-var-breach.html", b"<p>VaR is 2.3 %</p>")
    finish_run(desk, run_id)
    if sealed_before:
        seal(desk, INCIDENT)
        assert verify(desk.home).ok
    if change == "altered":
        page.write_bytes(b"<p>VaR is 0.3 %</p>")
    if change == "missing":
        page.unlink()
    if change == "added":
        page = page.with_name("02-all-is-well.html")
        page.write_bytes(b"<p>All is well</p>")
    for turn in range(3):
        note(desk, f"turn {turn}")
        seal(desk, INCIDENT)
        report = verify(desk.home)
        assert not report.ok
        [problem] = report.incidents[0].problems
        assert problem.file.endswith(page.name)
        assert problem.reason.startswith(change)
    [told] = entries_of(desk, "record-altered")
    assert told["file"] == page.name
    assert told["found"] == (None if change == "missing" else digest(page.read_bytes()))
    if change == "added":
        page.unlink()
    else:
        page.write_bytes(b"<p>VaR is 2.3 %</p>")
    assert verify(desk.home).ok


@pytest.mark.slow
def test_a_log_that_was_tampered_with_is_restored_and_on_the_record(desk: Settings, run_id: int) -> None:
    finish_run(desk, run_id)
    for turn in range(2):
        note(desk, f"turn {turn}")
        seal(desk, INCIDENT)
    log = desk.home / "log"
    whole = (log / "leaves.jsonl").read_bytes()
    changes = {
        "leaves.jsonl": [whole.splitlines(keepends=True)[0], whole.replace(b"0", b"1", 1), whole + b"more\n", None],
        "checkpoint.json": [b"{}", None],
        "signer.pub": [None],
    }
    for name, all_data in changes.items():
        for data in all_data:
            if data is None:
                (log / name).unlink()
            else:
                (log / name).write_bytes(data)
            assert not verify(desk.home).ok
            before = len(entries_of(desk, "record-restored"))
            note(desk, "more")
            seal(desk, INCIDENT)
            told = entries_of(desk, "record-restored")[before:]
            assert [(body["file"], body["found"]) for body in told] == [(f"log/{name}", data and digest(data))]
            assert verify(desk.home).ok


def test_a_home_of_another_database_is_refused(desk: Settings, run_id: int) -> None:
    finish_run(desk, run_id)
    seal(desk, INCIDENT)
    key = signing.read_private(desk.state / "keys" / "signing.pem")
    place = desk.home / "log"
    facts = signing.open_checkpoint((place / "checkpoint.json").read_bytes(), key.public_key())
    (place / "leaves.jsonl").write_bytes((place / "leaves.jsonl").read_bytes() + b"one that this database lacks\n")
    (place / "checkpoint.json").write_bytes(signing.sign_checkpoint({**facts, "size": 2}, key))
    note(desk, "more")
    with pytest.raises(RecordError, match="this home belongs to another database"):
        seal(desk, INCIDENT)
