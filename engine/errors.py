"""Errors of the engine.

    EngineError
    |-- InvalidInput            a value, shape or parameter that no formula here accepts
    |   `-- NotFinite           a nan or an infinity in an input array
    |-- DeviceMissing           a card was asked for by name and there is none
    |-- TooFewObservations      the series is too short for the figure that was asked for
    `-- WorkFailed              parts of a calculation failed on the workers it was spread over

The docstring of a class is its default message and says what to do next; facts are attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["DeviceMissing", "EngineError", "InvalidInput", "NotFinite", "TooFewObservations", "WorkFailed"]


class EngineError(Exception):
    """The engine could not compute what was asked. Read the message, correct the input and call again."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)) or type(self).__name__)

    def __reduce__(self) -> tuple[Any, ...]:
        # an error on a worker travels back by pickle, which would call __init__ with the message alone
        return _rebuilt, (type(self), self.args, self.__dict__)


class InvalidInput(EngineError, ValueError):
    """An input has a value or a shape that the formula does not accept. Correct the argument that is named.

    Attributes
    ----------
    argument : str
        Name of the argument at fault.
    index : tuple of int or None
        Position of the first offending element, None where the whole argument is wrong.
    """

    def __init__(self, argument: str, problem: str, index: tuple[int, ...] | None = None) -> None:
        place = "" if index is None else f"[{', '.join(map(str, index))}]"
        super().__init__(f"{argument}{place}: {problem}")
        self.argument = argument
        self.index = index


class NotFinite(InvalidInput):
    """An input holds a nan or an infinity. Drop or repair the element that is named."""


class TooFewObservations(EngineError, ValueError):
    """The series is too short for this figure. Give a longer one.

    Attributes
    ----------
    given, needed : int
        Number of observations that came, and the least that would do.
    """

    def __init__(self, given: int, needed: int, purpose: str, *, instead: str = "") -> None:
        other = f" or {instead}" if instead else ""
        super().__init__(f"{purpose} needs at least {needed} observations and got {given}: give a longer series{other}")
        self.given = given
        self.needed = needed


class DeviceMissing(EngineError):
    """There is no NVIDIA card with a driver here. Use device="auto" or "cpu", or a machine that has one."""


class WorkFailed(EngineError):
    """Parts of a calculation failed on the workers. Read the first failure, mend its cause and call again.

    Attributes
    ----------
    failures : dict of int to exception
        What each part that failed raised, by its place.
    """

    def __init__(self, failures: Mapping[int, BaseException | None], n_parts: int) -> None:
        first = min(failures)
        super().__init__(
            f"{len(failures)} of {n_parts} parts failed on the workers ({', '.join(map(str, sorted(failures)))}); "
            f"part {first}: {failures[first]!r}"
        )
        self.failures = dict(failures)


def _rebuilt(error: type[EngineError], arguments: tuple[Any, ...], facts: dict[str, Any]) -> EngineError:
    made = error.__new__(error, *arguments)
    made.args = arguments
    made.__dict__.update(facts)
    return made
