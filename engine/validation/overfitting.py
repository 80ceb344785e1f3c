"""Probability that the best strategy of a backtest is the best by chance.

References
----------
.. [1] D. H. Bailey, J. M. Borwein, M. Lopez de Prado and Q. J. Zhu, "The probability of backtest overfitting", Journal
   of Computational Finance 20 (2017), section 3 (CSCV, steps 1 to 5), doi:10.21314/JCF.2016.322.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine._checks import FloatArray, fixed, is_whole, numeric
from engine._dask import check_client, spread
from engine._device import Place
from engine._placed import placed
from engine.errors import InvalidInput, NotFinite, TooFewObservations
from engine.validation._features import threads

__all__ = ["Overfitting", "probability_of_backtest_overfitting"]

_MOST_SPLITS = 24  # 2.7 million ways to halve them
_SECONDS = 3e-9  # a strategy in a pair of halves, on one core
_WORTH_A_THREAD = 2e-3
_WORTH_A_TASK = 1.0
_LARGE, _SMALL = 1e100, 1e-100  # returns whose squares are safe


@dataclass(frozen=True, slots=True)
class Overfitting:
    """What is left of the best strategy of one half of the periods in the other half.

    The arrays have an entry for each way to choose half of the blocks, in the order of `itertools.combinations`.

    Attributes
    ----------
    pbo : float
        Share of the ways in which the best of the one half is at the median or below in the other: near one half for
        strategies without merit, near 0 where one dominates.
    logits : ndarray, shape (n_ways,)
        ln(w / (1 - w)), with w the rank of the chosen one in the other half over n_strategies + 1.
    chosen : ndarray of int, shape (n_ways,)
        Column of the best strategy of the half.
    in_sample, out_of_sample : ndarray, shape (n_ways,)
        Its Sharpe ratio in the half and in the other, per period.
    degradation : float
        Slope of `out_of_sample` on `in_sample`: below 0, the better it looked the worse it was. Nan where a ratio is
        infinite or `in_sample` does not vary.
    probability_of_loss : float
        Share of the ways in which `out_of_sample` is below 0.
    """

    pbo: float
    logits: FloatArray
    chosen: NDArray[np.intp]
    in_sample: FloatArray
    out_of_sample: FloatArray
    degradation: float
    probability_of_loss: float


class _Sums(NamedTuple):
    """Sums of the blocks, around the mean of the whole and in units of its standard deviation."""

    blocks: FloatArray  # (2, n_splits, n_strategies): sums, sums of squares
    means: FloatArray
    lengths: NDArray[np.int64]


class _Tables(NamedTuple):
    """Sums over every subset of the first blocks, and of the last."""

    low_bits: int
    upper: FloatArray
    lower: FloatArray
    whole: FloatArray
    means: FloatArray
    lengths: tuple[NDArray[np.int64], NDArray[np.int64]]
    n_periods: int


def probability_of_backtest_overfitting(
    returns: ArrayLike, n_splits: int = 16, *, client: Any | None = None, device: Place = "auto"
) -> Overfitting:
    """Return the probability of backtest overfitting by combinatorially symmetric cross-validation [1]_.

    The periods are cut into blocks; for each way to choose half of them, the strategy with the highest Sharpe ratio
    there is ranked in the other half.

    Parameters
    ----------
    returns : array_like, shape (n_periods, n_strategies)
        Return of each strategy that was tried, in each period.
    n_splits : int
        Number of blocks, even, from 2 to 24. Where they do not divide the periods, the first blocks have one more.
    client : distributed.Client, optional
        Spreads the work over the workers of a cluster; only sums of blocks travel. The result is the same.
    device : {"auto", "cpu", "cuda"}
        "auto" is the CPU, unless the returns lie on a card: then the halves are compared there. The card's result may
        differ where two ratios differ by rounding alone.

    Returns
    -------
    Overfitting

    Raises
    ------
    InvalidInput
        Another shape, fewer than 2 strategies, an odd number of blocks.
    NotFinite
        A nan or an infinity, with its place.
    TooFewObservations
        Fewer than 2 periods a block.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    Of strategies that tie for best, the first is chosen; ties in the other half share their mean rank. A strategy that
    does not vary in a half has a ratio of plus or minus infinity there, or 0 if it earned nothing. Blocks should be
    long beside any serial correlation.

    Examples
    --------
    >>> import numpy as np
    >>> from engine.validation import probability_of_backtest_overfitting
    >>> returns = np.random.default_rng(0).normal(0.0, 0.01, (800, 20))
    >>> returns[:, 7] += 0.005  # one of them has merit
    >>> found = probability_of_backtest_overfitting(returns, n_splits=8)
    >>> found.pbo, set(found.chosen.tolist()), found.logits.size
    (0.0, {7}, 70)
    """
    on_card, (returns,) = placed(device, returns)
    check_client(client)
    sums = _sums(*_checked(returns, n_splits))
    masks = _masks(n_splits)
    if on_card:
        from engine.validation import _overfitting_cuda

        found = _overfitting_cuda.halves(masks, _tables(sums))
    elif client is not None:
        found = np.concatenate(spread(_far, _parts(masks, sums, _WORTH_A_TASK), client, common=(sums,)), axis=2)
    else:
        parts = _parts(masks, sums, _WORTH_A_THREAD)
        found = np.concatenate(spread(_near, parts, common=(_tables(sums),), threads=threads()), axis=2)
    return _result(found, masks, sums)


def _checked(returns: ArrayLike, n_splits: int) -> tuple[FloatArray, int]:
    array = fixed(numeric("returns", returns, kinds="iufO"))
    if array.ndim != 2 or array.shape[1] < 2:
        raise InvalidInput("returns", f"has shape {array.shape}, must be (n_periods, n_strategies) with 2 or more")
    if not is_whole(n_splits):
        raise InvalidInput("n_splits", f"is {n_splits!r}; must be a whole number")
    if n_splits % 2 or not 2 <= n_splits <= _MOST_SPLITS:
        raise InvalidInput("n_splits", f"is {n_splits}; must be even, from 2 to {_MOST_SPLITS}")
    if array.shape[0] < 2 * n_splits:
        raise TooFewObservations(
            array.shape[0], 2 * n_splits, f"{n_splits} blocks of periods", instead="lower n_splits"
        )
    return array, int(n_splits)


def _sums(returns: FloatArray, n_splits: int) -> _Sums:
    from engine.validation._overfitting_kernels import kernels

    n_periods, n_strategies = returns.shape
    means, lowest, highest = np.zeros(n_strategies), returns[0].copy(), returns[0].copy()
    with np.errstate(all="ignore"):
        kernels().totals(returns, means, lowest, highest)
    largest = np.maximum(np.abs(lowest), np.abs(highest))
    if not np.isfinite(means).all():
        _raise_for(returns)
    if not (np.isfinite(means).all() and largest.max() < _LARGE and largest[largest > 0.0].min(initial=1.0) > _SMALL):
        # a ratio does not change with the unit, and squares and sums of such returns would be lost
        return _sums(fixed(np.ldexp(returns, -np.frexp(np.abs(returns).max(axis=0))[1])), n_splits)
    means /= n_periods
    # the mean of equal values is rounded, and would leave them a variance
    constant = lowest == highest
    means[constant] = lowest[constant]
    bounds = np.cumsum([0, *(len(part) for part in np.array_split(np.empty(n_periods), n_splits))])
    blocks = np.zeros((2, n_splits, n_strategies))
    kernels().block_sums(returns, bounds, means, blocks[0], blocks[1])
    deviation = np.sqrt(blocks[1].sum(axis=0) / (n_periods - 1))
    deviation[deviation == 0.0] = 1.0
    blocks[0] /= deviation
    blocks[1] /= deviation
    blocks[1] /= deviation
    return _Sums(blocks, means / deviation, np.diff(bounds))


def _raise_for(returns: FloatArray) -> None:
    finite = np.isfinite(returns)
    if not finite.all():
        row, column = (int(place) for place in np.unravel_index(int(np.argmin(finite)), returns.shape))
        raise NotFinite("returns", f"is {returns[row, column]}; every value must be finite", (row, column))


def _masks(n_splits: int) -> NDArray[np.int64]:
    """Halves that hold the first block, as masks of which the highest bit is the first block, in order.

    Those without it are their complements, in the opposite order.
    """
    masks = np.arange(1 << n_splits, dtype=np.int64)
    return np.ascontiguousarray(
        masks[np.bitwise_count(masks) == n_splits // 2][::-1][: math.comb(n_splits, n_splits // 2) // 2]
    )


def _tables(sums: _Sums) -> _Tables:
    from engine.validation._overfitting_kernels import kernels

    n_splits = sums.lengths.size
    low_bits = n_splits // 2
    # the first block is the highest bit
    parts = sums.blocks[:, : n_splits - low_bits][:, ::-1], sums.blocks[:, n_splits - low_bits :][:, ::-1]
    tables = []
    for part in parts:
        table = np.empty((2, 1 << part.shape[1], part.shape[2]))
        for blocks, rows in zip(part, table, strict=True):
            kernels().subsets(np.ascontiguousarray(blocks), rows)
        tables.append(table)
    counts = []
    for lengths in (sums.lengths[: n_splits - low_bits][::-1], sums.lengths[n_splits - low_bits :][::-1]):
        masks = np.arange(1 << lengths.size)[:, None]
        counts.append(((masks >> np.arange(lengths.size)) & 1) @ lengths)
    whole = np.ascontiguousarray(tables[0][:, -1] + tables[1][:, -1])
    return _Tables(low_bits, tables[0], tables[1], whole, sums.means, (counts[0], counts[1]), int(sums.lengths.sum()))


def _parts(masks: NDArray[np.int64], sums: _Sums, seconds: float) -> list[NDArray[np.int64]]:
    """Cut the halves into parts of at least about so many seconds of work."""
    length = max(1, math.ceil(seconds / (_SECONDS * sums.means.size)))
    return [masks[first : first + length] for first in range(0, masks.size, length)]


def _near(masks: NDArray[np.int64], tables: _Tables) -> FloatArray:
    from engine.validation._overfitting_kernels import kernels

    found = np.empty((2, 4, masks.size))
    kernels().halves(masks, *tables, found)
    return found


def _far(masks: NDArray[np.int64], sums: _Sums) -> FloatArray:
    return _near(masks, _tables(sums))


def _result(found: FloatArray, masks: NDArray[np.int64], sums: _Sums) -> Overfitting:
    """Put the halves with the first block, and then their complements, into one order."""
    chosen, rank, inside, outside = (np.concatenate([row[0], row[1][::-1]]) for row in found.transpose(1, 0, 2))
    n_splits = sums.lengths.size
    bits = (masks[:, None] >> np.arange(n_splits - 1, -1, -1)) & 1
    periods = bits @ sums.lengths
    n_inside = np.concatenate([periods, (sums.lengths.sum() - periods)[::-1]])
    in_sample, out_of_sample = (
        np.sign(squares) * np.sqrt(np.abs(squares) * (count - 1.0))
        for squares, count in ((inside, n_inside), (outside, sums.lengths.sum() - n_inside))
    )
    share = rank / (sums.means.size + 1.0)
    logits = np.log(share / (1.0 - share))
    slope = math.nan
    if np.isfinite(in_sample).all() and np.isfinite(out_of_sample).all():
        around = in_sample - in_sample.mean()
        if np.ptp(in_sample) > 0.0:
            slope = float((around * out_of_sample).sum() / (around * around).sum())
    return Overfitting(
        float((logits <= 0.0).mean()),
        logits,
        chosen.astype(np.intp),
        in_sample,
        out_of_sample,
        slope,
        float((out_of_sample < 0.0).mean()),
    )
