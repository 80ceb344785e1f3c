"""What lies on the card, or is made there: beside a copy of the bytes, and beside cupy written plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from bench.gpu import plain
from bench.gpu.agreement import apart, milliseconds
from bench.greeks import book
from bench.timing import Row
from bench.var import options
from engine import GBM, Asian, european, monte_carlo, probability_of_backtest_overfitting, revalue

__all__ = ["copy_of", "positions_of", "rows"]

TILE = 1_000_000
RESIDENT = 100_000_000
PATHS = 1 << 22
BAR = 0.6  # of the copy's speed


def rows() -> Iterator[Row]:
    """Greeks first, then scenarios, paths and halves."""
    import cupy
    from cupyx.scipy.special import ndtr

    yield from greeks(cupy, ndtr)
    yield scenarios(cupy, ndtr)
    yield paths(cupy)
    yield halves(cupy)


def greeks(cupy: Any, ndtr: Any) -> Iterator[Row]:
    columns = book(TILE)
    n = min(RESIDENT, int(cupy.cuda.Device().mem_info[0] * 0.4 / (16 * 8)))
    block = cupy.tile(cupy.asarray(np.stack(columns)), (1, -(-n // TILE)))[:, :n].copy()
    copied, work = copy_of(cupy, n), _on_card(cupy, lambda: european(*block))
    first = [cupy.asnumpy(row[:TILE]) for row in european(*block)]
    error = apart(first, european(*columns, device="cpu"))
    note = f"{n / work / 1e6:.1f} G options/s; ratio: time of the copy over time of the work, {BAR} wanted"
    name = "device copy of its bytes"
    yield Row(f"9 Greeks, {n} resident options", work, copied, name, "ms", copied / work, error, note)
    part = block[:, : n // 8]
    plainly = _on_card(cupy, lambda: plain.greeks(cupy, ndtr, *part))
    ours = _on_card(cupy, lambda: european(*part))
    yield Row(f"9 Greeks, {n // 8} resident options", ours, plainly, "cupy, plainly", "ms", plainly / ours, None, "")


def copy_of(cupy: Any, n: int) -> float:
    """Time of a copy on the card that reads and writes as many bytes: 16 numbers an option."""
    target, source = cupy.empty((2, 8, n))
    return _on_card(cupy, lambda: cupy.copyto(target, source))


def scenarios(cupy: Any, ndtr: Any) -> Row:
    """A book in all scenarios; what the peer reads lies on the card already, ours comes from main memory."""
    held, state, moves = options()
    columns, factors, changes = (cupy.asarray(array) for array in positions_of(held, state, moves))
    theirs = plain.revaluation(cupy, ndtr, columns, factors, changes)
    ours = revalue(held, state, moves, device="cuda").total
    error = apart((ours,), (cupy.asnumpy(theirs),))
    mine = milliseconds(lambda: revalue(held, state, moves, device="cuda"))
    peer = _on_card(cupy, lambda: plain.revaluation(cupy, ndtr, columns, factors, changes))
    note = f"{len(held) * len(moves) / mine / 1e6:.2f} G valuations/s, the way there and back included"
    case = f"{len(held)} positions x {len(moves)} scenarios"
    return Row(case, mine, peer, "cupy, scenario by scenario", "ms", peer / mine, error, note)


def positions_of(held: Any, state: Any, moves: Any) -> tuple[Any, Any, Any]:
    """A book as the peer takes it: columns, and the moves of each position in each scenario."""
    column = np.array([moves.underlyings.index(name) for name in held.underlyings])[held.group]
    spot = np.array([state.spot[name] for name in held.underlyings])[held.group]
    volatility = np.array([state.volatility[name] for name in held.underlyings])[held.group]
    ones = np.ones(len(held))
    rates = (0.03 * ones, 0.01 * ones)  # of `bench.var.options`
    columns = np.stack([spot, held.strike, held.expiry, *rates, volatility, held.sign, held.weight])
    return columns, 1.0 + moves.spot[:, column], moves.volatility[:, column]


def paths(cupy: Any) -> Row:
    payoff, model = Asian(100.0, 1.0, "call", n_fixings=12), GBM(100.0, 0.05, 0.02, 0.25)
    simulated = partial(monte_carlo, payoff, model, PATHS, 1, sampling="pseudo", device="cuda")
    ours, (price, error) = simulated(), plain.asian(cupy, PATHS)
    mine, peer = milliseconds(simulated), _on_card(cupy, lambda: plain.asian(cupy, PATHS))
    note = (
        f"{ours.price:.5f} with a standard error of {ours.standard_error:.1e}, cupy's {price:.5f} and {error:.1e}; "
        "ours with a control variate"
    )
    return Row(f"Asian of 12 fixings, {PATHS} paths", mine, peer, "cupy, plainly", "ms", peer / mine, None, note)


def halves(cupy: Any) -> Row:
    returns = np.random.default_rng(5).normal(0.0, 0.01, (2_000, 1_000))
    there = cupy.asarray(returns)
    work = partial(probability_of_backtest_overfitting, returns, 16, device="cuda")
    error = apart((work().logits,), (cupy.asnumpy(plain.overfitting(cupy, there, 16)),))
    mine, peer = milliseconds(work), _on_card(cupy, lambda: plain.overfitting(cupy, there, 16))
    case = "overfitting, 16 blocks, 1000 strategies, 2000 periods"
    note = "ours from main memory and back"
    return Row(case, mine, peer, "cupy, sums of blocks and matrices", "ms", peer / mine, error, note)


def _on_card(cupy: Any, work: Callable[[], object]) -> float:
    """Median time of a call until the card is done."""

    def finished() -> None:
        work()
        cupy.cuda.get_current_stream().synchronize()

    return milliseconds(finished)
