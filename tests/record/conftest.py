"""A platform on real servers, an incident with a run, and a recorder."""

from __future__ import annotations

import json
import os
import runpy
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from opslib import store
from opslib.ops import Ops
from opslib.record.client import RecorderClient, RecorderSession, running
from opslib.settings import Settings

SERVERS = runpy.run_path(str(Path(__file__).parent.parent / "probes" / "servers.py"))
INCIDENT = "INC-2026-000001"
READS = (
    *("files.json", "files.text", "http.health", "http.json", "http.metrics", "http.text", "http.text@slow"),
    *("changes.recent", "postgres.activity", "postgres.server", "postgres.sql", "prometheus.query"),
    *("redis.hash", "redis.ping", "redis.series", "redis.text"),
)
PROPOSES = ("crypto.emergency-reduce", "crypto.set-kelly", "redis.flush-pattern")
CONTACT = "{who: somebody, how: a bell, within: 5 minutes}"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis with one series, as the recorder sees it."""
    with SERVERS["redis_server"](tmp_path_factory.mktemp("redis")) as (url, client):
        client.hset("metrics:var_pct:A", mapping={"1000": "1.0", "2000": "1.5", "value": "1.5", "timestamp": "2"})
        client.set("note", f"the password is {SERVERS['PASSWORD']}, keep it")
        yield url


@pytest.fixture(scope="session")
def api_url() -> Iterator[str]:
    """A platform's API."""
    with SERVERS["http_server"]() as url:
        yield url


@pytest.fixture
def desk(settings: Settings, redis_url: str, api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a home whose platform `desk` has a Redis and an API; its password is in the environment."""
    place = tmp_path / "params" / "platforms"
    place.mkdir(parents=True)
    address = redis_url.replace(SERVERS["PASSWORD"], "${DESK_REDIS_PASSWORD}")
    (place / "desk.yaml").write_text(
        f"title: Desk\nenvironment: staging\nendpoints:\n  redis: {address}\n  api: {api_url}\n  prometheus: null\n"
    )
    levels = "".join(f"  L{level}: {CONTACT}\n" for level in range(1, 5))
    (place.parent / "contacts.yaml").write_text(
        f"levels:\n{levels}updates: {{critical: 15}}\npaths: {{default: {{L2: 15}}, other: {{L3: 1}}}}\n"
    )
    (place.parent / "policy.yaml").write_text("standing_approvals: []\n")
    declare(tmp_path / "notebooks", reads=READS, proposes=PROPOSES)
    monkeypatch.setenv("RUNBOOK_PARAMS", str(place.parent))
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setenv("DESK_REDIS_PASSWORD", SERVERS["PASSWORD"])
    return Settings()


def declare(notebooks: Path, **declared: Sequence[str]) -> None:
    """The runbook `var-breach`, whose notebook declares this and has no code."""
    source = 'platform: str = "desk"\nalert: dict = {}'
    cell = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "source": source}
    about = {"id": "A11", "title": "VaR breach", "kind": "alert", **{name: list(of) for name, of in declared.items()}}
    (notebooks / "alerts").mkdir(parents=True, exist_ok=True)
    book = {"cells": [cell], "metadata": {"runbook": about}}
    (notebooks / "alerts" / "var-breach.ipynb").write_text(json.dumps(book))


def add_incident(settings: Settings, incident: str = INCIDENT, date: str = "2026-11-20") -> None:
    """An open incident."""
    with store.transaction(settings) as connection:
        connection.execute(
            "INSERT INTO incidents (id, platform, runbook, opened_by, severity, folder) "
            "VALUES (%s, 'desk', 'var-breach', 'operator', 'critical', %s)",
            (incident, f"{date}/{incident}"),
        )


def add_run(settings: Settings, incident: str = INCIDENT, number: int = 1, state: str = "running") -> int:
    """A run of the incident."""
    with store.transaction(settings) as connection:
        row = connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, state, parameters) "
            "VALUES (%s, %s, 'var-breach', 'desk', 'plan', 'operator', %s, '{}') RETURNING id",
            (incident, number, state),
        ).fetchone()
    assert row is not None
    return int(row["id"])


@pytest.fixture
def run_id(desk: Settings) -> int:
    """A run that is going on."""
    add_incident(desk)
    return add_run(desk)


@pytest.fixture
def recorder(desk: Settings) -> Iterator[RecorderClient]:
    """A recorder for the test."""
    with running(desk) as client:
        yield client


@pytest.fixture
def session(recorder: RecorderClient, run_id: int) -> Iterator[RecorderSession]:
    """The session of the run."""
    with open_session(recorder, run_id) as session:
        yield session


def open_session(client: RecorderClient, run_id: int, mode: str = "plan") -> RecorderSession:
    """A session for a run of the incident."""
    return client.session(
        incident=INCIDENT,
        run=run_id,
        platform="desk",
        runbook="var-breach",
        mode=mode,
        parameters={"limit": 2.0},
        alert={"labels": {"symbol": "A"}},
    )


@pytest.fixture
def ops(session: RecorderSession) -> Iterator[Ops]:
    """What the notebook of the run has."""
    ops = Ops(session.socket_path)
    yield ops
    ops.close()


@pytest.fixture
def kill() -> Callable[[int], None]:
    """End a process of ours at once, as an operating system without memory does."""
    return lambda pid: os.kill(pid, signal.SIGKILL)
