"""What simulations are made of: random words, Sobol points, normal numbers, bridges, and how they are shared out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from scipy.stats import qmc

from engine._sobol import BITS, bridge, directions
from engine.pricing import GBM, Asian, Heston
from engine.pricing._simulation import Plan, simulate
from engine.pricing._simulation_formulas import make
from engine.pricing._simulation_kernels import kernels

WORD = 2.0**32


def plain(function: Any) -> Any:
    """Leave a function as Python."""
    return function


PYTHON = make(plain, math.exp, math.log, lambda x: float(special.erfcx(x)))


def words(*values: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(value) for value in values)


def sobol(n_dimensions: int, n: int, replicate: int = 0, first: int = 0) -> Any:
    """Scrambled points as uniform numbers."""
    z = np.empty((n_dimensions, n))
    scratch = np.empty((4, n), np.uint64)
    kernels().sobol(z, *words(3, 4, replicate), first, directions(n_dimensions), scratch)
    return special.ndtr(z)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # J. K. Salmon and others, known answers that come with Random123
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_its_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert tuple(int(word) for word in PYTHON.philox(*words(*counter), *words(*key))) == expected


def test_normal_numbers_are_quantiles() -> None:
    rng = np.random.default_rng(1)
    chosen = np.concatenate([[0, 1, 2, 2**32 - 1, 2**31 - 1, 2**31], rng.integers(0, 2**32, 2_000)])
    found = [PYTHON.normal(np.uint64(word)) for word in chosen]
    np.testing.assert_allclose(found, special.ndtri((chosen + 0.5) / WORD), rtol=2e-14, atol=1e-15)


def test_compiled_numbers_are_those_of_the_source() -> None:
    z, scratch = np.empty((6, 16)), np.empty((4, 16), np.uint64)
    kernels().pseudo(z, *words(7, 8, 2**33 + 5), scratch)
    for path in (0, 9):
        quads = [PYTHON.philox(*words(5 + path, 2, quad, 0), *words(7, 8)) for quad in range(2)]
        expected = [PYTHON.normal(word) for word in (*quads[0], *quads[1][:2])]
        np.testing.assert_allclose(z[:, path], expected, rtol=1e-13)


def test_pseudo_random_numbers_are_normal_and_unrelated() -> None:
    z, scratch = np.empty((8, 50_000)), np.empty((4, 50_000), np.uint64)
    kernels().pseudo(z, *words(1, 2, 0), scratch)
    for row in z:
        assert stats.kstest(row, "norm").pvalue > 1e-4
    related = np.corrcoef(z) - np.eye(8)
    assert np.abs(related).max() < 4.5 / math.sqrt(50_000)
    ahead = np.corrcoef(z[0, 1:], z[0, :-1])[0, 1]
    assert abs(ahead) < 4.5 / math.sqrt(50_000)


def test_the_direction_numbers_are_those_of_scipy() -> None:
    """Through public names alone: the same points, which scipy lists in the order of a Gray code."""
    columns = directions(40)
    theirs = (qmc.Sobol(40, scramble=False, bits=BITS).random(64) * WORD).astype(np.uint64)
    for i in range(64):
        gray = i ^ (i >> 1)
        turned = np.bitwise_xor.reduce(columns[:, [bit for bit in range(6) if gray >> bit & 1]], axis=1)
        point = [int(f"{int(word):032b}"[::-1], 2) for word in turned]
        assert point == theirs[i].tolist()


def test_scrambled_points_keep_the_balance_of_the_net() -> None:
    """Every elementary interval of two dimensions holds as many points as it is large; each coordinate is balanced."""
    n = 2**10
    for replicate in range(4):
        u = sobol(16, n, replicate)
        for row in u:
            assert sorted((row * n).astype(int)) == list(range(n))
        for left in range(11):
            cells = (u[0] * 2**left).astype(int) * 2 ** (10 - left) + (u[1] * 2 ** (10 - left)).astype(int)
            assert sorted(cells) == list(range(n))


def test_blocks_of_points_continue_each_other() -> None:
    whole = sobol(5, 256)
    np.testing.assert_array_equal(np.hstack([sobol(5, 64, 0, first) for first in range(0, 256, 64)]), whole)


def test_a_scrambled_point_is_uniform_and_scramblings_are_unrelated() -> None:
    points = np.array([sobol(3, 4, replicate) for replicate in range(4_000)])
    for dimension in range(3):
        for place in range(4):
            assert stats.kstest(points[:, dimension, place], "uniform").pvalue > 1e-4
    related = np.corrcoef(points[:, :, 0].T) - np.eye(3)
    assert np.abs(related).max() < 4.5 / math.sqrt(4_000)


def test_scrambling_is_nested() -> None:
    """Points that share leading digits share them afterwards, and no more than by chance beyond."""
    rng = np.random.default_rng(2)
    factor, summand, shift = words(*rng.integers(0, 2**32, 3))
    for shared in (1, 5, 20):
        for word in rng.integers(0, 2**32, 20):
            other = int(word) ^ (1 << shared)  # reversed bits: digit `shared` is the first that differs
            one, two = (int(PYTHON.scramble(np.uint64(x), factor, summand, shift)) for x in (int(word), other))
            assert one >> (32 - shared) == two >> (32 - shared)
            assert (one ^ two) >> (31 - shared) & 1


def test_the_error_of_a_smooth_integral_falls_faster_than_with_a_plain_net() -> None:
    """Owen: a variance of order n**-3 for smooth integrands; a shift alone would leave n**-2."""
    errors = []
    for power in (6, 9):
        means = [np.prod(1.0 + (sobol(2, 2**power, replicate) - 0.5), axis=0).mean() for replicate in range(64)]
        errors.append(float(np.std(means)))
    assert errors[1] < errors[0] / 2.0 ** (3 * 1.3)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 12, 64])
def test_a_bridge_turns_numbers_into_unrelated_increments(n_steps: int) -> None:
    """Of two factors: a matrix that keeps lengths and angles, the first number moving the end."""
    z = np.zeros((2 * n_steps, 2 * n_steps))
    np.fill_diagonal(z, 1.0)
    kernels().bridge(z, 2, *bridge(n_steps), np.empty((n_steps + 1, 2 * n_steps)))
    np.testing.assert_allclose(z @ z.T, np.eye(2 * n_steps), atol=1e-13)
    np.testing.assert_allclose(z[0::2, 0].sum(), math.sqrt(n_steps))
    np.testing.assert_allclose(z[0::2, 2:].sum(axis=0), 0.0, atol=1e-12)


@pytest.mark.parametrize("psi", [0.05, 1.0, 1.49, 1.51, 4.0, 60.0])
def test_a_step_of_the_variance_has_the_moments_of_the_model(psi: float) -> None:
    """Mean and variance of Cox, Ingersoll and Ross, by quadrature over the normal number."""
    mean, slope = 0.04, -0.6
    constants = (0.0, mean, 0.0, psi * mean * mean, slope, 0.3, 0.2, 0.0)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    # the step has an atom, where the integrand bends: panels on either side of it
    atom = float(special.ndtri((psi - 1.0) / (psi + 1.0))) if psi > 1.5 else 0.0
    first = second = growth = 0.0
    for low, high in ((-9.0, atom), (atom, 9.0)):
        for node, weight in zip(
            0.5 * (high - low) * nodes + 0.5 * (high + low), 0.5 * (high - low) * weights, strict=True
        ):
            after, right = PYTHON.step(0.01, float(node), constants)
            w = float(weight) * math.exp(-0.5 * node * node) / math.sqrt(2.0 * math.pi)
            first, second = first + w * after, second + w * after * after
            growth += w * math.exp(slope * after + right + (0.3 + 0.5 * 0.2) * 0.01)
    assert first == pytest.approx(mean, rel=1e-9)
    assert second - first * first == pytest.approx(psi * mean * mean, rel=1e-7)
    assert growth == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("is_sobol", [True, False])
def test_how_a_run_is_shared_out_does_not_change_it(is_sobol: bool) -> None:
    model = Heston(100.0, 0.03, 0.01, 0.04, 1.5, 0.05, 0.5, -0.6)
    for plan in (
        Plan(Asian(100.0, 1.0, "call"), GBM(100.0, 0.03, 0.0, 0.3), 120, (1, 2), is_sobol, not is_sobol, 2, 2**11),
        Plan(Asian(100.0, 1.0, "call"), model, 240, (1, 2), is_sobol, not is_sobol, 2, 2**9),
    ):
        n = plan.n_cells
        assert n >= 8
        whole = simulate((0, n), plan)
        for cuts in ((0, 1, n), (0, 3, 5, n - 1, n)):
            parts = [simulate((first, last), plan) for first, last in itertools.pairwise(cuts)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_change_of_a_formula_is_a_change_of_the_cache_key() -> None:
    from engine.pricing._simulation_kernels import _build

    def key(source: str) -> Any:
        function = _build(source).heston
        return function._cache._index_key((), function.targetctx.codegen())

    assert key("one source") == key("one source")
    assert key("one source") != key("another source")
