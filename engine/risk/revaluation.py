"""Full revaluation of a book under scenarios.

References
----------
.. [1] P. Jorion, *Value at Risk*, 3rd ed. (2006), ch. 10 (local and full valuation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine._checks import FloatArray, flag
from engine._dask import check_client, spread
from engine._device import Place, choose, worth_a_card
from engine.errors import InvalidInput
from engine.risk.book import Book
from engine.risk.market import Market, state
from engine.risk.scenarios import Scenarios

__all__ = ["Revaluation", "Shards", "revalue"]

Shards = Sequence[Callable[[], Book]]

_DAYS_A_YEAR = 365.0
_BLOCK, _MOST_BLOCKS = 256, 4_096  # positions in a block, so many that their sums find room beside the book
_A_THREAD, _A_TASK = 500_000, 50_000_000  # valuations worth a thread (4 ms), and a task on a worker (half a second)
_A_VALUATION = 6e-9  # seconds on one core
_ON_REQUEST = 1 << 22  # figures by position that are held at a time


@dataclass(frozen=True, slots=True, eq=False)
class Revaluation:
    """Profit and loss of a book in each scenario.

    Attributes
    ----------
    total : ndarray, shape (n_scenarios,)
        [currency]; a loss is negative.
    by_underlying : ndarray, shape (n_underlyings, n_scenarios)
        Adds up to `total`.
    by_position : ndarray, shape (n_positions, n_scenarios), or None
        Adds up to `by_underlying`; only where it was asked for.
    value : ndarray, shape (n_positions,)
        Value of each position before [currency].
    underlyings : tuple of str
    ids : ndarray of str
        Names of the positions.
    n_floored : int
        Options times scenarios in which the volatility would have fallen below 0, and was taken as 0.
    """

    total: FloatArray
    by_underlying: FloatArray
    by_position: FloatArray | None
    value: FloatArray
    underlyings: tuple[str, ...]
    ids: NDArray[np.object_]
    n_floored: int


def revalue(
    book: Book | Shards,
    market: Market,
    scenarios: Scenarios,
    *,
    positions: bool = False,
    device: Place = "auto",
    client: Any | None = None,
) -> Revaluation:
    """Return profit and loss of every position, valued anew in every scenario, summed by underlying and in total [1]_.

    Parameters
    ----------
    book : Book or sequence of callable
        Or functions that load its shards, such as ``functools.partial(Book.from_parquet, path)``: one shard is in
        memory at a time, or with a client each is loaded where it is valued.
    market : Market
        Before the scenarios.
    scenarios : Scenarios
    positions : bool
        Also return the figures of each position, of shape (n_positions, n_scenarios).
    device : {"auto", "cpu", "cuda"}
        "auto" goes to a card where there is one and that is quicker with the way there and back; the figures then
        agree to rounding, not to the bit. A card takes the book in blocks, whatever its size.
    client : distributed.Client, optional
        Spreads the book over workers; the same bits come back as without it where the workers' processors are alike.

    Returns
    -------
    Revaluation

    Raises
    ------
    InvalidInput
        An underlying of the book without a spot, volatility or scenario, by name; a position that expired before; a
        scenario in which discounting overflows.
    DeviceMissing
        ``device="cuda"`` without a card.
    WorkFailed
        Workers failed; lists every part that did.

    Notes
    -----
    The volatility of a position stays with its strike, and moves by the scenario's change. An option that expires
    within a scenario is worth its payoff at the spot of the scenario. Each value is that of `engine.european` to a few
    units of rounding of discounted spot plus discounted strike.

    Examples
    --------
    >>> from engine.risk import Book, Market, Scenarios, revalue
    >>> book = Book.from_columns(
    ...     id=["a", "b"], underlying=["X", "X"], kind=["spot", "put"], quantity=[1.0, 1.0],
    ...     strike=[float("nan"), 100.0], expiry=[float("nan"), 0.5],
    ... )
    >>> found = revalue(book, Market({"X": 100.0}, volatility=0.2), Scenarios(["X"], [[-0.5], [0.0], [0.5]]))
    >>> found.total.round(2).tolist()
    [-5.64, 0.0, 44.37]
    """
    check_client(client)
    positions = flag("positions", positions)
    if isinstance(book, Book):
        return _whole(book, market, scenarios, positions, device, client)
    shards = shards_of(book)
    found = spread(_shard, shards, client, common=(market, scenarios, positions, device))
    return _together(found, positions)


def shards_of(book: Any) -> list[Callable[[], Book]]:
    """Return the shards of a book, or raise for what is none."""
    if are_shards(book):
        return list(book)
    raise InvalidInput("book", f"is of type {type(book).__name__}; must be a Book or a list of functions that load one")


def are_shards(book: Any) -> bool:
    """Tell whether this is a list of functions that load the shards of a book."""
    return isinstance(book, (list, tuple)) and bool(book) and all(callable(shard) for shard in book)


def contributions(
    book: Book, market: Market, scenarios: Scenarios, weights: FloatArray, device: Place = "auto"
) -> FloatArray:
    """Return the weighted sum over scenarios of the profit of each position, holding only some of them at a time."""
    work = _prepare(book, market, scenarios, device)
    found = np.empty(len(book))
    for first, last, by_position in _streamed(work, device):
        found[first:last] = by_position @ weights
    return found


class _Work(NamedTuple):
    """Arguments of the kernel, but for its results."""

    blocks: NDArray[np.int64]
    market: FloatArray
    positions: FloatArray
    moves: FloatArray
    shifts: FloatArray
    even: bool


def _whole(
    book: Book, market: Market, scenarios: Scenarios, positions: bool, device: Place, client: Any | None
) -> Revaluation:
    work = _prepare(book, market, scenarios, device)
    n_scenarios = len(scenarios)
    if client is None:
        by_position = np.empty((len(book) if positions else 0, n_scenarios))
        sums = _filled(work, by_position, device)
    else:
        # the shards are slices of the arrays; which, follows from the sizes alone
        parts = [_cut(work, first, last) for first, last in _runs(work, _A_TASK)]
        common = (work.market, work.moves, work.shifts, work.even, positions, device)
        found = spread(_far, parts, client, common=common)
        sums, by_position = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    by_underlying = np.add.reduceat(sums, np.searchsorted(work.blocks[:, 0], np.arange(len(book.underlyings))), axis=0)
    _check_finite(by_underlying, book.underlyings)
    value = book.weight * work.positions[5]
    floored = _floored(book, work)
    held = by_position if positions else None
    return Revaluation(by_underlying.sum(axis=0), by_underlying, held, value, book.underlyings, book.ids, floored)


def _prepare(book: Book, market: Market, scenarios: Scenarios, device: Place) -> _Work:
    choose(device)
    if not isinstance(scenarios, Scenarios):
        raise InvalidInput("scenarios", f"is of type {type(scenarios).__name__}; must be Scenarios")
    now = state(book, market)
    places = {name: place for place, name in enumerate(scenarios.underlyings)}
    missing = [name for name in book.underlyings if name not in places]
    if missing:
        raise InvalidInput("scenarios", f"has no moves of {', '.join(map(repr, missing[:5]))}, which the book holds")
    columns = [places[name] for name in book.underlyings]
    factor = 1.0 + scenarios.spot.T[columns]
    with np.errstate(divide="ignore"):
        moves = np.stack([factor, np.log(factor), scenarios.volatility.T[columns]])
    shifts = np.stack([scenarios.rate, scenarios.elapsed / _DAYS_A_YEAR])
    even = bool((shifts == shifts[:, :1]).all())
    length = max(_BLOCK, -(-len(book) // _MOST_BLOCKS))
    blocks = [
        (place, first, min(first + length, int(book.starts[place + 1])))
        for place in range(len(book.underlyings))
        for first in range(int(book.starts[place]), int(book.starts[place + 1]), length)
    ]
    figures = np.stack([now.spot, now.rate, now.dividend])
    ones, nothing = np.ones(len(book)), np.zeros(len(book))
    logarithm = np.log(now.spot[book.group] / book.strike)
    positions = np.stack([book.strike, now.time, now.volatility, book.sign, ones, nothing, logarithm])
    work = _Work(np.array(blocks, dtype=np.int64), figures, positions, moves, shifts, even)
    positions[5] = _before(work)
    wrong = ~np.isfinite(positions[5])
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InvalidInput("market", f"leaves position {book.ids[place]!r} without a finite value", (place,))
    positions[4] = book.weight
    return work


def _before(work: _Work) -> FloatArray:
    """Values before, by the same loop, so that a scenario without a move has a profit of exactly 0."""
    n = work.positions.shape[1]
    still = np.zeros((3, work.market.shape[1], 1))
    still[0] = 1.0
    value = np.empty((n, 1))
    at_rest = work._replace(moves=still, shifts=np.zeros((2, 1)))
    _filled(at_rest, value, "cpu")
    return value[:, 0]


def _filled(work: _Work, by_position: FloatArray, device: Place) -> FloatArray:
    """Sums by block; fills the figures by position where they have rows."""
    sums = np.empty((len(work.blocks), work.moves.shape[2]))
    from engine.risk._revaluation_kernels import kernel

    compiled = kernel()
    valuations = work.positions.shape[1] * work.moves.shape[2]
    there_and_back = 1 if by_position.shape[0] else 0
    if device == "cuda" or (device == "auto" and worth_a_card(valuations, _A_VALUATION, there_and_back)):
        from engine.risk import _revaluation_cuda

        _revaluation_cuda.revalue(*work[:5], sums, by_position)
        again = np.flatnonzero(np.isnan(sums).any(axis=1))
        for b in again:
            _run(compiled, work, sums, by_position, int(b), int(b) + 1)
        return sums
    runs = _runs(work, _A_THREAD)
    if len(runs) > 1:
        from numba import config

        threads: int = vars(config)["NUMBA_NUM_THREADS"]
        spread(_near, runs, common=(compiled, work, sums, by_position), threads=threads)
    else:
        _near(runs[0], compiled, work, sums, by_position)
    return sums


def _near(run: tuple[int, int], compiled: Any, work: _Work, sums: FloatArray, by_position: FloatArray) -> None:
    _run(compiled, work, sums, by_position, *run)


def _run(compiled: Any, work: _Work, sums: FloatArray, by_position: FloatArray, first: int, last: int) -> None:
    compiled(work.blocks[first:last], *work[1:], sums[first:last], by_position, 0)


def _far(
    part: tuple[NDArray[np.int64], FloatArray],
    market: FloatArray,
    moves: FloatArray,
    shifts: FloatArray,
    even: bool,
    wanted: bool,
    device: Place,
) -> tuple[FloatArray, FloatArray]:
    """Sums by block of a shard, and its figures by position where they are wanted, on a worker."""
    # what came over the network may be read-only, which would be another type to the compiler
    blocks = np.require(part[0], requirements="W")
    positions, market, moves, shifts = (
        np.require(array, requirements="W") for array in (part[1], market, moves, shifts)
    )
    by_position = np.empty((positions.shape[1] if wanted else 0, moves.shape[2]))
    return _filled(_Work(blocks, market, positions, moves, shifts, even), by_position, device), by_position


def _runs(work: _Work, valuations: int) -> list[tuple[int, int]]:
    """Ranges of blocks with about so many valuations each."""
    done = work.blocks[:, 2] * work.moves.shape[2] // valuations
    ends = np.append(np.flatnonzero(np.diff(done)) + 1, len(work.blocks))
    return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))


def _cut(work: _Work, first: int, last: int) -> tuple[NDArray[np.int64], FloatArray]:
    blocks = work.blocks[first:last].copy()
    start, end = int(blocks[0, 1]), int(blocks[-1, 2])
    blocks[:, 1:] -= start
    return blocks, np.ascontiguousarray(work.positions[:, start:end])


def _streamed(work: _Work, device: Place) -> Iterator[tuple[int, int, FloatArray]]:
    """Figures by position, some blocks at a time: first position, the place after the last, and the figures."""
    for first, last in _runs(work, _ON_REQUEST):
        blocks, positions = _cut(work, first, last)
        by_position = np.empty((positions.shape[1], work.moves.shape[2]))
        _filled(work._replace(blocks=blocks, positions=positions), by_position, device)
        start = int(work.blocks[first, 1])
        yield start, start + positions.shape[1], by_position


def _check_finite(by_underlying: FloatArray, underlyings: tuple[str, ...]) -> None:
    wrong = ~np.isfinite(by_underlying)
    if wrong.any():
        place, scenario = (int(index) for index in np.unravel_index(int(np.argmax(wrong)), wrong.shape))
        problem = f"gives {underlyings[place]!r} no finite value: discounting overflows"
        raise InvalidInput("scenarios", problem, (scenario,))


def _floored(book: Book, work: _Work) -> int:
    count = 0
    for place in range(len(book.underlyings)):
        falls = -work.moves[2, place]
        if falls.max() <= 0.0:
            continue
        span = slice(int(book.starts[place]), int(book.starts[place + 1]))
        volatility = work.positions[2, span][work.positions[3, span] != 0.0]
        count += int((np.searchsorted(np.sort(volatility), np.sort(falls), side="left")).sum())
    return count


def _shard(
    load: Callable[[], Book], market: Market, scenarios: Scenarios, positions: bool, device: Place
) -> Revaluation:
    return _whole(loaded(load), market, scenarios, positions, device, None)


def loaded(load: Callable[[], Book]) -> Book:
    """Return the shard that a function loads."""
    book = load()
    if not isinstance(book, Book):
        raise InvalidInput("book", f"has a shard that loads a {type(book).__name__}; must load a Book")
    return book


def _together(found: list[Revaluation], positions: bool) -> Revaluation:
    """Sum the shards, in their order."""
    underlyings = tuple(dict.fromkeys(name for part in found for name in part.underlyings))
    places = {name: place for place, name in enumerate(underlyings)}
    by_underlying = np.zeros((len(underlyings), found[0].total.size))
    for part in found:
        for name, row in zip(part.underlyings, part.by_underlying, strict=True):
            by_underlying[places[name]] += row
    ids = np.concatenate([part.ids for part in found])
    unique, counts = np.unique(ids, return_counts=True)
    if unique.size < ids.size:
        raise InvalidInput("book", f"has the position {unique[int(np.argmax(counts > 1))]!r} in two shards")
    return Revaluation(
        by_underlying.sum(axis=0),
        by_underlying,
        np.concatenate([part.by_position for part in found if part.by_position is not None]) if positions else None,
        np.concatenate([part.value for part in found]),
        underlyings,
        ids,
        sum(part.n_floored for part in found),
    )
