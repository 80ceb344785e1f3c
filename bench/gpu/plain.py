"""What one writes with cupy: the peers on a card. `xp` is cupy, or numpy to see that they are right."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

__all__ = ["asian", "greeks", "overfitting", "revaluation"]


def greeks(
    xp: Any, ndtr: Any, spot: Any, strike: Any, expiry: Any, rate: Any, dividend: Any, volatility: Any, sign: Any
) -> tuple[Any, ...]:
    """Price and eight Greeks; `ndtr` is the normal distribution of the device."""
    root = xp.sqrt(expiry)
    s = volatility * root
    d1 = (xp.log(spot / strike) + (rate - dividend) * expiry) / s + 0.5 * s
    d2 = d1 - s
    growth = xp.exp(-dividend * expiry)
    own, owed = spot * growth * ndtr(sign * d1), strike * xp.exp(-rate * expiry) * ndtr(sign * d2)
    density = growth * xp.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    vega = spot * density * root
    theta = -0.5 * vega * volatility / expiry + sign * (dividend * own - rate * owed)
    charm = sign * dividend * own / spot - density * ((rate - dividend) / s - 0.5 * d2 / expiry)
    return (
        sign * (own - owed), sign * own / spot, density / (spot * s), vega, theta, sign * expiry * owed,
        -density * d2 / volatility, vega * d1 * d2 / volatility, charm,
    )  # fmt: skip


def revaluation(xp: Any, ndtr: Any, columns: Any, factors: Any, changes: Any) -> Any:
    """Profit of each scenario, of shape (n_scenarios,), scenario by scenario.

    The columns are spot, strike, expiry, rate, dividend, volatility, sign and weight of each position; factors and
    changes, of shape (n_scenarios, n_positions), those of its underlying's spot and volatility.
    """
    spot, strike, expiry, rate, dividend, volatility, sign, weight = columns
    root, fall = xp.sqrt(expiry), xp.exp(-dividend * expiry)
    owed = strike * xp.exp(-rate * expiry)
    carry = (rate - dividend) * expiry

    def value(own: Any, level: Any) -> Any:
        total = xp.maximum(level, 0.0) * root
        d1 = (xp.log(own / strike) + carry) / total + 0.5 * total
        return sign * (own * fall * ndtr(sign * d1) - owed * ndtr(sign * (d1 - total)))

    before = value(spot, volatility)
    return xp.stack(
        [
            weight @ (value(spot * factor, volatility + change) - before)
            for factor, change in zip(factors, changes, strict=True)
        ]
    )


def asian(xp: Any, n_paths: int) -> tuple[float, float]:
    """An Asian call of 12 fixings under GBM: price and standard error."""
    dt = 1.0 / 12.0
    z = xp.random.standard_normal((n_paths, 12))
    logs = xp.cumsum((0.05 - 0.02 - 0.5 * 0.25**2) * dt + 0.25 * math.sqrt(dt) * z, axis=1)
    payoff = math.exp(-0.05) * xp.maximum(100.0 * xp.exp(logs).mean(axis=1) - 100.0, 0.0)
    return float(payoff.mean()), float(payoff.std() / math.sqrt(n_paths))


def overfitting(xp: Any, returns: Any, n_splits: int) -> Any:
    """The logits of all halves, by matrices of 0 and 1 times sums of blocks."""
    n_periods, n_strategies = returns.shape
    combinations = np.array(list(itertools.combinations(range(n_splits), n_splits // 2)))
    chooses = np.zeros((len(combinations), n_splits))
    chooses[np.arange(len(combinations))[:, None], combinations] = 1.0
    holds, mean, length = xp.asarray(chooses), returns.mean(axis=0), n_periods // n_splits
    blocks = (returns - mean)[: length * n_splits].reshape(n_splits, length, n_strategies)
    sums, squares = blocks.sum(axis=1), (blocks * blocks).sum(axis=1)
    n_half = length * n_splits // 2

    def ratios(total: Any, square: Any) -> Any:
        return (total / n_half + mean) / xp.sqrt((square - total * total / n_half) / (n_half - 1))

    total, square = holds @ sums, holds @ squares
    inside, outside = ratios(total, square), ratios(sums.sum(axis=0) - total, squares.sum(axis=0) - square)
    chosen = outside[xp.arange(len(holds)), inside.argmax(axis=1)][:, None]
    rank = (outside < chosen).sum(axis=1) + 0.5 * ((outside == chosen).sum(axis=1) + 1)
    return xp.log(rank / (n_strategies + 1 - rank))
