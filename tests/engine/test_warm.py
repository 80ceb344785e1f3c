"""After `warm` nothing is compiled any more; and the machine's own benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import engine
from engine import european, implied_volatility, warm
from engine.pricing._kernels import kernels

ROOT = Path(engine.__file__).resolve().parents[1]
WARM = """
import json, threading
from numba.core import event
import engine

class Heard(event.Listener):
    def __init__(self):
        self.names = []
    def on_start(self, found):
        self.names.append(str(found.data["dispatcher"]) if found.data else "loaded")
    def on_end(self, found):
        pass

compiled, loaded = Heard(), Heard()
event.register("numba:compile", compiled)
event.register("numba:compiler_lock", loaded)  # taken to load as well
engine.warm()
"""
AGAIN = """
print(json.dumps([compiled.names, len(loaded.names), threading.active_count()]))
"""
CALLS = """
loaded.names.clear()
import numpy as np
import pandas as pd
from engine import *

rng = np.random.default_rng(1)

def fixed(values):
    values = np.array(values)
    values.flags.writeable = False
    return values

columns = [np.linspace(90.0, 110.0, 3000), 100.0, np.full(3000, 0.5), 0.03, 0.0, np.float64(0.2)]
price = european(*columns, "call").price
implied_volatility(price, *columns[:5], "call")
european(fixed(columns[0])[::2], 100.0, 0.5, 0.03, 0.0, columns[0].astype(np.float32)[::2], "put")
european(100.0, 100.0, 0.0, 0.0, 0.0, 0.2, "put")
european(np.float64(100.0), 100, 1, 0, 0, np.float32(0.2), -1)
implied_volatility(5.0, 100.0, 100.0, 1.0, 0.0, 0.0, "put")

contract, model = (100.0, [90.0, 100.0], 1.0, 0.05, 0.03, "put"), (0.04, 1.0, 0.04, 0.5, -0.5)
heston_greeks(*contract, *model)
quotes = 100.0, np.linspace(80.0, 120.0, 20), np.repeat([0.25, 1.0], 10), 0.05, 0.03, "call"
calibrate_heston(*quotes, fixed(heston_price(*quotes, *model)))
american(100, fixed([90.0, 100.0]), 1.0, 0.05, 0.03, 0.25, "put")
american(100, fixed([90.0, 100.0]), 1.0, [-0.01, -0.02], -0.04, 0.25, "put", tolerance=1e-3)
for market in (GBM(100.0, 0.02, 0.0, 0.2), Heston(100.0, 0.02, 0.0, *model)):
    for payoff in (European(100.0, 1.0, "call"), Asian(100.0, 1.0, "put", n_fixings=4)):
        monte_carlo(payoff, market, 2048, 1)
        monte_carlo(payoff, market, 2048, 1, sampling="pseudo", antithetic=True)
monte_carlo(Barrier(90.0, 95.0, 0.5, "call", "down-and-in"), GBM(100.0, 0.02, 0.0, 0.2), 2048, 1)
verify_greeks(european(100.0, 100.0, 1.0, 0.0, 0.0, 0.2, "call"), dict(
    spot=100.0, strike=100.0, expiry=1.0, rate=0.0, dividend=0.0, volatility=0.2, kind="call"), n_paths=4096)

book = Book.from_columns(
    id=["a", "b", "c"], underlying=["X", "X", "Y"], kind=["put", "perpetual", "call"], quantity=[1.0, 2.0, -1.0],
    strike=[100.0, None, 90.0], expiry=[0.5, None, 1.0])
before, after = (Market({"X": spot, "Y": 95.0}, volatility=0.2) for spot in (100.0, 101.0))
scenarios = Scenarios(["X", "Y"], fixed(rng.normal(0.0, 0.1, (300, 2))))
revalue(book, before, scenarios, positions=True)
value_at_risk(book, before, scenarios, method="historical")
expected_shortfall(book, before, covariance=np.eye(2) * 1e-3)
value_at_risk(book, before, covariance=np.eye(2) * 1e-3, method="monte-carlo", seed=1)
explain_pnl(book, before, after)
returns = rng.normal(0.0, 0.01, (40_000, 3))
for values in (returns, fixed(returns), np.asfortranarray(returns), returns[::-1]):
    value_at_risk(np.ones(3), values, method="historical")
    probability_of_backtest_overfitting(values[:40], n_splits=4)
probability_of_backtest_overfitting(returns[:40] * 1e-300, n_splits=4)

for n in (40, 6_000, 40_000):
    for values in (rng.normal(size=n), fixed(rng.standard_cauchy(n)), rng.normal(size=(n, 2))[:, 0],
                   np.round(rng.normal(size=n), 1).astype(np.float32), rng.integers(0, 6, n), np.zeros(n)):
        ks(values, values[::-1])
        ks(values, rng.normal(size=n - 7))
        psi(values, values)
        psi(values, values, bins=[0.0, 1.0])
frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["x", "y", "z"])
ks(frame, frame), psi(frame, frame)
print(json.dumps(loaded.names))
"""


def ran(script: str, **environment: str) -> Any:
    """What a script prints as JSON in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_after_warming_nothing_is_compiled_or_loaded() -> None:
    assert ran(WARM + CALLS) == []


@pytest.mark.slow
def test_what_one_process_compiled_the_next_one_loads() -> None:
    # a compiled function among the free variables of another would give its code a new key in every process
    ran(WARM + AGAIN)
    compiled, loaded, threads = ran(WARM + AGAIN)
    assert compiled == []
    assert loaded > 20
    # a process may fork afterwards
    assert threads == 1


def test_it_leaves_python_as_it_was() -> None:
    script = """
import gc, json, sys
import engine
engine.warm()
loaded = [name in sys.modules for name in ("scipy.linalg", "scipy.linalg.cython_blas")]
light = [gc.isenabled(), gc.get_freeze_count(), *loaded]
import numba, numpy
product = numba.njit(lambda a, b: a @ b)(numpy.eye(2), numpy.full((2, 2), 3.0)).tolist()
import scipy.linalg
gc.disable()
engine.warm()
print(json.dumps([light, product, scipy.linalg.cython_blas.__name__, gc.isenabled()]))
"""
    light, product, name, enabled = ran(script)
    assert light == [True, 0, False, False]
    # numba found BLAS none the less
    assert product == [[3.0, 3.0], [3.0, 3.0]]
    assert name == "scipy.linalg.cython_blas"
    assert not enabled


def test_each_function_has_one_signature() -> None:
    warm()
    european([90.0, 110.0], 100.0, [0.5, 1.0], 0.0, 0.0, 0.2, [1, -1])
    implied_volatility([3.0, 2.0], 100.0, [105.0, 100.0], 1.0, 0.0, 0.0, "call")
    assert [len(function.signatures) for function in kernels()] == [1, 1]


def test_every_warmer_is_there() -> None:
    import importlib

    from engine._warm import _WARMERS

    for name in _WARMERS:
        module, _, function = name.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_the_benchmark_is_bounded_and_in_order() -> None:
    found = engine.benchmark_greeks()
    assert 0.0 < found.median_us <= found.p99_us <= found.p999_us
    assert 100 <= found.n_requests <= 20_000
    assert found.options_per_s > 1e4
    assert found.batch_size == 100_000
