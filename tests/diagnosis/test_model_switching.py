"""A10 names the true cause, whatever symbol, intensity, timing and unrelated noise; and none on a healthy platform."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import model_switching
from opslib.diagnosis import model_switching_seen as seen
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


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """What an action sets."""
    return {key: value for key, value in arguments.items() if key not in ("reason", "rule")}


def perform(scene: simulation.Scene, action: str, arguments: dict[str, Any]) -> None:
    """Do what is proposed."""
    rules = scene.platform.router.rules
    if action == "crypto.set-router-rules":
        changed = rules.changed(arguments.get("rule"), given(arguments))
        scene.platform.apply_rules(changed, "test", scene.now_ms)
    elif action == "crypto.market-hours":
        scene.platform.apply_rules(rules.model_copy(update={"market_hours_only": True}), "test", scene.now_ms)
    else:
        scene.platform.scale_models(arguments["instances"], "test", scene.now_ms)


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
    found, told = seen.symptom(rate, 20.0, 15.0, alerted=alerted)
    assert found is confirmed
    assert ("under 15 is normal" in told) is (alerted and 15.0 < rate <= 20.0)


def test_switches_that_could_not_be_seen_are_no_answer() -> None:
    assert seen.symptom(None, 20.0, 15.0, alerted=True)[0] is None


MODELS = ("momentum", "mean-reversion", "alpha-vertex")


def healthy() -> simulation.Scene:
    """A platform on which nothing is wrong."""
    scene = simulation.scene(5)
    scene.advance(60)
    return scene


def edited(**values: float) -> simulation.Scene:
    """A platform whose router rules were edited: those of the pair rule, or the thresholds."""
    scene = simulation.scene(3)
    rules = scene.platform.router.rules.changed("trend", values)
    scene.platform.apply_rules(rules, "quant desk", scene.now_ms)
    scene.advance(200)
    return scene


def written(scene: simulation.Scene, count: int, *, kind: str = "any", after_s: float = 0.0) -> pd.DataFrame:
    """The log with entries that somebody else wrote into it: of any symbol to any model, or one to and fro."""
    rng, start = random.Random(kind), simulation.clock(scene) + dt.timedelta(seconds=after_s - 28.0)
    rows = []
    for place in range(count):
        pair = rng.sample(MODELS, 2) if kind == "any" else [MODELS[place % 2], MODELS[(place + 1) % 2]]
        symbol = rng.choice(SYMBOLS) if kind == "any" else SYMBOLS[0]
        rows.append((start + dt.timedelta(seconds=28.0 * place / count), symbol, *pair, "0.6100", "0.4"))
    log = simulation.stream(scene)
    more = pd.DataFrame(rows, columns=["time", "symbol", "from", "to", "confidence", "took_ms"])
    more["time"] = pd.to_datetime(more["time"])
    return pd.concat([log, more], ignore_index=True) if len(log) else more


def test_switches_of_any_symbol_at_the_usual_volume_are_no_still_market() -> None:
    scene = healthy()
    verdict = simulation.diagnose_switching(scene, entries=written(scene, 40))
    assert (verdict.confirmed, verdict.cause) == (True, "none-of-these")
    assert "holds 80 a minute, the platform itself counts 0: look who else writes" in verdict.summary


def test_one_symbol_to_and_fro_under_right_rules_is_none_of_these() -> None:
    scene = healthy()
    verdict = simulation.diagnose_switching(scene, entries=written(scene, 40, kind="one"))
    assert (verdict.confirmed, verdict.cause) == (True, "none-of-these")


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


@pytest.mark.parametrize("kept", [0, 4])
def test_a_log_that_was_cut_short_tells_no_rate_and_no_pattern(kept: int) -> None:
    scene = edited(threshold=0.25, band=0.0)
    verdict = simulation.diagnose_switching(scene, entries=simulation.stream(scene).tail(kept))
    assert (verdict.confirmed, verdict.cause, verdict.confidence) == (True, None, 0.0)
    assert "the log lacks entries" in verdict.summary


@pytest.mark.parametrize("ahead_s", [-90.0, 90.0])
def test_the_log_is_read_by_the_platforms_clock(ahead_s: float) -> None:
    scene = edited(threshold=0.25, band=0.0)
    ours = simulation.clock(scene) + dt.timedelta(seconds=ahead_s)
    there, here = simulation.diagnose_switching(scene, ours=ours), simulation.diagnose_switching(scene)
    assert (there.cause, there.summary) == ("two-model-flip", here.summary)


def test_entries_of_a_time_to_come_are_no_switches() -> None:
    scene = healthy()
    verdict = simulation.diagnose_switching(scene, entries=written(scene, 30, after_s=3600.0))
    assert not verdict.confirmed
    assert "30 entries of the log of switches are left out" in verdict.summary


@pytest.mark.parametrize(
    ("field", "value"),
    [("symbol", None), ("from", ""), ("to", None), ("confidence", "abc"), ("took_ms", ""), ("took_ms", None)],
)
@pytest.mark.parametrize("every", [True, False])
def test_a_field_that_is_missing_or_no_number_stops_nothing(field: str, value: str | None, every: bool) -> None:
    scene = healthy()
    entries = written(scene, 40)
    entries.loc[entries.index[0 if every else -3] :, field] = value
    verdict = simulation.diagnose_switching(scene, entries=entries)
    named = field in seen.TEXTS
    assert ("left out" in verdict.summary) is named
    assert verdict.confirmed is not (named and every)
    assert "nan" not in " ".join([verdict.summary, *(item.because for item in verdict.causes)])


def test_a_log_without_any_of_the_fields_is_no_error() -> None:
    scene = healthy()
    entries = pd.DataFrame({"time": [pd.Timestamp(simulation.clock(scene))], "x": ["y"]})
    assert not simulation.diagnose_switching(scene, entries=entries).confirmed


def test_a_full_log_is_counted_over_the_time_that_it_covers() -> None:
    now = dt.datetime(2026, 1, 5, 12, 0, tzinfo=dt.UTC)
    times = pd.date_range(end=now, periods=seen.MOST, freq="100ms")
    stream = pd.DataFrame({"time": times, "symbol": "BTC-USD", "from": "a", "to": "b"})
    switches = seen.log(stream, now)
    assert seen.rate(switches, None, now, 300.0) == pytest.approx(600.0, rel=0.01)
    assert seen.rate(seen.log(stream.tail(600), now), None, now, 300.0) == pytest.approx(120.0)
    assert seen.pattern(switches, now, 300.0, 100.0)["per_minute"].sum() == pytest.approx(600.0, rel=0.01)


def test_a_rate_just_above_the_level_does_not_read_as_the_level() -> None:
    assert seen.symptom(20.2, 20.0, 15.0, alerted=False) == (
        True,
        "20.2 model switches a minute against an alert level of 20",
    )


def test_shares_are_told_as_they_are_and_weighed_by_how_few_they_are() -> None:
    scene = edited(threshold=0.25, band=0.0)
    now, status = simulation.clock(scene), simulation.document(scene)
    switches = seen.log(simulation.stream(scene), now)
    few = switches[switches["symbol"] == "ADA-USD"].tail(6)
    few.attrs = switches.attrs
    pattern = seen.pattern(few, now, 30.0, 100.0)
    told = {
        item.text: item.weight
        for item in model_switching.two_model_flip(pattern, seen.routing(status, simulation.WANTED))
    }
    assert 0.0 < told["100 % of the switches go back to the model before"] < 3.0


def test_volume_that_stands_still_in_the_series_is_taken_from_the_platform() -> None:
    scene = healthy()
    status, volume = simulation.document(scene), simulation.history(scene, "volume_usd")
    for facts in status["symbols"].values():
        facts["volume_usd"] = 0.002 * facts["volume_usual_usd"]
    now = simulation.clock(scene)
    assert (seen.liquidity(volume, status, now)["share"] > 0.5).all()
    stale = volume[volume.index < now - dt.timedelta(seconds=2 * seen.STALE_S)]
    assert (seen.liquidity(stale, status, now)["share"] < 0.01).all()
    assert seen.liquidity(stale, None, now)["share"].isna().all()


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
