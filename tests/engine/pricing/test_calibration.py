"""Calibration of Heston's model: recovery, gradient, honesty about what the quotes do not say, and bad input."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from engine import InvalidInput, NotFinite, european
from engine.pricing import HestonFit, calibrate_heston, heston_price
from engine.pricing._calibration_search import HIGH, LOW, descend, search, spread
from engine.pricing._calibration_surface import surface
from engine.pricing._heston_slices import checked

# Cui, del Bano Rollin and Germano (2017), table 5 and section 5.1: strikes by expiry in days of 252, truth and start
EXPIRIES = np.array([30, 60, 90, 120, 150, 180, 252, 360]) / 252.0
STRIKES = np.array(
    [
        [0.9371, 0.8603, 0.8112, 0.7760, 0.7470, 0.7216, 0.6699, 0.6137],
        [0.9956, 0.9868, 0.9728, 0.9588, 0.9464, 0.9358, 0.9175, 0.9025],
        [1.0427, 1.0463, 1.0499, 1.0530, 1.0562, 1.0593, 1.0663, 1.0766],
        [1.2287, 1.2399, 1.2485, 1.2659, 1.2646, 1.2715, 1.2859, 1.3046],
        [1.3939, 1.4102, 1.4291, 1.4456, 1.4603, 1.4736, 1.5005, 1.5328],
    ]
)
TRUTH = (0.08, 3.0, 0.1, 0.25, -0.8)
START = (0.2, 1.2, 0.2, 0.3, -0.6)
CUI: dict[str, Any] = {
    "spot": 1.0,
    "strike": STRIKES,
    "expiry": EXPIRIES,
    "rate": 0.02,
    "dividend": 0.0,
    "kind": "call",
}

MODEL = (0.04, 1.5, 0.06, 0.5, -0.7)
GRID: dict[str, Any] = {
    "spot": 100.0,
    "strike": np.linspace(75.0, 130.0, 9)[:, None],
    "expiry": np.array([0.1, 0.4, 1.0, 2.5]),
    "rate": 0.03,
    "dividend": 0.01,
    "kind": np.where(np.linspace(75.0, 130.0, 9) > 100.0, 1.0, -1.0)[:, None],
}


def prices(quotes: dict[str, Any], model: tuple[float, ...]) -> Any:
    return np.asarray(heston_price(*quotes.values(), *model))


def noisy(seed: int, size: float = 0.02) -> Any:
    exact = prices(GRID, MODEL)
    return np.maximum(exact + size * np.random.default_rng(seed).standard_normal(exact.shape), 0.0)


@pytest.mark.parametrize("start", [None, START])
def test_forty_quotes_of_the_paper_give_their_parameters_back(start: Any) -> None:
    fit = calibrate_heston(**CUI, price=prices(CUI, TRUTH), start=start)
    assert fit[:5] == pytest.approx(TRUTH, rel=1e-9)
    assert fit.converged
    assert fit.feller
    assert fit.rmse < 1e-12
    assert fit.integration_error < 1e-13


@pytest.mark.parametrize(
    "model",
    [
        (0.3, 8.0, 0.05, 1.8, -0.95),
        (0.01, 0.3, 0.2, 0.2, 0.6),
        (0.01, 1.0, 0.04, 4.0, -0.9),
        (0.0005, 5.0, 0.3, 1.0, -0.5),
        (0.04, 0.05, 0.04, 0.05, 0.0),
        (0.04, 1.5, 0.06, 0.5, -0.999),
    ],
)
def test_hard_surfaces_give_their_parameters_back(model: tuple[float, ...]) -> None:
    fit = calibrate_heston(**GRID, price=prices(GRID, model))
    assert fit[:5] == pytest.approx(model, rel=1e-6, abs=1e-8)
    assert fit.converged
    assert fit.feller == (2.0 * model[1] * model[2] >= model[3] ** 2)


@pytest.mark.slow
def test_two_hundred_random_surfaces_give_their_parameters_back() -> None:
    rng = np.random.default_rng(17)
    for _ in range(200):
        model = (*np.exp(rng.uniform(np.log([0.005, 0.2, 0.005, 0.1]), np.log([0.6, 10.0, 0.6, 2.0]))),)
        model = (*map(float, model), float(rng.uniform(-0.95, 0.7)))
        fit = calibrate_heston(**GRID, price=prices(GRID, model))
        assert not fit.converged or fit[:5] == pytest.approx(model, rel=1e-4, abs=1e-6)
        assert fit.converged


@pytest.mark.parametrize("seed", range(4))
def test_noise_leaves_the_optimum_stationary_and_no_worse_than_the_truth(seed: int) -> None:
    quoted = noisy(seed)
    fit = calibrate_heston(**GRID, price=quoted)
    assert fit.converged
    assert fit.n_starts >= 4
    assert fit.sse <= float(np.sum((quoted - prices(GRID, MODEL)) ** 2))
    assert fit.sse == pytest.approx(float(np.sum((quoted - prices(GRID, fit[:5])) ** 2)), rel=1e-9)
    assert fit.rmse == pytest.approx(math.sqrt(fit.sse / quoted.size))
    for place, step in itertools.product(range(5), (-1e-3, 1e-3)):
        moved = list(fit[:5])
        moved[place] *= 1.0 + step
        assert float(np.sum((quoted - prices(GRID, tuple(moved))) ** 2)) > fit.sse


def test_the_optimum_agrees_with_scipys_least_squares() -> None:
    from scipy.optimize import least_squares

    quoted = noisy(9)
    fit = calibrate_heston(**GRID, price=quoted)
    peer = least_squares(
        lambda model: (prices(GRID, tuple(model)) - quoted).ravel(),
        MODEL,
        bounds=(LOW, HIGH),
        x_scale=np.abs(MODEL),
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
    )
    assert fit.sse == pytest.approx(2.0 * peer.cost, rel=1e-9)
    assert fit[:5] == pytest.approx(peer.x, rel=1e-4)


def test_the_gradient_is_that_of_the_residuals() -> None:
    quotes = {key: value for key, value in GRID.items() if key != "kind"}
    options = checked("cpu", GRID["kind"], **quotes, v0=0.5, kappa=0.5, theta=0.5, sigma=0.5, rho=0.5)
    weights = np.linspace(0.5, 2.0, 36)
    asked = surface(options, prices(GRID, MODEL).ravel(), weights)
    model = np.array([0.07, 2.2, 0.09, 0.8, -0.4])
    residuals, gradient = asked.residuals(model)
    expected = np.sort(weights * (prices(GRID, tuple(model)) - prices(GRID, MODEL)).ravel())
    np.testing.assert_allclose(np.sort(residuals), expected, atol=1e-11)
    for place in range(5):
        step = 1e-3 * model[place] * np.eye(5)[place]
        a, b, c, d = (asked.residuals(model + k * step)[0] for k in (-2, -1, 1, 2))
        slope = (a - 8.0 * b + 8.0 * c - d) / (12.0 * step[place])
        np.testing.assert_allclose(gradient[:, place], slope, rtol=1e-7, atol=1e-7)


def test_weights_multiply_residuals_and_zero_leaves_a_quote_out() -> None:
    quoted = noisy(1)
    weights = np.random.default_rng(2).uniform(0.2, 3.0, quoted.shape)
    fit = calibrate_heston(**GRID, price=quoted, weights=weights)
    assert fit.sse == pytest.approx(float(np.sum((weights * (quoted - prices(GRID, fit[:5]))) ** 2)), rel=1e-9)
    scaled = calibrate_heston(**GRID, price=quoted, weights=10.0 * weights)
    assert scaled[:5] == pytest.approx(fit[:5], rel=1e-5)
    assert scaled.sse == pytest.approx(100.0 * fit.sse)

    absurd, masked = quoted.copy(), np.ones(quoted.shape)
    absurd[0, 0], masked[0, 0] = 1e6, 0.0
    kept = {key: np.broadcast_to(value, quoted.shape).ravel()[1:] for key, value in GRID.items()}
    without = calibrate_heston(**kept, price=quoted.ravel()[1:])
    fit = calibrate_heston(**GRID, price=absurd, weights=masked)
    assert fit[:5] == pytest.approx(without[:5], rel=1e-6)
    assert (fit.sse, fit.rmse) == pytest.approx((without.sse, without.rmse))


def test_an_earlier_fit_is_a_start() -> None:
    before = calibrate_heston(**GRID, price=noisy(3))
    after = calibrate_heston(**GRID, price=noisy(4), start=before)
    assert after.converged
    assert after[:5] == pytest.approx(calibrate_heston(**GRID, price=noisy(4))[:5], rel=1e-4)


def test_a_start_far_away_does_not_end_in_a_wrong_optimum_that_is_called_right() -> None:
    quoted = noisy(5)
    best = calibrate_heston(**GRID, price=quoted)
    for start in ((5.0, 50.0, 5.0, 10.0, 0.9), (1e-5, 0.01, 1e-5, 0.01, 0.9), (1.0, 0.1, 1e-4, 5.0, 0.0)):
        fit = calibrate_heston(**GRID, price=quoted, start=start)
        assert not fit.converged or fit.sse == pytest.approx(best.sse, rel=1e-3)


@pytest.mark.parametrize(
    ("quotes", "model"),
    [
        ({"expiry": 0.4}, MODEL),  # one smile does not tell kappa from theta
        ({"strike": 100.0, "kind": "call"}, MODEL),  # four quotes for five parameters
        ({"strike": 100.0, "kind": "call", "expiry": 1.0}, MODEL),
        ({}, (0.04, 1.5, 0.04, 0.0, 0.0)),  # no smile: kappa and rho do not matter
    ],
    ids=["one expiry", "four quotes", "one quote", "no smile"],
)
def test_what_the_quotes_do_not_determine_is_not_called_converged(quotes: Any, model: Any) -> None:
    asked = {**GRID, **quotes}
    fit = calibrate_heston(**asked, price=prices(asked, model))
    assert not fit.converged
    assert fit.rmse < 1e-6


def test_quotes_of_no_model_are_not_called_converged() -> None:
    # every quote at one volatility but for the two ends of the last smile, the wrong way round
    black = np.array(european(100.0, GRID["strike"], GRID["expiry"], 0.03, 0.01, 0.2, GRID["kind"]).price)
    black[0, 3] *= 3.0
    black[-1, 0] += 5.0
    fit = calibrate_heston(**GRID, price=black)
    assert not fit.converged
    assert fit.rmse > 0.1


def test_a_parameter_on_a_bound_is_not_called_converged() -> None:
    """A smile steeper than any correlation gives."""
    asked = {**GRID, "strike": np.linspace(85.0, 115.0, 9)[:, None]}
    moneyness = np.log(asked["strike"] / 100.0)
    price = european(100.0, asked["strike"], asked["expiry"], 0.03, 0.01, 0.2 - 0.45 * moneyness, asked["kind"]).price
    fit = calibrate_heston(**asked, price=price)
    at_bound = any(value in (low, high) for value, low, high in zip(fit[:5], LOW, HIGH, strict=True))
    assert at_bound
    assert not fit.converged


def test_descent_of_a_known_problem() -> None:
    """Rosenbrock's valley in the first two parameters, straight in the rest."""

    def residuals(model: Any) -> Any:
        a, b = model[0], model[1]
        value = np.array([10.0 * (b - a * a), 1.0 - a, model[2] - 2.0, model[3] - 3.0, model[4] - 0.5])
        slope = np.diag([0.0, 0.0, 1.0, 1.0, 1.0])
        slope[0, :2], slope[1, 0] = (-20.0 * a, 10.0), -1.0
        return value, slope

    found = descend(residuals, np.array([0.5, 3.0, 0.5, 0.5, 0.0]), 1e-28)
    np.testing.assert_allclose(found.model, [1.0, 1.0, 2.0, 3.0, 0.5], rtol=1e-12)
    assert found.stationary
    assert not found.bound


def test_rival_optima_are_told() -> None:
    """Two valleys equally deep: starts end in both, and the search does not confirm either."""

    def residuals(model: Any) -> Any:
        value = np.append(model[0] ** 2 - 3.0 * model[0] + 1.5, np.append(model[1:] - 0.5, 0.1))
        slope = np.vstack([np.eye(5), np.zeros(5)])
        slope[0, 0] = 2.0 * model[0] - 3.0
        return value, slope

    starts = (np.array([first, 1.0, 1.0, 1.0, 0.0]) for first in (0.1, 2.9, 0.2, 2.8))
    found, confirmed = search(residuals, starts, 0.0)
    assert len(found) == 4
    assert not confirmed


def test_starts_fill_their_box() -> None:
    starts = np.array(list(itertools.islice(spread(0.04), 64)))
    assert ((starts > LOW) & (starts < HIGH)).all()
    assert len(np.unique(starts.round(12), axis=0)) == 64
    assert starts[:, 4].min() < -0.85
    assert starts[:, 4].max() > 0.3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"price": [30.0, 30.0, -1.0, 30.0]}, InvalidInput, r"price\[0, 2\]: is -1.0; no arbitrage allows"),
        ({"price": 101.0}, InvalidInput, r"price\[0, 0\]: is 101.0; no arbitrage allows"),
        ({"price": math.nan}, NotFinite, r"price: is nan; every value must be finite"),
        ({"price": "free"}, InvalidInput, r"price: must hold numbers only"),
        ({"price": []}, InvalidInput, r"price: has shape \(0,\)"),
        ({"price": [], "strike": [], "expiry": 1.0, "kind": 1}, InvalidInput, r"price: is empty"),
        ({"expiry": [0.1, 0.0, 1.0, 2.0]}, InvalidInput, r"expiry\[1\]: is 0.0; must be above 0"),
        ({"spot": 0.0}, InvalidInput, r"spot: is 0.0; must be above 0"),
        ({"strike": -5.0}, InvalidInput, r"strike: is -5.0; must be above 0"),
        ({"kind": "straddle"}, InvalidInput, r"kind: is 'straddle'"),
        ({"weights": [1.0, 1.0, -2.0, 1.0]}, InvalidInput, r"weights\[2\]: is -2.0; must be at least 0"),
        ({"weights": 0.0}, InvalidInput, r"weights: leaves no quote to fit"),
        ({"weights": [1.0, 2.0]}, InvalidInput, r"weights: has shape \(2,\)"),
        ({"start": [0.04, 1.0]}, InvalidInput, r"start: has 2 values; must be v0, kappa, theta, sigma, rho"),
        ({"start": [0.04, 1.0, 0.04, 0.5, 1.5]}, InvalidInput, r"start\[4\]: is 1.5; is outside what is searched"),
        ({"start": [0.04, math.nan, 0.04, 0.5, 0.5]}, NotFinite, r"start\[1\]: is nan"),
    ],
)
def test_bad_input_names_the_argument_and_the_place(change: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        calibrate_heston(**{**GRID, "price": 20.0, **change})


def test_the_result_is_made_of_plain_values() -> None:
    fit = calibrate_heston(**GRID, price=prices(GRID, MODEL))
    assert isinstance(fit, HestonFit)
    assert [type(value) for value in fit] == [float] * 7 + [bool, bool, float, int]
