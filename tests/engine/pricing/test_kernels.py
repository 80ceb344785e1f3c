"""What the prices stand on: one source on every device, its functions, and its cache."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import special

import engine
from engine import european
from engine._compile import FAST, exponential, logarithm
from engine.pricing import _formulas, _limits
from engine.pricing._kernels import BLOCK, _build

EPSILON = float(np.finfo(np.float64).eps)


def plain(function: Any) -> Any:
    """Leave a function as Python."""
    return function


@njit  # type: ignore[untyped-decorator]
def _exponentials(values: Any) -> Any:
    return np.array([exponential(value) for value in values])


@njit  # type: ignore[untyped-decorator]
def _logarithms(values: Any) -> Any:
    return np.array([logarithm(value) for value in values])


def test_the_exponential_is_right_to_a_unit_in_the_last_place() -> None:
    values = np.concatenate([np.linspace(-708.0, 708.0, 20_001), np.linspace(-1.0, 1.0, 2_001)])
    np.testing.assert_allclose(_exponentials(values), np.exp(values), rtol=2 * EPSILON)


def test_the_logarithm_is_right_to_a_unit_in_the_last_place() -> None:
    values = np.concatenate([np.exp(np.linspace(-700.0, 700.0, 20_001)), np.linspace(0.5, 2.0, 3_001)])
    np.testing.assert_allclose(_logarithms(values), np.log(values), rtol=2 * EPSILON, atol=0)


def test_the_scaled_complement_agrees_with_scipy() -> None:
    formulas = _formulas.make(plain, math.exp, math.log)
    for x in np.concatenate([np.linspace(0.0, 40.0, 4_001), np.logspace(2, 15, 40)]):
        assert formulas.erfcx(float(x)) == pytest.approx(special.erfcx(x), rel=8 * EPSILON, abs=0)


@pytest.mark.parametrize(
    "arguments",
    [
        (100.0, 105.0, 0.5, 0.03, 0.01, 0.25, 1.0),
        (100.0, 60.0, 1.5, 0.02, 0.0, 0.9, -1.0),
        (50.0, 150.0, 0.1, 0.05, 0.03, 0.4, 1.0),
    ],
)
def test_compiled_formulas_agree_with_the_same_source_as_python(arguments: tuple[float, ...]) -> None:
    formulas = _formulas.make(plain, math.exp, math.log)
    limits = _limits.make(plain, formulas)
    compiled = european(*arguments[:6], "call" if arguments[6] > 0 else "put")
    size = max(arguments[:2])
    assert compiled == pytest.approx(formulas.european(*arguments), rel=1e-11, abs=8 * EPSILON * size)
    assert compiled == pytest.approx(limits.european(*arguments), rel=1e-11, abs=8 * EPSILON * size)
    volatility = formulas.implied(compiled.price, *arguments[:5], arguments[6])
    assert volatility == pytest.approx(arguments[5], rel=1e-11)
    assert limits.implied(compiled.price, *arguments[:5], arguments[6]) == pytest.approx(volatility, rel=1e-12)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the instructions of x86-64")
@pytest.mark.parametrize("name", ["european_block", "implied_block"])
def test_the_loops_are_vectors(name: str) -> None:
    # compiled anew: code from the cache cannot be read
    kernel = njit(fastmath=FAST, error_model="numpy")(getattr(_build(""), name).py_func)
    columns = tuple(np.ones(BLOCK) for _ in range(7))
    shape = (9, BLOCK) if name == "european_block" else (BLOCK,)
    kernel(columns, (1,) * 7, np.empty(shape), 0, BLOCK)
    (code,) = kernel.inspect_asm().values()
    assert len(re.findall(r"\bv?divpd\b", code)) >= 5
    assert len(re.findall(r"\bv?sqrtpd\b", code)) >= 1


def test_a_change_of_a_formula_is_a_change_of_the_cache_key() -> None:
    def key(source: str) -> Any:
        function = _build(source).european_one
        return function._cache._index_key((), function.targetctx.codegen())

    assert key("one source") == key("one source")
    assert key("one source") != key("another source")


def test_the_same_source_runs_as_a_cuda_kernel(tmp_path: Path) -> None:
    """In numba's simulator: the logic of the kernel, its blocks, and what is left to the CPU."""
    script = tmp_path / "simulated.py"
    script.write_text(
        """
import json
import numpy as np
from engine import european
from engine.pricing._batches import batch
from engine.pricing import _cuda
from engine.pricing._kernels import BLOCK

rng = np.random.default_rng(3)
spot, strike, expiry = rng.uniform(50, 150, 40), rng.uniform(50, 150, 40), rng.uniform(0.02, 3, 40)
expiry[7] = 1e-13  # left to the CPU
sign = np.where(rng.random(40) < 0.5, 1.0, -1.0)
card = european(spot, strike, expiry, 0.03, 0.01, 0.3, sign, device="cuda")
host = european(spot, strike, expiry, 0.03, 0.01, 0.3, sign, device="cpu")
worst = max(float(np.max(np.abs(one - other)) / np.max(np.abs(other))) for one, other in zip(card, host))
options = batch(BLOCK, spot=spot, strike=strike, expiry=expiry, rate=0.03, dividend=0.01, volatility=0.3, kind=sign)
results = np.empty((9, 40))
_cuda.european(options, results, on_card=16)
left = np.flatnonzero(np.isnan(results[0])).tolist()
results[:, 7] = [row[7] for row in card]
print(json.dumps([worst, left, bool((results == np.array(card)).all())]))
""",
        "utf-8",
    )
    root = Path(engine.__file__).resolve().parents[1]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    worst, left, same = json.loads(done.stdout)
    assert worst < 16 * EPSILON
    assert left == [7]
    assert same
