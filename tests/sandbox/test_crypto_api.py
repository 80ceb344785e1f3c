"""The HTTP endpoints of the seed, with their effects on the running platform."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from opslib.settings import Settings
from sandbox import state
from sandbox.crypto.parameters import SYMBOLS
from sandbox.state import State


def wait_for(seen: Callable[[], bool], within_s: float = 20.0) -> None:
    """Return once `seen` holds."""
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def status(api: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = api.get("/api/status").json()
    return document


def test_health_and_readiness(api: httpx.Client) -> None:
    assert api.get("/health").json() == {"status": "healthy"}
    assert api.get("/api/ready").json() == {"ready": True}


def test_status_tells_what_a_playbook_needs(api: httpx.Client, platform: State) -> None:
    document = status(api)
    assert document["sandbox_id"] == platform.sandbox_id
    assert (document["kelly_fraction"], document["trading"]) == (0.25, True)
    assert document["circuit_breaker"]["state"] == "CLOSED"
    assert document["clock"]["market_s_per_step"] == 300.0
    assert document["volatility"]["unit"] == "per sqrt(day)"
    assert set(document["symbols"]) == set(SYMBOLS)
    assert len(document["models"]) == 3
    for symbol in document["symbols"].values():
        assert symbol["position_usd"] < symbol["position_limit_usd"]
        assert symbol["model"] in {model["name"] for model in document["models"]}


def test_metrics_agree_with_redis(api: httpx.Client, reader: redis.Redis) -> None:
    families = {family.name: family for family in text_string_to_metric_families(api.get("/metrics").text)}
    assert {
        "var_pct",
        "position_size_usd",
        "edge_blended_bps",
        "model_switch",
        "kelly_fraction",
        "circuit_breaker_state",
        "volatility_estimate",
    } <= set(families)
    for sample in families["var_pct"].samples:
        assert sample.value == pytest.approx(float(reader.get(f"var_pct:{sample.labels['symbol']}")), rel=0.2)


def test_emergency_reduce_shrinks_positions_as_curl_sends_it(api: httpx.Client) -> None:
    before = status(api)["symbols"]
    answer = api.post(
        "/api/risk/emergency-reduce",
        content='{"kelly_fraction": 0.1, "reason": "VaR breach"}',
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.json() == {"status": "reducing", "kelly_fraction": 0.1, "before": 0.25}

    def shrunk() -> bool:
        now = status(api)["symbols"]
        return all(now[name]["position_usd"] < 0.55 * before[name]["position_usd"] for name in SYMBOLS)

    wait_for(shrunk)
    change = status(api)["config_changes"][-1]
    assert (change["key"], change["from"], change["to"]) == ("kelly_fraction", "0.25", "0.1")
    assert "VaR breach" in change["by"]
    assert api.post("/api/risk/kelly", json={"kelly_fraction": 0.25}).json()["before"] == 0.1


def test_emergency_reduce_only_lowers(api: httpx.Client) -> None:
    answer = api.post("/api/risk/emergency-reduce", json={"kelly_fraction": 0.5})
    assert answer.status_code == 409
    assert answer.json()["do"] == "emergency-reduce only lowers; raise it with POST /api/risk/kelly"
    assert status(api)["kelly_fraction"] == 0.25


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b"\xff\xfe", 400, "the body is no JSON"),
        (b"[" * 30_000, 400, "the body is no JSON"),
        (b"[]", 422, "body: "),
        (b"{}", 422, "kelly_fraction: Field required"),
        (b'{"kelly_fraction": 0}', 422, "kelly_fraction: Input should be greater than 0"),
        (b'{"kelly_fraction": 1.1}', 422, "kelly_fraction: Input should be less than or equal to 1"),
        (b'{"kelly_fraction": NaN}', 422, "kelly_fraction: Input should be a finite number"),
        (b'{"kelly_fraction": "x", "haste": 1}', 422, "haste: Extra inputs are not permitted"),
        (b'{"reason": "' + b"x" * 70_000 + b'"}', 413, "the body is larger than 65536 bytes"),
    ],
)
def test_a_wrong_body_changes_nothing_and_says_what_to_send(
    api: httpx.Client, body: bytes, code: int, message: str
) -> None:
    answer = api.post("/api/risk/emergency-reduce", content=body)
    assert answer.status_code == code
    assert message in answer.json()["error"]
    assert "kelly_fraction" in answer.json()["do"]
    assert status(api)["kelly_fraction"] == 0.25


def test_an_unknown_path_is_json_too(api: httpx.Client) -> None:
    answer = api.get("/api/riches")
    assert answer.status_code == 404
    assert "openapi" in answer.json()["do"]


@pytest.mark.slow
def test_router_pauses_and_resumes(api: httpx.Client) -> None:
    assert api.post("/api/router/pause").json() == {"status": "paused"}
    assert status(api)["router"]["paused"] is True
    assert api.post("/api/router/resume").json() == {"status": "running"}
    assert status(api)["router"]["paused"] is False


@pytest.mark.slow
def test_trading_stops_and_starts(api: httpx.Client) -> None:
    assert api.post("/api/stop-trading").json()["trading"] is False
    api.post("/api/risk/kelly", json={"kelly_fraction": 1.0})
    held = status(api)["symbols"]["BTC-USD"]["position_usd"]
    begun = status(api)["time"]
    wait_for(lambda: status(api)["time"] > begun)
    assert status(api)["symbols"]["BTC-USD"]["position_usd"] <= held
    assert api.post("/api/start-trading").json()["trading"] is True


@pytest.mark.slow
def test_a_position_limit_caps_the_position(api: httpx.Client) -> None:
    answer = api.post("/api/risk/position-limit", json={"symbol": "SOL-USD", "limit_usd": 200_000, "reason": "test"})
    assert answer.json()["before"] == 2_100_000
    wait_for(lambda: bool(status(api)["symbols"]["SOL-USD"]["position_usd"] < 230_000))
    wrong = api.post("/api/risk/position-limit", json={"symbol": "DOGE", "limit_usd": 1})
    assert wrong.status_code == 422
    assert "use one of BTC-USD" in wrong.json()["do"]


@pytest.mark.slow
def test_a_penalty_lowers_what_a_model_states(api: httpx.Client) -> None:
    def stated() -> float:
        (model,) = [model for model in status(api)["models"] if model["name"] == "momentum"]
        return float(model["symbols"]["BTC-USD"]["confidence"])

    before = stated()
    assert api.post("/api/models/penalty", json={"model": "momentum", "penalty": 0.2}).json()["before"] == 0
    assert stated() == pytest.approx(before - 0.2, abs=0.02)
    wrong = api.post("/api/models/penalty", json={"model": "tide", "penalty": 0.2})
    assert (wrong.status_code, "no model named tide" in wrong.json()["error"]) == (422, True)


def test_volatility_is_refreshed_from_the_market(api: httpx.Client) -> None:
    answer = api.post("/api/risk/refresh-volatility").json()
    assert set(answer["volatility_estimates"]) == set(SYMBOLS)


def test_reset_of_a_closed_breaker_leaves_it_closed(api: httpx.Client) -> None:
    assert api.post("/api/circuit-breaker/reset").json() == {"status": "reset", "state": "CLOSED"}


@pytest.mark.slow
def test_a_reload_takes_effect_and_a_wrong_file_does_not(
    api: httpx.Client, platform: State, reader: redis.Redis, sandbox_home: Settings
) -> None:
    folder = state.file(sandbox_home).with_suffix("")
    file, log = folder / "conf" / "risk_params.yml", folder / "logs" / "trading-system.log"
    good = file.read_text("utf-8")
    with redis.Redis.from_url(platform.endpoints.redis_admin) as admin:
        message = json.dumps({"component": "risk_harmoniser", "config_path": "conf/risk_params.yml"})
        file.write_text(good.replace("kelly_fraction: 0.25", "kelly_fraction: 0.2"), "utf-8")
        admin.publish("param.reload", message)
        wait_for(lambda: status(api)["kelly_fraction"] == 0.2)
        assert json.loads(reader.get("param.reload"))["component"] == "risk_harmoniser"
        assert 0 < reader.ttl("param.reload") <= 60
        wait_for(lambda: "Configuration reloaded: risk_harmoniser" in log.read_text("utf-8"))
        file.write_text(good.replace("kelly_fraction: 0.25", "kelly_fraction: 7"), "utf-8")
        admin.publish("param.reload", message)
        wait_for(lambda: "Configuration not reloaded: risk_params.yml: kelly_fraction" in log.read_text("utf-8"))
        admin.publish("param.reload", json.dumps({"component": "model_router", "config_path": "../../etc/passwd"}))
        wait_for(lambda: "must be conf/model_router_rules.yml" in log.read_text("utf-8"))
        admin.publish("param.reload", b"\xff")
        admin.publish("param.reload", b"[1]")
        wait_for(lambda: log.read_text("utf-8").count("param.reload: send") == 2)
        begun = int(reader.hget("metrics:price:BTC-USD", "timestamp"))
        wait_for(lambda: int(reader.hget("metrics:price:BTC-USD", "timestamp")) > begun)
        assert api.get("/health").is_success
    assert status(api)["kelly_fraction"] == 0.2


def test_the_log_says_that_the_fallback_is_used(sandbox_home: Settings, platform: State) -> None:
    log: Path = state.file(sandbox_home).with_suffix("") / "logs" / "trading-system.log"
    assert "Connected to Redis (TimeSeries module not available - using fallback)" in log.read_text("utf-8")
