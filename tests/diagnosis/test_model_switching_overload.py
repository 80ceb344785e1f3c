"""A10 where the model server is overloaded: alone, and beside another cause."""

from __future__ import annotations

import pytest

from tests.diagnosis import simulation
from tests.diagnosis.switching_scenes import CAUSES, broken, perform

OTHERS = [cause for cause in CAUSES if cause != "server-overload"]


def overloaded(other: str, seed: int, *, first: bool = True) -> simulation.Scene:
    """A platform whose model server is overloaded, before or after another fault."""
    scene = broken("server-overload" if first else other, seed)
    simulation.break_(scene, f"model-switching/{other if first else 'server-overload'}", seed=seed)
    return scene


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", OTHERS)
def test_an_overload_beside_another_cause(other: str, first: bool) -> None:
    scene = overloaded(other, 3, first=first)
    for steps in (40, 100):  # at first some switches are still prompt ones, then none
        scene.advance(steps)
        verdict = simulation.diagnose_switching(scene)
        assert set(simulation.likely(verdict)) == {"server-overload", other}, verdict


@pytest.mark.slow
@pytest.mark.parametrize("other", OTHERS)
def test_an_overload_beside_another_cause_many_more(other: str) -> None:
    for seed in range(4, 12):
        scene = overloaded(other, seed, first=seed % 2 == 0)
        scene.advance((30, 60, 140)[seed % 3])
        verdict = simulation.diagnose_switching(scene)
        assert set(simulation.likely(verdict)) == {"server-overload", other}, (seed, verdict)


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_proposed_ends_both(other: str) -> None:
    scene = overloaded(other, 1)
    scene.advance(100)
    steps = simulation.remedy_switching(scene, simulation.likely(simulation.diagnose_switching(scene)))
    assert len(steps) == 2
    for action, arguments in steps:
        perform(scene, action, arguments)
    scene.advance(140)
    assert scene.platform.switches_per_minute(scene.now_ms) < 15.0


@pytest.mark.parametrize(
    "values", [{}, {"min_confidence": 0.3}, {"band": 0.02}, {"threshold": 0.5}, {"switch_hysteresis": 0.01}]
)
def test_an_overload_alone_fakes_no_second_cause_whatever_single_rule_is_off(values: dict[str, float]) -> None:
    scene = broken("server-overload", 2)
    scene.platform.apply_rules(scene.platform.router.rules.changed("trend", values), "quant desk", scene.now_ms)
    for steps in (12, 100):
        scene.advance(steps)
        verdict = simulation.diagnose_switching(scene)
        assert simulation.likely(verdict) == ["server-overload"], verdict


def test_a_rule_whose_effect_slow_switches_hide_is_named_less_surely() -> None:
    scene = overloaded("two-model-flip", 0)
    scene.advance(140)
    found = {item.key: item for item in simulation.diagnose_switching(scene).causes}
    assert 0.5 < found["two-model-flip"].likelihood < 0.97
    assert "against it: no switch shows what the rule does" in found["two-model-flip"].because
    assert "slow switches a minute hide the pattern of 0 prompt ones" in found["two-model-flip"].because


def test_confidences_that_cannot_be_told_under_slow_switches_name_nothing() -> None:
    scene = overloaded("same-symbol-oscillation", 0)
    scene.advance(140)
    entries = simulation.stream(scene)
    entries["confidence"] = None
    verdict = simulation.diagnose_switching(scene, entries=entries)
    assert simulation.likely(verdict) == ["server-overload"]
    (told,) = [item.because for item in verdict.causes if item.key == "same-symbol-oscillation"]
    assert told.startswith("could not be examined: enough switches of a symbol to see how far its confidences scatter")


def test_an_overload_without_any_rule_between_two_models_names_none() -> None:
    scene = broken("server-overload", 1)
    rules = scene.platform.router.rules.model_copy(update={"pair_rules": ()})
    scene.platform.apply_rules(rules, "quant desk", scene.now_ms)
    scene.advance(100)
    assert simulation.likely(simulation.diagnose_switching(scene)) == ["server-overload"]
