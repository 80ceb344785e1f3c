"""The kernels for a card in numba's simulator: their logic, blocks and remainders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine

pytestmark = pytest.mark.slow

EPSILON = float(np.finfo(np.float64).eps)
ROOT = Path(engine.__file__).resolve().parents[1]

BOOK = """
import json, math
from types import SimpleNamespace
import numpy as np
from engine import InvalidInput, european, implied_volatility
from engine.pricing import _cuda
from engine.pricing._batches import batch
from engine.pricing._kernels import BLOCK

rng = np.random.default_rng(3)
n = 40
columns = [rng.uniform(*bounds, n) for bounds in ((50, 150), (50, 150), (0.02, 3), (-0.02, 0.05), (0, 0.03), (0.05, 1))]
columns[2][7], columns[2][8], columns[0][8] = 1e-13, 0.0, columns[1][8]  # what the branch-free formulas leave out
columns.append(np.where(rng.random(n) < 0.5, 1.0, -1.0))
names = ("spot", "strike", "expiry", "rate", "dividend", "volatility", "kind")

def apart(one, other):
    one, other = np.asarray(one), np.asarray(other)
    same = np.isfinite(other)
    assert np.array_equal(one[~same], other[~same], equal_nan=True)
    return float(np.max(np.abs(one - other)[same]) / np.max(np.abs(other)[same]))
"""

STREAMED = """
host = european(*columns, device="cpu")
card = european(*columns, device="cuda")
mixed = european(columns[0], 100.0, *columns[2:5], 0.3, "put", device="cuda")
options = batch(BLOCK, **dict(zip(names, columns)))
results = np.full((9, n), 7.0)
invalid = _cuda.european(options, results, on_card=16)
columns[5][33] = math.nan
try:
    european(*columns, device="cuda")
except InvalidInput as problem:
    said = str(problem)
print(json.dumps([
    max(map(apart, card, host)),
    apart(mixed.price, european(columns[0], 100.0, *columns[2:5], 0.3, "put").price),
    bool((results == np.array(card)).all()), invalid, said,
]))
"""

IMPLIED = """
# on a card the logarithm of nothing is nan or infinite; Python's raises
_cuda.math = SimpleNamespace(exp=math.exp, log=lambda x: math.log(x) if x > 0.0 else math.nan)
price = european(*columns).price
price[11] = -1.0
arguments = (price, *columns[:5], columns[6])
host, card = implied_volatility(*arguments), implied_volatility(*arguments, device="cuda")
options = batch(BLOCK, **dict(zip(("price", *names[:5], "kind"), arguments)))
results = np.full((1, n), 7.0)
missing = _cuda.implied(options, results, on_card=24)
print(json.dumps([apart(card, host), bool(np.array_equal(results[0], card, equal_nan=True)), missing,
                  int(np.isnan(host).sum())]))
"""

RESIDENT = """
block = np.array(columns)
host = european(*columns)
found, invalid = _cuda.resident("european", np, tuple(block), 9)
grid, _ = _cuda.resident("european", np, (block[0][:, None], block[1][:3], 0.5, 0.03, 0.0, 0.2, 1.0), 9)
expected = european(block[0][:, None], block[1][:3], 0.5, 0.03, 0.0, 0.2, 1)
empty, _ = _cuda.resident("european", np, (block[0][:0], 1.0, 0.5, 0.03, 0.0, 0.2, 1.0), 9)
turned = tuple(block[::-1])
one = _cuda._rows_of_one(list(block)) is block
other = [_cuda._rows_of_one(list(rows)) for rows in (turned, block[:3], columns, block[:, ::2])]
print(json.dumps([max(map(apart, found, host)), invalid, max(map(apart, grid, expected)), list(grid.shape),
                  list(empty.shape), one, [found is None for found in other]]))
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


def test_a_book_goes_through_the_card_in_blocks() -> None:
    worst, mixed, same, invalid, said = ran(BOOK + STREAMED, NUMBA_ENABLE_CUDASIM="1")
    assert worst < 16 * EPSILON
    assert mixed < 16 * EPSILON
    assert same
    assert invalid == 0
    assert said == "volatility[33]: is nan; every value must be finite"


def test_implied_volatilities_go_through_the_card_in_blocks() -> None:
    worst, same, missing, expected = ran(BOOK + IMPLIED, NUMBA_ENABLE_CUDASIM="1")
    assert worst < 1e-12
    assert same
    assert missing == expected > 0


def test_what_lies_on_the_card_stays_there() -> None:
    worst, invalid, grid, shape, empty, one, others = ran(BOOK + RESIDENT, NUMBA_ENABLE_CUDASIM="1")
    assert worst < 16 * EPSILON
    assert grid < 16 * EPSILON
    assert invalid == 0
    assert shape == [9, 40, 3]
    assert empty == [9, 0]
    # rows of one block, in order, are taken as they lie; anything else is gathered first
    assert one
    assert others == [True] * 4
