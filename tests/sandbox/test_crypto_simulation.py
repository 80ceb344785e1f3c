"""The platform as an object, without servers: healthy for days, and each cause with its own signature."""

from __future__ import annotations

import numpy as np
import pytest

from sandbox.crypto.config import PRISTINE, RiskParameters, RouterRules, load
from sandbox.crypto.parameters import HISTORY_POINTS, NAV_USD, STEP_DAYS, STEP_S, SYMBOLS, FloatArray
from sandbox.crypto.platform import Platform
from sandbox.crypto.risk import BreakerState
from sandbox.errors import ControlRefused
from tests.seeds import seeds

START_MS = 1_800_000_000_000
EVERY = list(range(len(SYMBOLS)))


def make(seed: int) -> Platform:
    return Platform(
        seed,
        load(PRISTINE / "risk_params.yml", RiskParameters),
        load(PRISTINE / "model_router_rules.yml", RouterRules),
        START_MS,
    )


def run(platform: Platform, steps: int) -> FloatArray:
    """Largest VaR of a symbol after each step."""
    first = platform.history[-1].at_ms
    records = [platform.step(first + 250 * (step + 1), 1.0) for step in range(steps)]
    return np.array([record.var_pct.max() for record in records])


@pytest.mark.parametrize("seed", seeds(2))
def test_a_healthy_platform_stays_far_below_its_warning_level(seed: int) -> None:
    platform = make(seed)
    largest = run(platform, 6_000)
    assert 0.7 < float(np.median(largest)) < 1.3
    assert largest.max() < 1.5
    assert platform.breaker.state is BreakerState.CLOSED
    minutes = (6_000 + HISTORY_POINTS) * STEP_S / 60.0
    assert sum(platform.router.switches_total) / minutes < 8.0


@pytest.mark.slow
def test_the_models_hit_about_as_often_as_they_state() -> None:
    platform = make(3)
    run(platform, 6_000)
    for model in platform.models:
        assert abs(float((model.confidence - model.hit_rate).mean())) < 0.05


def test_var_is_the_normal_quantile_of_the_volatility_that_the_market_has() -> None:
    platform = make(4)
    run(platform, 400)
    expected = 2.3263479 * platform.harmoniser.positions * platform.market.volatility / NAV_USD * 100.0
    np.testing.assert_allclose(platform.harmoniser.var_pct, expected, rtol=0.25)


def test_the_estimate_follows_the_market() -> None:
    platform = make(5)
    platform.market.move_volatility(EVERY, 5.0, 1)
    run(platform, 200)
    np.testing.assert_allclose(platform.estimator.estimate, platform.market.volatility, rtol=0.25)


@pytest.mark.slow
def test_prices_move_with_the_stated_volatility() -> None:
    platform = make(6)
    run(platform, HISTORY_POINTS)
    prices = np.log(np.array([record.price for record in platform.history]))
    seen = np.diff(prices, axis=0).std(axis=0) / np.sqrt(STEP_DAYS)
    np.testing.assert_allclose(seen, platform.market.base_volatility, rtol=0.25)


def test_history_is_there_from_the_start_and_ends_now() -> None:
    platform = make(7)
    times = [record.at_ms for record in platform.history]
    assert len(times) == HISTORY_POINTS
    assert times[-1] == START_MS
    assert set(np.diff(times)) == {250}


@pytest.mark.parametrize("seed", seeds(6))
def test_one_concentrated_symbol_breaches_alone(seed: int) -> None:
    platform = make(seed)
    place = seed % len(SYMBOLS)
    platform.edge_gain[place] = 4.2
    platform.set_limit(place, float(platform.limits[place]) * 1.8, "test", START_MS)
    largest = run(platform, 60)
    assert largest[-20:].min() > 1.8
    others = np.delete(platform.harmoniser.var_pct, place)
    assert others.max() < 1.4
    assert platform.harmoniser.positions[place] == max(platform.harmoniser.positions)


def test_an_over_confident_model_is_switched_to_and_found_out() -> None:
    platform = make(8)
    platform.deploy("tide", "1.0.0", "none", 28.0, 0.96, [1, 2, 4], START_MS)
    largest = run(platform, 60)
    assert largest[-20:].min() > 1.8
    assert {switch.symbol for switch in platform.switches if switch.after == "tide"} == {1, 2, 4}
    model = platform.model("tide")
    assert (model.confidence - model.hit_rate)[[1, 2, 4]].min() > 0.3
    assert model.n_calls > 1_000


def test_a_penalty_takes_the_symbols_back() -> None:
    platform = make(8)
    platform.deploy("tide", "1.0.0", "none", 28.0, 0.96, [1, 2, 4], START_MS)
    run(platform, 60)
    platform.set_penalty("tide", 0.6, "test", START_MS)
    largest = run(platform, 120)
    assert all(model.name != "tide" for model in platform.router.chosen)
    assert largest[-1] < 1.8


def test_a_refresh_cures_stale_estimates() -> None:
    platform = make(9)
    platform.estimator.running = False
    platform.market.move_volatility(EVERY, 2.8, 40)
    before = platform.estimator.estimate.copy()
    assert run(platform, 140)[-1] > 1.8
    np.testing.assert_array_equal(platform.estimator.estimate, before)
    assert platform.history[-1].at_ms - platform.estimator.updated_ms[0] > 30_000
    platform.refresh_volatility("test", platform.history[-1].at_ms)
    assert run(platform, 40)[-1] < 1.8
    assert platform.estimator.updated_ms[0] == platform.history[-1].at_ms


def test_the_breaker_stops_growth_and_recovers_by_hand() -> None:
    platform = make(10)
    platform.market.move_volatility(EVERY, 9.0, 1)
    run(platform, 20)
    assert platform.breaker.state is BreakerState.OPEN
    held = platform.harmoniser.positions.copy()
    platform.kelly = 1.0
    run(platform, 20)
    assert (platform.harmoniser.positions <= held).all()
    platform.reset_breaker("test", platform.history[-1].at_ms)
    run(platform, 1)
    assert platform.breaker.state is BreakerState.OPEN
    platform.kelly = 0.25
    platform.market.move_volatility(EVERY, 1.0, 1)
    run(platform, 150)
    platform.reset_breaker("test", platform.history[-1].at_ms)
    run(platform, 5)
    assert platform.breaker.state.name == "HALF_OPEN"
    run(platform, 30)
    assert platform.breaker.state.name == "CLOSED"


def test_latency_opens_the_breaker() -> None:
    platform = make(11)
    first = platform.history[-1].at_ms
    for step in range(20):
        platform.step(first + 250 * (step + 1), 140.0)
    assert platform.breaker.state is BreakerState.OPEN
    assert "latency 140 ms above 100 ms" in platform.breaker.reason


def test_a_paused_router_switches_nothing() -> None:
    platform = make(12)
    platform.set_router(True, "test", START_MS)
    platform.deploy("tide", "1.0.0", "none", 28.0, 0.96, [0], START_MS)
    run(platform, 40)
    assert all(model.name != "tide" for model in platform.router.chosen)


def test_a_feed_that_misses_a_step_delivers_the_move_later() -> None:
    platform = make(13)
    platform.miss_feed(2)
    before = float(platform.market.prices[2])
    run(platform, 1)
    assert platform.market.prices[2] == before
    run(platform, 1)
    assert platform.market.prices[2] != before


def test_a_model_is_deployed_once() -> None:
    platform = make(14)
    with pytest.raises(ControlRefused, match="a model named momentum is deployed already"):
        platform.deploy("momentum", "2.0.0", "none", 20.0, None, [0], START_MS)
    with pytest.raises(ControlRefused, match="no model named tide; deployed are momentum"):
        platform.model("tide")
