"""Writes what the platform computes into Redis, under the keys and lifetimes that its operators know."""

from __future__ import annotations

import json
import logging
from collections import deque

import redis
from redis.client import Pipeline

from sandbox.crypto.parameters import HISTORY_POINTS, SYMBOLS
from sandbox.crypto.platform import Platform, Record, when
from sandbox.crypto.router import Switch

__all__ = ["MARKER", "RELOAD", "SWITCH_LOG", "Publisher"]

MARKER = "sandbox-id"
SWITCH_LOG = "model.switch.log"
RELOAD = "param.reload"

_EDGE_LIFE_S = 300
_SWITCH_LIFE_S = 86_400
_METRIC_LIFE_S = 7 * 86_400
_SWITCHES_KEPT = 1_000
_RENEW_EVERY = 240  # steps between two renewals of the lifetime of a series
_SERIES = {  # name of the series -> field of Record, decimals
    "edge_blended_bps": ("edge_blended_bps", 4),
    "position_size_usd": ("position_size_usd", 2),
    "var_pct": ("var_pct", 5),
    "price": ("price", 8),
    "realised_volatility": ("realised_volatility", 7),
    "volume_usd": ("volume_usd", 0),
}
LATENCY = "metrics:step_latency_ms:platform"  # one series for the platform: from tick to store [ms]
_LATEST = ("edge_blended_bps", "position_size_usd", "var_pct")

_log = logging.getLogger("trading-system")


class Publisher:
    """The writing side of the store.

    Parameters
    ----------
    client : redis.Redis
        With `decode_responses` and time-outs.
    sandbox_id : str
        Written under `sandbox-id`.
    """

    def __init__(self, client: redis.Redis, sandbox_id: str) -> None:
        self._client = client
        self._sandbox_id = sandbox_id
        self._written: deque[int] = deque()
        self._count = 0
        self.writes_series = True
        self.series_written_ms = 0

    def try_time_series(self) -> None:
        """Find out whether the TimeSeries module is there; without it the series are kept in hashes."""
        try:
            self._client.execute_command("TS.ADD", "ts:probe", "*", "0")  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            _log.warning("Connected to Redis (TimeSeries module not available - using fallback)")
        else:
            self._client.delete("ts:probe")
            _log.info("Connected to Redis (TimeSeries module present; the hashes are written as well)")

    def write_all(self, platform: Platform) -> None:
        """Write the whole history afresh, in place of what is there."""
        with self._client.pipeline(transaction=True) as batch:
            batch.delete(SWITCH_LOG, LATENCY, *(f"metrics:{name}:{symbol}" for name in _SERIES for symbol in SYMBOLS))
            batch.set(MARKER, self._sandbox_id)
            for place, symbol in enumerate(SYMBOLS):
                for name, (attribute, decimals) in _SERIES.items():
                    key = f"metrics:{name}:{symbol}"
                    points: dict[str, str] = {
                        str(record.at_ms): f"{getattr(record, attribute)[place]:.{decimals}f}"
                        for record in platform.history
                    }
                    at_ms = str(platform.history[-1].at_ms)
                    points |= {"value": points[at_ms], "timestamp": at_ms}
                    batch.hset(key, mapping=points)  # type: ignore[arg-type]  # its mapping type is invariant
                    batch.expire(key, _METRIC_LIFE_S)
            for record in platform.history:
                self._add_latency(batch, record)
            self._add_switches(batch, list(platform.switches), past=True)
            self._written = deque(record.at_ms for record in platform.history)
            self._add_latest(batch, platform, platform.history[-1])
            batch.execute()
        self.series_written_ms = platform.history[-1].at_ms
        platform.fresh_switches.clear()

    def write_step(self, platform: Platform, record: Record) -> None:
        """Write one step."""
        self._count += 1
        gone: list[int] = []
        while len(self._written) >= HISTORY_POINTS:
            gone.append(self._written.popleft())
        self._written.append(record.at_ms)
        fresh = list(platform.fresh_switches)
        with self._client.pipeline(transaction=False) as batch:
            for place, symbol in enumerate(SYMBOLS) if self.writes_series else ():
                for name, (attribute, decimals) in _SERIES.items():
                    key = f"metrics:{name}:{symbol}"
                    value = f"{getattr(record, attribute)[place]:.{decimals}f}"
                    point = {str(record.at_ms): value, "value": value, "timestamp": str(record.at_ms)}
                    batch.hset(key, mapping=point)  # type: ignore[arg-type]  # in one: no reader sees half of it
                    if gone:
                        batch.hdel(key, *map(str, gone))
                    if self._count % _RENEW_EVERY == 0:
                        batch.expire(key, _METRIC_LIFE_S)
            self._add_latency(batch, record)
            if gone:
                batch.hdel(LATENCY, *map(str, gone))
            self._add_latest(batch, platform, record)
            self._add_switches(batch, fresh, past=False)
            batch.execute()
        if self.writes_series:
            self.series_written_ms = record.at_ms
        del platform.fresh_switches[: len(fresh)]

    def note_reload(self, message: str) -> None:
        """Keep the latest reload trigger for a minute."""
        self._client.set(RELOAD, message, ex=60)

    @staticmethod
    def _add_latency(batch: Pipeline, record: Record) -> None:
        if record.latency_ms > 0.0:  # what was simulated at the start took no time that could be told
            batch.hset(LATENCY, str(record.at_ms), f"{record.latency_ms:.3f}")
            batch.expire(LATENCY, _METRIC_LIFE_S)

    def _add_latest(self, batch: Pipeline, platform: Platform, record: Record) -> None:
        estimates = platform.estimator.estimate
        fields: dict[str, str] = {}
        for place, symbol in enumerate(SYMBOLS):
            for name, (attribute, decimals) in _SERIES.items():
                value = f"{getattr(record, attribute)[place]:.{decimals}f}"
                if name in _LATEST:
                    batch.set(f"{name}:{symbol}", value, ex=_METRIC_LIFE_S)
            model = platform.router.chosen[place]
            sizing = {
                "symbol": symbol,
                "edge_bps": round(float(record.edge_blended_bps[place]), 4),
                "confidence": round(float(model.confidence[place]), 4),
                "model": model.name,
                "position_usd": round(float(record.position_size_usd[place]), 2),
                "at": when(record.at_ms),
            }
            batch.set(f"risk.edge_blended.{symbol}", json.dumps(sizing), ex=_EDGE_LIFE_S)
            fields[symbol] = f"{estimates[place]:.7f}"
            fields[f"updated_at:{symbol}"] = str(platform.estimator.updated_ms[place])
        batch.hset("volatility_estimates", mapping=fields)  # type: ignore[arg-type]

    def _add_switches(self, batch: Pipeline, switches: list[Switch], *, past: bool) -> None:
        for count, switch in enumerate(switches):
            entry = {
                "symbol": SYMBOLS[switch.symbol],
                "from": switch.before,
                "to": switch.after,
                "confidence": f"{switch.confidence:.4f}",
                "reason": switch.reason,
                "took_ms": f"{switch.took_ms:.1f}",
                "at": when(switch.at_ms),
            }
            name = f"{switch.at_ms}-{count}" if past else "*"
            batch.xadd(SWITCH_LOG, entry, id=name, maxlen=_SWITCHES_KEPT)  # type: ignore[arg-type]
        if switches:
            batch.expire(SWITCH_LOG, _SWITCH_LIFE_S)
