"""Compiles what is compiled, or loads it from the cache, before it is needed."""

from __future__ import annotations

import gc
import importlib

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


def warm() -> None:
    """Compile or load everything, so that no later call waits for a compiler.

    The machine code is kept on disk, and loading it takes tenths of a second. A service calls this as it starts. Code
    for a card is compiled by the first call that goes there.

    Examples
    --------
    >>> import engine
    >>> engine.warm()
    """
    collecting = gc.isenabled()
    gc.disable()  # what is loaded stays: to look through it for garbage takes a tenth of the time, and finds none
    try:
        for name in _WARMERS:
            module, _, function = name.partition(":")
            getattr(importlib.import_module(module), function)()
    finally:
        if collecting:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # of the oldest generation from here on, or the next call would wait for a collection
            gc.enable()
