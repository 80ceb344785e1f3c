"""The public names are pinned, and every example in a docstring is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.errors import EngineError

PINNED = {
    "engine": [
        "GBM",
        "American",
        "Asian",
        "Backtest",
        "Barrier",
        "Book",
        "CapacityForecast",
        "ChangePoint",
        "DeviceInUse",
        "DeviceMissing",
        "EngineError",
        "Estimate",
        "European",
        "FillModel",
        "Fold",
        "GreekCheck",
        "Greeks",
        "GreeksBenchmark",
        "Heston",
        "HestonFit",
        "HestonGreeks",
        "ImpactFit",
        "InvalidInput",
        "KolmogorovSmirnov",
        "LikelihoodRatio",
        "Market",
        "MonteCarlo",
        "NotFinite",
        "Overfitting",
        "PathPayoff",
        "PnlExplanation",
        "PnlTerms",
        "Replay",
        "Revaluation",
        "RiskMeasure",
        "Scenarios",
        "Slippage",
        "Sweep",
        "TooFewObservations",
        "Trajectory",
        "Trend",
        "Verification",
        "VolatilitySurface",
        "WalkForward",
        "WorkFailed",
        "american",
        "backtest_var",
        "benchmark_greeks",
        "calibrate_heston",
        "calibrate_impact",
        "change_point",
        "deflated_sharpe_ratio",
        "device",
        "european",
        "expected_maximum_sharpe",
        "expected_shortfall",
        "explain_pnl",
        "forecast_capacity",
        "heston_greeks",
        "heston_price",
        "implied_volatility",
        "implied_volatility_reason",
        "kelly_for_var",
        "kelly_fraction",
        "ks",
        "monte_carlo",
        "optimal_trajectory",
        "parent_orders",
        "probabilistic_sharpe_ratio",
        "probability_of_backtest_overfitting",
        "psi",
        "psi_from_fractions",
        "purged_folds",
        "realised_volatility",
        "replay",
        "revalue",
        "sharpe_ratio",
        "slippage",
        "trend",
        "urgency",
        "value_at_risk",
        "verify_greeks",
        "walk_forward",
        "warm",
    ],
    "engine.pricing": [
        "GBM",
        "American",
        "Asian",
        "Barrier",
        "European",
        "GreekCheck",
        "Greeks",
        "Heston",
        "HestonFit",
        "HestonGreeks",
        "MonteCarlo",
        "PathPayoff",
        "Verification",
        "american",
        "calibrate_heston",
        "european",
        "heston_greeks",
        "heston_price",
        "implied_volatility",
        "implied_volatility_reason",
        "monte_carlo",
        "verify_greeks",
    ],
    "engine.risk": [
        "Backtest",
        "Book",
        "CapacityForecast",
        "ChangePoint",
        "LikelihoodRatio",
        "Market",
        "PnlExplanation",
        "PnlTerms",
        "Revaluation",
        "RiskMeasure",
        "Scenarios",
        "Trend",
        "VolatilitySurface",
        "backtest_var",
        "change_point",
        "expected_shortfall",
        "explain_pnl",
        "forecast_capacity",
        "kelly_for_var",
        "kelly_fraction",
        "revalue",
        "trend",
        "value_at_risk",
    ],
    "engine.execution": [
        "Estimate",
        "FillModel",
        "ImpactFit",
        "Replay",
        "Slippage",
        "Sweep",
        "Trajectory",
        "calibrate_impact",
        "optimal_trajectory",
        "parent_orders",
        "replay",
        "slippage",
        "urgency",
    ],
    "engine.validation": [
        "Fold",
        "KolmogorovSmirnov",
        "Overfitting",
        "WalkForward",
        "deflated_sharpe_ratio",
        "expected_maximum_sharpe",
        "ks",
        "probabilistic_sharpe_ratio",
        "probability_of_backtest_overfitting",
        "psi",
        "psi_from_fractions",
        "purged_folds",
        "sharpe_ratio",
        "walk_forward",
    ],
}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(engine.__path__, "engine.")
    if not module.ispkg and not module.name.rpartition(".")[2].startswith("_") and module.name != "engine.errors"
]
FUNCTIONS = [name for name in engine.__all__ if inspect.isroutine(inspect.unwrap(getattr(engine, name)))]


@pytest.mark.parametrize("package", PINNED)
def test_the_public_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == PINNED[package]
    assert all(hasattr(module, name) for name in module.__all__)
    # whatever a package shows, the engine shows too
    assert set(module.__all__) <= set(engine.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_gives_and_shows_it(name: str) -> None:
    function = getattr(engine, name)
    told = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    for section, wanted in (
        ("Parameters", bool(signature.parameters)),
        ("Returns", str(signature.return_annotation) != "None"),
        ("Examples", True),
    ):
        assert not wanted or f"{section}\n{'-' * len(section)}\n" in told, section
    listed, _, _ = told.partition("Returns\n")
    assert all(re.search(rf"\b{parameter}\b", listed) for parameter in signature.parameters)
    # the example calls it, and `test_examples_are_true` runs the module it stands in
    assert re.search(rf"^(>>>|\.\.\.) .*\b{name}\(", told, re.MULTILINE)
    assert inspect.unwrap(function).__module__ in {*MODULES, "engine._device", "engine._warm"}


@pytest.mark.parametrize("module", ["engine._device", "engine._warm"])
def test_examples_of_what_the_engine_itself_shows_are_true(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("path", sorted(Path(engine.__file__).parent.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_the_examples_of_the_guide_are_true() -> None:
    guide = Path(engine.__file__).resolve().parents[1] / "docs" / "engine.md"
    result = doctest.testfile(str(guide), module_relative=False, encoding="utf-8")
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_compiles_and_loads_nothing_large() -> None:
    script = """
import engine, sys
print([name for name in ("dask", "distributed", "numba", "pandas", "scipy") if name in sys.modules])
"""
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_the_docstring_of_an_error_is_its_message() -> None:
    assert "correct the input and call again" in str(EngineError())
