"""Homes with sealed records, made by recorder and signer."""

from __future__ import annotations

import runpy
import secrets
import shutil
from pathlib import Path

import psycopg
import pytest

from opslib import store
from opslib.canonical import file_digest
from opslib.ops import Ops
from opslib.record import archive, journal
from opslib.record.client import running
from opslib.record.seal import seal
from opslib.record.verify import verify
from opslib.settings import Settings
from opslib.store import embedded
from tests.record.conftest import declare
from tests.record.verifying.sealed import DATE, FIRST, SECOND, Original, note

SERVERS = runpy.run_path(str(Path(__file__).parents[2] / "probes" / "servers.py"))


@pytest.fixture(scope="session")
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
