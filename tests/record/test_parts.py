"""What killed processes leave half written: it is removed, and nothing that is being written ever is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opslib import store
from opslib.record import archive, journal
from opslib.record.seal import seal
from opslib.record.verify import verify
from opslib.settings import Settings
from tests.record.test_seal import INCIDENT, finish_run, note, signer
from tests.runs.support import wait_for

_KILLED = """
import os, signal, sys
from pathlib import Path
import nbformat
from opslib.record import archive
from opslib.runs.notebook import ExecutedNotebook
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[1])
if path.suffix == ".ipynb":
    ExecutedNotebook(nbformat.v4.new_notebook(), path).save(force=True)
archive.write_atomic(path, b"half")
"""


def sealed(desk: Settings, run: int) -> Path:
    """The folder of an incident whose run has ended and that is sealed."""
    finish_run(desk, run)
    return seal(desk, INCIDENT).parent


def killed_while_writing(path: Path) -> Path:
    """A process that is killed in the middle of a write; what it leaves."""
    before = set(path.parent.iterdir())
    assert subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False).returncode == -9
    (left,) = set(path.parent.iterdir()) - before
    assert archive.PART.fullmatch(left.name)
    return left


@pytest.mark.parametrize(
    "name", ["journal.jsonl", "evidence/E001-redis.info.json", "seal-0002.json", "01-var-breach.ipynb"]
)
def test_a_seal_removes_what_a_killed_process_left(desk: Settings, run_id: int, name: str) -> None:
    incident = sealed(desk, run_id)
    (incident / name).parent.mkdir(exist_ok=True)
    left = killed_while_writing(incident / name)
    assert [problem.file for one in verify(desk.home).incidents for problem in one.problems]
    note(desk, "second")
    seal(desk, INCIDENT)
    assert not left.exists()
    assert verify(desk.home).ok


@pytest.mark.parametrize("folder", ["log", "incident"])
def test_a_signer_removes_what_is_left_where_nothing_is_to_be_sealed(desk: Settings, run_id: int, folder: str) -> None:
    incident = sealed(desk, run_id)
    left = killed_while_writing((incident if folder == "incident" else desk.home / "log") / "leaves.jsonl")
    assert not verify(desk.home).ok
    with signer(desk):
        wait_for(lambda: not left.exists())
        assert verify(desk.home).ok


@pytest.mark.parametrize("name", ["01-var-breach.ipynb", "evidence/E001-redis.info.json"])
def test_what_the_killed_process_of_a_run_leaves_is_not_yet_tampering(desk: Settings, run_id: int, name: str) -> None:
    with store.transaction(desk) as connection:
        journal.append(connection, INCIDENT, "run-started", {"run": run_id, "number": 1}, actor="worker")
    incident = seal(desk, INCIDENT).parent
    (incident / name).parent.mkdir(exist_ok=True)
    killed_while_writing(incident / name)
    (report,) = verify(desk.home).incidents
    assert (report.state, [problem.reason for problem in report.problems]) == (
        "open",
        ["left half written by a killed process"],
    )
    finish_run(desk, run_id)
    seal(desk, INCIDENT)
    (incident / name).parent.mkdir(exist_ok=True)
    killed_while_writing(incident / name)
    (report,) = verify(desk.home).incidents
    assert (report.state, [problem.reason for problem in report.problems]) == ("altered", ["added: no seal lists it"])


def test_what_is_being_written_is_no_tampering_and_stays(
    desk: Settings, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = sealed(desk, run_id)
    begun, may_end = threading.Event(), threading.Event()
    sync = archive.os.fsync

    def slow(descriptor: int) -> None:
        begun.set()
        may_end.wait(30)
        sync(descriptor)

    monkeypatch.setattr(archive.os, "fsync", slow)
    writer = threading.Thread(target=archive.write_atomic, args=(incident / "seal-0002.json", b"{}"))
    writer.start()
    try:
        assert begun.wait(30)
        archive.remove_parts(incident)
        (report,) = verify(desk.home).incidents
    finally:
        may_end.set()
        writer.join()
    assert report.state == "open"
    assert [problem.reason for problem in report.problems] == ["being written"]
    assert (incident / "seal-0002.json").read_bytes() == b"{}"


def test_no_write_is_lost_to_who_removes(tmp_path: Path) -> None:
    ended = threading.Event()

    def write(writer: int) -> None:
        for number in range(100):
            archive.write_atomic(tmp_path / f"{writer}-{number}", b"whole")

    def remove() -> None:
        while not ended.is_set():
            archive.remove_parts(tmp_path)

    remover = threading.Thread(target=remove)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for one in (remover, *writers):
        one.start()
    for one in writers:
        one.join()
    ended.set()
    remover.join()
    assert len(list(tmp_path.iterdir())) == 300
    assert all(path.read_bytes() == b"whole" for path in tmp_path.iterdir())


def test_a_link_with_the_name_of_a_part_is_not_followed(desk: Settings, run_id: int, tmp_path: Path) -> None:
    incident = sealed(desk, run_id)
    target = tmp_path / "elsewhere"
    target.write_text("kept")
    (incident / ".journal.jsonl.0123456789ab.part").symlink_to(target)
    assert not archive.being_written(incident / ".journal.jsonl.0123456789ab.part")
    (report,) = verify(desk.home).incidents
    assert report.state == "altered"
    archive.remove_parts(incident)
    assert target.read_text() == "kept"
