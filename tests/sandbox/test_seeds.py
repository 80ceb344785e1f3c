"""What a seed changes: every fault of both platforms, and the noise beside it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sandbox.derivatives import decoys, manifests
from sandbox.derivatives.setup import Setup
from sandbox.faults import FAULTS
from sandbox.progress import quiet
from tests.sandbox.derivatives.recording import Recording

SEEDS = range(5)
ELSEWHERE = {"exporters"}  # what no playbook asks, and no alert needs


def by_platform(platform: str) -> list[str]:
    return [name for name, fault in FAULTS.items() if fault.platform == platform]


def function(name: str) -> Callable[..., Any]:
    """What makes a fault."""
    runbook, _, cause = name.replace("-", "_").partition("/")
    found: Callable[..., Any] = getattr(import_module(f"sandbox.faults.{runbook}"), cause)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, each time; it takes no time, and it is always the same hour."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    return waited


@pytest.mark.parametrize("name", by_platform("crypto"))
def test_a_seed_changes_a_fault_of_the_crypto_platform(name: str) -> None:
    made = [repr(function(name)(random.Random(seed))) for seed in SEEDS]
    assert len(set(made)) == len(SEEDS)
    assert repr(function(name)(random.Random(SEEDS[0]))) == made[0]


def injected(name: str, seed: int, folder: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> str:
    """What one seed does, in words."""
    platform = Recording.at(folder)
    clock.clear()
    monkeypatch.setattr("sandbox.faults.on_derivatives.reach", lambda _settings: platform)
    FAULTS[name].inject(None, random.Random(seed), quiet)  # type: ignore[arg-type]
    assert platform.done or platform.setup.demand.exists() or platform.setup.exchange.exists()
    return f"{clock} {platform.trace()}"


@pytest.mark.parametrize("name", by_platform("derivatives"))
def test_a_seed_changes_a_fault_of_the_derivatives_platform(
    name: str, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [injected(name, seed, tmp_path / str(seed), clock, monkeypatch) for seed in SEEDS]
    assert len(set(made)) > 1
    assert injected(name, SEEDS[0], tmp_path / "again", clock, monkeypatch) == made[0]


def test_noise_restarts_nothing_that_an_alert_or_a_diagnosis_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup.new(tmp_path, "abc")
    there = {one["metadata"]["name"] for one in manifests.workloads(setup, ()) if one["kind"] == "Deployment"}
    assert there >= ELSEWHERE
    platform = Recording.at(tmp_path / "platform")
    for kind in (decoys._annotate_deployment, decoys._restart_elsewhere, decoys._review_service):
        kind(platform, random.Random(1))  # type: ignore[arg-type]
    assert [call[:3] for call in platform.done] == [
        ("patch", "deployment", "exporters"),
        ("rollout", "restart", "deployment/exporters"),
        ("patch", "deployment", "derivatives-api"),
    ]
    noted = platform.done[-1][3]
    assert list(noted) == ["metadata"], "the pods' template stays, and with it the pods"
    assert list(noted["metadata"]) == ["annotations"]
    assert "kubernetes.io/change-cause" not in noted["metadata"]["annotations"], "what a release says of itself stays"


def test_noise_reaches_what_the_service_itself_is_and_asks(tmp_path: Path) -> None:
    kinds = set()
    for seed in SEEDS:
        platform = Recording.at(tmp_path / str(seed))
        for kind in (decoys._review_service, decoys._slow_look):
            kind(platform, random.Random(seed))  # type: ignore[arg-type]
        kinds |= {call[2] if call[0] == "patch" else "option_trades" in call[1] for call in platform.done}
    assert kinds == {"derivatives-api", True}
    assert {decoys._review_service, decoys._slow_look} <= set(decoys._KINDS)
