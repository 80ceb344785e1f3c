"""Reasons add up, nothing unseen is guessed, and the verdict says what is known."""

from __future__ import annotations

import datetime as dt
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from opslib.diagnosis import Cause, Diagnosis, Reason, Verdict, reason
from opslib.diagnosis.causes import BOUND
from opslib.record.shown import Plan
from tests.diagnosis.told import context

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
WET = Cause(
    "wet", "Is it wet?", lambda water: [reason(f"{water} mm of water", water, threshold=1, decisive=3)], "dry it"
)
HOT = Cause("hot", "Is it hot?", lambda heat: [reason(f"{heat} degrees", heat, threshold=40, decisive=60)], "cool it")


class Seen(float):
    """A fact with the evidence it was read from."""

    evidence = "E007"


def case(unseen: list[str] | None = None) -> Diagnosis:
    return Diagnosis(
        SimpleNamespace(unseen=unseen or [], conclude=print, now=lambda: NOW, context=context()), [WET, HOT]
    )


def test_a_reason_is_nothing_at_its_threshold_and_88_percent_where_decisive() -> None:
    assert reason("", 1, threshold=1, decisive=3).weight == 0
    assert 1 / (1 + math.exp(-reason("", 3, threshold=1, decisive=3).weight)) == pytest.approx(0.88, abs=0.01)


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_no_reason_weighs_more_than_the_bound(value: float, threshold: float, decisive: float) -> None:
    if threshold != decisive:
        assert abs(reason("", value, threshold=threshold, decisive=decisive).weight) <= BOUND


def test_a_value_that_is_no_number_weighs_nothing() -> None:
    assert reason("", math.nan, threshold=1, decisive=3) == Reason("", 0.0)


def test_a_reason_needs_two_levels() -> None:
    with pytest.raises(ValueError, match="decisive must differ"):
        reason("", 1, threshold=1, decisive=1)


def test_the_likely_cause_is_named_with_its_evidence() -> None:
    wet = case()
    wet.confirm(True, "Something is wrong")
    wet.examine("hot", heat=10.0)
    wet.examine("wet", water=Seen(5.0))
    verdict = wet.verdict()
    assert (verdict.cause, verdict.causes[0].evidence) == ("wet", ["E007"])
    assert verdict.summary == "Something is wrong: wet (87 %), because 5.0 mm of water."
    assert [item.key for item in verdict.causes] == ["wet", "hot"]


def test_two_causes_may_hold() -> None:
    both = case()
    both.confirm(True, "Something is wrong")
    both.examine("hot", heat=100.0)
    both.examine("wet", water=5.0)
    assert [item.likelihood > 0.5 for item in both.verdict().causes] == [True, True]
    told = "hot (87 %), because 100.0 degrees; and wet (87 %), because 5.0 mm of water."
    assert both.verdict().summary == f"Something is wrong: {told}"


def test_the_message_says_what_is_proposed_by_whom_it_is_decided_and_whom_to_call_when() -> None:
    wet = case(["the heat (no thermometer)"])
    levels = {
        level: {"who": who, "how": "by bell", "within": "a minute"} for level, who in (("L2", "ben"), ("L3", "cleo"))
    }
    facts = {"paths": {"default": {"L3": 30}}, "updates": {"critical": 15}, "severity": "critical"}
    wet.ops.context = context(incident="INC-1", platform="cellar", contacts=levels, **facts)  # type: ignore[misc]
    wet.confirm(True, "water is on the floor")
    wet.examine("hot", heat=None)
    wet.examine("wet", water=5.0)
    actions = [
        {"summary": "pump", "authority": "L1", "effect_within_s": 60.0, "residual_risk": "mud"},
        {"summary": "close the tap", "authority": "L2", "effect_within_s": 300, "residual_risk": "mud"},
    ]
    assert wet.message("Wet", Plan({"actions": actions})).splitlines() == [
        "[INC-1] Wet on cellar, confirmed. Water is on the floor: wet (87 %), because 5.0 mm of water.",
        "Not seen: the heat (no thermometer).",
        "Proposed, in this order:",
        "1. pump",
        "2. close the tap",
        "L2 (ben, by bell, within a minute) decides; it shows within 5 min.",
        "Stays at risk: mud.",
        "Call, as long as it is not over:",
        "- has it now: L1, nobody is named",
        "- 12:30 UTC, in 30 min: L3, cleo, by bell, answers within a minute",
        "Where somebody does not answer within that time, call the next level at once.",
        "Next update due at 12:15 UTC, in 15 min (severity critical: every 15 min).",
    ]
    one = wet.message("Wet", Plan({"actions": actions[:1]})).splitlines()
    assert one[2] == "Proposed: pump. L1 decides; it shows within 60 s."
    by_hand = wet.message("Wet", None)
    assert "Proposed: nothing.\nTo do by hand: dry it.\nCall, as long as it is not over:" in by_hand
    wet.ops.context.paths.clear()
    assert "No time is set for L2: where L1 does not end it, call L2 (ben, by bell, " in wet.message("Wet", None)
    wet.confirm(False, "it is dry")
    over = wet.message("Wet", None).splitlines()[-1]
    assert over == "Nobody has to be called, and no update is due while it stays so (severity critical)."


def test_nothing_that_fits_is_none_of_these() -> None:
    neither = case()
    neither.confirm(True, "Something is wrong")
    neither.examine("hot", heat=10.0)
    neither.examine("wet", water=0.0)
    assert neither.verdict().cause == "none-of-these"


def test_what_was_not_seen_is_said_and_costs_confidence() -> None:
    blind = case(["the heat (redis at x: connection refused)"])
    blind.confirm(True, "Something is wrong")
    finding = blind.examine("hot", heat=None)
    blind.examine("wet", water=5.0)
    verdict = blind.verdict()
    assert finding.because == "could not be examined: heat not seen"
    assert verdict.unseen == ["the heat (redis at x: connection refused)"]
    assert verdict.confidence == pytest.approx(0.8 * 0.866, abs=0.01)
    assert finding.likelihood < 0.25


def test_an_unseen_cause_is_never_named() -> None:
    blind = case(["everything"])
    blind.confirm(True, "Something is wrong")
    blind.examine("hot", heat=None)
    blind.examine("wet", water=0.0)
    verdict = blind.verdict()
    assert (verdict.cause, verdict.confidence) == (None, 0.0)
    assert "not everything that could tell it was seen" in verdict.summary


def test_a_cause_that_nobody_asked_about_is_unseen() -> None:
    half = case()
    half.confirm(True, "Something is wrong")
    half.examine("wet", water=5.0)
    assert half.verdict().unseen == ["cause hot"]


@pytest.mark.parametrize(("confirmed", "beginning"), [(False, "Nothing wrong: "), (None, "Not known: ")])
def test_an_alert_that_is_not_true_has_no_cause(confirmed: bool | None, beginning: str) -> None:
    calm = case()
    calm.confirm(confirmed, "all is calm")
    calm.examine("wet", water=5.0)
    verdict = calm.verdict()
    assert (verdict.confirmed, verdict.cause, verdict.causes) == (False, None, [])
    assert verdict.summary == f"{beginning}all is calm."


@pytest.mark.parametrize(("ago_s", "told"), [(20, True), (3600, False)])
def test_a_cause_that_is_plain_while_a_young_alert_dips_is_told_and_not_named(ago_s: float, told: bool) -> None:
    """Its level may hover: a service that is half rolled out answers now so, now otherwise."""
    dip = case()
    dip.ops.context.started_at = NOW
    dip.about({"labels": {}, "startsAt": (NOW - dt.timedelta(seconds=ago_s)).isoformat()})
    dip.confirm(False, "all is calm")
    dip.examine("wet", water=5.0)
    dip.examine("hot", heat=10.0)
    verdict = dip.verdict()
    assert (verdict.confirmed, verdict.cause, verdict.plan) == (False, None, None)
    assert [cause.key for cause in verdict.causes] == (["wet"] if told else [])
    if told:
        assert verdict.summary.startswith(
            "Not confirmed: all is calm. Yet there is wet (87 %), because 5.0 mm of water."
        )
        assert "look again" in verdict.summary
        assert "Nobody has to be called" not in dip.message("Wet", None)
        assert "To do by hand" not in dip.message("Wet", None)
    else:
        assert verdict.summary == "Nothing wrong: all is calm."


@pytest.mark.parametrize(
    ("labels", "elsewhere"),
    [
        ({}, []),
        ({"deployment": "derivatives-api", "symbol": "BTC-USD"}, []),
        ({"symbol": "DOGE-USD"}, ["symbol DOGE-USD"]),
        ({"deployment": "other", "symbol": "BTC-USD"}, ["deployment other"]),
        ({"deployment": "a\nb" + 100 * "c"}, ["deployment a b" + 77 * "c" + "..."]),
        ({"pod": "another"}, []),
    ],
)
def test_what_the_alert_names_and_nobody_examined_is_not_called_healthy(
    labels: dict[str, str], elsewhere: list[str]
) -> None:
    dry = case()
    dry.about({"labels": labels}, deployment="deployment/derivatives-api", symbol=["BTC-USD", "ETH-USD"])
    dry.confirm(False, "it is dry")
    verdict = dry.verdict()
    assert verdict.unseen == [f"{one}, which the alert names" for one in elsewhere]
    assert not verdict.confirmed
    assert (verdict.confidence > 0) == (not elsewhere)
    assert verdict.summary.startswith("Not known" if elsewhere else "Nothing wrong: it is dry")
    dry.confirm(True, "it is wet")
    dry.examine("wet", water=5.0)
    dry.examine("hot", heat=10.0)
    assert (dry.verdict().cause, bool(dry.verdict().unseen)) == ("wet", bool(elsewhere))


def test_a_run_by_hand_names_nothing() -> None:
    dry = case()
    dry.about({}, symbol=["BTC-USD"])
    dry.confirm(False, "it is dry")
    assert dry.verdict().unseen == []


def test_a_label_that_is_not_understood_is_not_examined(capsys: pytest.CaptureFixture[str]) -> None:
    dry = case()
    assert dry.about({"labels": {"symbol": ["DOGE-USD"], "severity": None}}, symbol=["BTC-USD"])["labels"] == {}
    assert "label symbol is a list, not a text, and is left out" in capsys.readouterr().out
    dry.confirm(False, "it is dry")
    verdict = dry.verdict()
    assert verdict.unseen == ["label symbol of the alert, which is not a text"]
    assert verdict.confidence < 1


def test_the_display_shows_hostile_text_as_text() -> None:
    evil = "<script>alert(1)</script>"
    verdict = Verdict(confirmed=True, summary=evil, unseen=[evil])
    assert "<script>" not in verdict._repr_html_()


def test_a_verdict_has_no_other_fields() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Verdict.model_validate({"confirmed": True, "summary": "", "approved": True})
