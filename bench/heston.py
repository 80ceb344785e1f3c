"""Heston's model: calibration to 100 quotes, and prices, beside QuantLib where it is and scipy where it is not."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from bench.timing import Row, compare, report
from engine.pricing import calibrate_heston, heston_greeks, heston_price

RATE, DIVIDEND = 0.02, 0.0
EXPIRY_DAYS = (30, 60, 90, 120, 182, 273, 365, 547, 730, 1095)
EASY, HARD = (0.08, 3.0, 0.1, 0.25, -0.8), (0.02, 1.0, 0.06, 1.1, -0.75)  # v0, kappa, theta, sigma, rho
START = (0.2, 1.2, 0.2, 0.3, -0.6)
LAGUERRE = 64


def quotes(n_strikes: int) -> tuple[Any, Any]:
    """Strikes about a spot of 1, and expiries [years], of shape (10 n_strikes,)."""
    expiry = np.repeat(np.array(EXPIRY_DAYS) / 365.0, n_strikes)
    deviations = np.tile(np.linspace(-1.8, 1.8, n_strikes), len(EXPIRY_DAYS))
    return np.exp(deviations * 0.3 * np.sqrt(expiry)), expiry


class QuantLibModel:
    """QuantLib's Heston model and analytic engine over the same quotes."""

    def __init__(self, strike: Any, expiry: Any) -> None:
        import QuantLib as ql  # noqa: N813 - its own name for itself

        self.ql = ql
        self.today = ql.Date(1, 1, 2025)
        ql.Settings.instance().evaluationDate = self.today
        self.days = ql.Actual365Fixed()
        self.rate = ql.YieldTermStructureHandle(ql.FlatForward(self.today, RATE, self.days))
        self.dividend = ql.YieldTermStructureHandle(ql.FlatForward(self.today, DIVIDEND, self.days))
        self.spot = ql.QuoteHandle(ql.SimpleQuote(1.0))
        self.strike, self.expiry = strike, expiry

    def engine(self, model: tuple[float, ...], *, exact: bool = False) -> tuple[Any, Any]:
        """The model, and an engine at fixed nodes or with adaptive quadrature."""
        v0, kappa, theta, sigma, rho = model
        process = self.ql.HestonProcess(self.rate, self.dividend, self.spot, v0, kappa, theta, sigma, rho)
        heston = self.ql.HestonModel(process)
        if exact:
            return heston, self.ql.AnalyticHestonEngine(heston, 1e-13, 1_000_000)
        return heston, self.ql.AnalyticHestonEngine(heston, LAGUERRE)

    def prices(self, model: tuple[float, ...], *, exact: bool = False) -> Any:
        _, engine = self.engine(model, exact=exact)
        found = []
        for strike, expiry in zip(self.strike.tolist(), self.expiry.tolist(), strict=True):
            payoff = self.ql.PlainVanillaPayoff(self.ql.Option.Call, strike)
            exercise = self.ql.EuropeanExercise(self.today + round(expiry * 365.0))
            option = self.ql.VanillaOption(payoff, exercise)
            option.setPricingEngine(engine)
            found.append(option.NPV())
        return np.array(found)

    def calibration(self, price: Any) -> Callable[[], tuple[float, ...]]:
        """Levenberg and Marquardt's method on price differences from `START`, as QuantLib users write it."""
        from engine import implied_volatility

        volatility = np.asarray(implied_volatility(price, 1.0, self.strike, self.expiry, RATE, DIVIDEND, "call"))
        ql = self.ql

        def work() -> tuple[float, ...]:
            heston, engine = self.engine(START)
            helpers = []
            for strike, expiry, level in zip(
                self.strike.tolist(), self.expiry.tolist(), volatility.tolist(), strict=True
            ):
                helper = ql.HestonModelHelper(
                    ql.Period(round(expiry * 365.0), ql.Days),
                    ql.NullCalendar(),
                    1.0,
                    strike,
                    ql.QuoteHandle(ql.SimpleQuote(level)),
                    self.rate,
                    self.dividend,
                    ql.BlackCalibrationHelper.PriceError,
                )
                helper.setPricingEngine(engine)
                helpers.append(helper)
            method = ql.LevenbergMarquardt(1e-14, 1e-14, 1e-14)
            heston.calibrate(helpers, method, ql.EndCriteria(1000, 100, 1e-14, 1e-14, 1e-14))
            theta, kappa, sigma, rho, v0 = heston.params()
            return v0, kappa, theta, sigma, rho

        return work


def plain_calibration(strike: Any, expiry: Any, price: Any) -> Callable[[], tuple[float, ...]]:
    """What one writes with scipy: Lewis's integral at 256 nodes of Gauss and Legendre, differences for a gradient."""
    nodes, weights = np.polynomial.legendre.leggauss(256)
    u, weights = 100.0 * (nodes + 1.0), 100.0 * weights
    p = 0.5 + 1j * u
    turn = np.exp(1j * np.outer(np.log(1.0 / strike) + (RATE - DIVIDEND) * expiry, u))
    scale = np.sqrt(strike * np.exp(-(RATE + DIVIDEND) * expiry)) / math.pi
    days, place = np.unique(expiry, return_inverse=True)

    def residuals(model: Any) -> Any:
        v0, kappa, theta, sigma, rho = model
        t = days[:, None]
        xi = kappa - rho * sigma * p
        d = np.sqrt(xi * xi + sigma * sigma * p * (1.0 - p))
        g, e = (xi - d) / (xi + d), np.exp(-d * t)
        mean = kappa * theta / sigma**2 * ((xi - d) * t - 2.0 * np.log((1.0 - g * e) / (1.0 - g)))
        phi = np.exp(mean + v0 * (xi - d) / sigma**2 * (1.0 - e) / (1.0 - g * e)) * weights / (u * u + 0.25)
        return np.exp(-DIVIDEND * expiry) - scale * (turn * phi[place]).real.sum(axis=1) - price

    def work() -> tuple[float, ...]:
        bounds = ([1e-6, 1e-3, 1e-6, 1e-3, -0.9999], [5.0, 50.0, 5.0, 5.0, 0.9999])
        found = least_squares(
            residuals, START, bounds=bounds, x_scale=np.abs(START), xtol=1e-14, ftol=1e-14, gtol=1e-14
        )
        return tuple(found.x)

    return work


def off(found: tuple[float, ...], truth: tuple[float, ...]) -> float:
    """Largest error of a parameter, relative to it."""
    return max(abs(one - other) / abs(other) for one, other in zip(found, truth, strict=True))


def calibrations() -> list[Row]:
    """One start, the same for everyone; `error` is ours, the note has both."""
    found = []
    strike, expiry = quotes(10)
    for (name, truth), peer_name in itertools.product((("easy", EASY), ("hard", HARD)), ("QuantLib", "scipy")):
        if not importlib.util.find_spec(peer_name):
            continue
        price = np.asarray(heston_price(1.0, strike, expiry, RATE, DIVIDEND, "call", *truth))
        ours = partial(calibrate_heston, 1.0, strike, expiry, RATE, DIVIDEND, "call", price, start=START)
        if peer_name == "QuantLib":
            peer = QuantLibModel(strike, expiry).calibration(price)
        else:
            peer = plain_calibration(strike, expiry, price)
        fit = ours()
        note = (
            f"largest relative error of a parameter: ours {off(fit[:5], truth):.1e}, theirs {off(peer(), truth):.1e}; "
            f"converged {fit.converged}, integration error {fit.integration_error:.0e}"
        )
        error = off(fit[:5], truth)
        found.append(compare(f"calibration, 100 quotes, {name} surface", ours, peer, peer_name, error=error, note=note))
    return found


def prices() -> list[Row]:
    """Calls at ten expiries; greeks beside prices, for want of a peer that has them."""
    found = []
    for n in (100, 10_000):
        strike, expiry = quotes(n // 10)
        ours = partial(heston_price, 1.0, strike, expiry, RATE, DIVIDEND, "call", *HARD)
        figures = partial(heston_greeks, 1.0, strike, expiry, RATE, DIVIDEND, "call", *HARD)
        if importlib.util.find_spec("QuantLib"):
            peer = partial(QuantLibModel(strike, expiry).prices, HARD)
            error = float(np.max(np.abs(np.asarray(ours()) - peer())))
            note = "the difference is theirs: see the last row for their adaptive quadrature"
            found.append(compare(f"{n} prices", ours, peer, "QuantLib", error=error, note=note, rounds=5))
        found.append(compare(f"{n} times price and 10 sensitivities", figures, ours, "our prices alone", rounds=5))
    return found


def agreement() -> list[Row]:
    """Prices of random models against QuantLib's adaptive quadrature; times are of one option."""
    if not importlib.util.find_spec("QuantLib"):
        return []
    rng = np.random.default_rng(4)
    strike, expiry = quotes(2)
    peers = QuantLibModel(strike, expiry)
    worst = 0.0
    for _ in range(50):
        v0, kappa, theta, sigma = np.exp(rng.uniform(np.log([0.01, 0.3, 0.01, 0.1]), np.log([0.4, 6.0, 0.4, 1.2])))
        model = (float(v0), float(kappa), float(theta), float(sigma), float(rng.uniform(-0.9, 0.5)))
        ours = np.asarray(heston_price(1.0, strike, expiry, RATE, DIVIDEND, "call", *model))
        worst = max(worst, float(np.max(np.abs(ours - peers.prices(model, exact=True)))))
    ours_one = partial(heston_price, 1.0, 1.0, 1.0, RATE, DIVIDEND, "call", *EASY)
    one = QuantLibModel(np.array([1.0]), np.array([1.0]))
    note = "difference: the worst of 1000 options of 50 random models, QuantLib with adaptive quadrature"
    return [compare("one price", ours_one, partial(one.prices, EASY), "QuantLib", error=worst, note=note)]


def rows() -> list[Row]:
    """Calibration, then prices."""
    return [*calibrations(), *prices(), *agreement()]


if __name__ == "__main__":
    report("heston", rows)
