"""What the platform says about itself: the document of `/api/status` and the metrics of `/metrics`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sandbox.crypto.heart import Heart
from sandbox.crypto.model_server import SLOTS
from sandbox.crypto.parameters import (
    ESTIMATOR_DECAY,
    HALF_OPEN_CLEAN_TRADES,
    HALF_OPEN_SHARE,
    HISTORY_POINTS,
    LATENCY_LIMIT_MS,
    MARKET_S_PER_STEP,
    NAV_USD,
    REDIS_P99_LIMIT_US,
    STEP_S,
    SWITCH_ALERT_PER_MINUTE,
    SWITCH_WINDOW_S,
    SYMBOLS,
    USUAL_VOLUME_USD,
    VAR_CONFIDENCE,
    VAR_DECAY,
    VAR_HORIZON_DAYS,
    VERSION,
)
from sandbox.crypto.platform import Platform, when

__all__ = ["PlatformCollector", "audit", "status"]

_RESAMPLES = 3_000


def status(heart: Heart) -> dict[str, Any]:
    """The document of `/api/status`."""
    with heart.lock:
        platform = heart.platform
        return {
            "platform": "crypto",
            "environment": "sandbox",
            "sandbox_id": heart.sandbox_id,
            "version": VERSION,
            "time": when(heart.now_ms()),
            "clock": {
                "step_s": STEP_S,
                "market_s_per_step": MARKET_S_PER_STEP,
                "history_points": HISTORY_POINTS,
            },
            "nav_usd": NAV_USD,
            "kelly_fraction": platform.kelly,
            "kelly_fraction_configured": platform.parameters.kelly_fraction,
            "trading": platform.trading,
            "circuit_breaker": {
                "state": platform.breaker.state.name,
                "reason": platform.breaker.reason,
                "since": when(platform.breaker.since_ms),
                "tripped_by": platform.breaker.tripped_by,
                "clean_trades": platform.breaker.clean_trades,
                "clean_trades_to_close": HALF_OPEN_CLEAN_TRADES,
                "half_open_share": HALF_OPEN_SHARE,
                "latency_ms": round(platform.breaker.latency_ms, 3),
            },
            "latency_by_stage_ms": heart.stages_ms,
            "stress": {
                "scenarios": platform.scenarios,
                "scenarios_configured": platform.parameters.stress_scenarios,
                "stressed_var_pct": round(platform.harmoniser.stressed_var_pct, 4),
            },
            "router": _router(heart),
            "model_server": _model_server(platform),
            "limits": {
                "var_warn_pct": platform.parameters.var_warn_pct,
                "var_limit_pct": platform.parameters.var_limit_pct,
                "var_breaker_pct": platform.parameters.var_breaker_pct,
                "latency_ms": LATENCY_LIMIT_MS,
                "redis_p99_us": REDIS_P99_LIMIT_US,
                "model_switches_per_minute": SWITCH_ALERT_PER_MINUTE,
            },
            "var": {
                "confidence": VAR_CONFIDENCE,
                "horizon_days": VAR_HORIZON_DAYS,
                "decay_per_step": VAR_DECAY,
                "portfolio_pct": round(platform.harmoniser.portfolio_var_pct, 5),
            },
            "volatility": {
                "unit": "per sqrt(day)",
                "reference": platform.parameters.volatility_reference,
                "update_interval_s": STEP_S,
                "half_life_s": round(STEP_S * math.log(0.5) / math.log(ESTIMATOR_DECAY), 3),
            },
            "store": {
                "in_use": heart.store.in_use,
                "instances": {name: f"127.0.0.1:{server.port}" for name, server in heart.store.servers.items()},
                "connected": heart.store_connected,
                "p50_us": heart.store.figures.get("p50_us"),
                "p99_us": heart.store.figures.get("p99_us"),
            },
            "series_writer": heart.series_writer,
            "panels_without_data": sum(panel["points"] == 0 for panel in heart.dashboards.panels),
            "symbols": {name: _symbol(platform, place) for place, name in enumerate(SYMBOLS)},
            "models": [_model(platform, place) for place in range(len(platform.models))],
            "config_changes": [
                {
                    "at": when(change.at_ms),
                    "key": change.key,
                    "from": change.before,
                    "to": change.after,
                    "by": change.by,
                }
                for change in platform.changes
            ],
        }


def audit(platform: Platform) -> dict[str, dict[str, float]]:
    """Bootstrap bounds (5 % and 95 %) of each symbol's VaR over the whole history; real work, some 0.1 s."""
    prices = np.log(np.array([record.price for record in platform.history]))
    returns = np.diff(prices, axis=0)
    rng = np.random.default_rng(returns.shape[0])
    per_step = VAR_HORIZON_DAYS * 86_400.0 / MARKET_S_PER_STEP
    bounds: dict[str, dict[str, float]] = {}
    for place, name in enumerate(SYMBOLS):
        draws = rng.choice(returns[:, place], size=(_RESAMPLES, returns.shape[0]))
        deviation = np.sqrt((draws * draws).mean(axis=1) * per_step)
        share = 2.3263478740408408 * platform.harmoniser.positions[place] / NAV_USD * 100.0
        low, high = np.quantile(deviation, (0.05, 0.95)) * share
        bounds[name] = {"var_pct_low": round(float(low), 4), "var_pct_high": round(float(high), 4)}
    return bounds


class PlatformCollector(Collector):
    """Metrics computed when they are scraped."""

    def __init__(self, heart: Heart) -> None:
        self._heart = heart

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the platform."""
        with self._heart.lock:
            platform = self._heart.platform
            per_symbol = {
                ("var_pct", "Value at risk, 1 day, 99 % [% of NAV]"): platform.harmoniser.var_pct,
                ("position_size_usd", "Position [USD]"): platform.harmoniser.positions,
                ("position_limit_usd", "Position limit [USD]"): platform.limits,
                ("edge_blended_bps", "Blended edge [bps]"): platform.edge_blended,
                ("volatility_estimate", "Estimated volatility [per sqrt(day)]"): platform.estimator.estimate,
                ("price_usd", "Price [USD]"): platform.market.prices,
                ("volume_usd", "Volume traded in a step [USD]"): platform.history[-1].volume_usd,
            }
            now_ms = self._heart.now_ms()
            ages = [(now_ms - updated) / 1000.0 for updated in platform.estimator.updated_ms]
            single = {
                (
                    "portfolio_var_pct",
                    "Value at risk of all positions [% of NAV]",
                ): platform.harmoniser.portfolio_var_pct,
                ("kelly_fraction", "Kelly fraction in force"): platform.kelly,
                ("circuit_breaker_state", "0 CLOSED, 1 HALF_OPEN, 2 OPEN"): float(platform.breaker.state),
                ("step_latency_ms", "Median time from tick to store [ms]"): platform.breaker.latency_ms,
                ("trading_enabled", "1 while new risk is allowed"): float(platform.trading),
                ("router_paused", "1 while the model router is paused"): float(platform.router.paused),
                ("router_min_confidence", "Confidence that a model must have to be switched to"): (
                    platform.router.rules.confidence_thresholds.min_confidence
                ),
                ("model_server_instances", "Instances of the model server"): float(len(platform.server.instances)),
                ("model_server_models_in_use", "Models called lately"): float(platform.server.models_in_use),
                ("model_server_latency_p95_ms", "95 % of the answers take no longer [ms]"): (
                    platform.server.latency_ms[1]
                ),
                ("stress_scenarios", "Scenarios simulated in a step"): float(platform.scenarios),
                ("store_connected", "1 while Redis takes what is written"): float(self._heart.store_connected),
            }
            counts = zip(platform.router.switches_total, self._heart.earlier_switches, strict=True)
            switches = [now + earlier for now, earlier in counts]
            latest = {switch.symbol: switch.took_ms for switch in platform.switches}
        for (name, text), values in per_symbol.items():
            family = GaugeMetricFamily(name, text, labels=["symbol"])
            for symbol, value in zip(SYMBOLS, values, strict=True):
                family.add_metric([symbol], float(value))
            yield family
        family = GaugeMetricFamily("volatility_estimate_age_seconds", "Age of the estimate [s]", labels=["symbol"])
        for symbol, age in zip(SYMBOLS, ages, strict=True):
            family.add_metric([symbol], age)
        yield family
        for (name, text), value in single.items():
            yield GaugeMetricFamily(name, text, value=value)
        counter = CounterMetricFamily("model_switch", "Model switches since the start", labels=["symbol"])
        took = GaugeMetricFamily("model_switch_latency_ms", "What the latest switch took [ms]", labels=["symbol"])
        for place, symbol in enumerate(SYMBOLS):
            counter.add_metric([symbol], switches[place])
            if place in latest:
                took.add_metric([symbol], latest[place])
        yield counter
        yield took
        yield from _redis(self._heart.store.figures)
        points = GaugeMetricFamily(
            "dashboard_panel_points", "Points that a panel has in its time range", labels=["dashboard", "panel"]
        )
        for panel in self._heart.dashboards.panels:
            points.add_metric([panel["dashboard"], panel["title"]], float(panel["points"]))
        yield points


# What the watch on Redis tells, and how it is shown: gauges, then counters.
_REDIS_GAUGES = {
    "p50_us": ("redis_latency_p50", "Median time of a call of Redis over the last 15 s [us]"),
    "p99_us": ("redis_latency_p99", "99th percentile of the time of a call of Redis over the last 15 s [us]"),
    "connected_clients": ("redis_connected_clients", "Connections"),
    "maxclients": ("redis_max_clients", "Connections that Redis takes at most"),
    "used_memory": ("redis_memory_used_bytes", "Memory of the data set and buffers [bytes]"),
    "used_memory_rss": ("redis_memory_used_rss_bytes", "Memory that the system gave to Redis [bytes]"),
    "maxmemory": ("redis_memory_max_bytes", "Limit of the memory, 0: none [bytes]"),
}
_REDIS_COUNTERS = {
    "evicted_keys": ("redis_evicted_keys", "Keys evicted for want of memory"),
    "total_commands_processed": ("redis_commands_processed", "Commands"),
    "used_cpu_user": ("redis_cpu_user_seconds", "CPU time of Redis, user [s]"),
    "used_cpu_sys": ("redis_cpu_sys_seconds", "CPU time of Redis, system [s]"),
}


def _redis(figures: dict[str, Any]) -> Iterator[Metric]:
    """Redis as the platform finds it; what is not known is left out."""
    yield GaugeMetricFamily("redis_up", "1 while Redis answers the platform", value=float(figures.get("up", False)))
    for field, (name, text) in _REDIS_GAUGES.items():
        if figures.get(field) is not None:
            yield GaugeMetricFamily(name, text, value=float(figures[field]))
    for field, (name, text) in _REDIS_COUNTERS.items():
        if figures.get(field) is not None:
            yield CounterMetricFamily(name, text, value=float(figures[field]))


def _router(heart: Heart) -> dict[str, Any]:
    router = heart.platform.router
    rules = router.rules
    return {
        "paused": router.paused,
        "market_hours_only": rules.market_hours_only,
        "switches_total": sum(router.switches_total) + sum(heart.earlier_switches),
        "switches_per_minute": round(heart.platform.switches_per_minute(heart.now_ms()), 2),
        "window_s": SWITCH_WINDOW_S,
        "min_confidence": rules.confidence_thresholds.min_confidence,
        "switch_hysteresis": rules.confidence_thresholds.switch_hysteresis,
        "min_dwell_s": rules.min_dwell_steps * STEP_S,
        "answer_within_ms": rules.answer_within_ms,
        "min_volume_share": rules.min_volume_share,
        "pair_rules": [rule.model_dump() for rule in rules.pair_rules],
    }


def _model_server(platform: Platform) -> dict[str, Any]:
    server = platform.server
    median_ms, p95_ms = server.latency_ms
    return {
        "instances": len(server.instances),
        "models_per_instance": SLOTS,
        "models_in_use": server.models_in_use,
        "loads_total": server.loads,
        "load_ms": round(1000.0 * server.load_s, 3),
        "latency_ms": round(median_ms, 2),
        "latency_p95_ms": round(p95_ms, 2),
    }


def _symbol(platform: Platform, place: int) -> dict[str, Any]:
    chosen = platform.router.chosen[place]
    return {
        "price_usd": float(platform.market.prices[place]),
        "position_usd": round(float(platform.harmoniser.positions[place]), 2),
        "position_target_usd": round(float(platform.harmoniser.targets[place]), 2),
        "position_limit_usd": round(float(platform.limits[place]), 2),
        "position_limit_configured_usd": platform.parameters.position_limits_usd[SYMBOLS[place]],
        "var_pct": round(float(platform.harmoniser.var_pct[place]), 5),
        "volume_usd": round(float(platform.history[-1].volume_usd[place])),
        "volume_usual_usd": USUAL_VOLUME_USD[place],
        "edge_blended_bps": round(float(platform.edge_blended[place]), 4),
        "volatility_estimate": round(float(platform.estimator.estimate[place]), 7),
        "volatility_updated_at": when(platform.estimator.updated_ms[place]),
        "model": chosen.name,
        "confidence": round(float(chosen.confidence[place]), 4),
        "hit_rate": round(float(chosen.hit_rate[place]), 4),
    }


def _model(platform: Platform, number: int) -> dict[str, Any]:
    model = platform.models[number]
    return {
        "name": model.name,
        "version": model.version,
        "deployed_at": when(model.deployed_at_ms),
        "penalty": model.penalty,
        "calls": model.n_calls,
        "symbols": {
            name: {
                "confidence": round(float(model.confidence[place]), 4),
                "hit_rate": round(float(model.hit_rate[place]), 4),
                "edge_bps": round(float(model.edges[place]), 4),
                "in_charge": platform.router.chosen[place] is model,
            }
            for place, name in enumerate(SYMBOLS)
            if model.serves[place]
        },
    }
