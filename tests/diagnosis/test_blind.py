"""Playbooks of the derivatives platform where nothing can be seen: they say so, name nothing, propose nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

import opslib
from opslib.diagnosis import Verdict
from opslib.errors import ProbeError
from opslib.platforms import load
from opslib.runs import catalogue, parameters
from opslib.settings import Settings
from tests.diagnosis.told import context

PROJECT = Path(__file__).resolve().parents[2]


class Blind:
    """An `ops` whose every probe fails."""

    def __init__(self, systems: bool) -> None:
        self._systems = systems
        self.unseen: list[str] = []
        self.concluded: list[Verdict] = []
        self.proposed: list[Any] = []
        self.context = context()

    def __getattr__(self, system: str) -> Any:
        class System:
            def __getattr__(self, probe: str) -> Any:
                def fail(*_: Any, **__: Any) -> None:
                    raise ProbeError(f"{system}.{probe} cannot be seen")

                return fail

        return System()

    def has(self, _system: str) -> bool:
        return self._systems

    def now(self) -> dt.datetime:
        return dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)

    def look(self, what: str, probe: Any, /, *arguments: Any, **named: Any) -> Any:
        try:
            return probe(*arguments, **named)
        except ProbeError as error:
            self.unseen.append(f"{what} ({error})")
            return None

    def probe(self, name: str, /, **_: Any) -> Any:
        raise ProbeError(f"{name} cannot be seen")

    def conclude(self, verdict: Verdict) -> None:
        self.concluded.append(verdict)

    def propose(self, steps: Any, *, reason: str = "") -> None:
        if steps:
            self.proposed.append((steps, reason))


@pytest.mark.parametrize("systems", [True, False])
@pytest.mark.parametrize("name", ["api-error-rate", "postgres-down"])
def test_a_playbook_that_sees_nothing_names_nothing(
    name: str, systems: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ops = Blind(systems)
    monkeypatch.setattr(opslib, "connect", lambda: ops)
    settings = Settings(params=PROJECT / "params", notebooks=PROJECT / "notebooks")
    alert = {"labels": {"alertname": "X"}, "startsAt": "2026-11-28T11:59:00Z"}
    runbook, platform = catalogue.find(settings, name), load(settings, "derivatives")
    values = {**parameters.resolve(runbook, platform, {}, alert), "display": lambda *_: None}
    cells = json.loads((PROJECT / "notebooks" / "alerts" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    for cell in cells[2:]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), values)
    [verdict] = ops.concluded
    assert verdict.cause is None
    assert verdict.confirmed is (name == "postgres-down" and systems)
    assert verdict.confidence == 0.0
    assert len(verdict.unseen) > 2
    assert ops.proposed == []
    assert "Proposed: nothing" in capsys.readouterr().out
