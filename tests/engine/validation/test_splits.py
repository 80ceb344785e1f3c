"""Splits without look-ahead: walk-forward windows, purged folds and their embargo."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput, NotFinite, TooFewObservations
from engine.validation import purged_folds, walk_forward


def as_lists(folds: Any) -> list[tuple[list[int], list[int]]]:
    return [(fold.train.tolist(), fold.test.tolist()) for fold in folds]


def test_windows_roll_forward() -> None:
    assert as_lists(walk_forward(10, 4, 2)) == [
        ([0, 1, 2, 3], [4, 5]),
        ([2, 3, 4, 5], [6, 7]),
        ([4, 5, 6, 7], [8, 9]),
    ]
    assert as_lists(walk_forward(9, 3, 2, step=3, gap=1, expanding=True)) == [
        ([0, 1, 2], [4, 5]),
        ([0, 1, 2, 3, 4, 5], [7, 8]),
    ]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 5), st.booleans())
def test_a_test_window_lies_after_all_it_learns_from(
    n_periods: int, n_train: int, n_test: int, gap: int, expanding: bool
) -> None:
    if n_periods < n_train + gap + n_test:
        with pytest.raises(TooFewObservations, match=r"give a longer series or shorten n_train, n_test or gap$"):
            walk_forward(n_periods, n_train, n_test, gap=gap, expanding=expanding)
        return
    found = walk_forward(n_periods, n_train, n_test, gap=gap, expanding=expanding)
    assert len(found) == 1 + (n_periods - n_train - gap - n_test) // n_test
    assert all(fold.test[0] - fold.train[-1] == gap + 1 for fold in found)
    assert all(fold.train.size == n_train or expanding for fold in found)
    judged = np.concatenate([fold.test for fold in found])
    np.testing.assert_array_equal(judged, np.arange(n_train + gap, n_train + gap + judged.size))


def test_each_fold_is_evaluated() -> None:
    returns = np.random.default_rng(1).normal(size=50)
    found = walk_forward(50, 20, 10, evaluate=lambda train, test: returns[test].mean() - returns[train].mean())
    expected = [returns[fold.test].mean() - returns[fold.train].mean() for fold in found]
    assert found.scores is not None
    np.testing.assert_array_equal(found.scores, expected)
    assert walk_forward(50, 20, 10).scores is None
    with pytest.raises(NotFinite, match=r"evaluate\[0\]: gave nan"):
        walk_forward(50, 20, 10, evaluate=lambda *_: math.nan)
    with pytest.raises(InvalidInput, match=r"evaluate\[0\]: gave 'good', must give a number"):
        walk_forward(50, 20, 10, evaluate=lambda *_: "good")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("expanding", [False, True])
def test_more_windows_than_memory_are_refused_at_once(expanding: bool) -> None:
    with pytest.raises(InvalidInput, match=r"n_periods: makes .* folds .*; raise step"):
        walk_forward(10**9, 1000, 1, expanding=expanding)


def test_a_long_history_is_walked_in_long_steps() -> None:
    assert len(walk_forward(10**9, 1000, 1, step=10**6)) == 1000


@pytest.mark.parametrize("name", ["n_periods", "n_train", "n_test", "step"])
@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "3"])
def test_lengths_are_whole_numbers(name: str, bad: Any) -> None:
    given = {"n_periods": 10, "n_train": 3, "n_test": 2, "step": 2, name: bad}
    with pytest.raises(InvalidInput, match=f"{name}: is {bad!r}; must be a whole number of at least 1"):
        walk_forward(**given)
    with pytest.raises(InvalidInput, match="gap: is -1"):
        walk_forward(10, 3, 2, gap=-1)


def test_labels_that_overlap_are_purged() -> None:
    # labels of three periods each: [i, i + 2]
    starts = np.arange(12)
    folds = purged_folds(starts, starts + 2, 3)
    assert as_lists(folds) == [
        ([6, 7, 8, 9, 10, 11], [0, 1, 2, 3]),
        ([0, 1, 10, 11], [4, 5, 6, 7]),
        ([0, 1, 2, 3, 4, 5], [8, 9, 10, 11]),
    ]
    embargoed = purged_folds(starts, starts + 2, 3, embargo=1 / 12)
    assert [fold.train.tolist() for fold in embargoed] == [
        [7, 8, 9, 10, 11],
        [0, 1, 11],
        [0, 1, 2, 3, 4, 5],
    ]


def test_one_long_label_is_heeded() -> None:
    starts, ends = np.arange(10.0), np.arange(10.0)
    ends[1] = 7.5  # learnt early, known late
    assert [fold.train.tolist() for fold in purged_folds(starts, ends, 2)] == [[8, 9], [0, 2, 3, 4]]


def barred_or_overlapping(starts: Any, ends: Any, n_folds: int, embargo: float) -> bool:
    """Whether some stretch leaves nothing that ends before it, and nothing past the embargo after it."""
    barred = math.ceil(embargo * starts.size - 1e-9)
    for test in np.array_split(np.arange(starts.size), n_folds):
        after = (starts > ends[test].max()) & (np.arange(starts.size) > test[-1])
        if not (ends[: test[0]] < starts[test[0]]).any() and after.sum() <= barred:
            return True
    return False


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), min_size=6, max_size=60),
    st.integers(2, 5),
    st.floats(0.0, 0.3),
)
def test_nothing_learnt_overlaps_what_is_judged(labels: list[tuple[int, int]], n_folds: int, embargo: float) -> None:
    starts = np.array(sorted(start for start, _ in labels))
    ends = starts + np.array([length for _, length in labels])
    try:
        folds = purged_folds(starts, ends, n_folds, embargo=embargo)
    except InvalidInput:
        # labels that reach over everything leave a fold nothing, which a test below looks at
        assert barred_or_overlapping(starts, ends, n_folds, embargo)
        return
    np.testing.assert_array_equal(np.concatenate([fold.test for fold in folds]), np.arange(len(labels)))
    barred = math.ceil(embargo * len(labels) - 1e-9)
    for train, test in folds:
        first, last = starts[test].min(), ends[test].max()
        apart = (ends < first) | (starts > last)
        assert apart[train].all()
        # and nothing is dropped without need: the embargo takes the first ones after the stretch
        after = np.flatnonzero((starts > last) & (np.arange(starts.size) > test[-1]))
        free = np.concatenate([np.flatnonzero(apart & (np.arange(starts.size) < test[0])), after[barred:]])
        np.testing.assert_array_equal(train, free)


def test_times_may_be_dates() -> None:
    starts = pd.date_range("2024-01-01", periods=10)
    ends = starts + pd.Timedelta(days=1)
    numbers = purged_folds(np.arange(10), np.arange(10) + 1, 5, embargo=0.1)
    assert as_lists(purged_folds(starts, ends, 5, embargo=0.1)) == as_lists(numbers)


@pytest.mark.parametrize(
    ("starts", "ends", "problem"),
    [
        ([0, 2, 1], [3, 3, 3], r"starts\[2\]: must be in order of time"),
        ([0, 1, 2], [3, 0, 3], r"ends\[1\]: is before the start"),
        ([0, 1], [1], "ends: has 1 times for 2 starts"),
        ([0.0, math.nan], [1.0, 2.0], r"starts\[1\]: is nan"),
        (np.array(["2024-01-01", "NaT"], "datetime64[D]"), np.array(["2024-01-02"] * 2, "datetime64[D]"), "is NaT"),
        (np.array(["2024-01-01"] * 2, "datetime64[D]"), [1.0, 2.0], "ends: is of type"),
        (["a", "b"], ["c", "d"], "starts: must be times or numbers"),
        ([], [], "starts: is empty"),
        ([[0, 1]], [[1, 2]], "starts: must be times or numbers in 1 dimension"),
    ],
)
def test_bad_labels_are_named(starts: Any, ends: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        purged_folds(starts, ends, 2)


def test_bad_folds_are_named() -> None:
    starts = np.arange(6)
    for n_folds in (1, 0, 2.5, True):
        with pytest.raises(InvalidInput, match="n_folds: is"):
            purged_folds(starts, starts, n_folds)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="must be at most the number of observations, 6"):
        purged_folds(starts, starts, 7)
    for embargo in (-0.1, 1.0, math.nan, "0.1", None):
        with pytest.raises(InvalidInput, match="embargo: is"):
            purged_folds(starts, starts, 2, embargo=embargo)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="leaves fold 0 nothing to learn from"):
        purged_folds(starts, starts + 100, 2)
