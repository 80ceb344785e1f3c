"""Who tampers with intent: what hangs a reader, drives a terminal, or lies where nobody looked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.rows import dict_row

from opslib import store
from opslib.canonical import canonical, digest
from opslib.cli import main
from opslib.errors import NotFound, RecordError
from opslib.record import archive, archived, journal, signing
from opslib.record.seal import seal
from opslib.record.verify import Report, verify
from opslib.settings import Settings
from opslib.store import embedded
from tests.record.test_seal import INCIDENT, finish_run, note, written

FOLDER = f"2026-11-20/{INCIDENT}"


@pytest.fixture
def home(desk: Settings, run_id: int) -> Path:
    """A home with one sealed incident, a page in it, and two seals."""
    (desk.home / "README.md").write_text("# Records\n")
    written(desk, run_id, "01-var-breach.html", b"<p>VaR is 2.3 %</p>")
    finish_run(desk, run_id)
    seal(desk, INCIDENT)
    note(desk, "acknowledged")
    seal(desk, INCIDENT)
    assert verify(desk.home).ok
    return desk.home


@contextmanager
def soon(within_s: int = 60) -> Iterator[None]:
    """What waits for something that never comes fails."""

    def late(_signal: int, _frame: object) -> None:
        raise AssertionError(f"it took more than {within_s} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(within_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def named(report: Report) -> dict[str, str]:
    """Reason by file."""
    problems = [*report.log, *(problem for one in report.incidents for problem in one.problems)]
    return {problem.file: problem.reason for problem in problems}


def everything(home: Path) -> Iterator[Path]:
    """Every file that a seal or the checkpoint covers."""
    yield from (path for path in home.rglob("*") if path.is_file() and ".state" not in path.parts)


def zeros(path: Path) -> None:
    """A file that takes no room and has more bytes than a memory."""
    path.touch()
    os.truncate(path, 1 << 42)


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, zeros, lambda path: path.symlink_to("/dev/null"), Path.mkdir],
    ids=["pipe", "huge", "link", "dir"],
)
def test_nothing_keeps_verify_waiting(home: Path, tmp_path: Path, make: Callable[[Path], object]) -> None:
    for path in everything(home):
        kept = path.rename(tmp_path / "kept")
        make(path)
        with soon():
            report = verify(home)
        assert path.relative_to(home).as_posix() in named(report), report.document()
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()
        kept.rename(path)
    assert verify(home).ok


def test_a_log_that_is_no_folder_is_told(home: Path, tmp_path: Path) -> None:
    (home / "log").rename(tmp_path / "log")
    os.mkfifo(home / "log")
    with soon():
        assert "log" in named(verify(home))
    (home / "log").unlink()
    (home / "log").symlink_to(tmp_path / "log")
    for incident in (None, INCIDENT):
        assert named(verify(home, incident)) == {"log": "added: it is a link"}


def test_a_day_that_is_a_link_is_told_of_one_incident_too(home: Path, tmp_path: Path) -> None:
    (home / "2026-11-20").rename(tmp_path / "elsewhere")
    (home / "2026-11-20").symlink_to(tmp_path / "elsewhere")
    assert [one.state for one in verify(home, INCIDENT).incidents] == ["missing"]


def test_the_own_file_of_a_home_that_was_made_executable_is_named(home: Path) -> None:
    (home / "README.md").chmod(0o755)
    assert named(verify(home)) == {"README.md": "altered: it was made executable"}


@pytest.mark.parametrize(
    "closed", [".", "2026-11-20", FOLDER, f"{FOLDER}/journal.jsonl", f"{FOLDER}/01-var-breach.html"]
)
def test_what_cannot_be_read_is_told_without_a_traceback(home: Path, closed: str) -> None:
    place = Path(tempfile.mkdtemp())  # tmp_path is closed to other users
    place.chmod(0o755)
    copy = Path(shutil.copytree(home, place / "home", ignore=shutil.ignore_patterns(".state")))
    (copy / "2026-11-20" / "INC-2026-000002").mkdir()
    (copy / closed).chmod(0o311 if (copy / closed).is_dir() else 0)
    assert "it cannot be read" in as_nobody(lambda: named(verify(copy))[closed])
    (copy / closed).chmod(0o755)


def as_nobody(look: Callable[[], str]) -> str:
    """What somebody sees who is not root, whom nothing is closed to."""
    if os.getuid() != 0:
        return look()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(writing, look().encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()


def test_a_name_drives_no_terminal_and_pretends_to_be_no_line(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    (home / FOLDER / "a\nverified: 1 intact; the log is whole").touch()
    (home / FOLDER / "\x1b[2Jb").touch()
    Path(os.fsdecode(os.fsencode(home / FOLDER) + b"/\xff\xfe")).touch()
    for command in ("verify", "replay"):
        with pytest.raises(SystemExit) as ended:
            main([command, INCIDENT])
        assert ended.value.code == 1
        shown = "".join(capsys.readouterr())
        assert not any(line.startswith("verified") for line in shown.splitlines())
        assert "\x1b" not in shown
        assert f"{FOLDER}/\\x1b[2Jb: added: no seal lists it" in shown
        assert f"{FOLDER}/\\udcff\\udcfe: added: no seal lists it" in shown


@pytest.mark.parametrize("sealed", [True, False])
def test_a_second_folder_of_an_incident_is_named_and_not_read(home: Path, sealed: bool) -> None:
    other = home / "2026-11-21" / INCIDENT
    shutil.copytree(home / FOLDER, other)
    for path in [*other.glob("seal-*")] if not sealed else []:
        path.unlink()
    report = verify(home, INCIDENT)
    assert [one.state for one in report.incidents] == ["intact", "altered"]
    assert "added: this incident has its record in another folder" in named(report).values()
    with pytest.raises(RecordError, match="is altered; what was altered proves nothing"):
        archived.checked(home, INCIDENT)
    with pytest.raises(RecordError, match="has several folders"):
        archived.read(home, INCIDENT)


@pytest.mark.parametrize("field", ["actor", "at", "kind"])
def test_a_line_whose_words_are_none_is_named(home: Path, field: str) -> None:
    path = home / FOLDER / "journal.jsonl"
    data = path.read_bytes()
    last = json.loads(data.splitlines()[-1])
    more = {**last, "seq": last["seq"] + 1, "prev": digest(data.splitlines()[-1]), field: 1}
    path.write_bytes(data + canonical(more) + b"\n")
    assert named(verify(home)) == {f"{FOLDER}/journal.jsonl": "altered: it is no journal line as it is written"}


def test_lines_that_the_owner_of_the_database_rewrote_are_caught_by_the_seals_before(
    desk: Settings, home: Path, server: embedded.Server
) -> None:
    """The signer believes the database, so it writes the file anew and seals it."""
    name = os.environ["RUNBOOK_DATABASE_URL"].rpartition("/")[2].partition("?")[0]
    with psycopg.connect(server.url("owner", name), row_factory=dict_row) as connection:
        rows = connection.execute(
            "SELECT seq, line FROM journal WHERE incident = %s ORDER BY seq", (INCIDENT,)
        ).fetchall()
        head = ""
        for trigger in ("DISABLE", "ENABLE"):
            connection.execute(f"ALTER TABLE journal {trigger} TRIGGER USER")
            for row in rows if trigger == "DISABLE" else []:
                entry = {**json.loads(row["line"]), "prev": head, "actor": "nobody"}
                line = canonical(entry)
                head = digest(line)
                facts = (line.decode(), head, INCIDENT, row["seq"])
                connection.execute("UPDATE journal SET line = %s, sha256 = %s WHERE incident = %s AND seq = %s", facts)
        connection.execute("UPDATE incidents SET journal_head = %s WHERE id = %s", (head, INCIDENT))
    note(desk, "nothing happened")
    seal(desk, INCIDENT)
    [report] = verify(home).incidents
    [problem] = report.problems
    assert (report.state, problem.file) == ("altered", f"{FOLDER}/journal.jsonl")
    assert problem.reason == "altered: its lines are not those that seal 1 states"


def test_a_home_without_a_log_is_not_verified(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert named(verify(tmp_path / "empty")) == {"log": "missing: there is no log, so nothing was sealed here"}
    report = verify(tmp_path / "empty", trust=home / "log" / "signer.pub")
    assert named(report) == {"log": "missing: the log of this home is gone"}


@pytest.mark.parametrize(
    "facts", [{"size": "x"}, {"size": -1}, {"home": []}, {"previous": 1}, {"previous": {"size": None, "root": ""}}]
)
def test_a_checkpoint_of_another_shape_is_named(home: Path, facts: dict[str, object]) -> None:
    key = Ed25519PrivateKey.generate()
    place = home / "log"
    told = json.loads((place / "checkpoint.json").read_bytes())
    told = {name: told[name] for name in ("at", "home", "previous", "root", "size")}
    (place / "signer.pub").write_bytes(signing.public_pem(key.public_key()))
    (place / "checkpoint.json").write_bytes(signing.sign_checkpoint({**told, **facts}, key))
    assert named(verify(home))["log/checkpoint.json"] == "altered: it is no checkpoint of ours"


@pytest.mark.parametrize("folder", ["/", "../..", "2026-11-20", f"2026-11-20/{'1' * 300}"])
def test_a_leaf_leads_out_of_no_home(home: Path, folder: str) -> None:
    path = home / "log" / "leaves.jsonl"
    leaf = json.loads(path.read_bytes().splitlines()[-1])
    path.write_bytes(path.read_bytes() + canonical({**leaf, "folder": folder, "index": leaf["index"] + 1}) + b"\n")
    with soon():
        report = verify(home)
    assert "log/leaves.jsonl" in named(report)
    assert [one.folder for one in report.incidents] == [FOLDER]


def test_what_a_part_is_to_become_is_never_intact(home: Path) -> None:
    for name in ("journal.jsonl", "01-var-breach.html", "seal-0003.json"):
        path = home / FOLDER / f".{name}.0123456789ab.part"
        path.touch()
        assert archive.PART.fullmatch(path.name)
        assert not verify(home).ok
        path.unlink()


@pytest.mark.parametrize(
    "name", ["evidence/E009-redis-text.json", "01-var-breach.cell-09.txt.gz", "01-var-breach.ipynb"]
)
def test_a_file_with_the_name_of_a_runs_own_is_not_taken_into_the_record_later(
    desk: Settings, home: Path, name: str
) -> None:
    planted = home / FOLDER / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_bytes(b"{}")
    for turn in range(2):
        note(desk, f"turn {turn}")
        seal(desk, INCIDENT)
        assert named(verify(home)) == {f"{FOLDER}/{name}": "added: no seal lists it"}


def test_what_a_crash_kept_from_the_journal_is_taken_into_the_record(desk: Settings, run_id: int) -> None:
    with store.transaction(desk) as connection:
        journal.append(connection, INCIDENT, "run-started", {"run": run_id, "number": 1}, actor="worker")
    seal(desk, INCIDENT)
    evidence = desk.home / FOLDER / "evidence" / "E001-redis-text.json"
    evidence.parent.mkdir()
    evidence.write_bytes(b"{}")
    (desk.home / FOLDER / "01-var-breach.ipynb").write_bytes(b"{}")
    finish_run(desk, run_id)
    seal(desk, INCIDENT)
    (desk.home / FOLDER / "01-var-breach.html").write_bytes(b"<p>closed late</p>")
    note(desk, "more")
    seal(desk, INCIDENT)
    assert verify(desk.home).ok


def test_a_verdict_written_after_the_seal_is_not_replayed(desk: Settings, run_id: int) -> None:
    """As `open` says: nothing vouches for what came after the last seal."""
    facts = {"run": run_id, "number": 1, "runbook": "var-breach", "incident": INCIDENT, "parameters": {}}
    with store.transaction(desk) as connection:
        journal.append(connection, INCIDENT, "run-started", facts, actor="worker")
    finish_run(desk, run_id)
    written(desk, run_id, "01-var-breach.ipynb", b"{}")
    seal(desk, INCIDENT)
    archived.require_sealed(archived.checked(desk.home, INCIDENT), archived.read(desk.home, INCIDENT))
    path = desk.home / FOLDER / "journal.jsonl"
    data = path.read_bytes()
    last = json.loads(data.splitlines()[-1])
    forged = {"kind": "verdict", "body": {"run": run_id, "verdict": {"summary": "All is well."}}}
    more = {**last, "seq": last["seq"] + 1, "prev": digest(data.splitlines()[-1]), **forged}
    path.write_bytes(data + canonical(more) + b"\n")
    report, runs = archived.checked(desk.home, INCIDENT), archived.read(desk.home, INCIDENT)
    assert (report.state, report.sealed, report.entries) == ("open", last["seq"], last["seq"] + 1)
    with pytest.raises(NotFound, match=f"run 1 of {INCIDENT} is not sealed yet"):
        archived.require_sealed(report, runs)
