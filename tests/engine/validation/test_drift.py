"""Population stability and Kolmogorov-Smirnov against scipy, numpy and their definitions."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.errors import DeviceMissing, InvalidInput, NotFinite, TooFewObservations
from engine.validation import _samples, ks, psi, psi_from_fractions
from engine.validation._kolmogorov import EXACT_UP_TO, p_value

Values = np.ndarray[Any, Any]


def shapes(n: int, seed: int = 1) -> dict[str, Values]:
    """Samples of every kind that a feature may have; large ones go through all the paths."""
    rng = np.random.default_rng(seed)
    return {
        "normal": rng.normal(size=n),
        "heavy": rng.standard_cauchy(n),
        "orders of magnitude": np.exp(rng.normal(0.0, 10.0, n)),
        "both signs, orders of magnitude": np.exp(rng.normal(0.0, 30.0, n)) * rng.choice([-1.0, 1.0], n),
        "constant": np.full(n, 3.0),
        "few values": rng.integers(0, 6, n).astype(float),
        "rounded": np.round(rng.standard_t(3, n), 2),
        "mostly zero": np.where(rng.random(n) < 0.6, 0.0, rng.normal(size=n)),
        "clusters": 10.0 ** rng.integers(-9, 9, n) * (1.0 + 1e-9 * rng.random(n)),
        "neighbours": 1.0 + np.spacing(1.0) * rng.integers(0, 50, n),
        "extremes": rng.choice([-1.7e308, -5e-324, -0.0, 0.0, 5e-324, 1.7e308], n),
        "denormal": rng.integers(-50, 50, n) * 5e-324,
        "one outlier": np.append(rng.normal(size=n - 1), 1e300),
    }


def distance(first: Values, second: Values) -> Fraction:
    """The definition: the largest difference of the two distribution functions over all values."""
    at = np.unique(np.concatenate([first, second]))
    below = np.searchsorted(np.sort(first), at, side="right"), np.searchsorted(np.sort(second), at, side="right")
    n, m = first.size, second.size
    return Fraction(int(np.abs(below[0] * m - below[1] * n).max()), n * m)


@pytest.mark.parametrize("kind", shapes(2))
@pytest.mark.parametrize(("n", "m"), [(7, 5), (3_000, 2_500), (40_000, 30_001)])
def test_the_statistic_is_exact(kind: str, n: int, m: int) -> None:
    first, second = shapes(n)[kind], shapes(m, seed=2)[kind]
    for other in (second, second * 0.75, first[: m // 2]):
        found = ks(first, other)
        assert found.statistic == float(distance(first, other))
        assert 0.0 <= found.p_value <= 1.0


@pytest.mark.parametrize("kind", ["normal", "heavy", "few values", "rounded", "clusters"])
def test_the_statistic_is_that_of_scipy(kind: str) -> None:
    first, second = shapes(50_000)[kind], shapes(40_000, seed=3)[kind] * 1.01
    expected = stats.ks_2samp(first, second, method="asymp")
    assert ks(first, second).statistic == pytest.approx(expected.statistic, abs=1e-15, rel=0)
    assert ks(first, second).p_value == pytest.approx(expected.pvalue, rel=0.02, abs=1e-300)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
)
def test_buckets_within_buckets_change_nothing(first: list[float], second: list[float]) -> None:
    # short samples through the way of long ones, down to single values
    whole = _samples._SHORT
    _samples._SHORT = 2
    try:
        a, b = np.repeat(first, 40), np.repeat(second, 40)
        assert _samples.largest_gap(a, b) == distance(a, b) * a.size * b.size
        ranks = np.array([0, a.size // 3, a.size - 1])
        np.testing.assert_array_equal(_samples.order_statistics(a, ranks), np.sort(a)[ranks])
    finally:
        _samples._SHORT = whole


def test_the_order_of_rows_and_the_roles_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=20_000), rng.normal(0.02, 1.0, 30_000)
    assert ks(first, second) == ks(rng.permutation(first), rng.permutation(second)) == ks(second, first)


def test_apart_equal_and_permuted_samples() -> None:
    first = np.random.default_rng(5).normal(size=20_000)
    assert ks(first, first[::-1]) == (0.0, 1.0)
    assert ks(first, first + 100.0).statistic == 1.0
    assert ks([1.0], [1.0]) == (0.0, 1.0)
    assert ks([1.0], [2.0]) == (1.0, 1.0)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (5, 7), (8, 8), (50, 50), (100, 37), (400, 401), (60, 3_000)])
@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_p_values_are_the_exact_ones_of_scipy(n: int, m: int, shift: float) -> None:
    rng = np.random.default_rng(n + m)
    first, second = rng.normal(size=n), rng.normal(shift, 1.0, m)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = stats.ks_2samp(first, second, method="exact").pvalue
    assert ks(first, second).p_value == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(("n", "m"), [(2, 3), (4, 4), (5, 3), (6, 6)])
def test_p_values_count_every_arrangement(n: int, m: int) -> None:
    from itertools import combinations

    gaps = []
    for mine in combinations(range(n + m), n):
        gap = worst = 0
        for place in range(n + m):
            gap += m if place in mine else -n
            worst = max(worst, abs(gap))
        gaps.append(worst)
    for gap in set(gaps):
        share = sum(other >= gap for other in gaps) / len(gaps)
        assert p_value(gap, n, m) == pytest.approx(share, rel=1e-13)


def test_large_samples_of_different_sizes_are_close_to_their_exact_p_values() -> None:
    n, m, gap = 2_000, 1_999, 40 * 1_999
    assert 2 * gap + m <= EXACT_UP_TO
    exact = p_value(gap, n, m)
    near = stats.kstwo.sf(gap / (n * m), round(n * m / (n + m)))
    assert near == pytest.approx(exact, rel=0.03)
    # beyond the limit it is the approximation
    assert p_value(3_000 * 30_001, 30_000, 30_001) == pytest.approx(
        stats.kstwo.sf(3_000 / 30_000, round(30_000 * 30_001 / 60_001)), rel=1e-12
    )


def test_the_p_value_is_uniform_where_nothing_drifts() -> None:
    # 400 tests of 40 against 60 rows; at 10 % a binomial with standard deviation 6
    rng = np.random.default_rng(6)
    low = sum(ks(rng.normal(size=40), rng.normal(size=60)).p_value <= 0.1 for _ in range(400))
    assert 40 - 4 * 6 <= low <= 40 + 4 * 6


def test_the_index_of_fractions_has_the_printed_figure() -> None:
    assert psi_from_fractions((0.5, 0.5), (0.6, 0.4)) == pytest.approx(0.0405465, abs=5e-8)
    assert psi_from_fractions((0.6, 0.4), (0.5, 0.5)) == pytest.approx(0.0405465, abs=5e-8)
    assert psi_from_fractions((1.0, 0.0), (1.0, 0.0)) == 0.0
    assert psi_from_fractions((1.0, 0.0), (0.5, 0.5), floor=1e-6) == pytest.approx(
        -0.5 * math.log(0.5) + (0.5 - 1e-6) * math.log(0.5e6), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["normal", "heavy", "orders of magnitude"])
@pytest.mark.parametrize("n", [23, 1_000, 30_000])
@pytest.mark.parametrize("bins", [2, 10, 20])
def test_the_index_is_that_of_numpy(kind: str, n: int, bins: int) -> None:
    expected, actual = shapes(n)[kind], shapes(n + 11, seed=8)[kind] * 1.1
    edges = np.quantile(expected, np.linspace(0.0, 1.0, bins + 1))
    edges[0], edges[-1] = -np.inf, np.inf
    before, now = (np.histogram(values, edges)[0] / values.size for values in (expected, actual))
    before, now = np.maximum(before, 1e-4), np.maximum(now, 1e-4)
    reference = float(((now - before) * np.log(now / before)).sum())
    assert psi(expected, actual, bins=bins) == pytest.approx(reference, rel=1e-12)
    assert psi(np.sort(expected), np.sort(actual), bins=bins, presorted=True) == pytest.approx(reference, rel=1e-12)


def test_a_quantile_that_is_a_value_belongs_to_the_bin_above() -> None:
    # 21 values, 20 bins: each quantile is one of the values, without a rounding that could push it aside
    expected = np.arange(21.0) / 7.0
    shifted = np.full(21, 3.0 / 7.0)
    shares = np.full(20, 1 / 21)
    shares[-1] = 2 / 21
    assert psi(expected, shifted) == pytest.approx(psi_from_fractions(shares, np.eye(20)[3]), rel=1e-13)


def test_given_edges_are_used() -> None:
    assert psi([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 3.0], bins=[1.0, 2.0]) == pytest.approx(
        psi_from_fractions((0.25, 0.25, 0.5), (0.0, 0.75, 0.25)), rel=1e-14
    )


@pytest.mark.parametrize("n", [50, 20_000])
def test_a_constant_feature_that_becomes_another_constant_is_seen(n: int) -> None:
    constant = np.full(n, 5.0)
    assert psi(constant, constant) == 0.0
    for other in (3.0, 5.0 + 1e-9, 7.0):
        assert psi(constant, np.full(n, other)) > 9.0
    # a feed that sticks at one of its own values
    feature = np.random.default_rng(9).integers(0, 5, n).astype(float)
    assert psi(feature, feature[::-1]) == 0.0
    assert psi(feature, np.full(n, 2.0)) > 1.0


def test_noise_has_the_index_that_is_stated() -> None:
    # mean of 200 indices of 19 degrees of freedom: its standard error is (1/n + 1/m) sqrt(2 * 19 / 200)
    rng = np.random.default_rng(10)
    found = np.mean([psi(rng.normal(size=2_000), rng.normal(size=2_000)) for _ in range(200)])
    unit = 2.0 / 2_000
    assert found == pytest.approx(19.0 * unit, abs=4.0 * unit * math.sqrt(2.0 * 19.0 / 200.0) + 0.02 * 19.0 * unit)


def test_all_features_at_once() -> None:
    expected = pd.DataFrame({name: shapes(12_000)[name] for name in ("normal", "few values", "heavy")})
    actual = pd.DataFrame({name: shapes(15_000, seed=2)[name] + 0.1 for name in ("heavy", "normal", "few values")})
    index, tests = psi(expected, actual), ks(expected, actual)
    assert index.index.tolist() == tests.index.tolist() == ["normal", "few values", "heavy"]
    assert tests.columns.tolist() == ["statistic", "p_value"]
    for name in expected:
        assert index[name] == psi(expected[name], actual[name])
        assert tuple(tests.loc[name]) == ks(expected[name].to_numpy(), actual[name].to_numpy())
    columns = actual[expected.columns].to_numpy()
    np.testing.assert_array_equal(psi(expected.to_numpy(), columns), index)
    np.testing.assert_array_equal(ks(expected.to_numpy(), columns).statistic, tests["statistic"])
    shares = pd.DataFrame({"a": [0.5, 0.5], "b": [0.2, 0.8]})
    assert psi_from_fractions(shares, shares).to_dict() == {"a": 0.0, "b": 0.0}


def test_many_rows_are_shared_out_over_threads() -> None:
    rng = np.random.default_rng(11)
    expected, actual = rng.normal(size=(40_000, 4)), rng.normal(0.01, 1.0, (40_000, 4))
    assert ks(expected, actual).statistic.tolist() == [
        ks(expected[:, column], actual[:, column]).statistic for column in range(4)
    ]


@pytest.mark.parametrize("function", [ks, psi])
@pytest.mark.parametrize("n", [100, 20_000])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(function: Any, n: int, bad: float) -> None:
    good, broken = np.arange(float(n)), np.arange(float(n))
    broken[17] = bad
    with pytest.raises(NotFinite, match=r"actual\[17\]: is -?(nan|inf)"):
        function(good, broken)
    with pytest.raises(NotFinite, match=r"expected\[17\]: is"):
        function(broken, good)
    with pytest.raises(NotFinite, match=r"actual\['x'\]\[17\]: is"):
        function(pd.DataFrame({"x": good}), pd.DataFrame({"x": broken}))
    with pytest.raises(NotFinite, match=r"actual\[:, 1\]\[17\]: is"):
        function(np.column_stack([good, good]), np.column_stack([good, broken]))


@pytest.mark.parametrize("function", [ks, psi, psi_from_fractions])
@pytest.mark.parametrize(
    ("expected", "actual", "problem"),
    [
        ([], [1.0], "expected: is empty"),
        ([0.5, 0.5], [], "actual: is empty"),
        (["a"] * 30, [1.0] * 30, "expected: must hold numbers only"),
        ([1.0] * 30, ["1.0"] * 30, "must hold numbers only|adds up to"),
        (np.ones((3, 2)), np.ones(3), "must both have 1 dimension, or both 2"),
        (np.ones((3, 2)), np.ones((3, 1)), "has 1 columns for 2 of expected"),
        (np.ones((3, 0)), np.ones((3, 0)), "expected: is empty"),
        (1.0, 2.0, "must both have 1 dimension"),
        (np.array([1j, 2j]), np.array([1.0, 2.0]), "must hold numbers only"),
        (pd.DataFrame({"a": [1.0]}), [1.0], "must both be frames"),
        (pd.DataFrame({"a": [1.0], "b": [1.0]}), pd.DataFrame({"a": [1.0], "c": [1.0]}), r"lacks \['b'\] and has"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), pd.DataFrame({"a": [1.0]}), "'a' more than once"),
    ],
)
def test_bad_samples_are_named(function: Any, expected: Any, actual: Any, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        function(expected, actual)


def test_bad_parameters_are_named() -> None:
    values = np.arange(30.0)
    for bins in (1, 0, -3, True):
        with pytest.raises(InvalidInput, match="bins: is"):
            psi(values, values, bins=bins)
    with pytest.raises(InvalidInput, match=r"bins\[2\]: edges must ascend"):
        psi(values, values, bins=[1.0, 2.0, 2.0])
    with pytest.raises(NotFinite, match=r"bins\[0\]"):
        psi(values, values, bins=[math.nan])
    with pytest.raises(InvalidInput, match="floor: is 0"):
        psi(values, values, floor=0.0)
    with pytest.raises(TooFewObservations, match=r"needs at least 40 observations and got 30.* or take fewer bins$"):
        psi(values, values, bins=40)
    with pytest.raises(InvalidInput, match=r"actual\[15\]: is not in ascending order"):
        psi(values, np.roll(values, 15), presorted=True)
    with pytest.raises(NotFinite, match="actual"):
        psi(values, np.append(values, math.nan), presorted=True)


def test_bad_fractions_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"actual\[1\]: is -0.1; must be at least 0"):
        psi_from_fractions((0.5, 0.5), (1.1, -0.1))
    with pytest.raises(InvalidInput, match=r"expected: adds up to 0\.9, must be 1"):
        psi_from_fractions((0.5, 0.4), (0.5, 0.5))
    with pytest.raises(InvalidInput, match="actual: has 3 bins for 2 of expected"):
        psi_from_fractions((0.5, 0.5), (0.5, 0.25, 0.25))
    with pytest.raises(NotFinite, match=r"actual\[0\]"):
        psi_from_fractions((0.5, 0.5), (math.nan, 0.5))


@pytest.mark.parametrize("measure", [psi, ks])
def test_samples_are_counted_on_the_cpu(measure: Any) -> None:
    values = np.arange(40.0)
    assert measure(values, values, device="cpu") == measure(values, values)
    with pytest.raises(InvalidInput, match=r"^device: is 'tpu'; must be one of auto, cpu, cuda$"):
        measure(values, values, device="tpu")
    with pytest.raises((DeviceMissing, InvalidInput), match=r"no NVIDIA card|has no way to a card"):
        measure(values, values, device="cuda")
