"""The public names are pinned, and every example in a docstring is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.errors import EngineError

PINNED = {
    "engine": [
        "ChangePoint",
        "DeviceMissing",
        "EngineError",
        "Greeks",
        "InvalidInput",
        "NotFinite",
        "RiskMeasure",
        "TooFewObservations",
        "Trend",
        "change_point",
        "european",
        "expected_shortfall",
        "implied_volatility",
        "implied_volatility_reason",
        "kelly_for_var",
        "kelly_fraction",
        "realised_volatility",
        "trend",
        "value_at_risk",
    ],
    "engine.pricing": ["Greeks", "european", "implied_volatility", "implied_volatility_reason"],
    "engine.risk": [
        "ChangePoint",
        "RiskMeasure",
        "Trend",
        "change_point",
        "expected_shortfall",
        "kelly_for_var",
        "kelly_fraction",
        "trend",
        "value_at_risk",
    ],
}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(engine.__path__, "engine.")
    if not module.ispkg and not module.name.rpartition(".")[2].startswith("_") and module.name != "engine.errors"
]


@pytest.mark.parametrize("package", PINNED)
def test_the_public_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == PINNED[package]
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


def test_the_examples_of_the_guide_are_true() -> None:
    guide = Path(engine.__file__).resolve().parents[1] / "docs" / "engine.md"
    result = doctest.testfile(str(guide), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_compiles_and_loads_nothing_large() -> None:
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            "import engine, sys; print([name for name in ('numba', 'scipy') if name in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == "[]"


def test_the_docstring_of_an_error_is_its_message() -> None:
    assert "correct the input and call again" in str(EngineError())
