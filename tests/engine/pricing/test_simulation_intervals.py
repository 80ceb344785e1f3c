"""Intervals of simulated prices cover as often as they say, also where few paths pay."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from engine import InvalidInput, european
from engine.pricing import GBM, European, monte_carlo

MODEL = GBM(100.0, 0.05, 0.02, 0.25)


@pytest.mark.parametrize(("sampling", "antithetic"), [("sobol", False), ("pseudo", False), ("pseudo", True)])
@pytest.mark.parametrize("control", [False, True])
def test_the_interval_covers_as_often_as_it_says(sampling: Any, antithetic: bool, control: bool) -> None:
    payoff, exact = European(105.0, 1.0, "call"), european(100.0, 105.0, 1.0, 0.05, 0.02, 0.25, "call").price
    covered = 0
    for seed in range(300):
        found = monte_carlo(payoff, MODEL, 1024, seed, sampling=sampling, antithetic=antithetic, control=control)
        low, high = found.interval(0.95)
        covered += low <= exact <= high
    # four standard deviations of a binomial of 300
    assert 285 - 4 * 3.8 <= covered <= 300


@pytest.mark.parametrize(("strike", "n_paths"), [(150.0, 256), (180.0, 1024)])
def test_the_interval_covers_where_few_paths_pay(strike: float, n_paths: int) -> None:
    payoff, exact = European(strike, 1.0, "call"), european(100.0, strike, 1.0, 0.05, 0.02, 0.25, "call").price
    below = above = 0
    for seed in range(300):
        low, high = monte_carlo(payoff, MODEL, n_paths, seed).interval(0.95)
        below += high < exact
        above += exact < low
    # about a dozen pay; without the correction for skewness 31 intervals and more lie below, and none above
    assert below + above <= 15 + 4 * 3.8
    assert below <= 15


def test_an_interval_reaches_further_to_the_side_of_rare_paths() -> None:
    found = monte_carlo(European(150.0, 1.0, "call"), MODEL, 256, 1)
    low, high = found.interval(0.95)
    assert found.skewness > 0.5
    assert high - found.price > 1.2 * (found.price - low) > 0.0
    even = dataclasses.replace(found, skewness=0.0)
    nearly = dataclasses.replace(found, skewness=2e-6)
    assert nearly.interval(0.95) == pytest.approx(even.interval(0.95), rel=1e-6)
    mirrored = dataclasses.replace(found, skewness=-found.skewness).interval(0.95)
    assert mirrored == pytest.approx((2.0 * found.price - high, 2.0 * found.price - low), rel=1e-12)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(InvalidInput, match="confidence"):
        monte_carlo(European(100.0, 1.0, "call"), MODEL, 64, 1).interval(confidence)
