"""Yesterday of the derivatives platform, as its Prometheus would remember it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.derivatives.load import Demand, shape
from sandbox.derivatives.manifests import CARD_SHARE_MIB, REPLICAS
from sandbox.derivatives.market import CLIENTS, UNDERLYINGS, ladder
from sandbox.derivatives.scripts import script
from sandbox.derivatives.setup import DATABASE, NAMESPACE
from sandbox.history import History, labels_of

__all__ = ["healthy"]

_SEED = 20_240_501
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # of the ends of pods' names
# At rest, measured on the platform itself.
_GREEKS_P95_US = 60.0
_GREEKS_MEAN_S = 46e-6
_REQUEST_P95_MS = 2.5
_REQUEST_MEAN_S = 1.2e-3
_HEDGER_RATE = 5.0  # requests of the hedger [1/s]
_MEMORY_BYTES = 199e6
_REDIS_BYTES = 3.5e6
_REDIS_RATE = 60.0  # commands [1/s]


def healthy(now: float, jobs: Mapping[str, Mapping[str, Any]], replica_set: str, release: str, node: str) -> History:
    """A day on which nothing happened.

    Parameters
    ----------
    now : float
        When Prometheus starts [s since 1970].
    jobs : mapping
        What it scrapes, by name.
    replica_set, release : str
        Whose pods served then: those before the current ones.
    node : str
        Where they were.
    """
    history = History(now, _SEED)
    _recorded(history)
    _service(history, replica_set, {"node": node, "platform": NAMESPACE, "release": release})
    _postgres(history, labels_of(jobs["postgres"]))
    _redis(history, labels_of(jobs["redis"]))
    return history


def _recorded(history: History) -> None:
    own = {"platform": NAMESPACE}
    latency = history.around(lambda at: _GREEKS_P95_US * (0.75 + 0.25 * shape(at)), 2.0)
    history.add("derivatives_greeks_latency_p95", own, latency)
    history.add("derivatives_api_request_p95", own, history.around(_REQUEST_P95_MS, 0.2))
    history.add("derivatives_api_error_pct", own, 0.0)
    history.add("derivatives_cache_hit_pct", own, 100.0)


def _service(history: History, replica_set: str, labels: Mapping[str, str]) -> None:
    """The pods, each with its share of the requests; one in five is about trades, the rest asks for Greeks."""
    rng, demand = random.Random(_SEED), Demand()
    always = {
        "up": 1.0,
        "derivatives_auto_trading_enabled": 1.0,
        "derivatives_auto_hedger_enabled": 1.0,
        "derivatives_cache_connected": 1.0,
        "derivatives_gpu_available": 1.0,
        "derivatives_gpu_memory_limit_bytes": CARD_SHARE_MIB * 2.0**20,
        "derivatives_models_resident": len(UNDERLYINGS),
        "derivatives_model_loads_total": len(UNDERLYINGS),
        "derivatives_queue_depth": 1.0,
        "derivatives_sessions": len(CLIENTS) + 1.0,  # the hedger has one
        "derivatives_cache_misses_total": 0.0,
    }
    book = {
        "derivatives_pnl_usd": history.around(0.0, 100.0),
        "derivatives_net_delta_usd": history.around(0.0, 300.0),
    }

    def clients(at: float) -> float:
        """What one pod is asked by clients [1/s]."""
        return demand.clients * shape(at) / demand.think_s / REPLICAS

    for _ in range(REPLICAS):
        name = f"{replica_set}-{''.join(rng.choices(_LETTERS, k=5))}"
        pod = {"instance": name, "job": "derivatives-api", "pod": name, **labels}
        greeks = history.counted(lambda at: 0.8 * clients(at) + _HEDGER_RATE / REPLICAS)
        trades = history.counted(lambda at: 0.2 * clients(at))
        whole = [sum(pair) for pair in zip(greeks, trades, strict=True)]
        history.add("derivatives_api_requests_total", {**pod, "route": "/greeks"}, greeks)
        history.add("derivatives_api_requests_total", {**pod, "route": "/trades"}, trades)
        history.add("derivatives_api_request_seconds_count", pod, whole)
        history.add("derivatives_api_request_seconds_sum", pod, [_REQUEST_MEAN_S * count for count in whole])
        history.add("derivatives_greeks_latency_seconds_count", pod, greeks)
        history.add("derivatives_greeks_latency_seconds_sum", pod, [_GREEKS_MEAN_S * count for count in greeks])
        history.add("derivatives_cache_hits_total", pod, history.counted(lambda at: 0.8 * demand.ladder * clients(at)))
        history.add("process_resident_memory_bytes", pod, history.around(_MEMORY_BYTES, 0.2e6))
        for figure, value in always.items():
            history.add(figure, pod, value)
        for figure, values in book.items():
            history.add(figure, pod, values)


def _postgres(history: History, labels: Mapping[str, str]) -> None:
    server = {**labels, "server": "postgres:5432"}
    for name in ("up", "pg_up"):
        history.add(name, labels, 1.0)
    history.add("pg_settings_max_connections", server, _setting(script("initdb"), "max_connections"))
    for state, count in {"active": 1.0, "idle": 6.0}.items():
        history.add("pg_stat_activity_count", {**server, "datname": DATABASE, "state": state}, count)


def _redis(history: History, labels: Mapping[str, str]) -> None:
    configured = (Path(__file__).parent / "redis.conf").read_text("utf-8")
    always = {
        "up": 1.0,
        "redis_up": 1.0,
        "redis_connected_clients": 8.0,
        "redis_evicted_keys_total": 0.0,
        "redis_expired_keys_total": 0.0,
        "redis_config_maxclients": _setting(configured, "maxclients"),
        "redis_memory_max_bytes": _setting(configured, "maxmemory") * 2.0**20,
    }
    for name, value in always.items():
        history.add(name, labels, value)
    history.add("redis_db_keys", {**labels, "db": "db0"}, len(ladder()))
    history.add("redis_memory_used_bytes", labels, history.around(_REDIS_BYTES, 0.02e6))
    history.add("redis_commands_processed_total", labels, history.counted(lambda at: _REDIS_RATE * shape(at)))


def _setting(text: str, name: str) -> float:
    found = re.search(rf"^{name}\W+(\d+)", text, re.MULTILINE)
    assert found, f"{name} is not set"
    return float(found[1])
