"""A10 names the true cause, whatever symbol, intensity, timing and unrelated noise; and none on a healthy platform."""

from __future__ import annotations

import pytest

from opslib.diagnosis import model_switching
from opslib.diagnosis import model_switching_seen as seen
from sandbox.crypto.changes import CHANGES
from sandbox.crypto.parameters import SYMBOLS
from tests.diagnosis import simulation
from tests.diagnosis.switching_scenes import CAUSES, broken, edited, given, healthy, perform
from tests.seeds import seeds

WHEN = (2, 12, 40, 140)  # steps after the alert


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
    expected = {
        "two-model-flip": ("crypto.set-router-rules", {"threshold", "band"}),
        "same-symbol-oscillation": ("crypto.set-router-rules", {"min_confidence"}),
        "random-across-all": ("crypto.market-hours", {"on"}),
        "server-overload": ("crypto.scale-models", {"instances"}),
    }
    assert (action, set(given(arguments))) == expected[cause]
    perform(scene, action, arguments)
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
    assert (verdict.confirmed, verdict.cause) == (True, "none-of-these")


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


@pytest.mark.parametrize(
    ("rate", "alerted", "confirmed"),
    [(20.0, True, True), (16.0, True, True), (15.0, True, False), (20.0, False, False), (20.1, False, True)],
)
def test_after_an_alert_it_is_over_when_the_rate_is_usual_again(rate: float, alerted: bool, confirmed: bool) -> None:
    found, told = seen.symptom(rate, 20.0, 15.0, alerted=alerted)
    assert found is confirmed
    assert ("under 15 is normal" in told) is (alerted and 15.0 < rate <= 20.0)


def test_switches_that_could_not_be_seen_are_no_answer() -> None:
    assert seen.symptom(None, 20.0, 15.0, alerted=True)[0] is None


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"threshold": 0.25, "band": 0.0}, "two-model-flip"),
        ({"threshold": 0.5, "band": 0.4}, "two-model-flip"),
        ({"min_confidence": 0.0, "switch_hysteresis": 0.0}, "same-symbol-oscillation"),
        ({"min_confidence": 0.3, "switch_hysteresis": 0.02}, "same-symbol-oscillation"),
    ],
)
def test_rules_of_another_measure_are_named_alone(values: dict[str, float], cause: str) -> None:
    verdict = simulation.diagnose_switching(edited(**values))
    assert (verdict.cause, simulation.likely(verdict)) == (cause, [cause])


def test_a_rate_just_above_the_level_does_not_read_as_the_level() -> None:
    assert seen.symptom(20.2, 20.0, 15.0, alerted=False) == (
        True,
        "20.2 model switches a minute against an alert level of 20",
    )


def fixes(causes: list[str], scene: simulation.Scene, **changes: object) -> list[str]:
    """The actions that are proposed, where the platform states something else."""
    status = simulation.document(scene)
    for part in ("router", "model_server"):
        status[part] |= {name: value for name, value in changes.items() if name in status[part]}
    steps = model_switching.remedy(causes, seen.routing(status, simulation.WANTED), seen.serving(status))
    return [f"{name} {arguments.get('instances', '')}".strip() for name, arguments in steps]


def test_what_is_so_already_is_not_proposed() -> None:
    both = ["random-across-all", "server-overload"]
    scene = healthy()
    assert fixes(both, scene) == ["crypto.market-hours", "crypto.scale-models 3"]
    assert fixes(both, scene, market_hours_only=True) == ["crypto.scale-models 3"]
    assert fixes(both, scene, models_in_use=53) == ["crypto.market-hours", "crypto.scale-models 16"]
    assert fixes(["server-overload"], scene, instances=16) == ["crypto.pause-router"]
    assert fixes(["random-across-all"], scene, market_hours_only=True) == []


@pytest.mark.parametrize("band", [0.0, 0.45, 0.8])
def test_a_narrow_band_is_put_back_however_narrow_it_is(band: float) -> None:
    scene = edited(threshold=0.5, band=band)
    ((action, arguments),) = simulation.remedy_switching(scene, ["two-model-flip"])
    assert (action, arguments["band"]) == ("crypto.set-router-rules", 0.85)


def test_a_rule_that_another_cause_hides_is_told_beside_it() -> None:
    told = "Beside that, rules of the router are not as they should be: min confidence is 0.3 and should be 0.6"
    found = seen.routing(simulation.document(edited(min_confidence=0.3)), simulation.WANTED)
    assert model_switching.besides(found, ["server-overload"]) == told
    assert model_switching.besides(found, ["same-symbol-oscillation"]) == ""
    assert model_switching.besides(found, []) == ""
    right = seen.routing(simulation.document(healthy()), simulation.WANTED)
    assert model_switching.besides(right, ["server-overload"]) == ""
    narrow = seen.routing(simulation.document(edited(threshold=0.25, band=0.02)), simulation.WANTED)
    assert model_switching.besides(narrow, ["server-overload"]).endswith("band is 0.02 and should be 0.85")
