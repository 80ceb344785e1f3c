"""What an option pays, for `engine.pricing.monte_carlo`; all of them at expiry, per unit of the underlying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from engine._checks import FloatArray, positive
from engine.errors import InvalidInput

__all__ = ["Asian", "Averaging", "Barrier", "BarrierKind", "European", "Kind", "PathPayoff", "Payoff"]

Kind = Literal["call", "put"]
Averaging = Literal["arithmetic", "geometric"]
BarrierKind = Literal["up-and-out", "up-and-in", "down-and-out", "down-and-in"]


@dataclass(frozen=True, slots=True)
class European:
    """Pays ``max(S(T) - strike, 0)``, or ``max(strike - S(T), 0)``.

    Attributes
    ----------
    strike : float
        Above 0 [currency].
    expiry : float
        Above 0 [years].
    kind : {"call", "put"}

    Examples
    --------
    >>> from engine.pricing import European
    >>> European(strike=100.0, expiry=0.5, kind="put").kind
    'put'
    """

    strike: float
    expiry: float
    kind: Kind

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class Asian:
    """Pays a European's payoff on the mean of the fixings, which are even in time; the last is at expiry.

    Attributes
    ----------
    strike : float
        Above 0 [currency].
    expiry : float
        Above 0 [years].
    kind : {"call", "put"}
    averaging : {"arithmetic", "geometric"}
    n_fixings : int
        At ``expiry * i / n_fixings`` for i from 1; the spot of today is none of them.

    Examples
    --------
    >>> from engine.pricing import Asian
    >>> Asian(100.0, 1.0, "call", n_fixings=12).averaging
    'arithmetic'
    """

    strike: float
    expiry: float
    kind: Kind
    averaging: Averaging = "arithmetic"
    n_fixings: int = 12

    def __post_init__(self) -> None:
        _check(self)
        _choose("averaging", self.averaging, get_args(Averaging))
        count("n_fixings", self.n_fixings)


@dataclass(frozen=True, slots=True)
class Barrier:
    """A European option that a barrier ends ("out") or begins ("in").

    Attributes
    ----------
    strike : float
        Above 0 [currency].
    barrier : float
        Above 0 [currency]. A spot that is at it or beyond it has met it.
    expiry : float
        Above 0 [years].
    kind : {"call", "put"}
    barrier_kind : {"up-and-out", "up-and-in", "down-and-out", "down-and-in"}
    n_fixings : int or None
        How often the barrier is watched, even in time, last at expiry. None watches always, the start included.
    rebate : float
        Paid at expiry where the option has ended, or has never begun; at least 0 [currency].

    Examples
    --------
    >>> from engine.pricing import Barrier
    >>> Barrier(100.0, 90.0, 1.0, "call", "down-and-out").n_fixings is None
    True
    """

    strike: float
    barrier: float
    expiry: float
    kind: Kind
    barrier_kind: BarrierKind
    n_fixings: int | None = None
    rebate: float = 0.0

    def __post_init__(self) -> None:
        _check(self)
        positive("barrier", number("barrier", self.barrier))
        _choose("barrier_kind", self.barrier_kind, get_args(BarrierKind))
        if self.n_fixings is not None:
            count("n_fixings", self.n_fixings)
        if not 0.0 <= number("rebate", self.rebate) < float("inf"):
            raise InvalidInput("rebate", f"is {self.rebate}; must be a finite number, at least 0")


@dataclass(frozen=True, slots=True)
class PathPayoff:
    """Pays what a function says of the whole path.

    Attributes
    ----------
    function : callable
        Spots of shape (n_paths, n_steps + 1), today's first, and times of shape (n_steps + 1,) [years], to payoffs of
        shape (n_paths,). To spread over workers it stands at the top of a module.
    expiry : float
        Above 0 [years].
    n_steps : int
        Even in time.

    Examples
    --------
    >>> from engine.pricing import PathPayoff
    >>> lookback = PathPayoff(lambda spots, times: spots.max(axis=1) - spots[:, -1], expiry=1.0, n_steps=50)
    >>> lookback.n_steps
    50
    """

    function: Callable[[FloatArray, FloatArray], Any]
    expiry: float
    n_steps: int

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InvalidInput("function", f"is of type {type(self.function).__name__}; must be callable")
        positive("expiry", number("expiry", self.expiry))
        count("n_steps", self.n_steps)


Payoff = European | Asian | Barrier | PathPayoff


def count(argument: str, value: Any, least: int = 1) -> int:
    """Return a whole number of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidInput(argument, f"is {value!r}; must be a whole number")
    try:
        whole = int(value.__index__())
    except TypeError:  # an array
        raise InvalidInput(argument, f"is {value!r}; must be a whole number") from None
    if whole < least:
        raise InvalidInput(argument, f"is {whole}; must be at least {least}")
    return whole


def number(argument: str, value: Any) -> float:
    """Return one number as a float."""
    try:
        if isinstance(value, str | bytes | bool | np.bool_) or getattr(value, "ndim", False):
            raise TypeError(f"is of type {type(value).__name__}")
        return float(value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise InvalidInput(argument, f"must be one number ({problem})") from problem


def _check(payoff: European | Asian | Barrier) -> None:
    positive("strike", number("strike", payoff.strike))
    positive("expiry", number("expiry", payoff.expiry))
    _choose("kind", payoff.kind, get_args(Kind))


def _choose(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise InvalidInput(argument, f"is {value!r}; must be one of {', '.join(choices)}")
