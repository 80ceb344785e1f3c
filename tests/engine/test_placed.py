"""Every public function takes `device`, and says the same of what is not there."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import engine
from engine import DeviceMissing, InvalidInput
from engine._placed import fetched, on_the_processor
from tests.engine.calls import CALLS, numbers

ROOT = Path(engine.__file__).resolve().parents[1]
# of the two that measure and compile, nothing is to be compared
TIMED = {"benchmark_greeks", "warm"}
SIMULATED = """
import json
import numpy as np
from numba import cuda
from engine import InvalidInput
from tests.engine.calls import CALLS, numbers

class Lying:
    "An array of cupy's: numba's simulator has none of its own that says where it lies."
    def __init__(self, values):
        self.values, self.__cuda_array_interface__ = values, {"shape": np.shape(values)}
    def get(self):
        return self.values

said, same, refused = {}, {}, {}
for name, call in CALLS.items():
    if not call.there:
        try:
            call(device="cuda")
        except InvalidInput as problem:
            said[name] = str(problem)
    if call.arrays:
        there = {argument: Lying(call.arguments[argument]) for argument in call.arrays}
        found, plain = numbers(call(**there)), numbers(call())
        # a fit is the same to rounding, as its integrals are computed on the card
        same[name] = np.allclose(found[:5], plain[:5], 1e-9) if name == "calibrate_heston" else found == plain
        try:
            call(**there, device="cpu")
        except InvalidInput as problem:
            refused[name] = str(problem)
print(json.dumps([said, same, refused], default=str))
"""
CARD = """
import json, math
from types import SimpleNamespace
import numpy as np
from engine.pricing import _cuda
from tests.engine.calls import CALLS, numbers

# on a card the logarithm of nothing is nan or infinite; Python's raises
_cuda.math = SimpleNamespace(exp=math.exp, log=lambda x: math.log(x) if x > 0.0 else math.nan)
worst = {}
for name in ("implied_volatility_reason", "heston_greeks", "calibrate_heston", "explain_pnl", "verify_greeks"):
    near, far = (numbers(CALLS[name](device=device)) for device in ("cpu", "cuda"))
    words = [value for value in near if isinstance(value, str)], [value for value in far if isinstance(value, str)]
    assert words[0] == words[1], words
    pair = np.array([[0.0 if value is None or isinstance(value, str) else float(value) for value in found]
                     for found in (near, far)])
    worst[name] = float(np.nanmax(np.abs(pair[0] - pair[1]) / (1.0 + np.abs(pair[0]))))
print(json.dumps(worst))
"""
WARMED = """
import json
import engine
from engine.pricing import _cuda, _heston_cuda, _simulation_cuda
from engine.risk import _revaluation_cuda
from engine.validation import _overfitting_cuda

engine.warm(device="cuda")
compiled = (_cuda.kernels, _heston_cuda._compiled, _revaluation_cuda._compiled, _overfitting_cuda._compiled)
print(json.dumps([made.cache_info().currsize for made in compiled]))
"""


def ran(script: str) -> Any:
    """What a script prints as JSON, where numba simulates a card."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_ENABLE_CUDASIM": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def functions() -> set[str]:
    """The public functions; what is asked of `device` is what there is."""
    routines = {name for name in engine.__all__ if inspect.isroutine(inspect.unwrap(getattr(engine, name)))}
    return routines - {"device"}


def test_every_function_takes_a_device() -> None:
    assert CALLS.keys() == functions()
    for name, call in CALLS.items():
        parameter = inspect.signature(call.function).parameters["device"]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameter.default == "auto", name


@pytest.mark.parametrize("name", sorted(CALLS))
def test_another_device_is_named(name: str) -> None:
    for other in ("gpu", None, 1, np.array(["cpu", "cpu"])):
        with pytest.raises(InvalidInput, match=r"^device: is .*; must be one of auto, cpu, cuda$"):
            CALLS[name](device=other)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_without_a_card_cuda_is_refused_by_every_function(name: str) -> None:
    if engine.device().kind == "cuda":
        pytest.skip("this machine has a card")
    with pytest.raises(
        DeviceMissing, match=r'^There is no NVIDIA card with a driver here\. Use device="auto".*\(.+\)$'
    ):
        CALLS[name](device="cuda")


@pytest.mark.parametrize("name", sorted(CALLS.keys() - TIMED))
def test_auto_and_cpu_are_the_same_without_a_card(name: str) -> None:
    if engine.device().kind == "cuda":
        pytest.skip("this machine has a card")
    np.testing.assert_equal(numbers(CALLS[name](device="cpu")), numbers(CALLS[name]()))


@pytest.mark.slow
def test_what_lies_on_a_card_comes_home_for_a_function_without_a_way_there() -> None:
    said, same, refused = ran(SIMULATED)
    assert said == {
        name: f"device: is 'cuda', and {name} has no way to a card; use 'auto'"
        for name, call in CALLS.items()
        if not call.there
    }
    assert same == {name: True for name, call in CALLS.items() if call.arrays}
    assert set(refused) == set(same)
    assert all("is 'cpu', but an argument lies on a card" in text for text in refused.values())


@pytest.mark.slow
def test_a_card_gives_what_the_processor_does() -> None:
    worst = ran(CARD)
    assert worst.pop("calibrate_heston") < 1e-8
    assert max(worst.values()) < 1e-10


@pytest.mark.slow
def test_warming_compiles_what_runs_on_a_card() -> None:
    assert ran(WARMED) == [1, 1, 1, 1]


def test_on_the_processor_names_the_function_and_takes_what_is_elsewhere() -> None:
    class Lying:
        __cuda_array_interface__: ClassVar = {"shape": (2,)}

        def copy_to_host(self) -> str:
            return "home"

    assert on_the_processor("it", "auto", 1.0, Lying()) == (1.0, "home")
    assert fetched("as it is") == "as it is"
    with pytest.raises(InvalidInput, match="device: is 'cuda', and it has no way to a card; use 'auto'"):
        on_the_processor("it", "cuda", Lying())
    with pytest.raises(InvalidInput, match=r"is 'cpu', but an argument lies on a card; bring it back"):
        on_the_processor("it", "cpu", Lying())


CONTRACT = {
    "european": "spot, strike, expiry, rate, dividend, volatility, kind, *, device='auto'",
    "implied_volatility": "price, spot, strike, expiry, rate, dividend, kind",
    "heston_price": "spot, strike, expiry, rate, dividend, kind, v0, kappa, theta, sigma, rho",
    "heston_greeks": "spot, strike, expiry, rate, dividend, kind, v0, kappa, theta, sigma, rho",
    "calibrate_heston": "spot, strike, expiry, rate, dividend, kind, price, *, weights=None, start=None",
    "monte_carlo": "payoff, model, n_paths, seed",
    "verify_greeks": "served, request",
    "revalue": "book, market, scenarios",
    "explain_pnl": "book, before, after",
    "kelly_for_var": "limit",
    "forecast_capacity": "series",
    "trend": "series",
    "slippage": "fills, quotes",
    "calibrate_impact": "fills",
    "optimal_trajectory": ("shares, horizon, n_periods, volatility, permanent, temporary, fixed_cost, risk_aversion"),
    "replay": "trades, book_snapshots, model",
    "psi": "expected, actual, *, bins=20",
    "psi_from_fractions": "expected, actual",
    "ks": "expected, actual",
    "probabilistic_sharpe_ratio": "sharpe, benchmark, n_observations, skewness, kurtosis",
    "deflated_sharpe_ratio": "sharpe, n_observations, n_trials, trials_variance, skewness, kurtosis",
    "probability_of_backtest_overfitting": "returns, n_splits=16",
}
RESULTS = {
    engine.Greeks: "price delta gamma vega theta rho vanna volga charm",
    engine.HestonFit: "v0 kappa theta sigma rho rmse sse converged feller integration_error n_starts",
    engine.Trajectory: "holdings expected_cost cost_std",
    engine.KolmogorovSmirnov: "statistic p_value",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_a_signature_begins_as_it_was_agreed(name: str) -> None:
    positional, _, keywords = CONTRACT[name].partition(", *, ")
    parameters = inspect.signature(getattr(engine, name)).parameters.values()
    stated = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    for agreed, parameter in zip(positional.split(", "), stated, strict=False):
        word, _, default = agreed.partition("=")
        assert parameter.name == word
        assert not default or repr(parameter.default) == default
    assert len(stated) >= len(positional.split(", "))
    named = {p.name: repr(p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    for agreed in filter(None, keywords.split(", ")):
        word, _, default = agreed.partition("=")
        assert named[word] == default


@pytest.mark.parametrize("made", RESULTS, ids=lambda made: made.__name__)
def test_a_result_has_the_fields_that_were_agreed(made: Any) -> None:
    assert list(made._fields) == RESULTS[made].split()
