"""A20 names what opened the breaker, and proposes the reset only once that is gone."""

from __future__ import annotations

import pytest

from opslib.diagnosis import circuit_breaker
from sandbox.crypto.risk import BreakerState
from tests.diagnosis import simulation
from tests.seeds import seeds

CAUSES = sorted(simulation.FAULTS["circuit-breaker"])


def broken(cause: str, seed: int, noise: int = 0) -> simulation.Scene:
    """A platform on which a fault has just opened the breaker."""
    scene = simulation.scene(4_000 + seed)
    simulation.break_(scene, f"circuit-breaker/{cause}", seed=seed, noise=noise)
    assert simulation.until(scene, simulation.opened)
    return scene


def named(cause: str, seed: int) -> None:
    scene = broken(cause, seed, noise=seed % 3)
    scene.advance((1, 8, 60, 400)[seed % 4])
    verdict, _ = simulation.diagnose_breaker(scene)
    assert verdict.confirmed
    assert (verdict.cause, simulation.likely(verdict)) == (cause, [cause]), (seed, verdict)


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_alone(cause: str, seed: int) -> None:
    named(cause, seed)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_for_many_more(cause: str) -> None:
    for seed in range(8, 40):
        named(cause, seed)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_a_breaker_open_for_longer_than_the_series_reach_is_named_by_what_it_measured(cause: str) -> None:
    scene = broken(cause, 3)
    scene.platform.market.move_volatility([0, 1, 2, 3, 4], 1.0, 1)
    scene.platform.kelly, scene.scenarios = 0.05, 0
    scene.advance(len(scene.platform.history) + 50)
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert verdict.cause == cause
    assert circuit_breaker.gone(triggers)


def test_both_at_once_are_both_likely() -> None:
    scene = broken("latency", 1)
    scene.platform.market.move_volatility([0, 1, 2, 3, 4], 12.0, 2)
    scene.advance(80)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert set(simulation.likely(verdict)) == {"var", "latency"}


def test_a_healthy_platform_has_no_cause() -> None:
    scene = simulation.scene(81)
    scene.advance(40)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])


def test_a_half_open_breaker_is_left_alone() -> None:
    scene = simulation.scene(82)
    scene.platform.breaker.move(BreakerState.HALF_OPEN, "reset by operator", scene.now_ms)
    scene.advance(2)
    verdict, _ = simulation.diagnose_breaker(scene)
    assert not verdict.confirmed


def test_a_breaker_that_something_else_opened_is_none_of_these() -> None:
    scene = simulation.scene(83)
    scene.advance(20)
    scene.platform.breaker.move(BreakerState.OPEN, "", scene.now_ms)
    scene.advance(4)
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert verdict.cause == "none-of-these"
    status = simulation.document(scene)
    assert circuit_breaker.remedy([], triggers, status, 0.1, 2000) == []


@pytest.mark.parametrize("cause", CAUSES)
def test_without_redis_the_breaker_itself_tells(cause: str) -> None:
    scene = broken(cause, 4)
    scene.advance(20)
    verdict, _ = simulation.diagnose_breaker(scene, unseen=("redis",))
    assert verdict.cause == cause
    assert verdict.confidence < 0.95


@pytest.mark.parametrize("cause", CAUSES)
def test_without_the_api_the_series_tell(cause: str) -> None:
    scene = broken(cause, 5)
    scene.advance(20)
    verdict, triggers = simulation.diagnose_breaker(scene, unseen=("api",))
    assert verdict.cause == cause
    assert circuit_breaker.remedy([cause], triggers, None, 0.1, 2000) == []


def test_without_both_nothing_is_guessed() -> None:
    scene = broken("var", 6)
    verdict, _ = simulation.diagnose_breaker(scene, unseen=("api", "redis"))
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)


@pytest.mark.parametrize(("cause", "action"), [("var", "crypto.emergency-reduce"), ("latency", "crypto.set-scenarios")])
def test_the_fix_comes_first_and_then_the_reset(cause: str, action: str) -> None:
    scene = broken(cause, 7)
    scene.advance(4)
    _, triggers = simulation.diagnose_breaker(scene)
    status = simulation.document(scene)
    status["stress"]["scenarios"] = max(scene.scenarios, status["stress"]["scenarios"])
    (first, _), (second, facts) = circuit_breaker.remedy([cause], triggers, status, 0.05, 2000)
    assert (first, second) == (action, "crypto.reset-breaker")
    assert facts["wait_s"] > 0
    scene.platform.kelly, scene.scenarios = 0.03, 0
    assert simulation.until(scene, lambda scene: circuit_breaker.gone(simulation.diagnose_breaker(scene)[1]))
    verdict, triggers = simulation.diagnose_breaker(scene)
    assert (verdict.confirmed, verdict.cause) == (True, cause)
    ((then, _),) = circuit_breaker.remedy([cause], triggers, simulation.document(scene), 0.05, 2000)
    assert then == "crypto.reset-breaker"
    scene.platform.reset_breaker("test", scene.now_ms)
    scene.advance(2)
    assert scene.platform.breaker.state is BreakerState.HALF_OPEN
    scene.advance(60)
    assert scene.platform.breaker.state is BreakerState.CLOSED


def test_it_opens_again_on_a_breach_while_half_open() -> None:
    scene = broken("var", 8)
    scene.platform.reset_breaker("test", scene.now_ms)
    scene.advance(1)
    assert scene.platform.breaker.state is BreakerState.OPEN
