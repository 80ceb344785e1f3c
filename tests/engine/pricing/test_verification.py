"""Served Greeks: verdicts, reasons, and what would explain them."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Greeks, InvalidInput, NotFinite, european
from engine.pricing import verify_greeks
from engine.pricing._references import finite_differences, simulated
from engine.pricing.verification import _doubt, _judge

REQUEST: dict[str, Any] = {
    "spot": 100.0,
    "strike": 105.0,
    "expiry": 0.5,
    "rate": 0.03,
    "dividend": 0.01,
    "volatility": 0.25,
    "kind": "call",
}
RIGHT = european(**REQUEST)


def served(**changes: Any) -> Greeks:
    """What a desk would serve with other inputs."""
    return european(**{**REQUEST, **changes})


def test_right_figures_agree_in_three_ways() -> None:
    found = verify_greeks(RIGHT, REQUEST)
    assert found.verdict == "agrees"
    assert found.explanations == ()
    assert found.sentence == "All 9 figures that were checked agree"
    assert [check.name for check in found.checks] == list(Greeks._fields)
    for check in found.checks:
        assert check.verdict == "agrees"
        assert check.finite_difference == pytest.approx(check.closed_form, rel=1e-9)
        assert abs(check.monte_carlo - check.closed_form) <= 4.0 * check.standard_error
        assert 0.0 < check.standard_error < 1e-3 * abs(check.closed_form)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.7, 0.7),
    st.floats(-5.0, 2.0),
    st.floats(-0.03, 0.12),
    st.floats(-0.03, 0.12),
    st.floats(-3.0, 0.7),
    st.sampled_from(["call", "put"]),
)
def test_the_ways_agree_wherever(
    moneyness: float, log_expiry: float, rate: float, dividend: float, log_volatility: float, kind: str
) -> None:
    request = {
        "spot": 100.0 * math.exp(moneyness),
        "strike": 100.0,
        "expiry": math.exp(log_expiry),
        "rate": rate,
        "dividend": dividend,
        "volatility": math.exp(log_volatility),
        "kind": kind,
    }
    found = verify_greeks(european(**request), request, n_paths=4_096)  # type: ignore[arg-type]
    assert [check.verdict for check in found.checks] == ["agrees"] * 9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_simulated_greeks_are_within_four_standard_errors(sign: float) -> None:
    arguments = (90.0, 100.0, 1.5, 0.04, 0.02, 0.35, sign)
    exact = np.array(european(*arguments))
    for seed in range(20):
        means, errors = simulated(*arguments, 8_192, seed)
        assert (np.abs(means - exact) <= 4.5 * errors).all()
    np.testing.assert_allclose(finite_differences(*arguments), exact, rtol=1e-10)


@pytest.mark.parametrize(
    ("figures", "name", "phrase"),
    [
        ({"rho": -RIGHT.rho}, "rho", "it has the opposite sign"),
        ({"vega": RIGHT.vega / 100.0}, "vega", "it is per 1 %, not per 1.0"),
        ({"rho": RIGHT.rho / 1e4}, "rho", "it is per basis point, not per 1.0"),
        ({"theta": RIGHT.theta / 365.0}, "theta", "it is per calendar day, not per year"),
        ({"theta": -RIGHT.theta / 252.0}, "theta", "it is per trading day, not per year, with the opposite sign"),
        ({"charm": RIGHT.charm / 365.0}, "charm", "it is per calendar day, not per year"),
        ({"delta": RIGHT.delta * 100.0}, "delta", "it is in percent"),
        ({"delta": RIGHT.delta - RIGHT.price / 100.0}, "delta", "adjusted for a premium paid in the underlying"),
        ({"delta": RIGHT.delta * math.exp(0.005)}, "delta", "it is the delta of the forward"),
        ({"gamma": RIGHT.gamma * 100.0}, "gamma", "in currency per 1 % of the spot"),
        ({"volga": RIGHT.volga * 1e-4}, "volga", "per 1 % of volatility twice"),
        ({"delta": served(kind="put").delta}, "delta", "it is that of the put"),
        ({"gamma": RIGHT.gamma * 1.02}, "gamma", "it is off by 0.000445, and 2.2e-06 is allowed"),
    ],
)
def test_a_wrong_convention_is_named(figures: dict[str, float], name: str, phrase: str) -> None:
    request = {**REQUEST, "spot": 101.0} if "currency" in phrase else REQUEST
    if "currency" in phrase:
        figures = {"gamma": european(**request).gamma * 0.01 * 101.0**2}
    found = verify_greeks(figures, request)
    assert found.verdict == "differs"
    assert phrase in found[name].sentence
    assert {check.verdict for check in found.checks if check.name != name} == {"not-checked"}


def test_the_rho_of_a_known_library_is_found_out() -> None:
    """py_vollib_vectorized: minus 10.45 in place of 53.23, which no convention explains."""
    request = {**REQUEST, "strike": 100.0, "expiry": 1.0, "rate": 0.05, "dividend": 0.0, "volatility": 0.2}
    found = verify_greeks({"rho": -10.45}, request)["rho"]
    assert found.verdict == "differs"
    assert found.closed_form == pytest.approx(53.2325, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"volatility": 0.22}, "all 9 served figures fit volatility 0.22, where the request says 0.25"),
        ({"spot": 101.3}, "all 9 served figures fit spot 101.3, where the request says 100"),
        ({"rate": 0.05}, "all 9 served figures fit rate 0.05, where the request says 0.03"),
        ({"dividend": 0.0}, "all 9 served figures fit dividend"),
        ({"expiry": 0.45}, "all 9 served figures fit expiry 0.45, where the request says 0.5"),
        ({"strike": 110.0}, "all 9 served figures fit strike 110, where the request says 105"),
        ({"kind": "put"}, "all 9 served figures are those of the put"),
    ],
)
def test_one_other_input_is_found(changes: dict[str, Any], sentence: str) -> None:
    found = verify_greeks(served(**changes), REQUEST)
    assert found.verdict == "differs"
    assert found.explanations[0].startswith(sentence)
    assert found.explanations[0] in found.sentence


def test_two_figures_are_enough_for_an_explanation_and_one_is_not() -> None:
    stale = served(volatility=0.3)
    both = verify_greeks({"delta": stale.delta, "gamma": stale.gamma}, REQUEST)
    assert any("volatility 0.3," in sentence for sentence in both.explanations)
    assert verify_greeks({"delta": stale.delta}, REQUEST).explanations == ()


def test_a_multiplier_is_found() -> None:
    found = verify_greeks({name: 10.0 * figure for name, figure in RIGHT._asdict().items()}, REQUEST)
    assert found.explanations == (
        "all 9 served figures are 10 times what they should be: a multiplier, or a number of contracts",
    )


def test_what_nothing_explains_is_left_so() -> None:
    found = verify_greeks(RIGHT._replace(delta=RIGHT.delta + 0.01, vega=RIGHT.vega * 1.1), REQUEST)
    assert found.explanations == ()
    assert found.sentence == "2 of 9 checked figures differ: delta, vega"


def test_figures_that_are_missing_or_no_numbers_have_their_verdict() -> None:
    figures = {"price": None, "delta": math.nan, "gamma": "0.02", "vega": math.inf, "theta": True, "rho": [1.0]}
    found = verify_greeks({**figures, "vanna": Decimal(repr(RIGHT.vanna)), "volga": np.float32(RIGHT.volga)}, REQUEST)
    verdicts = [check.verdict for check in found.checks]
    assert verdicts == ["not-checked", *["differs"] * 5, "agrees", "agrees", "not-checked"]
    assert found["delta"].sentence.startswith("delta is served as nan, which is no number")
    assert found["price"].sentence == "price was not served"
    assert found.sentence == "5 of 7 checked figures differ: delta, gamma, vega, theta, rho"


@pytest.mark.parametrize("figures", [{}, {"delta": None}])
def test_without_figures_nothing_is_checked(figures: dict[str, Any]) -> None:
    found = verify_greeks(figures, REQUEST)
    assert found.verdict == "not-checked"
    assert found.sentence.startswith("Nothing was checked")


@pytest.mark.parametrize("changes", [{"expiry": 0.0, "strike": 100.0}, {"volatility": 0.0}, {"spot": 0.0}])
def test_at_a_limit_the_closed_form_stands_alone(changes: dict[str, Any]) -> None:
    request = {**REQUEST, **changes}
    right = european(**request)
    found = verify_greeks(right, request)
    assert found.verdict == "agrees"
    assert all(math.isnan(check.finite_difference) and math.isnan(check.monte_carlo) for check in found.checks)
    wrong = verify_greeks({"delta": 0.7, "gamma": 1.0}, request)
    assert (wrong["delta"].verdict, wrong["gamma"].verdict) == ("differs", "differs")


@pytest.mark.parametrize(
    ("ways", "reason"),
    [
        ((28.107, 27.829, 27.830, 0.001), "closed form 28.107 and finite differences 27.829 disagree"),
        ((27.829, 27.829, 27.9, 0.001), "closed form 27.829 and simulation 27.9 +- 0.001 disagree"),
        ((27.829, 27.829, 27.83, 0.001), ""),
    ],
)
def test_a_closed_form_that_the_others_contradict_is_no_judge(ways: Any, reason: str) -> None:
    doubt = _doubt(ways, 28.0)
    assert doubt == reason
    verdict, sentence = _judge("vega", 27.829, ways[0], 0.003, doubt, tuple(RIGHT[:7]))  # type: ignore[arg-type]
    assert verdict == ("not-checked" if reason else "agrees")
    assert reason in sentence


def test_the_tolerance_is_the_callers() -> None:
    rounded = {"delta": round(RIGHT.delta, 3), "gamma": round(RIGHT.gamma, 4)}
    assert verify_greeks(rounded, REQUEST).verdict == "differs"
    assert verify_greeks(rounded, REQUEST, tolerance=1e-2).verdict == "agrees"
    mixed = verify_greeks(rounded, REQUEST, tolerance={"gamma": 1e-2})
    assert (mixed["delta"].verdict, mixed["gamma"].verdict) == ("differs", "agrees")
    assert mixed["gamma"].allowed == pytest.approx(1e-2 * RIGHT.gamma, rel=0.02)


def test_the_seed_decides() -> None:
    one, same, other = (verify_greeks(RIGHT, REQUEST, seed=seed)["delta"].monte_carlo for seed in (1, 1, 2))
    assert one == same != other


def test_a_greek_that_does_not_exist_is_no_key() -> None:
    with pytest.raises(KeyError, match="speed"):
        verify_greeks(RIGHT, REQUEST)["speed"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((RIGHT, {"spot": 1.0}), InvalidInput, "request: lacks strike, expiry, rate, dividend, volatility, kind"),
        ((RIGHT, {**REQUEST, "vol": 0.2}), InvalidInput, r"request: has vol, which european\(\) does not know"),
        ((RIGHT, "spot=100"), InvalidInput, "request: is of type str; must map the names spot, strike"),
        ((RIGHT, {**REQUEST, "spot": math.nan}), NotFinite, "spot: is nan"),
        ((RIGHT, {**REQUEST, "spot": -1.0}), InvalidInput, "spot: is -1.0"),
        ((RIGHT, {**REQUEST, "spot": [1.0, 2.0]}), InvalidInput, "spot: must be one number"),
        ((RIGHT, {**REQUEST, "spot": "100"}), InvalidInput, "spot: must be one number"),
        ((RIGHT, {**REQUEST, "kind": "digital"}), InvalidInput, "kind: is 'digital'"),
        ((RIGHT, {**REQUEST, "kind": 2}), InvalidInput, "kind: is 2.0"),
        (({"speed": 1.0}, REQUEST), InvalidInput, "served: has speed; the Greeks are price, delta"),
        ((0.5, REQUEST), InvalidInput, "served: is of type float"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments: tuple[Any, ...], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        verify_greeks(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance: is 0.0"),
        ({"tolerance": {"speed": 0.1}}, "tolerance: has speed"),
        ({"tolerance": {"delta": 2.0}}, "tolerance of delta: is 2.0"),
        ({"n_paths": 0}, "n_paths: is 0"),
        ({"seed": "x"}, "seed: is 'x'"),
        ({"device": "gpu"}, "device: is 'gpu'"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        verify_greeks(RIGHT, REQUEST, **options)
