"""A10 and A20 on the real platform: each fault shows, is cured by the seed's fix, and is gone after `heal`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml

from opslib.settings import Settings
from sandbox import faults, state
from sandbox.crypto import control
from sandbox.state import State

pytestmark = pytest.mark.slow

FIXES: dict[str, tuple[str, dict[str, Any]]] = {
    "model-switching/two-model-flip": ("/api/router/rules", {"rule": "trend", "threshold": 0.92, "band": 0.85}),
    "model-switching/same-symbol-oscillation": ("/api/router/rules", {"min_confidence": 0.6}),
    "model-switching/random-across-all": ("/api/router/market-hours", {"on": True}),
    "model-switching/server-overload": ("/api/models/instances", {"instances": 8}),
}


def wait_for(seen: Callable[[], bool], within_s: float = 90.0) -> None:
    """Return once `seen` holds."""
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def status(api: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = api.get("/api/status").json()
    return document


@pytest.mark.parametrize("fault", sorted(FIXES))
def test_switching_shows_is_cured_and_healed(
    platform: State, api: httpx.Client, reader: redis.Redis, sandbox_home: Settings, fault: str
) -> None:
    broken = faults.break_(sandbox_home, fault, seed=3, decoys=1)
    assert broken["shows"].endswith("above 20")
    entries = [entry for _, entry in reader.xrevrange("model.switch.log", count=10)]
    assert {"symbol", "from", "to", "confidence", "reason", "took_ms", "at"} <= set(entries[0])
    path, body = FIXES[fault]
    assert api.post(path, json=body).status_code == 200
    wait_for(lambda: status(api)["router"]["switches_per_minute"] < 15.0)
    faults.heal(sandbox_home)
    document = status(api)
    assert document["config_changes"] == []
    assert document["model_server"]["instances"] == 2
    assert document["router"]["min_confidence"] == 0.6


def test_slow_steps_open_the_breaker_and_quick_ones_let_it_close(
    platform: State, api: httpx.Client, sandbox_home: Settings
) -> None:
    broken = faults.break_(sandbox_home, "circuit-breaker/latency", seed=3)
    assert broken["shows"].startswith("the circuit breaker is OPEN: latency ")
    document = status(api)
    assert document["circuit_breaker"]["tripped_by"]["latency_ms"] > 100.0
    stages = document["latency_by_stage_ms"]
    assert max(stages, key=lambda name: float(stages[name])) == "scenarios"
    assert api.post("/api/risk/scenarios", json={"scenarios": 2000}).status_code == 200
    wait_for(lambda: status(api)["circuit_breaker"]["latency_ms"] < 100.0)
    api.post("/api/circuit-breaker/reset")
    wait_for(lambda: status(api)["circuit_breaker"]["state"] == "CLOSED")
    faults.heal(sandbox_home)


def test_value_at_risk_opens_the_breaker(platform: State, api: httpx.Client, sandbox_home: Settings) -> None:
    broken = faults.break_(sandbox_home, "circuit-breaker/var", seed=3)
    assert broken["shows"].startswith("the circuit breaker is OPEN: VaR ")
    held = {name: symbol["position_usd"] for name, symbol in status(api)["symbols"].items()}
    time.sleep(1.0)
    now = status(api)
    assert all(now["symbols"][name]["position_usd"] <= held[name] * 1.0001 for name in held)
    assert now["circuit_breaker"]["half_open_share"] == 0.25
    faults.heal(sandbox_home)


def test_rules_set_over_the_api_stand_in_the_file(platform: State, api: httpx.Client, sandbox_home: Settings) -> None:
    answer = api.post("/api/router/rules", json={"switch_hysteresis": 0.07, "reason": "test"})
    assert answer.json()["rules"]["confidence_thresholds"]["switch_hysteresis"] == 0.07
    file = Path(state.file(sandbox_home).with_suffix("")) / "conf" / "model_router_rules.yml"
    assert yaml.safe_load(file.read_text("utf-8"))["confidence_thresholds"]["switch_hysteresis"] == 0.07
    assert status(api)["config_changes"][-1]["key"] == "router.confidence_thresholds.switch_hysteresis"
    refused = api.post("/api/router/rules", json={"rule": "nonsense", "band": 0.1})
    assert (refused.status_code, refused.json()["error"]) == (422, "unknown rule 'nonsense'")
    control.ask(platform.control, platform.sandbox_id, "restore")
