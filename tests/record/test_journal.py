"""The journal: chained, redacted, capped, exported, and written on while the database is away."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from opslib import store
from opslib.canonical import canonical, digest
from opslib.errors import NotFound, ProbeError
from opslib.ops import Ops
from opslib.record import journal, spool
from opslib.record.client import running
from opslib.settings import Settings
from opslib.store import embedded

INCIDENT = "INC-2026-000001"


@pytest.fixture
def incident(settings: Settings) -> str:
    with store.transaction(settings) as connection:
        connection.execute(
            "INSERT INTO incidents (id, platform, runbook, opened_by, folder) VALUES (%s, 'p', 'r', 'o', %s)",
            (INCIDENT, f"2026-11-20/{INCIDENT}"),
        )
    return INCIDENT


def chain(settings: Settings) -> list[dict]:
    """The entries, their chain checked."""
    with store.connect(settings) as connection:
        rows = connection.execute("SELECT line, sha256 FROM journal ORDER BY seq").fetchall()
        head = connection.execute("SELECT journal_seq, journal_head FROM incidents").fetchone()
    previous = ""
    for number, row in enumerate(rows, start=1):
        entry = json.loads(row["line"])
        assert canonical(entry).decode() == row["line"]
        assert (entry["seq"], entry["prev"]) == (number, previous)
        previous = digest(row["line"].encode())
        assert previous == row["sha256"]
    assert head == {"journal_seq": len(rows), "journal_head": previous}
    return [json.loads(row["line"]) for row in rows]


def test_lines_are_chained_and_append_only(settings: Settings, incident: str) -> None:
    with store.transaction(settings) as connection:
        entry = journal.append(connection, incident, "note", {"text": "a\x00\ud800"}, actor="me", settings=settings)
        journal.append_all(connection, incident, [("note", {"n": n}) for n in range(5)], actor="me")
    assert (entry.seq, entry.kind) == (1, "note")
    assert [entry["seq"] for entry in chain(settings)] == [1, 2, 3, 4, 5, 6]
    with (
        pytest.raises(psycopg.Error, match=r"append-only|permission denied"),
        store.transaction(settings) as connection,
    ):
        connection.execute("DELETE FROM journal")


def test_writers_at_once_make_one_chain(settings: Settings, incident: str) -> None:
    def write(writer: int) -> None:
        for turn in range(10):
            journal.record(settings, incident, "note", {"writer": writer, "turn": turn}, actor=f"writer {writer}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    entries = chain(settings)
    assert len(entries) == 40
    for writer in range(4):
        turns = [entry["body"]["turn"] for entry in entries if entry["body"]["writer"] == writer]
        assert turns == list(range(10))


def test_nothing_of_a_transaction_that_fails_stays(settings: Settings, incident: str) -> None:
    def fail() -> None:
        with store.transaction(settings) as connection:
            journal.append(connection, incident, "note", {}, actor="me")
            raise ProbeError("no more")

    with pytest.raises(ProbeError, match="no more"):
        fail()
    assert chain(settings) == []


def test_large_bodies_are_cut_and_say_so(settings: Settings, incident: str) -> None:
    body = {"run": 7, "text": "x" * 300_000, "small": "kept"}
    with store.transaction(settings) as connection:
        entry = journal.append(connection, incident, "output", body, actor="worker")
    kept = json.loads(entry.line)["body"]
    assert (kept["run"], kept["small"]) == (7, "kept")
    assert kept["text"]["bytes"] == 300_002
    assert kept["text"]["sha256"] == digest(canonical("x" * 300_000))
    assert len(entry.line) < journal.CAP
    many = {str(number): "y" * 50 for number in range(20_000)}
    assert len(canonical(journal.capped(many))) <= journal.CAP


def test_export_appends_and_completes_what_a_crash_tore(settings: Settings, incident: str) -> None:
    def export() -> bytes:
        with store.transaction(settings) as connection:
            return journal.export(connection, settings, incident).read_bytes()

    journal.record(settings, incident, "note", {"text": "one"}, actor="me")
    first = export()
    journal.record(settings, incident, "note", {"text": "two"}, actor="me")
    both = export()
    assert both.startswith(first)
    assert both.count(b"\n") == 2
    path = settings.home / "2026-11-20" / incident / "journal.jsonl"
    for torn in (both[:-5], first[:10], first):
        path.write_bytes(torn)
        assert export() == both
    path.unlink()
    assert export() == both


@pytest.mark.parametrize(
    ("change", "why", "line"),
    [
        (lambda data: data.replace(b"one", b"won"), "altered", 1),
        (lambda data: data + b"more\n", "added", 3),
        (lambda data: data.splitlines(keepends=True)[0], "cut", 2),
        (lambda _: None, "missing", 1),
    ],
)
def test_an_export_that_was_tampered_with_is_restored_and_on_the_record(
    settings: Settings, incident: str, change: Callable[[bytes], bytes | None], why: str, line: int
) -> None:
    for text in ("one", "two"):
        journal.record(settings, incident, "note", {"text": text}, actor="me")
    with store.transaction(settings) as connection:
        path = journal.export(connection, settings, incident)
        connection.execute("UPDATE incidents SET sealed_seq = 2")
    data = path.read_bytes()
    tampered = change(data)
    if tampered is None:
        path.unlink()
    else:
        path.write_bytes(tampered)
    with store.transaction(settings) as connection:
        journal.export(connection, settings, incident)
        entries = journal.entries(connection, incident)
    found = None if tampered is None else digest(tampered)
    assert [entry["kind"] for entry in entries] == ["note", "note", "record-restored"]
    assert entries[2]["body"] == {"file": "journal.jsonl", "found": found, "line": line, "why": why}
    assert path.read_bytes().startswith(data)
    assert path.read_bytes().count(b"\n") == 3
    if found is not None:
        assert (settings.state / "altered" / found).read_bytes() == tampered
    with store.transaction(settings) as connection:
        journal.export(connection, settings, incident)
        assert len(journal.entries(connection, incident)) == 3


def test_unknown_incident_is_refused(settings: Settings) -> None:
    with pytest.raises(NotFound, match="there is no incident INC-1999-000001"):
        journal.record(settings, "INC-1999-000001", "note", {}, actor="me")


@pytest.fixture
def away(settings: Settings, incident: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same home with a database that refuses connections."""
    monkeypatch.setenv("RUNBOOK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    away = Settings()
    monkeypatch.delenv("RUNBOOK_DATABASE_URL")
    return away


def test_while_the_database_is_away_entries_wait_in_order(settings: Settings, incident: str, away: Settings) -> None:
    journal.record(settings, incident, "note", {"n": 0}, actor="me")
    for number in (1, 2):
        journal.record(away, incident, "note", {"n": number, "token": "abcdefgh12"}, actor="me")
    spooled = (settings.state / "spool" / f"{incident}.jsonl").read_bytes()
    assert b"abcdefgh12" not in spooled
    journal.record(settings, incident, "note", {"n": 3}, actor="me")
    entries = chain(settings)
    assert [entry["body"]["n"] for entry in entries] == [0, 1, 2, 3]
    assert "spooled" in entries[1]["body"]
    assert spool.waiting(settings) == []
    # A crash after writing and before clearing: the same spool again writes nothing twice.
    (settings.state / "spool" / f"{incident}.jsonl").write_bytes(spooled)
    assert journal.drain(settings) == 0
    assert len(chain(settings)) == 4


def test_a_torn_spool_says_what_is_lost(settings: Settings, incident: str, away: Settings) -> None:
    journal.record(away, incident, "note", {"n": 1}, actor="me")
    path = settings.state / "spool" / f"{incident}.jsonl"
    path.write_bytes(path.read_bytes() + b'{"actor":')
    journal.record(away, incident, "note", {"n": 2}, actor="me")
    assert journal.drain(settings) == 3
    bodies = [entry["body"] for entry in chain(settings)]
    assert (bodies[0]["n"], bodies[2]["n"]) == (1, 2)
    assert "torn by a crash and is lost" in bodies[1]["text"]


def test_a_run_goes_on_while_the_database_is_away(desk: Settings, run_id: int, server: embedded.Server) -> None:
    """Evidence is written, its entries and the verdict wait, and are on the record when the database is back."""
    subject = {"platform": "desk", "runbook": "var-breach", "mode": "plan", "parameters": {}, "alert": None}
    with (
        running(desk) as client,
        client.session(incident=INCIDENT, run=run_id, **subject) as session,
        closing(Ops(session.socket_path)) as ops,
    ):
        ops.redis.ping()
        with store.connect(desk) as connection:
            name = connection.info.dbname
        with psycopg.connect(server.url("owner", "postgres"), autocommit=True) as owner:
            owner.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            seen = ops.redis.ping()
            ops.conclude({"confirmed": False, "summary": "All is well."})
            assert spool.waiting(desk) == [INCIDENT]
            owner.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        journal.drain(desk)
    assert seen.evidence == "E002"
    with store.connect(desk) as connection:
        row = connection.execute("SELECT verdict FROM runs WHERE id = %s", (run_id,)).fetchone()
    assert row is not None
    assert row["verdict"]["summary"] == "All is well."
    evidence = [entry["body"]["id"] for entry in chain(desk) if entry["kind"] == "evidence"]
    assert evidence == ["E001", "E002"]
