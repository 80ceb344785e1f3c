"""Fixtures of the plan and action tests: a small platform that is really asked, an incident, a run, people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib import people, store
from opslib.incidents.opening import open_incident
from opslib.settings import PROJECT, Settings
from tests.actions.platform_server import SmallPlatform, serving
from tests.actions.world import ROLES, World, begin_run, connect_platform


@pytest.fixture
def platform() -> Iterator[SmallPlatform]:
    """The platform that the plans are about."""
    with serving() as platform:
        yield platform


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's parameter files, as a copy that a test may change."""
    folder = tmp_path / "params"
    shutil.copytree(PROJECT / "params", folder)
    monkeypatch.setenv("RUNBOOK_PARAMS", str(folder))
    return folder


@pytest.fixture
def world(params: Path, settings: Settings, platform: SmallPlatform) -> World:
    """An incident of the platform with a run that may propose."""
    settings = Settings()
    connect_platform(settings, platform)
    with store.transaction(settings) as connection:
        for name, role in ROLES.items():
            people.add(connection, name, role)
        incident = open_incident(
            connection,
            platform="crypto",
            runbook="var-breach",
            target="BTC-USD",
            severity="critical",
            title="VarBreach",
            opened_by="alert",
        )["id"]
    return World(settings, params, platform, incident, begin_run(settings, incident))
