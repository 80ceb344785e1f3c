"""The watch on a Redis: `python -m sandbox.clients.watch`; an address as JSON on standard input, figures on output.

It asks `PING` fifty times a second over the path that the platform takes, and twice a second writes one line of JSON:
percentiles over the last seconds, less what it waited for a CPU itself, and what `INFO` says.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from sandbox.clients.wire import Address, Line, ServerError

__all__ = ["WINDOW_S", "main"]

WINDOW_S = 15.0  # percentiles are over so long
_FEWEST = 50  # samples that percentiles are told of
_PAUSE_S = 0.02
_TELL_S = 0.5
_TIMEOUT_S = 3.0
_FIELDS = (
    "connected_clients",
    "evicted_keys",
    "maxmemory",
    "total_commands_processed",
    "used_cpu_sys",
    "used_cpu_user",
    "used_memory",
    "used_memory_rss",
)


def main() -> None:
    """Watch until standard output is closed."""
    address = Address(**json.loads(sys.stdin.readline()))
    samples: deque[tuple[float, float]] = deque()
    line: Line | None = None
    told = 0.0
    while True:
        now = time.monotonic()
        try:
            line = line or Line(address, "latency-watch", _TIMEOUT_S)
            took_us = _once(line)
        except (OSError, ServerError):
            took_us, line = (time.monotonic() - now) * 1e6, None
        samples.append((now, took_us))
        while samples and samples[0][0] < now - WINDOW_S:
            samples.popleft()
        if now - told >= _TELL_S:
            told = now
            print(json.dumps(_figures(line, sorted(us for _, us in samples))), flush=True)
        time.sleep(_PAUSE_S)


def _once(line: Line) -> float:
    """The time of one call [us]."""
    waited, began = _own_wait_us(), time.perf_counter()
    line.ask("PING")
    return max(0.0, (time.perf_counter() - began) * 1e6 - (_own_wait_us() - waited))


def _own_wait_us() -> float:
    """How long this thread has waited for a CPU so far [us]; 0 where the system does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e3
    except (OSError, ValueError, IndexError):
        return 0.0


def _figures(line: Line | None, ordered: list[float]) -> dict[str, Any]:
    """What is told; without `up` there is nobody who answers."""
    figures: dict[str, Any] = {"up": line is not None, "samples": len(ordered)}
    for share in (50, 99) if len(ordered) >= _FEWEST else ():
        figures[f"p{share}_us"] = round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1)
    if line is not None:
        try:
            text = line.ask("INFO").decode()
        except (OSError, ServerError):
            return figures | {"up": False}
        pairs = (row.partition(":") for row in text.splitlines() if ":" in row)
        told = {name: value for name, _, value in pairs}
        figures |= {name: float(told[name]) for name in _FIELDS if name in told}
        figures["maxclients"] = float(told.get("maxclients", 0)) or None
    return figures


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(0)
