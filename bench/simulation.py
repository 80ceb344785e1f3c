"""Simulated paths beside plain numpy, and American options beside QuantLib's engine of the same method, where it is."""

from __future__ import annotations

import importlib.util
import math
from functools import partial
from typing import Any

import numpy as np

from bench.timing import Row, compare, report
from engine.pricing import GBM, Asian, European, Heston, american, european, monte_carlo

N = 100_000
GBM_MODEL = GBM(100.0, 0.05, 0.02, 0.25)
HESTON = Heston(100.0, 0.0, 0.0, 0.0175, 1.5768, 0.0398, 0.5751, -0.5711)
HESTON_PRICE = 5.785155450  # Fang and Oosterlee, one year at the money
PUT = (100.0, 100.0, 1.0, 0.05, 0.03, 0.25)


def plain_european() -> tuple[float, float]:
    """What one writes with numpy: price and standard error."""
    z = np.random.default_rng(1).standard_normal(N)
    drift = (0.05 - 0.02 - 0.5 * 0.25**2) * 1.0
    payoff = math.exp(-0.05) * np.maximum(100.0 * np.exp(drift + 0.25 * z) - 105.0, 0.0)
    return float(payoff.mean()), float(payoff.std() / math.sqrt(N))


def plain_asian() -> tuple[float, float]:
    z = np.random.default_rng(1).standard_normal((N, 12))
    dt = 1.0 / 12.0
    logs = np.cumsum((0.05 - 0.02 - 0.5 * 0.25**2) * dt + 0.25 * math.sqrt(dt) * z, axis=1)
    payoff = math.exp(-0.05) * np.maximum(100.0 * np.exp(logs).mean(axis=1) - 100.0, 0.0)
    return float(payoff.mean()), float(payoff.std() / math.sqrt(N))


def plain_heston() -> tuple[float, float]:
    """Full truncation of Euler's scheme, the usual few lines."""
    rng, steps = np.random.default_rng(1), 32
    dt = 1.0 / steps
    logs, v = np.zeros(N), np.full(N, HESTON.v0)
    for _ in range(steps):
        one, other = rng.standard_normal(N), rng.standard_normal(N)
        positive = np.maximum(v, 0.0)
        root = np.sqrt(positive * dt)
        logs += -0.5 * positive * dt + root * (HESTON.rho * one + math.sqrt(1.0 - HESTON.rho**2) * other)
        v += HESTON.kappa * (HESTON.theta - positive) * dt + HESTON.sigma * root * one
    payoff = np.maximum(100.0 * np.exp(logs) - 100.0, 0.0)
    return float(payoff.mean()), float(payoff.std() / math.sqrt(N))


def quantlib_put() -> Any:
    """QuantLib's engine of the same method, in its accurate scheme; the option is kept, the spot moves."""
    import QuantLib as ql  # noqa: N813 - as its own examples do

    today = ql.Date(1, 1, 2025)
    ql.Settings.instance().evaluationDate = today
    spot, strike, _, rate, dividend, volatility = PUT
    count = ql.Actual365Fixed()
    quote = ql.SimpleQuote(spot)
    process = ql.BlackScholesMertonProcess(
        ql.QuoteHandle(quote),
        ql.YieldTermStructureHandle(ql.FlatForward(today, dividend, count)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, rate, count)),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), volatility, count)),
    )
    exercise = ql.AmericanExercise(today, today + 365)
    option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Put, strike), exercise)
    option.setPricingEngine(ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.accurateScheme()))
    bump = [0.0]

    def work() -> float:
        bump[0] = 1e-9 - bump[0]  # a quote that does not move would return what is remembered
        quote.setValue(spot + bump[0])
        return float(option.NPV())

    return work


def rows() -> list[Row]:
    """Paths by model, then one American option."""
    exact = european(100.0, 105.0, 1.0, 0.05, 0.02, 0.25, "call").price
    asian = monte_carlo(Asian(100.0, 1.0, "call", n_fixings=12), GBM_MODEL, 1 << 22, 9).price
    cases: tuple[tuple[str, Any, Any, Any, float], ...] = (
        ("GBM, European", European(105.0, 1.0, "call"), GBM_MODEL, plain_european, exact),
        ("GBM, Asian of 12 fixings", Asian(100.0, 1.0, "call", n_fixings=12), GBM_MODEL, plain_asian, asian),
        ("Heston, European, 32 steps", European(100.0, 1.0, "call"), HESTON, plain_heston, HESTON_PRICE),
    )
    found = []
    for case, payoff, model, peer, _ in cases:
        _, error = peer()
        n = 64
        while (result := monte_carlo(payoff, model, n, 1)).standard_error > error:
            n *= 2
        note = f"{result.n_paths} paths for numpy's {N}"
        ours = partial(monte_carlo, payoff, model, n, 1)
        found.append(compare(f"{case}, to the same standard error", ours, peer, "numpy", note=note))
    for case, payoff, model, peer, price in cases:
        for sampling in ("pseudo", "sobol"):
            ours = partial(monte_carlo, payoff, model, N, 1, sampling=sampling)
            result, (theirs, error) = ours(), peer()
            note = (
                f"{result.n_paths} paths; standard error {result.standard_error:.1e}, numpy's {error:.1e}; "
                f"off by {abs(result.price - price):.1e} and {abs(theirs - price):.1e}"
            )
            name = "numpy" if model is GBM_MODEL else "numpy, Euler's scheme"
            off = abs(result.price - price) / price
            found.append(compare(f"{case}, {N} paths, {sampling}", ours, peer, name, error=off, note=note))
    if importlib.util.find_spec("QuantLib"):
        work = quantlib_put()
        best = american(*PUT, "put", tolerance=1e-13).price
        for tolerance in (1e-8, 1e-10):
            ours = partial(american, *PUT, "put", tolerance=tolerance)
            one = ours()
            note = (
                f"ours is off by {abs(one.price - best):.0e}, says {one.error_estimate:.0e}, and has Greeks; "
                f"QuantLib's accurate scheme, price alone, is off by {abs(work() - best):.0e}"
            )
            off = abs(one.price - work()) / best
            found.append(compare(f"American put, to {tolerance:g}", ours, work, "QuantLib", error=off, note=note))
    return found


if __name__ == "__main__":
    report("simulation", rows)
