"""Ten minutes of nothing: a healthy platform with its load fires no alert."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from opslib import web
from opslib.settings import Settings
from sandbox import platforms, state
from sandbox.progress import quiet
from tests.sandbox.derivatives.conftest import require_a_cluster

pytestmark = [pytest.mark.acceptance, pytest.mark.soak]

PLATFORMS = ("crypto", "derivatives")
QUIET_S = 600.0
SETTLED_S = 60.0
"""How long a platform has after its start before it is watched [s]: the longest window of its rules."""


def fired(settings: Settings, name: str) -> list[str]:
    """The alerts that fired on a platform in the time that was watched; the ever-firing watchdog is none."""
    prometheus = state.require(settings, name).endpoints.prometheus
    query = f'count_over_time(ALERTS{{alertname!="Watchdog", alertstate="firing"}}[{QUIET_S:.0f}s])'
    answer = web.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=30)
    return [found["metric"]["alertname"] for found in answer.raise_for_status().json()["data"]["result"]]


def test_healthy_platforms_are_quiet_for_ten_minutes(tmp_path: Path) -> None:
    require_a_cluster()
    settings = Settings(home=tmp_path / "home")
    try:
        for name in PLATFORMS:
            platforms.find(name).up(settings, progress=quiet, webhook="http://127.0.0.1:9/api/v1/alerts")
        time.sleep(SETTLED_S + QUIET_S)
        found = {name: fired(settings, name) for name in PLATFORMS}
    finally:
        for name in PLATFORMS:
            platforms.find(name).down(settings, progress=quiet)
    assert found == {name: [] for name in PLATFORMS}
