"""Probability of backtest overfitting against its literal definition, and by what it must show."""

from __future__ import annotations

import itertools
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
from scipy.stats import rankdata

import engine
from engine.errors import DeviceMissing, InvalidInput, NotFinite, TooFewObservations
from engine.validation import probability_of_backtest_overfitting
from engine.validation._overfitting_kernels import _rate

Values = np.ndarray[Any, Any]


def literal(returns: Values, n_splits: int) -> tuple[Values, Values, Values, Values]:
    """The five steps of the paper, one combination after the other; logits, chosen, and its ratio in either half."""
    blocks = np.array_split(np.arange(returns.shape[0]), n_splits)
    found = []
    for combination in itertools.combinations(range(n_splits), n_splits // 2):
        inside = np.concatenate([blocks[block] for block in combination])
        outside = np.setdiff1d(np.arange(returns.shape[0]), inside)
        mine, theirs = (returns[rows].mean(axis=0) / returns[rows].std(axis=0, ddof=1) for rows in (inside, outside))
        chosen = int(np.argmax(mine))
        share = rankdata(theirs)[chosen] / (returns.shape[1] + 1)
        found.append((math.log(share / (1.0 - share)), chosen, mine[chosen], theirs[chosen]))
    logits, places, before, after = np.array(found).T
    return logits, places, before, after


@pytest.mark.parametrize(
    ("n_periods", "n_strategies", "n_splits"),
    [(40, 2, 2), (103, 7, 6), (200, 50, 8), (64, 3, 10), (301, 300, 8), (25, 5, 12), (97, 600, 4)],
)
@pytest.mark.parametrize("scale", [1e-300, 0.01, 1e305])
def test_it_is_the_literal_definition(n_periods: int, n_strategies: int, n_splits: int, scale: float) -> None:
    returns = np.random.default_rng(n_periods).standard_t(4, (n_periods, n_strategies)) + 0.05
    found = probability_of_backtest_overfitting(returns * scale, n_splits)
    logits, chosen, before, after = literal(returns, n_splits)
    np.testing.assert_array_equal(found.chosen, chosen)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(found.in_sample, before, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.out_of_sample, after, rtol=1e-11, atol=1e-13)
    assert found.pbo == np.mean(logits <= 0.0)
    assert found.probability_of_loss == np.mean(after < 0.0)
    assert found.degradation == pytest.approx(np.polyfit(before, after, 1)[0], rel=1e-8)


def test_a_large_mean_beside_a_small_variance_keeps_its_digits() -> None:
    returns = 1.0 + 1e-7 * np.random.default_rng(2).normal(size=(120, 10))
    found, (logits, chosen, _, _) = probability_of_backtest_overfitting(returns, 6), literal(returns - 0.0, 6)
    np.testing.assert_array_equal(found.chosen, chosen)
    np.testing.assert_allclose(found.logits, logits, atol=1e-15)


def test_equal_strategies_share_their_rank() -> None:
    one = np.random.default_rng(3).normal(size=(80, 1))
    returns = np.hstack([one, one, one, one - 0.5])
    found = probability_of_backtest_overfitting(returns, 4)
    # three share the ranks 2, 3 and 4 of five, in every half
    np.testing.assert_allclose(found.logits, math.log(0.6 / 0.4), rtol=1e-14)
    assert set(found.chosen) == {0}


def test_strategies_that_do_not_vary_are_at_the_ends() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(60, 2))
    always = probability_of_backtest_overfitting(np.column_stack([noise, np.full(60, 0.1)]), 6)
    assert set(always.chosen) == {2}
    assert np.isinf(always.in_sample).all()
    assert always.pbo == 0.0
    assert math.isnan(always.degradation)
    never = probability_of_backtest_overfitting(np.column_stack([noise - 3.0, np.zeros(60)]), 6)
    assert set(never.chosen) == {2}
    assert (never.in_sample == 0.0).all()
    # trades in the first block alone: nothing at all where that is missing
    once = np.zeros(60)
    once[:10] = rng.normal(1.0, 0.1, 10)
    found = probability_of_backtest_overfitting(np.column_stack([noise - 3.0, once]), 6)
    assert set(found.chosen) == {2}
    np.testing.assert_array_equal(found.out_of_sample[:10], 0.0)
    np.testing.assert_array_equal(found.in_sample[10:], 0.0)


def test_noise_has_a_probability_of_one_half() -> None:
    # 200 histories of which each probability spreads by 0.22: the standard error of their mean is 0.016
    rng = np.random.default_rng(5)
    found = [probability_of_backtest_overfitting(rng.normal(size=(160, 20)), 8).pbo for _ in range(200)]
    assert 0.1 < np.std(found) < 0.35
    assert np.mean(found) == pytest.approx(0.5, abs=4.0 * np.std(found) / math.sqrt(200))


def test_one_strategy_with_merit_brings_it_to_zero() -> None:
    returns = np.random.default_rng(6).normal(size=(800, 50))
    found = [probability_of_backtest_overfitting(returns + merit * np.eye(50)[7], 10).pbo for merit in (0.0, 0.2, 0.5)]
    assert found[0] > 0.3 > found[1] > found[2] == 0.0


def test_what_was_fitted_to_parts_of_the_history_brings_it_to_one() -> None:
    # each strategy earns in its own half of the blocks and loses in the other
    n_splits, length = 8, 20
    halves = list(itertools.combinations(range(n_splits), n_splits // 2))
    returns = np.random.default_rng(7).normal(0.0, 0.5, (n_splits * length, len(halves)))
    for column, half in enumerate(halves):
        for block in range(n_splits):
            returns[block * length : (block + 1) * length, column] += 1.0 if block in half else -1.0
    found = probability_of_backtest_overfitting(returns, n_splits)
    assert found.pbo == 1.0
    assert found.probability_of_loss == 1.0
    np.testing.assert_array_equal(found.chosen, np.arange(len(halves)))


def test_sixteen_blocks_of_many_strategies_agree_with_plain_matrices() -> None:
    # large enough for threads; sums of blocks and a product of matrices
    returns = np.random.default_rng(8).normal(0.0, 0.01, (480, 300))
    combinations = np.array(list(itertools.combinations(range(16), 8)))
    holds = np.zeros((len(combinations), 16))
    holds[np.arange(len(combinations))[:, None], combinations] = 1.0
    around = (returns - returns.mean(axis=0)).reshape(16, 30, 300)
    sums, squares = around.sum(axis=1), (around**2).sum(axis=1)

    def ratios(which: Values) -> Any:
        total = which @ sums
        return (total / 240 + returns.mean(axis=0)) / np.sqrt((which @ squares - total**2 / 240) / 239)

    mine, theirs = ratios(holds), ratios(1.0 - holds)
    chosen = mine.argmax(axis=1)
    rank = (theirs <= theirs[np.arange(len(chosen)), chosen][:, None]).sum(axis=1)
    found = probability_of_backtest_overfitting(returns)
    np.testing.assert_array_equal(found.chosen, chosen)
    np.testing.assert_allclose(found.logits, np.log(rank / (301 - rank)), atol=1e-13)


def test_it_does_not_change_what_it_is_given_and_takes_other_layouts() -> None:
    returns = np.random.default_rng(9).normal(size=(100, 6))
    before, frozen = returns.copy(), returns.copy()
    frozen.flags.writeable = False
    first = probability_of_backtest_overfitting(frozen, 4)
    second = probability_of_backtest_overfitting(np.asfortranarray(returns), 4)
    np.testing.assert_array_equal(returns, before)
    np.testing.assert_array_equal(first.logits, second.logits)
    whole = probability_of_backtest_overfitting(np.rint(1000 * returns).astype(int), 4)
    assert whole.logits.size == 6


@pytest.mark.parametrize(
    ("returns", "n_splits", "problem"),
    [
        (np.ones(10), 2, r"returns: has shape \(10,\)"),
        (np.ones((10, 1)), 2, r"returns: has shape \(10, 1\)"),
        (np.ones((40, 3)), 3, "n_splits: is 3; must be even"),
        (np.ones((40, 3)), 0, "n_splits: is 0; must be even"),
        (np.ones((400, 3)), 26, "n_splits: is 26; must be even, from 2 to 24"),
        (np.ones((40, 3)), 4.0, "n_splits: is 4.0; must be a whole number"),
        ([["a", "b"]] * 9, 2, "returns: must hold numbers only"),
        ([[1.0, 2.0], [1.0]], 2, "returns: must hold numbers only"),
    ],
)
def test_bad_returns_are_named(returns: Any, n_splits: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        probability_of_backtest_overfitting(returns, n_splits)


def test_what_is_not_finite_or_too_short_is_named() -> None:
    returns = np.random.default_rng(10).normal(size=(40, 3))
    for bad in (math.nan, math.inf):
        broken = returns.copy()
        broken[11, 2] = bad
        with pytest.raises(NotFinite, match=rf"returns\[11, 2\]: is {bad}"):
            probability_of_backtest_overfitting(broken, 4)
    short = r"16 blocks of periods needs at least 32 observations and got 20: .* lower n_splits$"
    with pytest.raises(TooFewObservations, match=short):
        probability_of_backtest_overfitting(returns[:20])
    with pytest.raises(InvalidInput, match="client: is of type str"):
        probability_of_backtest_overfitting(returns, 4, client="cluster")
    with pytest.raises(InvalidInput, match="device: is 'tpu'"):
        probability_of_backtest_overfitting(returns, 4, device="tpu")  # type: ignore[arg-type]


def test_a_card_that_is_asked_for_must_be_there() -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(DeviceMissing):
        probability_of_backtest_overfitting(np.random.default_rng(1).normal(size=(40, 3)), 4, device="cuda")


@pytest.mark.slow
def test_the_same_source_runs_as_a_cuda_kernel(tmp_path: Path) -> None:
    """In numba's simulator: reductions, ties and both sides of a pair."""
    script = tmp_path / "simulated.py"
    script.write_text(
        """
import json
import numpy as np
from engine.validation import _overfitting_cuda, probability_of_backtest_overfitting

_overfitting_cuda._THREADS, _overfitting_cuda._ON_CARD = 4, 2
returns = np.random.default_rng(3).normal(size=(41, 11))
returns[:, 7] = returns[:, 2]
returns[:, 4] = 0.0
card = probability_of_backtest_overfitting(returns, 4, device="cuda")
host = probability_of_backtest_overfitting(returns, 4, device="cpu")
print(json.dumps([
    bool((card.chosen == host.chosen).all()), float(np.abs(card.logits - host.logits).max()),
    float(np.abs(card.in_sample - host.in_sample).max()), float(np.abs(card.out_of_sample - host.out_of_sample).max()),
]))
""",
        "utf-8",
    )
    root = Path(engine.__file__).resolve().parents[1]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    same, *differences = json.loads(done.stdout)
    assert same
    assert max(differences) < 1e-13


@pytest.mark.slow
def test_workers_of_a_cluster_give_the_same_bits() -> None:
    distributed = pytest.importorskip("distributed")
    returns = np.random.default_rng(11).normal(size=(400, 120))
    local = probability_of_backtest_overfitting(returns, 12)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        spread = probability_of_backtest_overfitting(returns, 12, client=client)
    np.testing.assert_array_equal(spread.logits, local.logits)
    np.testing.assert_array_equal(spread.out_of_sample, local.out_of_sample)
    assert spread.pbo == local.pbo


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the instructions of x86-64")
def test_the_ratios_are_made_of_vectors() -> None:
    columns = [np.ones(64) for _ in range(5)]
    _rate(columns[0], columns[1], columns[2], 10.0, columns[3], columns[4])
    (code,) = _rate.inspect_asm().values()  # type: ignore[attr-defined]
    assert re.search(r"\bv?divpd\b", code)
