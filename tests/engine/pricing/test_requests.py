"""One request as a built-in function: what it takes, what it leaves to others, and that nothing of it is lost."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from engine import Greeks, InvalidInput, european, implied_volatility
from engine.pricing import _requests
from engine.pricing._requests import european_request, implied_request

ONE = (100.0, 105.0, 0.5, 0.03, 0.01, 0.25)
PRICE = 5.349804578881084


class Word(str):
    """A word that is not plain."""

    __slots__ = ()


class Price(float):
    """A float that is not plain."""

    __slots__ = ()


def test_objects_lie_in_memory_as_the_compiled_code_reads_them() -> None:
    assert sys.implementation.name == "cpython"
    assert not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert (object.__basicsize__, float.__basicsize__, tuple.__basicsize__) == (16, 24, 24)
    assert (tuple.__itemsize__, Greeks.__basicsize__, Greeks.__itemsize__) == (8, 24, 8)
    assert np.float64(0.0).__class__.__basicsize__ == 24


@pytest.mark.parametrize("kind", ["call", "".join(["ca", "ll"]), 1, 1.0, np.float64(1.0)])
def test_plain_numbers_are_answered(kind: Any) -> None:
    found = european_request(Greeks)(100, np.float64(105.0), 0.5, 0.03, 0.01, 0.25, kind)
    assert type(found) is Greeks
    assert found == european(*(np.array([value]) for value in ONE), "call")
    assert {type(value) for value in found} == {float}
    assert found._replace(price=1.0).price == 1.0
    assert implied_request()(found.price, 100, *ONE[1:5], kind) == pytest.approx(0.25, rel=1e-13)


@pytest.mark.parametrize(
    "other",
    [None, True, np.True_, "1", b"1", 10**400, Price(1.0), np.float32(1.0), np.array(1.0), Decimal(1), [1.0], 1j, type],
)
def test_what_is_no_plain_number_is_left_to_others(other: Any) -> None:
    for place in range(7):
        if place == 6 and other == "1":
            continue
        arguments: list[Any] = [*ONE, "call"]
        arguments[place] = other
        assert european_request(Greeks)(*arguments) is None
        assert implied_request()(*arguments) is None


@pytest.mark.parametrize("kind", ["CALL", "", Word("call"), 0, 2, 0.5, -0.0, math.nan, {}, ("call",)])
def test_what_is_no_kind_is_left_to_others(kind: Any) -> None:
    assert european_request(Greeks)(*ONE, kind) is None
    assert implied_request()(PRICE, *ONE[:5], kind) is None


def test_another_number_of_arguments_is_no_request() -> None:
    request = european_request(Greeks)
    assert [request(*arguments) for arguments in ((), ONE, (*ONE, "call", 1.0))] == [None] * 3
    with pytest.raises(TypeError, match="keyword"):
        request(*ONE, kind="call")


def test_a_word_of_its_own_class_and_a_bool_are_as_they_were() -> None:
    assert european(*ONE, Word("put")) == european(*ONE, "put")
    assert european(Price(100.0), *ONE[1:], "put") == european(*ONE, "put")
    with pytest.raises(InvalidInput, match=r"kind: must hold numbers only \(dtype is bool\)"):
        european(*ONE, True)
    with pytest.raises(InvalidInput, match=r"spot: must hold numbers only \(dtype is bool\)"):
        european(True, *ONE[1:], "call")


def test_nothing_is_lost_or_let_go_too_often() -> None:
    request, kind, spot = european_request(Greeks), "".join(["pu", "t"]), float("100.5")
    watched = (None, Greeks, kind, spot, _requests.SIGNS["put"])
    for _ in range(3):
        request(spot, *ONE[1:], kind)
    gc.collect()
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(10_000):
        request(spot, *ONE[1:], kind)
        request(spot, *ONE[1:], [kind])
        request(spot, *ONE[1:], 10**400)
    gc.collect()
    after = [sys.getrefcount(each) for each in watched]
    assert max(abs(late - early) for late, early in zip(after, before, strict=True)) < 20
    held = [request(spot, *ONE[1:], kind) for _ in range(1000)]
    plain = [tuple([math.sqrt(place) for place in range(9)]) for _ in range(1000)]
    assert [sys.getrefcount(each) for each in held] == [sys.getrefcount(each) for each in plain]
    assert [sys.getrefcount(each[8]) for each in held] == [sys.getrefcount(each[8]) for each in plain]
    assert gc.is_tracked(held[0])


def test_threads_may_ask_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda spot: european(spot, *ONE[1:], "call"), [100.0] * 2000))
    assert found == {european(*ONE, "call")}


def test_the_end_of_a_process_is_quiet() -> None:
    script = "from engine import european; european(1.0, 1.0, 1.0, 0.0, 0.0, 0.2, 'call'); print('ended')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_the_next_process_loads_what_this_one_compiled() -> None:
    # a compiled function among the free variables would give each process a key of its own
    for request in (european_request(Greeks), implied_request()):
        (function,) = (kept for kept, _ in _requests._entry._kept if kept.__name__ in _names(request))
        kinds = {type(cell.cell_contents) for cell in function._pyfunc.__closure__}
        assert kinds == {str}
        assert function.cache_hits + bool(function._cache) >= 1


def _names(request: Any) -> set[str]:
    return {"european_one"} if request is european_request(Greeks) else {"implied_one"}


def test_implied_volatility_of_a_price_that_none_gives_is_nan() -> None:
    assert math.isnan(float(implied_volatility(1000.0, *ONE[:5], "call")))
    assert implied_volatility(PRICE, *ONE[:5], "call") == pytest.approx(0.25, rel=1e-12)
