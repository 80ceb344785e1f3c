"""Compiled loops behind `engine.risk`; self-contained, so that a cached build is never stale."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine._checks import FloatArray

__all__ = ["largest_losses"]


@njit(cache=True)
def largest_losses(returns: FloatArray, exposures: FloatArray, count: int) -> FloatArray:
    """Return the `count` largest losses of each column of `returns`, in descending order.

    One pass over the rows with one min-heap a column: the matrix of losses is never built.

    Parameters
    ----------
    returns : ndarray, shape (n_obs, n_symbols)
    exposures : ndarray, shape (n_symbols,) [USD]
    count : int
        How many losses to keep, 1 <= count <= n_obs.

    Returns
    -------
    ndarray, shape (n_symbols, count) [USD]
    """
    n_obs, n_symbols = returns.shape
    heaps = np.full((n_symbols, count), -np.inf)
    for row in range(n_obs):
        for symbol in range(n_symbols):
            loss = -returns[row, symbol] * exposures[symbol]
            if loss <= heaps[symbol, 0]:
                continue
            place = 0
            while True:
                child = 2 * place + 1
                if child >= count:
                    break
                if child + 1 < count and heaps[symbol, child + 1] < heaps[symbol, child]:
                    child += 1
                if heaps[symbol, child] >= loss:
                    break
                heaps[symbol, place] = heaps[symbol, child]
                place = child
            heaps[symbol, place] = loss
    for symbol in range(n_symbols):
        heaps[symbol] = np.sort(heaps[symbol])[::-1]
    return heaps
