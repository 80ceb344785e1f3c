"""The metrics of one process of the service."""

from __future__ import annotations

import resource
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Meters", "resident_bytes"]

_MICROSECONDS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 125, 150, 200, 300, 500)
_SLOWER = (1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)


def resident_bytes() -> int:
    """Memory of this process [bytes]."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


class Meters:
    """Counters, gauges and histograms; names begin with `derivatives_`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = self._counter
        self.requests = counter("api_requests_total", "Requests answered", "route")
        self.errors = counter("api_errors_total", "Requests that failed, by what went wrong", "error")
        self.hits = counter("cache_hits_total", "Results found in the cache")
        self.misses = counter("cache_misses_total", "Results not found in the cache")
        self.loads = counter("model_loads_total", "Volatility models made ready")
        self.latency = Histogram(
            "derivatives_greeks_latency_seconds",
            "From arrival at the engine's queue until the Greeks are computed, on the clock of the pod's processor",
            buckets=[*(one * 1e-6 for one in _MICROSECONDS), *_SLOWER],
            registry=self.registry,
        )
        self.whole = Histogram(
            "derivatives_api_request_seconds",
            "Whole request, as the service sees it",
            buckets=(1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2, 3e-2, 5e-2, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 10.0),
            registry=self.registry,
        )
        gauge = self._gauge
        self.models = gauge("models_resident", "Volatility models ready in memory")
        self.depth = gauge("queue_depth", "Longest queue of the engine since the last scrape")
        self.sessions = gauge("sessions", "Client sessions that this process keeps")
        self.card = gauge("gpu_available", "1 where the process computes on a card")
        self.card_memory = gauge("gpu_memory_used_bytes", "Memory of the card that this process holds")
        self.card_share = gauge("gpu_memory_limit_bytes", "Memory of the card that this process may hold")
        self.pnl = gauge("pnl_usd", "Profit and loss of the desk's book since its start [USD]")
        self.pnl_options = gauge("pnl_options_usd", "... of its options [USD]")
        self.pnl_hedges = gauge("pnl_hedges_usd", "... of its hedges [USD]")
        self.delta = gauge("net_delta_usd", "Delta of options and hedges together [USD]")
        self.trading = gauge("auto_trading_enabled", "1 while new risk may be taken")
        self.hedging = gauge("auto_hedger_enabled", "1 while the auto-hedger may trade")
        self.cache_up = gauge("cache_connected", "1 while Redis answers")
        self.memory = Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", registry=self.registry)
        self.started = Gauge(
            "process_start_time_seconds", "Start time of the process since unix epoch.", registry=self.registry
        )
        self.started.set_to_current_time()

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        self.memory.set(resident_bytes())
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"derivatives_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"derivatives_{name}", text, registry=self.registry)
