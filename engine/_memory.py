"""Memory for large results, used again once nobody holds it.

A result of 72 MB in memory that is new to the process costs as much as computing it: the system clears every page of
it first. So the last few blocks are kept, and given out again when no array refers to them any longer.
"""

from __future__ import annotations

import math
import sys
from collections import deque

import numpy as np

from engine._checks import FloatArray

__all__ = ["uncleared"]

_LEAST = 1 << 17  # numbers (1 MiB) below which the allocator keeps memory itself
_MOST = 40 << 20  # numbers (320 MiB) that are kept in all, two results of two million options with their Greeks
_kept: deque[FloatArray] = deque()


def uncleared(*shape: int) -> FloatArray:
    """Return an array of float64 of any content."""
    size = math.prod(shape)
    if not _LEAST <= size <= _MOST // 2:
        return np.empty(shape)
    for _ in range(len(_kept)):
        # taken off the queue while it is looked at: no two threads see the same block
        try:
            block = _kept.popleft()
        except IndexError:
            break
        free = sys.getrefcount(block) == 2  # this name and the argument
        fits = size <= block.size <= 2 * size
        found = block[:size].reshape(shape) if free and fits else None
        _kept.append(block)
        if found is not None:
            return found
    block = np.empty(size)
    _kept.append(block)
    while sum(one.size for one in tuple(_kept)) > _MOST:
        _kept.popleft()
    return block.reshape(shape)
