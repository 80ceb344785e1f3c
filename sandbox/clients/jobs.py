"""Other users of a Redis: `python -m sandbox.clients.jobs`, one job as JSON on standard input; it works until ended.

A job ends for good when its connections are closed from the other side, as a batch does that nobody restarts.
"""

from __future__ import annotations

import json
import random
import selectors
import sys
import time
from collections.abc import Callable
from typing import Any

from sandbox.clients.wire import Address, Line, ServerError, packed

__all__ = ["main"]

_PORTION = 500  # elements of one command, so that no single command is slow
_DAY_MS = 86_400_000
_MEAN = """
local points = redis.call('HGETALL', KEYS[1])
local total = 0
for place = 2, #points, 2 do total = total + tonumber(points[place]) end
return tostring(total / #points * 2)
"""


def keep_features(address: Address, name: str, keys: int, members: int, life_s: int, pause_s: float) -> None:
    """Keep large sets at hand, each for a while, and put back those that are gone."""
    line = Line(address, name, timeout_s=30.0)
    words = [f"f{number:07d}" for number in range(members)]
    portions = [words[first : first + _PORTION] for first in range(0, members, _PORTION)]
    place = 0
    while True:
        key = f"features:{place % keys:03d}"
        if line.ask("SCARD", key) != members:
            for portion in portions:
                line.ask("SADD", key, *portion)
        line.ask("EXPIRE", key, life_s)
        place += 1
        time.sleep(pause_s)


def read_series(
    address: Address, name: str, series: list[str], points: int, days: float, kind: str, pause_s: float
) -> None:
    """Keep long series, untrimmed, and read each of them whole, again and again."""
    line = Line(address, name, timeout_s=30.0)
    rng, now = random.Random(points), time.time_ns() // 1_000_000
    for key in series:
        price = 100.0
        step = days * _DAY_MS / points
        for first in range(0, points, _PORTION):
            pairs: list[str | int] = []
            for place in range(first, min(first + _PORTION, points)):
                price *= 1.0 + rng.gauss(0.0, 1e-4)
                at = int(now - days * _DAY_MS + place * step)
                pairs += [at, f"{price:.4f}"] if kind == "hash" else [at, f"{at}:{price:.4f}"]
            line.ask("HSET" if kind == "hash" else "ZADD", key, *pairs)
        line.ask("EXPIRE", key, 7 * 86_400)
    while True:
        for key in series:
            if kind == "hash":
                line.ask("EVAL", _MEAN, 1, key)
            else:
                line.ask("SORT", key, "ALPHA", "DESC", "LIMIT", 0, 5)
            time.sleep(pause_s)


def ask_all_at_once(address: Address, name: str, connections: int, key: str, pause_s: float) -> None:
    """Ask over very many connections at the same moment, again and again."""
    lines = [Line(address, name, timeout_s=30.0) for _ in range(connections)]
    chosen = selectors.DefaultSelector()
    for line in lines:
        line.socket.setblocking(False)
        chosen.register(line.socket, selectors.EVENT_READ, line)
    question = packed("HVALS", key)
    while chosen.get_map():
        for entry in list(chosen.get_map().values()):
            try:
                entry.fileobj.send(question)  # type: ignore[union-attr]
            except OSError:
                chosen.unregister(entry.fileobj)
        until = time.monotonic() + pause_s
        while (left := until - time.monotonic()) > 0:
            for ready, _ in chosen.select(left):
                try:
                    if not ready.fileobj.recv(1 << 20):  # type: ignore[union-attr]
                        chosen.unregister(ready.fileobj)
                except BlockingIOError:
                    continue
                except OSError:
                    chosen.unregister(ready.fileobj)


def remove_series(address: Address, name: str, pattern: str, pause_s: float) -> None:
    """Remove every key of a pattern, again and again."""
    line = Line(address, name, timeout_s=30.0)
    while True:
        cursor: Any = b"0"
        while True:
            cursor, keys = line.ask("SCAN", cursor, "MATCH", pattern, "COUNT", 200)
            if keys:
                line.ask("UNLINK", *keys)
            if cursor == b"0":
                break
        time.sleep(pause_s)


_JOBS: dict[str, Callable[..., None]] = {
    "ask-all-at-once": ask_all_at_once,
    "keep-features": keep_features,
    "read-series": read_series,
    "remove-series": remove_series,
}


def main() -> None:
    """Do the job until ended, or until the server closes the connections."""
    facts = json.loads(sys.stdin.readline())
    address = Address(**facts.pop("address"))
    _JOBS[facts.pop("job")](address, **facts)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ServerError, KeyboardInterrupt) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
