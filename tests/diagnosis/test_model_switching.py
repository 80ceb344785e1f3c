"""A10 names the true cause, whatever symbol, intensity, timing and unrelated noise; and none on a healthy platform."""

from __future__ import annotations

import pytest

from opslib.diagnosis import model_switching
from sandbox.crypto.changes import CHANGES
from sandbox.crypto.parameters import SYMBOLS
from tests.diagnosis import simulation
from tests.seeds import seeds

CAUSES = sorted(simulation.FAULTS["model-switching"])
WHEN = (2, 12, 40, 140)  # steps after the alert


def broken(cause: str, seed: int, noise: int = 0) -> simulation.Scene:
    """A platform on which the alert of a fault has just become true."""
    scene = simulation.scene(3_000 + seed)
    simulation.break_(scene, f"model-switching/{cause}", seed=seed, noise=noise)
    assert simulation.until(scene, simulation.switching, 400)
    return scene


def named(cause: str, seed: int) -> None:
    scene = broken(cause, seed, noise=seed % 3)
    scene.advance(WHEN[seed % len(WHEN)])
    verdict = simulation.diagnose_switching(scene)
    assert verdict.confirmed
    assert (verdict.cause, simulation.likely(verdict)) == (cause, [cause]), (seed, verdict)


@pytest.mark.parametrize("seed", seeds(4))
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_first_and_alone(cause: str, seed: int) -> None:
    named(cause, seed)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_named_for_many_more(cause: str) -> None:
    for seed in range(4, 24):
        named(cause, seed)


@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_proposed_ends_it(cause: str) -> None:
    scene = broken(cause, 1)
    scene.advance(60)
    ((action, arguments),) = simulation.remedy_switching(scene, [cause])
    rules = scene.platform.router.rules
    given = {key: value for key, value in arguments.items() if key not in ("reason", "rule")}
    expected = {
        "two-model-flip": ("crypto.set-router-rules", {"threshold", "band"}),
        "same-symbol-oscillation": ("crypto.set-router-rules", {"min_confidence"}),
        "random-across-all": ("crypto.market-hours", {"on"}),
        "server-overload": ("crypto.scale-models", {"instances"}),
    }
    assert (action, set(given)) == expected[cause]
    if action == "crypto.set-router-rules":
        scene.platform.apply_rules(rules.changed(arguments.get("rule"), given), "test", scene.now_ms)
    elif action == "crypto.market-hours":
        scene.platform.apply_rules(rules.model_copy(update={"market_hours_only": True}), "test", scene.now_ms)
    else:
        scene.platform.scale_models(arguments["instances"], "test", scene.now_ms)
    scene.advance(140)
    assert scene.platform.switches_per_minute(scene.now_ms) < 15.0
    assert not simulation.diagnose_switching(scene).confirmed


@pytest.mark.parametrize("seed", seeds(6))
def test_a_healthy_platform_has_no_cause(seed: int) -> None:
    scene = simulation.scene(600 + seed)
    scene.advance(200)
    verdict = simulation.diagnose_switching(scene)
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])
    assert verdict.summary.startswith("Nothing wrong: ")


@pytest.mark.parametrize("other", ["two-model-flip", "same-symbol-oscillation", "random-across-all"])
def test_an_overload_beside_another_cause(other: str) -> None:
    scene = broken("server-overload", 3)
    simulation.break_(scene, f"model-switching/{other}", seed=3)
    scene.advance(140)
    likely = simulation.likely(simulation.diagnose_switching(scene))
    assert "server-overload" in likely
    assert set(likely) <= {"server-overload", other}


def test_after_the_router_was_paused_the_alert_is_over() -> None:
    scene = broken("two-model-flip", 2)
    scene.platform.set_router(True, "test", scene.now_ms)
    scene.advance(140)
    assert not simulation.diagnose_switching(scene).confirmed


@pytest.mark.parametrize("cause", CAUSES)
def test_without_redis_it_is_confirmed_but_not_named(cause: str) -> None:
    scene = broken(cause, 5)
    scene.advance(20)
    verdict = simulation.diagnose_switching(scene, unseen=("redis",))
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)


@pytest.mark.parametrize("cause", CAUSES)
def test_without_the_api_nothing_wrong_is_named(cause: str) -> None:
    scene = broken(cause, 6)
    scene.advance(40)
    verdict = simulation.diagnose_switching(scene, unseen=("api",))
    assert verdict.confirmed
    assert verdict.cause in (None, cause)
    assert verdict.confidence < 0.9


def test_switches_made_by_hand_are_none_of_these() -> None:
    scene = simulation.scene(77)
    for _ in range(12):
        for symbol in SYMBOLS:
            CHANGES["switch-once"](symbol=symbol).apply(scene.platform, scene.now_ms)
            scene.advance(1)
    verdict = simulation.diagnose_switching(scene)
    assert verdict.confirmed
    assert verdict.cause in ("none-of-these", "two-model-flip")


def test_one_halted_symbol_calls_for_market_hours_too() -> None:
    scene = simulation.scene(78)
    scene.platform.market.set_volume([3], 0.002)
    assert simulation.until(scene, simulation.switching, 400)
    scene.advance(60)
    assert "two-model-flip" not in simulation.likely(simulation.diagnose_switching(scene))


def test_no_cause_is_known_so_the_router_is_paused() -> None:
    assert model_switching.remedy([], None, None) == [
        ("crypto.pause-router", {"reason": "model switching, cause not known"})
    ]


def test_an_empty_log_is_no_error() -> None:
    scene = simulation.scene(79)
    scene.platform.switches.clear()
    verdict = simulation.diagnose_switching(scene)
    assert not verdict.confirmed


@pytest.mark.parametrize(
    ("rate", "alerted", "confirmed"),
    [(20.0, True, True), (16.0, True, True), (15.0, True, False), (20.0, False, False), (20.1, False, True)],
)
def test_after_an_alert_it_is_over_when_the_rate_is_usual_again(rate: float, alerted: bool, confirmed: bool) -> None:
    found, told = model_switching.symptom(rate, 20.0, 15.0, alerted=alerted)
    assert found is confirmed
    assert ("under 15 is normal" in told) is (alerted and 15.0 < rate <= 20.0)


def test_switches_that_could_not_be_seen_are_no_answer() -> None:
    assert model_switching.symptom(None, 20.0, 15.0, alerted=True)[0] is None
