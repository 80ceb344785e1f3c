"""Full revaluation: every figure is that of the pricing functions, in every order and on every device."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import engine
from engine import DeviceMissing, InvalidInput, european
from engine._compile import FAST
from engine.pricing import _formulas
from engine.risk import Book, Market, Scenarios, _revaluation_kernels, revaluation, revalue
from engine.risk import _revaluation_formulas as formulas
from engine.risk._revaluation_kernels import _build
from tests.engine.risk.books import NAMES, book, market, scenarios


def literal(held: Book, now: Market, moves: Scenarios) -> Any:
    """Profit by position and scenario, one call of the pricing function for each scenario."""
    place = {name: moves.underlyings.index(name) for name in held.underlyings}
    columns = np.array([place[name] for name in held.underlyings])[held.group]

    def each(figures: Any) -> Any:
        return np.array([figures[name] if isinstance(figures, dict) else figures for name in held.underlyings])

    spot, rate, dividend = (each(figures)[held.group] for figures in (now.spot, now.rate, now.dividend))
    volatility = np.where(held.sign != 0.0, each(now.volatility)[held.group], 0.0)
    time = np.where(np.isfinite(held.expiry), held.expiry - now.clock, 0.0)

    def value(j: int | None) -> Any:
        moved, left, level, rates = spot, time, volatility, rate
        if j is not None:
            moved = spot * (1.0 + moves.spot[j, columns])
            left = np.maximum(time - moves.elapsed[j] / 365.0, 0.0)
            level = np.maximum(volatility + moves.volatility[j, columns], 0.0)
            rates = rate + moves.rate[j]
        linear = moved * np.exp((rates - dividend) * left)
        sign = np.where(held.sign == 0.0, 1.0, held.sign)
        option = european(moved, held.strike, left, rates, dividend, level, sign).price
        return held.weight * np.where(held.sign == 0.0, linear, option)

    before = value(None)
    return np.column_stack([value(j) - before for j in range(len(moves))])


def scale(held: Book, now: Market, moves: Scenarios) -> Any:
    """Discounted spot plus strike by position, by which rounding is measured."""
    spot = np.array([now.spot[name] for name in held.underlyings])[held.group]
    return (np.abs(held.weight) * (spot * (1.0 + moves.spot.max()) + held.strike))[:, None]


MOVES: dict[str, dict[str, Any]] = {
    "spot and volatility": {},
    "the same time in each": {"elapsed": 10.0},
    "rates and times": {"rate": np.linspace(-0.02, 0.03, 40), "elapsed": np.linspace(0.0, 40.0, 40)},
    "beyond expiry": {"elapsed": 800.0},
    "some beyond expiry": {"elapsed": np.linspace(0.0, 800.0, 40)},
}


@pytest.mark.parametrize("facts", MOVES.values(), ids=MOVES)
def test_every_figure_is_that_of_the_pricing_function(facts: dict[str, Any]) -> None:
    held, now, moves = book(300), market(), scenarios(40, **facts)
    found = revalue(held, now, moves, positions=True)
    expected = literal(held, now, moves)
    assert found.by_position is not None
    assert np.abs((found.by_position - expected) / scale(held, now, moves)).max() < 1e-14
    size = np.abs(expected).sum(axis=0)
    assert np.abs(found.total - expected.sum(axis=0)).max() < 1e-12 * size.max()
    np.testing.assert_allclose(found.by_position.sum(axis=0), found.total, atol=1e-11 * size.max())
    for place in range(len(held.underlyings)):
        span = slice(held.starts[place], held.starts[place + 1])
        np.testing.assert_allclose(found.by_underlying[place], expected[span].sum(axis=0), atol=1e-12 * size.max())
    np.testing.assert_array_equal(revalue(held, now, moves).total, found.total)


@settings(max_examples=40, deadline=None)
@given(
    spot=st.floats(-1.0, 3.0),
    volatility=st.floats(-1.5, 2.0),
    rate=st.floats(-0.2, 0.2),
    elapsed=st.floats(0.0, 900.0),
    seed=st.integers(0, 1_000),
)
def test_any_move_agrees_with_the_pricing_function(
    spot: float, volatility: float, rate: float, elapsed: float, seed: int
) -> None:
    held, now = book(20, seed), market()
    moves = Scenarios(NAMES, [[spot] * 3, [0.0] * 3], [[volatility] * 3, [0.0] * 3], [rate, 0.0], [elapsed, 0.0])
    found = revalue(held, now, moves, positions=True)
    assert found.by_position is not None
    assert np.abs((found.by_position - literal(held, now, moves)) / scale(held, now, moves)).max() < 1e-13


@pytest.mark.parametrize("facts", [{}, {"rate": np.zeros(17)}, {"elapsed": np.r_[np.zeros(16), 5.0]}])
def test_nothing_moves_nothing_gained(facts: dict[str, Any]) -> None:
    found = revalue(book(100), market(), Scenarios(NAMES, np.zeros((17, 3)), **facts))
    assert not found.total[:16].any()


def test_limits_are_right() -> None:
    held = Book.from_columns(
        id=["call", "put", "worthless", "still"],
        underlying=["X"] * 4,
        kind=["call", "put", "call", "call"],
        quantity=[1.0] * 4,
        strike=[100.0, 100.0, 100.0, 50.0],
        expiry=[0.1, 0.1, 0.0, 1.0],
    )
    now = Market({"X": 100.0}, volatility=0.3, implied={"still": 0.0})
    found = revalue(held, now, Scenarios(["X"], [[0.2], [-1.0]], elapsed=365.0), positions=True)
    after = np.array([[20.0, 0.0], [0.0, 100.0], [20.0, 0.0], [70.0, 0.0]])
    np.testing.assert_allclose(found.by_position, after - found.value[:, None], atol=1e-12)


def test_volatilities_that_would_be_negative_are_counted() -> None:
    held = Book.from_columns(
        id=["a", "b", "s"],
        underlying=["X"] * 3,
        kind=["call", "put", "spot"],
        quantity=[1.0] * 3,
        strike=[100.0, 100.0, None],
        expiry=[1.0, 1.0, None],
    )
    now = Market({"X": 100.0}, volatility=0.2, implied={"b": 0.4})
    moves = Scenarios(["X"], np.zeros((4, 1)), [[-0.1], [-0.3], [-0.2], [-0.5]])
    assert revalue(held, now, moves).n_floored == 3


def test_the_order_of_positions_and_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    held, now, moves = book(2_000), market(), scenarios(700)
    once = revalue(held, now, moves)
    monkeypatch.setattr(revaluation, "_A_THREAD", 10_000_000_000)
    alone = revalue(held, now, moves)
    np.testing.assert_array_equal(once.by_underlying, alone.by_underlying)


def test_contributions_are_the_weighted_rows_whatever_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held, now, moves = book(900), market(), scenarios(11)
    weights = np.linspace(0.0, 1.0, 11)
    whole = revalue(held, now, moves, positions=True).by_position
    assert whole is not None
    monkeypatch.setattr(revaluation, "_ON_REQUEST", 1_000)
    found = revaluation.contributions(held, now, moves, weights)
    np.testing.assert_allclose(found, whole @ weights, rtol=1e-12, atol=1e-9)


def test_blocks_grow_with_the_book_so_that_their_sums_find_room(monkeypatch: pytest.MonkeyPatch) -> None:
    held, now, moves = book(500), market(), scenarios(5)
    expected = revalue(held, now, moves).total
    monkeypatch.setattr(revaluation, "_BLOCK", 1)
    monkeypatch.setattr(revaluation, "_MOST_BLOCKS", 10)
    np.testing.assert_allclose(revalue(held, now, moves).total, expected, rtol=1e-10)


def test_shards_add_up_to_the_book() -> None:
    held, now, moves = book(300), market(), scenarios(20)
    shards = [lambda first=first: held.part(first, first + 100) for first in (0, 100, 200)]
    found = revalue(shards, now, moves, positions=True)
    whole = revalue(held, now, moves, positions=True)
    assert (found.underlyings, found.ids.tolist()) == (whole.underlyings, whole.ids.tolist())
    np.testing.assert_allclose(found.by_underlying, whole.by_underlying, rtol=1e-11, atol=1e-9)
    np.testing.assert_array_equal(found.by_position, whole.by_position)
    with pytest.raises(InvalidInput, match=r"book: has the position 'position .*' in two shards"):
        revalue([shards[0], shards[0]], now, moves)
    with pytest.raises(InvalidInput, match="book: has a shard that loads a int; must load a Book"):
        revalue([lambda: 3], now, moves)  # type: ignore[list-item, return-value]
    with pytest.raises(InvalidInput, match="book: is of type list; must be a Book or a list of functions"):
        revalue([], now, moves)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InvalidInput, match="device: is 'tpu'"):
        revalue(book(), market(), scenarios(), device="tpu")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="market: is of type NoneType; must be a Market"):
        revalue(book(), None, scenarios())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="scenarios: is of type ndarray; must be Scenarios"):
        revalue(book(), market(), np.zeros((3, 3)))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="client: is of type str"):
        revalue(book(), market(), scenarios(), client="tcp://somewhere")
    with pytest.raises(InvalidInput, match=r"market\[0\]: leaves position 'position .*' without a finite value"):
        revalue(book(), market(rate=-5_000.0), scenarios())
    with pytest.raises(InvalidInput, match=r"scenarios\[1\]: gives 'SOL' no finite value: discounting overflows"):
        revalue(book().part(40, 60), market(), Scenarios(NAMES, np.zeros((2, 3)), rate=[0.0, -9_000.0]))


def test_a_card_that_is_not_there_is_missed() -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(DeviceMissing):
        revalue(book(), market(), scenarios(), device="cuda")


def test_the_formula_is_the_same_as_python() -> None:
    def plain(function: Any) -> Any:
        return function

    tails = _formulas.make(plain, math.exp, math.log).tails
    value = formulas.make(plain, math.exp, tails).value
    rng = np.random.default_rng(4)
    for _ in range(200):
        own, owed, total = rng.uniform(50, 150), rng.uniform(50, 150), rng.uniform(0.05, 2.0)
        for sign in (1.0, -1.0):
            found = value(own, owed, math.log(own / owed), total, sign)
            assert found == pytest.approx(european(own, owed, 1.0, 0.0, 0.0, total, [sign]).price[0], abs=1e-12)
    assert math.isnan(value(100.0, 100.0, 0.0, 1e-13, 1.0))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the instructions of x86-64")
def test_the_loops_are_vectors() -> None:
    # compiled anew: code from the cache cannot be read
    kernel = njit(fastmath=FAST, error_model="numpy")(_build("").py_func)
    blocks, shape = np.array([[0, 0, 1]]), (1, 8)
    kernel(blocks, np.ones((3, 1)), np.ones((7, 1)), np.ones((3, *shape)), np.ones((2, 8)), True,
           np.empty(shape), np.empty((0, 8)), 0)  # fmt: skip
    (code,) = kernel.inspect_asm().values()
    assert len(re.findall(r"\bv?divpd\b", code)) >= 4
    assert len(re.findall(r"\bv?sqrtpd\b", code)) >= 1


def test_a_change_of_a_formula_is_a_change_of_the_cache_key() -> None:
    def key(source: str) -> Any:
        function = _build(source)
        return function._cache._index_key((), function.targetctx.codegen())

    assert key("one source") == key("one source")
    assert key("one source") != key("another source")
    assert _revaluation_kernels.kernel() is _revaluation_kernels.kernel()


@pytest.mark.slow
def test_the_same_source_runs_as_a_cuda_kernel(tmp_path: Path) -> None:
    """In numba's simulator: the kernel, its blocks on the card, and what is left to the CPU."""
    script = tmp_path / "simulated.py"
    script.write_text(
        """
import json
import numpy as np
from engine.risk import revalue, revaluation, _revaluation_cuda
from tests.engine.risk.books import book, market, scenarios

worst = 0.0
revaluation._BLOCK = 8
for facts in ({}, {"elapsed": np.linspace(0.0, 400.0, 6), "rate": np.linspace(0.0, 0.01, 6)}):
    for on_card in (1 << 25, 40):
        _revaluation_cuda.revalue.__defaults__ = (on_card,)
        held, now, moves = book(40), market(), scenarios(6, **facts)
        card = revalue(held, now, moves, positions=True, device="cuda")
        host = revalue(held, now, moves, positions=True, device="cpu")
        size = np.abs(host.by_position).max()
        worst = max(worst, np.abs(card.by_position - host.by_position).max() / size)
        worst = max(worst, np.abs(card.total - host.total).max() / size)
print(json.dumps(worst))
""",
        "utf-8",
    )
    root = Path(engine.__file__).resolve().parents[1]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 1e-13
