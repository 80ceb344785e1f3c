"""How quick this machine is at a price with its Greeks, measured here and now."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine._device import Place, choose
from engine.pricing import european

__all__ = ["GreeksBenchmark", "benchmark_greeks"]

_REQUESTS = 20_000
_BATCH = 100_000
_ROUNDS = 31
_LONGEST = 0.15  # seconds for each of the two
_ONE = (100.0, 105.0, 0.5, 0.03, 0.01, 0.25)


class GreeksBenchmark(NamedTuple):
    """Times of `european`, price and eight Greeks.

    Attributes
    ----------
    median_us, p99_us, p999_us : float
        Of a single request: half, 99 % and 99.9 % of the requests took no longer [us].
    n_requests : int
        Number of single requests that were timed.
    options_per_s : float
        Of a batch, the median of its rounds [1/s].
    batch_size : int
    """

    median_us: float
    p99_us: float
    p999_us: float
    n_requests: int
    options_per_s: float
    batch_size: int


def benchmark_greeks(*, device: Place = "auto") -> GreeksBenchmark:
    """Time single requests and batches on this machine, within half a second.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        Where the batches are computed, as of `european`; with "cuda" the way there and back is part of the time. Single
        requests are computed on the CPU.

    Returns
    -------
    GreeksBenchmark

    Raises
    ------
    InvalidInput
        Another device.
    DeviceMissing
        ``device="cuda"`` without a card.

    Notes
    -----
    The first call of a process loads or compiles the formulas before the clock starts; `engine.warm` takes that time
    elsewhere. The inputs are the same on every machine. The collector of garbage is off meanwhile, as it would be
    timed with whatever the process holds.

    Examples
    --------
    >>> import engine
    >>> found = engine.benchmark_greeks()
    >>> found.median_us <= found.p99_us <= found.p999_us
    True
    """
    choose(device)
    place = np.arange(_BATCH) / _BATCH
    book = (80.0 + 40.0 * place, 100.0, 0.05 + 2.0 * place, 0.03, 0.01, 0.1 + 0.4 * (1.0 - place), "call")
    european(*_ONE, "call")
    european(*book, device=device)
    collected = gc.isenabled()
    gc.disable()
    try:
        requests = _times(lambda: european(*_ONE, "call"), _REQUESTS)
        batches = _times(lambda: european(*book, device=device), _ROUNDS)
    finally:
        if collected:
            gc.enable()
    median, p99, p999 = np.percentile(requests, (50.0, 99.0, 99.9), method="higher") * 1e6
    rate = _BATCH / float(np.median(batches))
    return GreeksBenchmark(float(median), float(p99), float(p999), len(requests), rate, _BATCH)


def _times(work: Callable[[], object], most: int) -> list[float]:
    """Time the work call by call, up to a number of calls or the longest time."""
    clock = time.perf_counter
    times: list[float] = []
    end = clock() + _LONGEST
    before = clock()
    while len(times) < most and before < end:
        work()
        after = clock()
        times.append(after - before)
        before = clock()
    return times
