"""Prices and Greeks against printed figures, a hundred digits, identities, and bad input."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.exact import exact_greeks, scales
from engine import DeviceMissing, Greeks, InvalidInput, NotFinite, european, implied_volatility
from engine.pricing.closed_form import _kernels

EPSILON = float(np.finfo(np.float64).eps)
NAMES = Greeks._fields

options = st.tuples(
    st.floats(20.0, 500.0),
    st.floats(20.0, 500.0),
    st.floats(1e-3, 10.0),
    st.floats(-0.05, 0.15),
    st.floats(-0.05, 0.15),
    st.floats(0.01, 2.0),
)


def book(n: int, seed: int = 11) -> tuple[np.ndarray[Any, Any], ...]:
    """Columns in the order of the arguments, the kind as +1 and -1 last."""
    rng = np.random.default_rng(seed)
    ranges = ((50, 150), (50, 150), (0.02, 3.0), (-0.02, 0.08), (0.0, 0.04), (0.05, 1.2))
    return (*(rng.uniform(*bounds, n) for bounds in ranges), np.where(rng.random(n) < 0.5, 1.0, -1.0))


@pytest.mark.parametrize(
    ("arguments", "kind", "printed", "digits"),
    [
        ((42.0, 40.0, 0.5, 0.10, 0.0, 0.20), "call", 4.7594224, 7),  # Hull
        ((42.0, 40.0, 0.5, 0.10, 0.0, 0.20), "put", 0.8085994, 7),  # Hull
        ((60.0, 65.0, 0.25, 0.08, 0.0, 0.30), "call", 2.1334, 4),  # Haug, here and below
        ((100.0, 95.0, 0.5, 0.10, 0.05, 0.20), "put", 2.4648, 4),
        ((19.0, 19.0, 0.75, 0.10, 0.10, 0.28), "call", 1.7011, 4),
        ((100.0, 100.0, 0.5, 0.0, 0.0, 0.2), "call", 5.6371977797016624, 13),  # Black
    ],
)
def test_prices_in_print(arguments: tuple[float, ...], kind: str, printed: float, digits: int) -> None:
    assert european(*arguments, kind).price == pytest.approx(printed, rel=0, abs=0.5000001 * 10**-digits)


@pytest.mark.parametrize(
    ("arguments", "kind", "name", "printed"),
    [
        ((105.0, 100.0, 0.5, 0.10, 0.10, 0.36), "call", "delta", 0.5946),
        ((105.0, 100.0, 0.5, 0.10, 0.10, 0.36), "put", "delta", -0.3566),
        ((55.0, 60.0, 0.75, 0.10, 0.0, 0.30), "call", "gamma", 0.0278),
        ((55.0, 60.0, 0.75, 0.105, 0.0355, 0.30), "put", "vega", 18.5027),
    ],
)
def test_greeks_in_print(arguments: tuple[float, ...], kind: str, name: str, printed: float) -> None:
    assert getattr(european(*arguments, kind), name) == pytest.approx(printed, rel=0, abs=0.5000001e-4)


def test_kinds_may_be_an_array_of_words() -> None:
    signs = european([90.0, 110.0], 100.0, 1.0, 0.05, 0.0, 0.2, [-1, 1])
    for words in (["put", "call"], np.array(["put", "call"]), np.array(["put", 1], dtype=object), ("put", "call")):
        assert european([90.0, 110.0], 100.0, 1.0, 0.05, 0.0, 0.2, words).price.tolist() == signs.price.tolist()
        found = implied_volatility(signs.price, [90.0, 110.0], 100.0, 1.0, 0.05, 0.0, words)
        np.testing.assert_allclose(found, 0.2, rtol=1e-12)
    assert european(90.0, 100.0, 1.0, 0.05, 0.0, 0.2, np.array("put")).price == signs.price[0]


def test_rho_that_a_peer_has_with_the_wrong_sign() -> None:
    assert european(100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "call").rho == pytest.approx(53.23, abs=5e-3)


@pytest.mark.parametrize(
    ("x", "s", "printed"), [(-0.1, 0.01, 7.4744685724967554e-27), (-0.5, 3.0, 0.64640138673324614)]
)
def test_normalised_prices_in_print(x: float, s: float, printed: float) -> None:
    found = european(math.exp(0.5 * x), math.exp(-0.5 * x), 1.0, 0.0, 0.0, s, "call").price
    # rounding of spot and strike moves x by a few units of rounding, and the price by x / s**2 times that
    assert found == pytest.approx(printed, rel=8 * EPSILON * (1.0 + abs(x) / s**2), abs=0)


@settings(max_examples=60, deadline=None)
@given(options, st.sampled_from([1, -1]))
def test_every_figure_is_exact_to_rounding(arguments: tuple[float, ...], sign: int) -> None:
    found = european(*arguments, "call" if sign > 0 else "put")
    exact = exact_greeks(arguments, sign)
    for name, value, reference, scale in zip(NAMES, found, exact, scales(*arguments), strict=True):
        assert abs(value - reference) <= 30.0 * EPSILON * scale, name


@pytest.mark.parametrize("spot", [55.0, 30.0, 10.0, 2.5])
def test_a_price_in_the_wing_keeps_its_relative_accuracy(spot: float) -> None:
    arguments = (spot, 100.0, 0.25, 0.03, 0.01, 0.2)
    exact = exact_greeks(arguments, 1)
    for name, value, reference in zip(NAMES, european(*arguments, "call"), exact, strict=True):
        assert value == pytest.approx(reference, rel=1e-11, abs=1e-300), name
    assert 0.0 <= exact[0] < 1e-7


@settings(max_examples=200, deadline=None)
@given(options)
def test_put_and_call_differ_by_a_forward(arguments: tuple[float, ...]) -> None:
    spot, strike, expiry, rate, dividend, _ = arguments
    call, put, scale = european(*arguments, "call"), european(*arguments, "put"), scales(*arguments)
    own, owed = spot * math.exp(-dividend * expiry), strike * math.exp(-rate * expiry)
    forward = Greeks(
        own - owed, own / spot, 0.0, 0.0, dividend * own - rate * owed, expiry * owed, 0.0, 0.0, dividend * own / spot
    )
    for name, more, less, expected, size in zip(NAMES, call, put, forward, scale, strict=True):
        assert more - less == pytest.approx(expected, rel=0, abs=16 * EPSILON * size), name


@settings(max_examples=100, deadline=None)
@given(options, st.sampled_from(["call", "put"]))
def test_the_greeks_solve_the_equation_of_black_and_scholes(arguments: tuple[float, ...], kind: str) -> None:
    spot, _, _, rate, dividend, volatility = arguments
    greeks = european(*arguments, kind)
    drift = (rate - dividend) * spot * greeks.delta
    diffusion = 0.5 * volatility**2 * spot**2 * greeks.gamma
    assert greeks.theta + drift + diffusion == pytest.approx(
        rate * greeks.price, rel=0, abs=32 * EPSILON * scales(*arguments).theta
    )


def test_arrays_agree_with_single_requests_to_the_last_bit() -> None:
    columns = book(1_500)
    batch = european(*columns)
    for place in range(0, 1_500, 7):
        one = european(*(float(column[place]) for column in columns[:-1]), "call" if columns[-1][place] > 0 else "put")
        assert one == tuple(float(row[place]) for row in batch)


def test_a_book_on_many_threads_is_the_book_in_parts() -> None:
    columns = book(500_003)
    columns[2][::997] = 0.0  # expired
    whole = european(*columns)
    parts = [european(*(column[first : first + 99_999] for column in columns)) for first in range(0, 500_003, 99_999)]
    for name in NAMES:
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in parts]))


def test_shapes_broadcast_and_scalars_stay_scalars() -> None:
    spot = np.array([[90.0], [100.0], [110.0]])
    strike = np.array([95.0, 105.0])
    grid = european(spot, strike, 0.5, 0.02, 0.0, 0.2, [1, -1])
    assert {row.shape for row in grid} == {(3, 2)}
    assert {row.dtype for row in grid} == {np.dtype(np.float64)}
    assert grid.price[2, 1] == european(110.0, 105.0, 0.5, 0.02, 0.0, 0.2, "put").price
    assert grid.price[0, 0] == european(90.0, 95.0, 0.5, 0.02, 0.0, 0.2, "call").price
    for scalars in ((90, 95, 1, 0, 0, 1), tuple(np.float32(value) for value in (90, 95, 0.5, 0.02, 0, 0.25))):
        assert {type(value) for value in european(*scalars, "call")} == {float}
    assert european(90.0, 95.0, 1.0, 0.0, 0.0, 1.0, -1) == european(90, 95, 1, 0, 0, 1, "put")
    assert european([90.0], 95.0, 0.5, 0.02, 0.0, 0.2, "call").price.shape == (1,)
    assert european([], 95.0, 0.5, 0.02, 0.0, 0.2, "call").price.shape == (0,)


def test_columns_that_are_not_contiguous_or_not_floats_are_taken() -> None:
    wide = np.arange(60.0, 160.0)[::-3]
    whole = wide.astype(np.int32)
    expected = european(wide.copy(), 100.0, 0.5, 0.0, 0.0, 0.2, "put").price
    np.testing.assert_array_equal(european(wide, 100.0, 0.5, 0.0, 0.0, 0.2, "put").price, expected)
    np.testing.assert_array_equal(european(whole, 100.0, 0.5, 0.0, 0.0, 0.2, "put").price, expected)


@pytest.mark.parametrize("number", [float, np.float64, np.float32, lambda value: np.array(value)])
@pytest.mark.parametrize("kind", ["call", 1, 1.0, np.int64(1), np.array(1)])
def test_a_number_of_any_type_is_the_same_request(number: Any, kind: Any) -> None:
    arguments = (100.0, 104.0, 0.5, 0.03125, 0.015625, 0.25)  # exact as float32 too
    expected = european(*arguments, "call")
    found = european(*(number(value) for value in arguments), kind)
    assert found == expected
    assert {type(value) for value in found} == {float}
    with pytest.raises(InvalidInput, match=r"expiry: is -1.0; must be at least 0"):
        european(number(100), number(100), number(-1), number(0), number(0), number(1), kind)


def test_columns_and_constants_in_any_mixture_are_one_compiled_function() -> None:
    columns = book(300)
    whole = european(*columns)
    constant = [float(column[0]) for column in columns]
    odd = np.zeros(300, dtype=[("pad", "i1"), ("value", "f8")])
    for place in range(7):
        odd["value"] = columns[place]
        frozen = columns[place].copy()
        frozen.flags.writeable = False
        swapped = columns[place].astype(">f8")
        for column in (odd["value"], frozen, swapped):
            mixed = [*columns[:place], column, *columns[place + 1 :]]
            np.testing.assert_array_equal(european(*mixed).price, whole.price)
        mixed = [*columns[:place], constant[place], *columns[place + 1 :]]
        assert european(*mixed).price[0] == whole.price[0]
    assert columns[0].flags.writeable
    assert len(_kernels().european_block.signatures) == 1


def test_a_large_result_that_is_held_is_not_overwritten() -> None:
    columns = book(150_000)
    first = european(*columns)
    kept = first.delta.copy()
    held = [european(columns[0] + shift, *columns[1:]) for shift in (0.0, 1.0, 2.0)]
    np.testing.assert_array_equal(first.delta, kept)
    np.testing.assert_array_equal(held[0].delta, kept)
    delta = first.delta
    del first, held
    for _ in range(4):
        european(columns[0] + 5.0, *columns[1:])
    np.testing.assert_array_equal(delta, kept)


@pytest.mark.parametrize(
    ("place", "value", "error", "text"),
    [
        (0, math.nan, NotFinite, r"spot: is nan; every value must be finite"),
        (0, [1.0, math.inf], NotFinite, r"spot\[1\]: is inf; every value must be finite"),
        (0, [[1.0, 2.0], [3.0, -4.0]], InvalidInput, r"spot\[1, 1\]: is -4.0; must be at least 0"),
        (1, 0.0, InvalidInput, r"strike: is 0.0; must be above 0"),
        (2, [1.0, -0.5, -1.0], InvalidInput, r"expiry\[1\]: is -0.5; must be at least 0"),
        (3, -math.inf, NotFinite, r"rate: is -inf"),
        (3, -1e4, InvalidInput, r"rate: times expiry is so far below 0 that the discounted strike overflows"),
        (4, [0.0, -1e4], InvalidInput, r"dividend\[1\]: times expiry is so far below 0"),
        (5, -0.2, InvalidInput, r"volatility: is -0.2; must be at least 0"),
        (5, "0.2", InvalidInput, r"volatility: must hold numbers only \(dtype is <U3\)"),
        (5, [0.2 + 1j], InvalidInput, r"volatility: must hold numbers only"),
        (5, None, InvalidInput, r"volatility: must hold numbers only|volatility: is nan"),
        (5, 10**400, InvalidInput, r"volatility: must hold numbers only"),
        (6, "CALL", InvalidInput, r"kind: is 'CALL'; must be 'call', 'put' or an array of \+1 and -1"),
        (6, [1, 0], InvalidInput, r"kind\[1\]: is 0.0; must be \+1 \(call\) or -1 \(put\)"),
        (6, ["call", "P"], InvalidInput, r"kind\[1\]: is P; must be 'call', 'put', \+1 or -1"),
        (6, ["call", None], InvalidInput, r"kind\[1\]: is None; must be 'call', 'put', \+1 or -1"),
        (6, np.array([["put", ""]]), InvalidInput, r"kind\[0, 1\]: is ; must be 'call', 'put', \+1 or -1"),
    ],
)
def test_bad_input_names_the_argument_and_the_place(place: int, value: Any, error: type[Exception], text: str) -> None:
    arguments: list[Any] = [100.0, 100.0, 1.0, 0.05, 0.0, 0.2, "call"]
    arguments[place] = value
    with pytest.raises(error, match=text):
        european(*arguments)


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"strike: has shape \(3,\), which does not broadcast with \(2,\)"):
        european([1.0, 2.0], [1.0, 2.0, 3.0], 1.0, 0.0, 0.0, 0.2, "call")


def test_a_bad_option_in_a_large_book_is_found() -> None:
    columns = book(500_000)
    columns[5][400_001] = math.nan
    with pytest.raises(NotFinite, match=r"volatility\[400001\]: is nan"):
        european(*columns)


def test_a_device_that_is_not_there_is_said_so() -> None:
    with pytest.raises(InvalidInput, match="device: is 'gpu'; must be one of auto, cpu, cuda"):
        european(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, "call", device="gpu")  # type: ignore[arg-type]


def test_without_a_card_cuda_is_refused() -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("this machine has a card")
    for spot in ([1.0, 2.0], 1.0):
        with pytest.raises(DeviceMissing, match=r"no NVIDIA card with a driver here\. Use device=\"auto\" or \"cpu\""):
            european(spot, 1.0, 1.0, 0.0, 0.0, 0.2, "call", device="cuda")
        with pytest.raises(DeviceMissing, match=r"no NVIDIA driver is installed here|cannot use a card here"):
            implied_volatility(0.5, spot, 1.0, 1.0, 0.0, 0.0, "call", device="cuda")


def test_what_lies_on_a_card_is_not_taken_for_main_memory() -> None:
    class OnCard:
        __cuda_array_interface__: ClassVar = {"shape": (2,)}

    with pytest.raises(InvalidInput, match=r"device: is 'cpu', but an argument lies on a card"):
        european(OnCard(), 1.0, 1.0, 0.0, 0.0, 0.2, "call", device="cpu")  # type: ignore[arg-type]
