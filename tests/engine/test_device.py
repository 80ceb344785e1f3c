"""What the engine says it computes on, whatever is broken."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import engine
from engine import DeviceInUse, DeviceMissing, _device, _warm
from engine._device import require_card, worth_a_card

ROOT = Path(engine.__file__).resolve().parents[1]
QUESTION = """
import dataclasses, json, sys
import engine
before = [name for name in ("numba", "cupy") if name in sys.modules]
print(json.dumps([before, dataclasses.asdict(engine.device())]))
"""


def asked(folder: Path, **environment: str) -> tuple[list[str], dict[str, Any]]:
    """The answer of a fresh process, in which modules of `folder` come first."""
    done = subprocess.run(
        [sys.executable, "-c", QUESTION],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **environment},
        timeout=120,
    )
    loaded, answer = json.loads(done.stdout)
    return loaded, answer


@pytest.mark.parametrize("module", [_device, _warm])
def test_the_examples_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_it_says_what_is_used_and_why() -> None:
    found = engine.device()
    assert isinstance(found, DeviceInUse)
    assert found is engine.device()  # probed once
    assert found.cores >= 1
    assert found.numba is not None
    assert found.reason
    assert (found.memory is None) == (found.kind == "cpu")


def test_nothing_is_probed_by_the_import(tmp_path: Path) -> None:
    loaded, answer = asked(tmp_path)
    assert loaded == []
    assert answer["cores"] >= 1


def test_a_simulated_card_is_called_one(tmp_path: Path) -> None:
    _, answer = asked(tmp_path, NUMBA_ENABLE_CUDASIM="1")
    assert (answer["kind"], answer["name"]) == ("cuda", "numba's simulator of a card")


@pytest.mark.parametrize(
    "broken", ["raise ImportError('libcublas.so.12: cannot open')", "raise RuntimeError('no driver')", "version = 1"]
)
def test_a_broken_cupy_is_a_missing_one(tmp_path: Path, broken: str) -> None:
    (tmp_path / "cupy.py").write_text(broken, "utf-8")
    _, answer = asked(tmp_path)
    assert answer["cupy"] is None


def test_a_cupy_that_works_is_named(tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("__version__ = '13.3.0'", "utf-8")
    _, answer = asked(tmp_path)
    assert answer["cupy"] == "13.3.0"


def test_a_driver_that_does_not_answer_is_a_reason(tmp_path: Path) -> None:
    # a library in the driver's place that has none of its functions
    (tmp_path / "numba_cuda_stub.py").write_text("", "utf-8")
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\n"
        "real = ctypes.CDLL\n"
        "ctypes.CDLL = lambda name, *rest, **named: real(None if 'cuda' in str(name) else name, *rest, **named)\n",
        "utf-8",
    )
    _, answer = asked(tmp_path)
    assert answer["kind"] == "cpu"
    assert "cannot use a card here" in answer["reason"] or "the card cannot be used" in answer["reason"]


def test_a_card_that_is_missing_is_said_with_the_reason() -> None:
    if engine.device().kind == "cuda":
        pytest.skip("this machine has a card")
    with pytest.raises(DeviceMissing, match=r"no NVIDIA card with a driver here.*\(.+\)"):
        require_card()


def test_little_work_is_never_worth_a_card() -> None:
    assert not worth_a_card(1_000, 1e-8, 16)
    assert engine.device().kind == "cuda" or not worth_a_card(10**9, 1e-6, 16)
