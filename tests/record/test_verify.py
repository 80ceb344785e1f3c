"""The offline verifier, on a real small record: whatever is changed is caught, with the right file named."""

from __future__ import annotations

import base64
import json
import random
import runpy
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opslib import store
from opslib.canonical import file_digest
from opslib.cli import main
from opslib.errors import NotFound, RecordError
from opslib.ops import Ops
from opslib.record import archive, evidence, journal, signing
from opslib.record.client import running
from opslib.record.seal import seal
from opslib.record.verify import Report, verify
from opslib.settings import PROJECT, Settings
from opslib.store import embedded
from tests.record.conftest import declare

SERVERS = runpy.run_path(str(Path(__file__).parent.parent / "probes" / "servers.py"))
FIRST, SECOND = "INC-2026-000001", "INC-2026-000002"
DATE = "2026-11-20"


def note(settings: Settings, incident: str, text: str) -> None:
    with store.transaction(settings) as connection:
        journal.append(connection, incident, "note", {"text": text}, actor="somebody", settings=settings)


class Original(NamedTuple):
    """A home with three seals, and the same with one seal more; without a database."""

    before: Path
    after: Path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, server: embedded.Server) -> Original:
    """Two sealed incidents, one with evidence, a notebook, a page and two seals; made by recorder and signer."""
    place = tmp_path_factory.mktemp("verify")
    with SERVERS["http_server"]() as api, pytest.MonkeyPatch.context() as patch:
        params = place / "params"
        (params / "platforms").mkdir(parents=True)
        (params / "platforms" / "desk.yaml").write_text(
            f"title: Desk\nenvironment: staging\nendpoints: {{api: '{api}'}}\n"
        )
        levels = "".join(f"  L{level}: {{who: a, how: b, within: c}}\n" for level in range(1, 5))
        (params / "contacts.yaml").write_text(f"levels:\n{levels}")
        maintenance, name = server.url("owner", "postgres"), f"verify_{secrets.token_hex(6)}"
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {embedded.DATABASE}")
        patch.setenv("RUNBOOK_DATABASE_URL", server.url("worker", name))
        patch.setenv("RUNBOOK_HOME", str(place / "home"))
        patch.setenv("RUNBOOK_PARAMS", str(params))
        declare(place / "notebooks", reads=("http.json", "http.metrics"))
        patch.setenv("RUNBOOK_NOTEBOOKS", str(place / "notebooks"))
        settings = Settings()
        settings.make_home()
        _make(settings)
        shutil.copytree(settings.home, place / "before")
        note(settings, FIRST, "more")
        seal(settings, FIRST)
        shutil.copytree(settings.home, place / "after")
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    return Original(place / "before", place / "after")


def _make(settings: Settings) -> None:
    with store.transaction(settings) as connection:
        for incident in (FIRST, SECOND):
            connection.execute(
                "INSERT INTO incidents (id, platform, runbook, opened_by, folder) VALUES (%s, 'desk', 'x', 'y', %s)",
                (incident, f"{DATE}/{incident}"),
            )
        row = connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, state) "
            "VALUES (%s, 1, 'var-breach', 'desk', 'plan', 'operator', 'running') RETURNING id",
            (FIRST,),
        ).fetchone()
        assert row is not None
    subject = {"platform": "desk", "runbook": "var-breach", "mode": "plan", "parameters": {}, "alert": None}
    with running(settings) as recorder, recorder.session(incident=FIRST, run=row["id"], **subject) as session:
        ops = Ops(session.socket_path)
        ops.http.metrics()
        ops.http.json("/api/status")
        ops.look("what is not there", ops.http.json, "/absent")
        ops.close()
    folder = settings.home / DATE / FIRST
    archive.write_atomic(folder / "01-var-breach.ipynb", b'{"cells": []}')
    archive.write_atomic(folder / "01-var-breach.html", "<p>VaR — fine</p>".encode())
    (settings.home / "README.md").write_text("# Records\n")
    with store.transaction(settings) as connection:
        journal.append(connection, FIRST, "run-ended", {"run": row["id"], "state": "succeeded"}, actor="worker")
        for name in ("01-var-breach.ipynb", "01-var-breach.html"):
            facts = {"run": row["id"], "path": name, "sha256": file_digest(folder / name)}
            journal.append(connection, FIRST, "file", facts, actor="worker")
        connection.execute("UPDATE runs SET state = 'succeeded'")
    seal(settings, FIRST)
    note(settings, SECOND, "another incident")
    seal(settings, SECOND)
    note(settings, FIRST, "acknowledged, so to speak")
    seal(settings, FIRST)


@pytest.fixture
def home(original: Original, tmp_path: Path) -> Path:
    """A copy of the home with three seals; the database it came from no longer runs."""
    shutil.copytree(original.before, tmp_path / "home")
    report = verify(tmp_path / "home")
    assert report.ok, report.document()
    return tmp_path / "home"


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


def test_a_record_that_is_gone_or_elsewhere_is_missing(home: Path, tmp_path: Path) -> None:
    shutil.move(home / DATE / SECOND, tmp_path / "away")
    report = verify(home)
    assert [(item.incident, item.state) for item in report.incidents] == [(FIRST, "intact"), (SECOND, "missing")]
    assert "the log holds 1 seal of this incident" in report.incidents[1].problems[0].reason
    assert verify(home, FIRST).ok
    shutil.move(tmp_path / "away", home / DATE / "INC-2026-000003")
    assert {item.state for item in verify(home).incidents} == {"intact", "missing", "altered"}
    shutil.rmtree(home / DATE)
    assert [item.state for item in verify(home).incidents] == ["missing", "missing"]


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


def line_added(folder: Path, kind: str, body: dict[str, Any]) -> None:
    """A line that follows the journal's last one as it should."""
    data = (folder / "journal.jsonl").read_bytes()
    before = data.splitlines()[-1]
    last = json.loads(before)
    more = {**last, "seq": last["seq"] + 1, "prev": journal.digest(before), "kind": kind, "body": body}
    (folder / "journal.jsonl").write_bytes(data + journal.canonical(more) + b"\n")


def test_files_swapped_between_incidents_are_named(home: Path) -> None:
    first, second = home / DATE / FIRST, home / DATE / SECOND
    for name in ("journal.jsonl", "seal-0001.json"):
        mine, others = (first / name).read_bytes(), (second / name).read_bytes()
        (first / name).write_bytes(others)
        (second / name).write_bytes(mine)
        caught(home, first / name)
        caught(home, second / name)
        (first / name).write_bytes(mine)
        (second / name).write_bytes(others)
    assert verify(home).ok


def test_the_log_rolled_back_by_one_seal(original: Original, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(original.after, home)
    assert verify(home).ok
    shutil.rmtree(home / "log")
    shutil.copytree(original.before / "log", home / "log")
    caught(home, home / DATE / FIRST / "seal-0003.json")
    # With seal and journal rolled back too, only a checkpoint from outside can tell.
    (home / DATE / FIRST / "seal-0003.json").unlink()
    path = home / DATE / FIRST / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert verify(home).ok
    report = verify(home, checkpoint=original.after / "log" / "checkpoint.json")
    assert not report.ok
    assert report.log[0].reason == "cut: a checkpoint from outside knows 4 seals; 3 are left"


def test_an_earlier_checkpoint_is_continued(original: Original, tmp_path: Path) -> None:
    outside = tmp_path / "checkpoint.json"
    shutil.copy(original.before / "log" / "checkpoint.json", outside)
    assert verify(original.after, checkpoint=outside).ok
    outside.write_bytes(outside.read_bytes().replace(b'"size":3', b'"size":2'))
    assert "does not hold: its signature does not hold" in verify(original.after, checkpoint=outside).log[0].reason


def test_another_key_is_not_trusted(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.pub"
    shutil.copy(home / "log" / "signer.pub", own)
    assert verify(home, trust=own).ok
    foreign = signing.public_pem(Ed25519PrivateKey.generate().public_key())
    (home / "log" / "signer.pub").write_bytes(foreign)
    assert "log/signer.pub" in named(verify(home, trust=own))
    assert {item.state for item in verify(home, trust=own).incidents} == {"intact"}
    assert not verify(home).ok
    (tmp_path / "no.pub").write_text("no key")
    with pytest.raises(RecordError, match="is no public key to trust"):
        verify(home, trust=tmp_path / "no.pub")


def test_the_whole_log_gone_is_told(home: Path) -> None:
    shutil.rmtree(home / "log")
    report = verify(home)
    assert "log" in named(report)
    assert {item.state for item in report.incidents} == {"altered"}


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


def swapped(one: Path, other: Path) -> None:
    """Each has what the other had."""
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def elsewhere(path: Path) -> None:
    """A link to where it is now."""
    home = next(one for one in path.parents if one.name == "home")
    path.symlink_to(path.rename(home.with_name(f"moved-{path.name}")))


def linked(one: Path, other: Path) -> None:
    """Two names of one file."""
    other.unlink()
    other.hardlink_to(one)


def evidence_of(folder: Path) -> list[Path]:
    return sorted((folder / "evidence").iterdir())


# What is done to the folder of the first incident, and what has to be named: below that folder, or from the home (`/`).
TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "evidence swapped": (lambda at: swapped(*evidence_of(at)[:2]), "evidence"),
    "evidence of two names": (lambda at: linked(*evidence_of(at)[:2]), "evidence"),
    "evidence empty": (lambda at: evidence_of(at)[0].write_bytes(b""), "evidence"),
    "evidence elsewhere": (lambda at: elsewhere(at / "evidence"), "evidence"),
    "evidence in capitals": (lambda at: (at / "evidence").rename(at / "Evidence"), "Evidence"),
    "record elsewhere": (elsewhere, ""),
    "record twice": (lambda at: shutil.copytree(at, at.parents[1] / "2026-11-21" / FIRST), f"/2026-11-21/{FIRST}"),
    "record renamed": (lambda at: shutil.copytree(at, at.parent / "INC-2026-000003"), f"/{DATE}/INC-2026-000003"),
    "record in small letters": (lambda at: shutil.copytree(at, at.parent / FIRST.lower()), f"/{DATE}/{FIRST.lower()}"),
    "record with a line": (lambda at: shutil.copytree(at, at.parent / f"{FIRST}\n"), f"/{DATE}/{FIRST}\\n"),
    "day renamed": (lambda at: at.parent.rename(at.parents[1] / "2026-11-19"), ""),
    "day and log gone": (lambda at: [shutil.rmtree(one) for one in (at.parent, at.parents[1] / "log")], "/log"),
    "journal empty": (lambda at: (at / "journal.jsonl").write_bytes(b""), "journal.jsonl"),
    "journal in capitals": (lambda at: (at / "journal.jsonl").rename(at / "Journal.jsonl"), "Journal.jsonl"),
    "seals swapped": (lambda at: swapped(at / "seal-0001.json", at / "seal-0002.json"), "seal-0002.json"),
    "seals gone": (lambda at: [one.unlink() for one in at.glob("seal-*")], "seal-0001.json"),
    "page in capitals": (
        lambda at: (at / "01-var-breach.html").rename(at / "01-Var-Breach.html"),
        "01-Var-Breach.html",
    ),
    "page of two names": (lambda at: (at / "02-more.html").hardlink_to(at / "01-var-breach.html"), "02-more.html"),
    "a part": (lambda at: (at / ".02-more.ipynb.0123456789ab.part").touch(), ".02-more.ipynb.0123456789ab.part"),
    "log reordered": (lambda at: _turned(at.parents[1] / "log" / "leaves.jsonl"), "/log/leaves.jsonl"),
    "log empty": (lambda at: (at.parents[1] / "log" / "leaves.jsonl").write_bytes(b""), "/log/leaves.jsonl"),
}


def _turned(path: Path) -> None:
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_is_moved_swapped_linked_or_emptied_is_named(home: Path, name: str) -> None:
    folder = f"{DATE}/{FIRST}"
    tamper, expected = TAMPERINGS[name]
    tamper(home / folder)
    report = verify(home)
    assert not report.ok
    wanted = expected.removeprefix("/") if expected.startswith("/") else f"{folder}/{expected}".rstrip("/")
    assert any(one == wanted or one.startswith(f"{wanted}/") for one in named(report)), (wanted, named(report))
