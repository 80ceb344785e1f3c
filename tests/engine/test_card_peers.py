"""What the benchmark of a card compares with is right: the same lines in numpy, beside the engine."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from bench.gpu import plain
from bench.gpu.__main__ import tolerance
from bench.gpu.agreement import TOLERANCES, apart, ways
from bench.gpu.resident import positions_of
from bench.greeks import book
from bench.var import options
from engine import european, probability_of_backtest_overfitting, revalue


def test_greeks_written_plainly_are_right() -> None:
    columns = book(500)
    assert apart(european(*columns), plain.greeks(np, ndtr, *columns)) < 1e-13


def test_a_book_revalued_plainly_is_right() -> None:
    held, state, moves = options()
    columns, factors, changes = positions_of(held, state, moves)
    expected = revalue(held, state, moves).total[:5]
    assert apart((expected,), (plain.revaluation(np, ndtr, columns, factors[:5], changes[:5]),)) < 1e-12


def test_halves_written_plainly_are_right() -> None:
    returns = np.random.default_rng(5).normal(0.0, 0.01, (80, 6))
    expected = probability_of_backtest_overfitting(returns, 8).logits
    assert apart((expected,), (plain.overfitting(np, returns, 8),)) < 1e-12


def test_paths_written_plainly_are_right() -> None:
    price, error = plain.asian(np, 20_000)
    assert abs(price - 6.6833) < 4.0 * error  # of 4 million paths of the engine


def test_every_function_for_a_card_is_compared_to_a_tolerance() -> None:
    found = list(ways(40))
    assert {way.name for way in found} == set(TOLERANCES)
    assert all(tolerance(f"{way.name}, {way.size}") == TOLERANCES[way.name] for way in found)


def test_a_nan_where_there_should_be_none_is_infinitely_far() -> None:
    assert apart((np.array([1.0, np.nan]),), (np.array([1.0, 2.0]),)) == np.inf
    assert apart((np.array([1.0, 3.0]),), (np.array([1.0, np.nan]),)) == np.inf
