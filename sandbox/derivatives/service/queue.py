"""The engine's queue: what has arrived is computed in order, and how long each took from arrival is kept.

The clock is that of the pod's processor: what the pod works on before a result counts, so everything that waited ahead
in the queue does; what other programs of the same machine do meanwhile does not. Neither does it count that they pushed
the service out of the processor's caches, which takes longer than the work itself: it is brought back before the clock
starts, as if the pod had a core of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Queue", "Times"]

_KEPT_S = 30.0
_KEPT = 4096


class Times:
    """Latencies of the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Note one."""
        self.count += 1
        self._seen.append((time.monotonic(), seconds))

    def summary(self) -> dict[str, float | None]:
        """Mean and quantiles [us]; None where nothing was computed."""
        oldest = time.monotonic() - _KEPT_S
        kept = sorted(took for at, took in self._seen if at >= oldest)
        names = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        found: dict[str, float | None] = {
            "average_time_microseconds": round(sum(kept) / len(kept) * 1e6, 2) if kept else None
        }
        for name, share in names.items():
            place = min(int(share * len(kept)), len(kept) - 1)
            found[f"{name}_time_microseconds"] = round(kept[place] * 1e6, 2) if kept else None
        return found


class Queue:
    """Runs one computation after the other in the order of arrival.

    Parameters
    ----------
    observe : callable
        Takes the time from arrival to result [s].
    wake : callable
        Brings the service back into the processor's caches.
    """

    def __init__(self, observe: Callable[[float], None], wake: Callable[[], None]) -> None:
        self._waiting: deque[tuple[float, Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._observe, self._wake = observe, wake
        self.times = Times()
        self.deepest = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        """Queue a computation and wait for its result; its error is raised here."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            self._wake()
            loop.call_soon(self._drain)
        self._waiting.append((time.process_time(), work, future))
        self.deepest = max(self.deepest, len(self._waiting))
        return await future

    def depth(self) -> int:
        """The longest queue since this was last asked."""
        deepest, self.deepest = self.deepest, len(self._waiting)
        return deepest

    def _drain(self) -> None:
        while self._waiting:
            arrived, work, future = self._waiting[0]
            try:
                result = work()
            except Exception as error:  # whoever asked is told
                if not future.cancelled():
                    future.set_exception(error)
            else:
                took = time.process_time() - arrived
                self.times.add(took)
                self._observe(took)
                if not future.cancelled():
                    future.set_result(result)
            self._waiting.popleft()
