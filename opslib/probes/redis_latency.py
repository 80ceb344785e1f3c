"""How long Redis takes to answer us, and what it did meanwhile: one short, budgeted run against the server itself.

Each call asks for the server's clock. So a call splits into the way out (with the wait for its turn) and the way back:
a server that stalls answers late but the answer comes back at once, a slow network delays the way back as well.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opslib.probes.redis_client import connected, info_of, permitted
from opslib.probes.registry import Target, probe

if TYPE_CHECKING:
    from redis import Redis

LONGEST_S = 5.0
_MOST_CALLS = 2000
_SLOW_COMMAND_MS = 2.0  # a command that takes as long on average is told by name
_OWN = ("time", "ping", "info", "command", "client", "config", "latency", "slowlog")
_UNDISTURBED_MS = 1.0  # a call after which more passed, before our wait was known, may have had none of it
_TCP_INFO_RTT, _TCP_INFO_RETRANSMITS = 68, 100  # offsets in Linux' struct tcp_info


@probe("redis.latency")
def latency(target: Target, for_s: float = 1.0, every_ms: float = 4.0) -> dict[str, Any]:
    """Percentiles of the time of a call [ms], and what the server did while they were measured.

    Parameters
    ----------
    target : Target
    for_s : float
        How long it is measured [s], at most 5.
    every_ms : float
        Pause between two calls [ms].

    Returns
    -------
    dict
        `calls`, `p50_ms`, `p90_ms`, `p99_ms`, `max_ms` (less what we ourselves waited for a CPU); `own_wait_ms`, the
        median of that wait; `way_back_ms`, the median of the answers' way; `tcp_rtt_ms` and `retransmits` of the
        connection as the kernel knows them; `server`: `cpu_share`, `command_share` (of the time, spent in commands,
        their wait for a CPU included), `commands_per_s`, `call_us` (mean of the commands that are not slow),
        `evicted_per_s`, `expired_per_s`, `connections_per_s`, `mean_ms` of every command that was called, and `slow`:
        those with a mean of 2 ms and more, `{command, calls, mean_ms, share}`, `share` being the share of time in which
        they kept all others waiting.
        What cannot be asked is None.
    """
    if not 0 < for_s <= LONGEST_S or every_ms < 0:
        raise target.error(f"for_s must be above 0 and at most {LONGEST_S:g} s, every_ms not below 0")
    with connected(target) as client:
        clock = permitted(client, "TIME") is not None
        before, began = info_of(client), time.perf_counter()
        samples = _samples(client, for_s, every_ms / 1000.0, clock)
        after, took = info_of(client), time.perf_counter() - began
        kernel = _kernel_view(client)
    times = sorted(total for total, *_ in samples)
    waits = sorted(waited for _, waited, *_ in samples)
    figures = {
        f"p{share}_ms": round(times[min(len(times) - 1, len(times) * share // 100)], 3) for share in (50, 90, 99)
    }
    return {
        "calls": len(times),
        **figures,
        "max_ms": round(times[-1], 3),
        "own_wait_ms": round(waits[len(waits) // 2], 3),
        "way_back_ms": way_back(samples) if clock else None,
        **kernel,
        "server": _work(before, after, took, len(samples)) if before and after else None,
    }


def _samples(client: Redis, for_s: float, pause_s: float, clock: bool) -> list[tuple[float, float, float, float]]:
    """Of each call: its time and our own wait for a CPU in it [ms], when it came back and when it was served [s]."""
    found: list[tuple[float, float, float, float]] = []
    ends = time.perf_counter() + for_s
    while not found or (time.perf_counter() < ends and len(found) < _MOST_CALLS):
        waited, began = _own_wait_ms(), time.perf_counter()
        seconds, micros = client.time() if clock else (int(client.ping()), 0)
        ended, back = time.perf_counter(), time.time()
        waited = _own_wait_ms() - waited
        if (time.perf_counter() - ended) * 1000.0 < _UNDISTURBED_MS or time.perf_counter() > ends:
            found.append(less_own_wait((ended - began) * 1000.0, waited, back, seconds + micros / 1e6))
        time.sleep(pause_s)  # what we waited after the call, before we could say for how long, belongs to none
    return found


def less_own_wait(took_ms: float, waited_ms: float, back: float, served: float) -> tuple[float, float, float, float]:
    """A call without what we ourselves waited for a CPU in it, which is nearly always the end: to take the answer.

    Parameters
    ----------
    took_ms, waited_ms : float
        The call, and what of it we waited for a CPU [ms].
    back, served : float
        When we had the answer by our clock, and when it was given by the server's [s].

    Returns
    -------
    tuple of float
        Time and wait [ms], and by our clock when the answer came, by the server's when it was given [s].
    """
    waited_ms = min(waited_ms, took_ms)
    return took_ms - waited_ms, waited_ms, back - waited_ms / 1000.0, served


def _own_wait_ms() -> float:
    """How long this thread has waited for a CPU so far [ms]; 0 where the system does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e6
    except (OSError, ValueError, IndexError):
        return 0.0


def way_back(samples: list[tuple[float, float, float, float]]) -> float:
    """The median time of an answer's way [ms]; both clocks are set by the fastest call, halves of which are alike.

    Parameters
    ----------
    samples : list of (float, float, float, float)
        As `less_own_wait` gives them.
    """
    took, waited, back, served = min(samples, key=lambda one: one[0] + one[1])  # where least can be amiss
    ahead = served - (back + (waited - took) / 2000.0)
    ways = sorted((back - (served - ahead)) * 1000.0 for _, _, back, served in samples)
    return round(max(0.0, ways[len(ways) // 2]), 3)


def _kernel_view(client: Redis) -> dict[str, float | None]:
    """Round trip [ms] and repeated segments of the connection, as Linux keeps them; None elsewhere."""
    told: dict[str, float | None] = {"tcp_rtt_ms": None, "retransmits": None}
    with suppress(OSError, AttributeError, struct.error):
        connection = client.connection_pool.get_connection()
        try:
            sock: socket.socket = connection._sock  # type: ignore[assignment]  # it is set while connected
            raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        finally:
            client.connection_pool.release(connection)
        told["tcp_rtt_ms"] = round(struct.unpack_from("I", raw, _TCP_INFO_RTT)[0] / 1000.0, 3)
        told["retransmits"] = float(struct.unpack_from("I", raw, _TCP_INFO_RETRANSMITS)[0])
    return told


def _work(before: dict[str, Any], after: dict[str, Any], took_s: float, own_calls: int) -> dict[str, Any]:
    """What the server did between two `INFO`."""

    def grown(name: str) -> float:
        return float(after.get(name, 0)) - float(before.get(name, 0))

    slow, means, calls, micros, all_micros = [], {}, 0.0, 0.0, 0.0
    for name, told in after.items():
        if not name.startswith("cmdstat_") or name.removeprefix("cmdstat_").split("|")[0] in _OWN:
            continue
        known = before.get(name, {})
        more, spent = told["calls"] - known.get("calls", 0), told["usec"] - known.get("usec", 0)
        if more <= 0:
            continue
        all_micros += spent
        command = name.removeprefix("cmdstat_").upper()
        means[command] = round(spent / more / 1000.0, 3)
        if means[command] >= _SLOW_COMMAND_MS:
            share = round(spent / took_s / 1e6, 4)
            slow.append({"command": command, "calls": int(more), "mean_ms": means[command], "share": share})
        else:
            calls, micros = calls + more, micros + spent
    slow.sort(key=lambda one: -float(str(one["share"])))
    cpu = grown("used_cpu_sys") + grown("used_cpu_user")
    return {
        "for_s": round(took_s, 3),
        "cpu_share": round(min(1.0, cpu / took_s), 4),
        "commands_per_s": round(max(0.0, grown("total_commands_processed") - own_calls) / took_s, 1),
        "command_share": round(all_micros / took_s / 1e6, 4),
        "call_us": round(micros / calls, 1) if calls else None,
        "evicted_per_s": round(grown("evicted_keys") / took_s, 2),
        "expired_per_s": round(grown("expired_keys") / took_s, 2),
        "connections_per_s": round(grown("total_connections_received") / took_s, 2),
        "mean_ms": means,
        "slow": slow,
    }
