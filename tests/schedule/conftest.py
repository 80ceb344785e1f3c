"""Fixtures of the schedule: folders of parameters and notebooks of a test's own, and its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from opslib.settings import Settings
from tests.runs.conftest import write_runbook

DAILY = {"name": "daily", "runbook": "look", "platform": "test", "cron": "0 7 * * *"}
Write = Callable[..., None]


@pytest.fixture
def planned(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a platform `test`, a runbook `look` with a parameter `depth`, and a store."""
    params = tmp_path / "params"
    (params / "platforms").mkdir(parents=True)
    (params / "platforms" / "test.yaml").write_text("title: Test\nenvironment: staging\nendpoints: {api: 'http://a'}\n")
    (params / "contacts.yaml").write_text("levels: {L1: {who: On-call, how: pager, within: 5 minutes}}\n")
    write_runbook(tmp_path / "notebooks" / "routine" / "look.ipynb", "1", parameters="depth: int = 1  # 1..9\n")
    monkeypatch.setenv("RUNBOOK_PARAMS", str(params))
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(tmp_path / "notebooks"))
    return Settings()


@pytest.fixture
def write(planned: Settings) -> Write:
    """Writes the schedule: entries as they differ from one at seven o'clock UTC each day, and calendars."""

    def _write(*entries: dict[str, Any], **file: Any) -> None:
        document = {"entries": [{**DAILY, **entry} for entry in entries], **file}
        (planned.params / "schedule.yaml").write_text(yaml.safe_dump(document), "utf-8")

    return _write
