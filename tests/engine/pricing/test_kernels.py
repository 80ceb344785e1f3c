"""What the prices stand on: one source on every device, its functions, and its cache."""

from __future__ import annotations

import math
import platform
import re
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import special

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
    volatility = formulas.inversion.implied(compiled.price, *arguments[:5], arguments[6])
    assert volatility == pytest.approx(arguments[5], rel=1e-11)
    assert limits.implied(compiled.price, *arguments[:5], arguments[6]) == pytest.approx(volatility, rel=1e-12)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the instructions of x86-64")
@pytest.mark.parametrize(("name", "divisions", "roots"), [("european_block", 3, 2), ("implied_block", 12, 3)])
def test_the_loops_are_vectors(name: str, divisions: int, roots: int) -> None:
    # compiled anew: code from the cache cannot be read
    kernel = njit(fastmath=FAST, error_model="numpy")(getattr(_build(""), name).py_func)
    columns = tuple(np.ones(BLOCK) for _ in range(7))
    shape = (9, BLOCK) if name == "european_block" else (BLOCK,)
    kernel(columns, (1,) * 7, np.empty(shape), 0, BLOCK)
    (code,) = kernel.inspect_asm().values()
    # every division and every root of the formulas is one of vectors
    assert len(re.findall(r"\bv?divpd\b", code)) >= divisions
    assert len(re.findall(r"\bv?sqrtpd\b", code)) >= roots


def test_a_change_of_a_formula_is_a_change_of_the_cache_key() -> None:
    def key(source: str) -> Any:
        function = _build(source).european_block
        return function._cache._index_key((), function.targetctx.codegen())

    assert key("one source") == key("one source")
    assert key("one source") != key("another source")


def test_what_a_process_compiled_the_next_one_loads() -> None:
    # a compiled function among the free variables would give each process a key of its own
    for function in _build("one source"):
        kinds = {type(cell.cell_contents) for cell in function.py_func.__closure__}
        assert kinds == {str}
