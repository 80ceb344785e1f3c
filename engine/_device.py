"""What the engine computes on: the processor, or an NVIDIA card where there is one.

The machine is probed once, by the first question; importing this module looks at nothing.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import DeviceMissing, InvalidInput

__all__ = ["DeviceInUse", "Place", "Where", "choose", "device", "require_card", "worth_a_card"]

Place = Literal["auto", "cpu", "cuda"]
Where = Literal["main memory", "to a card", "on a card"]

_PLACES = ("auto", "cpu", "cuda")
_BYTES_A_SECOND = 2e10  # between main memory and a card, over 16 lanes of PCIe 4
_START = 2e-3  # seconds until a card has begun


@dataclass(frozen=True, slots=True)
class DeviceInUse:
    """What is used and why.

    Attributes
    ----------
    kind : {"cpu", "cuda"}
        "cuda" where there is a card with a driver that answers.
    name : str
        Of the card, or of the processor's architecture.
    reason : str
        Why it is this one, in a sentence.
    cores : int
        Processor cores that this process may use.
    memory : int or None
        Of the card [bytes].
    driver : str or None
        Version of CUDA that the card's driver speaks.
    numba, cupy : str or None
        Versions; None where it is not installed, or cannot be imported.
    """

    kind: Literal["cpu", "cuda"]
    name: str
    reason: str
    cores: int
    memory: int | None
    driver: str | None
    numba: str | None
    cupy: str | None


@functools.cache
def device() -> DeviceInUse:
    """Say what is used and why; probed once, and never an error.

    Returns
    -------
    DeviceInUse

    Notes
    -----
    With a card, functions that take ``device="auto"`` compute there what already lies there, and what lies in main
    memory only where it is quicker by more than the way to the card and back. Single requests stay on the processor.

    Examples
    --------
    >>> import engine
    >>> engine.device().kind in ("cpu", "cuda")
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    numba, cupy = _version("numba"), _cupy()
    try:
        name, memory, driver = _card()
    except _NoCard as problem:
        return DeviceInUse("cpu", platform.machine(), str(problem), cores, None, None, numba, cupy)
    reason = f"{name} answers; arrays in main memory go there only where that is quicker"
    if cupy is None:
        reason += "; without cupy no array can stay there"
    return DeviceInUse("cuda", name, reason, cores, memory, driver, numba, cupy)


def require_card() -> None:
    """Raise `DeviceMissing`, with the reason, where there is no card."""
    found = device()
    if found.kind != "cuda":
        raise DeviceMissing(f"{DeviceMissing.__doc__} ({found.reason})")


def choose(place: str, *arguments: Any) -> Where:
    """Return where to compute: where the data lies, unless the caller wants it elsewhere."""
    if not isinstance(place, str) or place not in _PLACES:
        raise InvalidInput("device", f"is {place!r}; must be one of {', '.join(_PLACES)}")
    there = any(hasattr(argument, "__cuda_array_interface__") for argument in arguments)
    if there and place == "cpu":
        raise InvalidInput("device", "is 'cpu', but an argument lies on a card; bring it back with cupy.asnumpy first")
    if there:
        return "on a card"
    if place == "cuda":
        require_card()
        return "to a card"
    return "main memory"


def worth_a_card(n: int, seconds: float, numbers: int) -> bool:
    """Tell whether `n` results are quicker from a card, the way there and back included.

    Parameters
    ----------
    n : int
    seconds : float
        A result takes one core [s].
    numbers : int
        Floats a result takes with it, there and back.
    """
    if n * seconds < 10.0 * _START:
        return False
    here = device()
    there = _START + n * numbers * 8 / _BYTES_A_SECOND
    return here.kind == "cuda" and there < 0.5 * n * seconds / here.cores


class _NoCard(Exception):
    """There is no card, and the message says why."""


def _card() -> tuple[str, int | None, str]:
    """Name, memory and driver of the first card."""
    import ctypes

    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    if not simulated:
        try:
            ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        except OSError:
            raise _NoCard("no NVIDIA driver is installed here") from None
    try:
        # a driver without a card, a card without a driver, a broken toolkit: each has an error of its own
        cuda = importlib.import_module("numba.cuda")
        if not cuda.is_available():
            raise _NoCard(f"numba cannot use a card here: {cuda.cuda_error() or 'none answers'}")
        if simulated:
            return "numba's simulator of a card", None, "none"
        context = cuda.current_context()
        name = context.device.name
        version = ".".join(map(str, cuda.runtime.get_version()))
        return name.decode() if isinstance(name, bytes) else str(name), int(context.get_memory_info().total), version
    except _NoCard:
        raise
    except Exception as problem:
        raise _NoCard(f"the card cannot be used: {type(problem).__name__}: {problem}") from problem


def _cupy() -> str | None:
    """Version of cupy, where it can be imported."""
    try:
        return str(importlib.import_module("cupy").__version__)
    except Exception:  # not installed, or installed for another version of CUDA
        return None


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
