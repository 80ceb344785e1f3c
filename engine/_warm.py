"""Compiles what is compiled, or loads it from the cache, before it is needed."""

from __future__ import annotations

import gc
import importlib

from engine._device import Place, choose

__all__ = ["warm"]

# "module:function", imported when asked for; each calls its own compiled functions once, as the public ones do
_WARMERS = (
    "engine.pricing._kernels:warm",
    "engine.pricing._american_kernels:warm",
    "engine.pricing._heston_kernels:warm",
    "engine.pricing._simulation_kernels:warm",
    "engine.risk._revaluation_kernels:warm",
    "engine.validation._drift_kernels:warm",
    "engine.validation._overfitting_kernels:warm",
)


def warm(*, device: Place = "auto") -> None:
    """Compile or load everything, so that no later call waits for a compiler.

    The machine code is kept on disk, and loading it takes tenths of a second. A service calls this as it starts.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        "cuda" compiles what runs on a card as well, which takes seconds; else that is done by the first call that goes
        there.

    Raises
    ------
    InvalidInput
        Another device.
    DeviceMissing
        ``device="cuda"`` without a card.

    Examples
    --------
    >>> import engine
    >>> engine.warm()
    """
    on_card = choose(device) == "to a card"
    collecting = gc.isenabled()
    gc.disable()  # what is loaded stays: to look through it for garbage takes a tenth of the time, and finds none
    try:
        for name in _WARMERS:
            module, _, function = name.partition(":")
            getattr(importlib.import_module(module), function)()
        if on_card:
            importlib.import_module("engine._warm_card").warm()
    finally:
        if collecting:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # of the oldest generation from here on, or the next call would wait for a collection
            gc.enable()
