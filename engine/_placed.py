"""Where functions compute that have no kernel for a card, and what they do with arrays that lie on one."""

from __future__ import annotations

from typing import Any

from engine._device import Place, choose
from engine.errors import InvalidInput

__all__ = ["at_home", "fetched", "on_the_processor", "placed", "sent_back"]


def on_the_processor(function: str, device: Place, *arguments: Any) -> tuple[Any, ...]:
    """Return the arguments in main memory, for a function that computes on the processor alone.

    Parameters
    ----------
    function : str
        Its name, for the message.
    device : {"auto", "cpu", "cuda"}
        As the caller of the function gave it.
    *arguments
        Those that may be arrays; with "auto" they may lie on a card.

    Raises
    ------
    InvalidInput
        Another device, "cpu" for what lies on a card, or "cuda" where there is a card: nothing would be done there.
    DeviceMissing
        "cuda" where there is none.
    """
    where = choose(device, *arguments)
    if where == "main memory":
        return arguments
    if device == "cuda":
        raise InvalidInput("device", f"is 'cuda', and {function} has no way to a card; use 'auto'")
    return at_home(*arguments)


def placed(device: Place, *arguments: Any) -> tuple[bool, tuple[Any, ...]]:
    """Return whether to compute on a card, for a function that has a kernel, and the arguments in main memory."""
    where = choose(device, *arguments)
    if where == "on a card":
        return True, at_home(*arguments)
    return where == "to a card", arguments


def at_home(*arguments: Any) -> tuple[Any, ...]:
    """Return the arguments, those that lie on a card as arrays in main memory."""
    return tuple(map(fetched, arguments))


def fetched(values: Any) -> Any:
    """Return what lies on a card as an array in main memory, and anything else as it is."""
    if not hasattr(values, "__cuda_array_interface__"):
        return values
    for name in ("get", "copy_to_host"):  # of cupy, of numba
        if callable(way := getattr(values, name, None)):
            return way()
    import numba.cuda

    return numba.cuda.as_cuda_array(values).copy_to_host()  # type: ignore[no-untyped-call]


def sent_back(values: Any) -> Any:
    """Return an array of main memory as one of cupy, on the card."""
    import cupy

    return cupy.asarray(values)
