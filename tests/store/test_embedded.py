"""The embedded PostgreSQL: there when wanted, back when killed, gone when nobody uses it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from opslib import store
from opslib.errors import StoreError
from opslib.settings import Settings
from opslib.store import embedded


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A home whose embedded server is its own: these tests kill it."""
    settings = Settings(home=tmp_path / "home")
    store.ensure(settings)
    yield settings
    store.stop(settings)


def server_pid(settings: Settings) -> int:
    return int((embedded.folder(settings) / "data" / "postmaster.pid").read_text().split()[0])


def test_a_killed_server_comes_back(settings: Settings) -> None:
    os.kill(server_pid(settings), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        try:
            with store.connect(settings) as connection:
                assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
            return
        except StoreError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_server_whose_supervisor_was_killed_is_found_again_and_stopped(settings: Settings) -> None:
    before = server_pid(settings)
    supervisors = subprocess.run(["pgrep", "-f", f"opslib.store.supervisor {settings.home}"], capture_output=True)
    for pid in supervisors.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    with store.connect(settings) as connection:
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    assert server_pid(settings) == before
    assert store.stop(settings)
    assert store.running(settings) is None


def test_it_stops_when_nobody_uses_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = "from opslib import store; from opslib.settings import Settings; store.ensure(Settings())"
    environment = {**os.environ, "RUNBOOK_HOME": str(home), "RUNBOOK_STORE_LINGER_S": "0.2"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    settings = Settings(home=home)
    deadline = time.monotonic() + 20
    while store.running(settings) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_secrets_are_the_owners_alone(settings: Settings) -> None:
    assert stat.S_IMODE(settings.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((embedded.folder(settings) / "server.json").stat().st_mode) == 0o600


def test_a_wrong_password_is_refused(settings: Settings) -> None:
    server = embedded.ensure(settings)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(embedded.Server(server.port, dict.fromkeys(embedded.ROLES, "wrong")).url("owner"))


def test_the_worker_can_append_to_the_journal_but_not_change_it(connection: store.Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table journal"):
        connection.execute("UPDATE journal SET line = ''")


def test_not_even_the_owner_changes_the_journal(settings: Settings) -> None:
    with store.connect(settings, role="owner") as connection:
        connection.execute(
            "INSERT INTO incidents (id, platform, runbook, opened_by, folder)"
            " VALUES ('INC-2026-000001', 'p', 'r', 'x', 'f')"
        )
        connection.execute("INSERT INTO journal VALUES ('INC-2026-000001', 1, '{}', '')")
        with pytest.raises(psycopg.errors.RaiseException, match="journal is append-only"):
            connection.execute("DELETE FROM journal")


def test_the_reader_reads_no_tokens(settings: Settings) -> None:
    with store.connect(settings, role="reader") as connection:
        connection.execute("SELECT count(*) FROM incidents")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table people"):
            connection.execute("SELECT * FROM people")


def test_another_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    port = embedded.free_port()
    settings = Settings(home=tmp_path, database_url=f"postgresql://me:hunter2@127.0.0.1:{port}/ops")
    with pytest.raises(StoreError, match=f"127.0.0.1:{port}/ops cannot be reached") as caught:
        store.connect(settings)
    assert "hunter2" not in str(caught.value)


def test_another_database_serves_as_the_store(settings: Settings, tmp_path: Path) -> None:
    server = embedded.ensure(settings)
    with psycopg.connect(server.url("owner"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE other")
    elsewhere = Settings(home=tmp_path / "elsewhere", database_url=server.url("owner", "other"))
    with store.connect(elsewhere) as connection:
        assert connection.execute("SELECT count(*) AS n FROM incidents").fetchone() == {"n": 0}
    assert not (tmp_path / "elsewhere" / ".state" / "postgres").exists()
