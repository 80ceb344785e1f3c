"""Probability of backtest overfitting: the engine beside sums of blocks and a product of matrices in numpy."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from bench.timing import Row, compare, report
from engine.validation import probability_of_backtest_overfitting

SPLITS = 16
SIZES = ((2_000, 100), (2_000, 1_000))


def matrices(returns: Any) -> Any:
    """The logits by matrices of 0 and 1 times sums of blocks; what one writes to avoid a loop over 12,870 halves."""
    n_periods, n_strategies = returns.shape
    combinations = np.array(list(itertools.combinations(range(SPLITS), SPLITS // 2)))
    holds = np.zeros((len(combinations), SPLITS))
    holds[np.arange(len(combinations))[:, None], combinations] = 1.0
    mean, length = returns.mean(axis=0), n_periods // SPLITS
    blocks = (returns - mean)[: length * SPLITS].reshape(SPLITS, length, n_strategies)
    sums, squares = blocks.sum(axis=1), (blocks * blocks).sum(axis=1)
    n_half = length * SPLITS // 2

    def ratios(total: Any, square: Any) -> Any:
        return (total / n_half + mean) / np.sqrt((square - total * total / n_half) / (n_half - 1))

    total, square = holds @ sums, holds @ squares
    inside, outside = ratios(total, square), ratios(sums.sum(axis=0) - total, squares.sum(axis=0) - square)
    chosen = outside[np.arange(len(holds)), inside.argmax(axis=1)][:, None]
    rank = (outside < chosen).sum(axis=1) + 0.5 * ((outside == chosen).sum(axis=1) + 1)
    return np.log(rank / (n_strategies + 1 - rank))


def rows() -> list[Row]:
    """Two numbers of strategies."""
    found = []
    for n_periods, n_strategies in SIZES:
        returns = np.random.default_rng(n_strategies).normal(0.0, 0.01, (n_periods, n_strategies))
        mine, theirs = probability_of_backtest_overfitting(returns, SPLITS).logits, matrices(returns)
        found.append(
            compare(
                f"{SPLITS} blocks, {n_strategies} strategies, {n_periods} periods",
                partial(probability_of_backtest_overfitting, returns, SPLITS),
                partial(matrices, returns),
                "numpy, sums of blocks and matrices",
                error=float(np.abs(mine - theirs).max() / np.abs(theirs).max()),
                note="with checks of every input",
                rounds=7,
            )
        )
    return found


if __name__ == "__main__":
    report("pbo", rows)
