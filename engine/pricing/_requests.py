"""One request, from Python's numbers to Python's numbers, in machine code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from engine import _entry
from engine._compile import digest
from engine._entry import builtin, compiled, named_tuple, no_answer, one_float, option
from engine.pricing import _formulas, _inversion, _kernels, _limits
from engine.pricing._batches import SIGNS
from engine.pricing._kernels import careful, fast

__all__ = ["european_request", "implied_request"]

# of the module: a function among the free variables would make each process compile anew
_european, _european_limit = fast.european, careful.european
_implied, _implied_limit = fast.inversion.implied, careful.implied
_KINDS: dict[Any, float] = {**SIGNS, 1: 1.0, -1: -1.0}
_FILES = (__file__, _entry.__file__, _kernels.__file__, _formulas.__file__, _inversion.__file__, _limits.__file__)


@functools.cache
def european_request(result: type) -> Callable[..., Any]:
    """Return the function of the arguments of `european` that gives a `result` of nine floats, or None.

    None stands for what is not seven plain numbers, a word among them for the last, and for what is invalid.
    """
    source = digest(*_FILES)

    @compiled
    def european_one(own: int, given: int, n: int) -> Any:
        source  # noqa: B018 - part of the cache's key
        known, spot, strike, expiry, rate, dividend, volatility, sign = option(own, given, n)
        if not known:
            return no_answer(own)
        found = _european(spot, strike, expiry, rate, dividend, volatility, sign)
        if found[0] != found[0]:
            found = _european_limit(spot, strike, expiry, rate, dividend, volatility, sign)
            if found[0] != found[0]:
                return no_answer(own)
        return named_tuple(own, found)

    return builtin(european_one, result, _KINDS)


@functools.cache
def implied_request() -> Callable[..., Any]:
    """Return the function of the arguments of `implied_volatility` that gives a float; None as above, or for nan."""
    source = digest(*_FILES)

    @compiled
    def implied_one(own: int, given: int, n: int) -> Any:
        source  # noqa: B018 - part of the cache's key
        known, price, spot, strike, expiry, rate, dividend, sign = option(own, given, n)
        if not known:
            return no_answer(own)
        found = _implied(price, spot, strike, expiry, rate, dividend, sign)
        if found != found:
            found = _implied_limit(price, spot, strike, expiry, rate, dividend, sign)
            if found != found:
                return no_answer(own)
        return one_float(found)

    return builtin(implied_one, float, _KINDS)
