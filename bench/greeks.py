"""Price and eight Greeks: one request and a million options, beside numpy with scipy, QuantLib and fast-vollib."""

from __future__ import annotations

import importlib.util
import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from bench.timing import Row, compare, report
from engine import european

ONE = (100.0, 105.0, 0.5, 0.03, 0.01, 0.25)
SLOWEST = 100.0  # us, wanted of 999 requests in 1,000
SIZES = (1_000, 100_000, 1_000_000)
PUBLISHED = 1_522_000.0  # us, py_vollib_vectorized 0.1.1, price and 5 Greeks of 1M options on 2 cores (Zen 4)


def book(n: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(1)
    ranges = ((50, 150), (50, 150), (0.02, 3.0), (0.0, 0.08), (0.0, 0.04), (0.05, 1.2))
    return (*(rng.uniform(*bounds, n) for bounds in ranges), np.where(rng.random(n) < 0.5, 1.0, -1.0))


def plain(spot: Any, strike: Any, expiry: Any, rate: Any, dividend: Any, volatility: Any, sign: Any) -> tuple[Any, ...]:
    """What one writes with numpy and scipy; the same nine figures."""
    root = np.sqrt(expiry)
    s = volatility * root
    d1 = (np.log(spot / strike) + (rate - dividend) * expiry) / s + 0.5 * s
    d2 = d1 - s
    growth = np.exp(-dividend * expiry)
    own, owed = spot * growth * ndtr(sign * d1), strike * np.exp(-rate * expiry) * ndtr(sign * d2)
    density = growth * np.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    vega = spot * density * root
    theta = -0.5 * vega * volatility / expiry + sign * (dividend * own - rate * owed)
    charm = sign * dividend * own / spot - density * ((rate - dividend) / s - 0.5 * d2 / expiry)
    return (
        sign * (own - owed),
        sign * own / spot,
        density / (spot * s),
        vega,
        theta,
        sign * expiry * owed,
        -density * d2 / volatility,
        vega * d1 * d2 / volatility,
        charm,
    )


def difference(ours: Any, theirs: Any) -> float:
    """Largest difference, relative to the largest of each figure."""
    return max(
        float(np.max(np.abs(np.asarray(mine) - other)) / np.max(np.abs(other)))
        for mine, other in zip(ours, theirs, strict=True)
    )


def calculator() -> Any:
    """One option with QuantLib's calculator, its quickest way from Python; price and the five Greeks that it has."""
    import QuantLib

    spot, strike, expiry, rate, dividend, volatility = ONE
    growth, discount = math.exp(-dividend * expiry), math.exp(-rate * expiry)
    payoff = QuantLib.PlainVanillaPayoff(QuantLib.Option.Call, strike)

    def work() -> tuple[float, ...]:
        forward = spot * growth / discount
        found = QuantLib.BlackCalculator(payoff, forward, volatility * math.sqrt(expiry), discount)
        return (
            found.value(),
            found.delta(spot),
            found.gamma(spot),
            found.vega(expiry),
            found.theta(spot, expiry),
            found.rho(expiry),
        )

    return work


def instrument() -> Any:
    """One option with an instrument of QuantLib's that is there already, and whose spot is new at each request."""
    import QuantLib

    today = QuantLib.Date(1, 1, 2026)
    QuantLib.Settings.instance().evaluationDate = today
    day_count = QuantLib.Actual365Fixed()
    spot, strike, expiry, rate, dividend, volatility = ONE
    quote = QuantLib.SimpleQuote(spot)
    process = QuantLib.BlackScholesMertonProcess(
        QuantLib.QuoteHandle(quote),
        QuantLib.YieldTermStructureHandle(QuantLib.FlatForward(today, dividend, day_count)),
        QuantLib.YieldTermStructureHandle(QuantLib.FlatForward(today, rate, day_count)),
        QuantLib.BlackVolTermStructureHandle(
            QuantLib.BlackConstantVol(today, QuantLib.NullCalendar(), volatility, day_count)
        ),
    )
    exercise = QuantLib.EuropeanExercise(today + round(365 * expiry))
    option = QuantLib.VanillaOption(QuantLib.PlainVanillaPayoff(QuantLib.Option.Call, strike), exercise)
    option.setPricingEngine(QuantLib.AnalyticEuropeanEngine(process))
    turn = 0

    def work() -> tuple[float, ...]:
        nonlocal turn
        turn += 1
        quote.setValue(spot + 1e-9 * (turn % 2))
        return option.NPV(), option.delta(), option.gamma(), option.vega(), option.theta(), option.rho()

    return work


def fast_vollib(columns: tuple[Any, ...], backend: str) -> Any:
    """Price and five Greeks by fast-vollib, in the units of `european`."""
    from fast_vollib import fast_black_scholes_merton, get_all_greeks

    spot, strike, expiry, rate, dividend, volatility, sign = columns
    flag = np.where(sign > 0.0, "c", "p")

    def work() -> tuple[Any, ...]:
        price = fast_black_scholes_merton(
            flag, spot, strike, expiry, rate, volatility, dividend, return_as="numpy", backend=backend
        )
        found = get_all_greeks(
            flag, spot, strike, expiry, rate, volatility, dividend,
            model="black_scholes_merton", return_as="dict", backend=backend,
        )  # fmt: skip
        return price, *(found[name] for name in ("delta", "gamma", "vega", "theta", "rho"))

    return work


def in_their_units(greeks: Any) -> tuple[Any, ...]:
    """Price and five Greeks as fast-vollib gives them: vega and rho for a hundredth, theta for a day."""
    price, delta, gamma, vega, theta, rho = greeks[:6]
    return price, delta, gamma, vega / 100.0, theta / 365.0, rho / 100.0


def tail(requests: int = 100_000) -> Row:
    """The slowest of many single requests beside what is wanted of them."""
    clock = time.perf_counter
    times = np.empty(requests)
    for place in range(requests):
        before = clock()
        european(*ONE, "call")
        times[place] = clock() - before
    p50, p99, p999 = (float(value) for value in np.percentile(times, (50.0, 99.0, 99.9)) * 1e6)
    note = f"the median took {p50:.2f} us, 99 % up to {p99:.2f}"
    return Row(f"{requests} requests, the slowest in 1000", p999, SLOWEST, "bound", "us", SLOWEST / p999, None, note)


def requests() -> list[Row]:
    """One request at a time."""
    one = partial(european, *ONE, "call")
    peer = partial(plain, *ONE, 1.0)
    # rounds shorter than a turn of the scheduler, so that other work falls on few of them
    short: dict[str, Any] = {"rounds": 301, "round_s": 5e-4}
    found = [
        compare("one request", one, peer, "numpy and scipy", error=difference(one(), peer()), **short),
        tail(),
    ]
    if importlib.util.find_spec("QuantLib"):
        for way, name in ((calculator(), "QuantLib, BlackCalculator"), (instrument(), "QuantLib, instrument reused")):
            note = "it gives 6 of 9 figures"
            # the instrument counts whole days
            error = difference(one()[:6], way()) if "Calculator" in name else None
            found.append(compare("one request", one, way, name, error=error, note=note, **short))
        row = tuple(map(np.float64, ONE))
        found.append(
            compare(
                "one request, numpy's numbers", partial(european, *row, 1), calculator(), "QuantLib, BlackCalculator"
            )
        )
    return found


def copies(columns: tuple[Any, ...]) -> list[Row]:
    """A million options beside a copy of the bytes they read and write, on as many threads."""
    outputs = np.empty((9, len(columns[0])))
    read = (*columns, *columns[:2])
    ours = partial(european, *columns)

    def into(places: Any) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(np.copyto, places, read))

    ways = {
        "copy of its bytes": lambda: into(outputs),
        "copy of its bytes into new memory": lambda: into(np.empty_like(outputs)),
    }
    note = "a ratio below 1: 1 / ratio times as long as memory alone"
    return [compare(f"{SIZES[-1]} options", ours, way, name, note=note) for name, way in ways.items()]


def rows() -> list[Row]:
    """One request, then books."""
    found = requests()
    for n in SIZES:
        columns = book(n)
        ours, theirs = partial(european, *columns), partial(plain, *columns)
        found.append(compare(f"{n} options", ours, theirs, "numpy and scipy", error=difference(ours(), theirs())))
    columns = book(SIZES[-1])
    ours, case = partial(european, *columns), f"{SIZES[-1]} options"
    if importlib.util.find_spec("fast_vollib"):
        for backend in ("numpy", "numba"):
            way = fast_vollib(columns, backend)
            error = difference(in_their_units(ours()), way())
            name, note = f"fast-vollib, {backend}", "it gives 6 of 9 figures"
            found.append(compare(case, ours, way, name, error=error, note=note, rounds=7))
    found.extend(copies(columns))
    mine = found[-2].ours
    note = "as published for another machine of this kind: it needs numba 0.58, which the engine does not run on"
    found.append(Row(case, mine, PUBLISHED, "py_vollib_vectorized", "us", PUBLISHED / mine, None, note))
    return found


if __name__ == "__main__":
    report("greeks", rows)
