"""Every function that can run on a card, beside the processor: how far the two are apart, and which is quicker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from bench.greeks import book
from bench.timing import Row
from bench.var import options
from engine import (
    GBM,
    Asian,
    European,
    Heston,
    Market,
    calibrate_heston,
    european,
    explain_pnl,
    heston_greeks,
    heston_price,
    implied_volatility,
    monte_carlo,
    probability_of_backtest_overfitting,
    revalue,
    value_at_risk,
)

__all__ = ["TOLERANCES", "Way", "apart", "milliseconds", "rows", "ways"]

# largest difference from the processor, relative to the largest value of each figure. Heston's integrals stop where
# two rules agree to 1e-11, which a rounding can put off by a rule, and with them a fit; paths carry the roundings of
# all their steps
TOLERANCES = {
    "european": 1e-12,
    "implied_volatility": 1e-12,
    "heston_price": 1e-10,
    "heston_greeks": 1e-9,
    "calibrate_heston": 1e-7,
    "monte_carlo, GBM": 1e-11,
    "monte_carlo, Heston": 1e-10,
    "revalue": 1e-12,
    "value_at_risk": 1e-12,
    "explain_pnl": 1e-11,
    "probability_of_backtest_overfitting": 0.0,
}
ROUNDS = 11


class Way(NamedTuple):
    """A function, and what it is asked.

    Attributes
    ----------
    name : str
        A key of `TOLERANCES`.
    size : str
    work : callable
        Takes the device.
    figures : callable
        Takes what `work` returns to the arrays that are compared.
    """

    name: str
    size: str
    work: Callable[[Any], Any]
    figures: Callable[[Any], Any]


def ways(n: int = 1_000_000) -> Iterator[Way]:
    """All functions, over books of about `n` options or as much work."""
    columns = book(n)
    yield Way("european", f"{n} options", lambda where: european(*columns, device=where), tuple)
    greeks = european(*columns, device="cpu")
    quotes = (greeks.price, *columns[:5], columns[6])
    yield Way(
        "implied_volatility", f"{n} options", lambda where: implied_volatility(*quotes, device=where), lambda v: (v,)
    )
    few = max(n // 10, 10)
    surface = (100.0, np.linspace(70.0, 140.0, few), np.resize([0.25, 0.5, 1.0, 2.0], few), 0.02, 0.01, "call")
    model = (0.04, 1.5, 0.05, 0.5, -0.6)
    yield Way("heston_price", f"{few} options", partial(_heston, heston_price, surface, model), lambda v: (v,))
    yield Way("heston_greeks", f"{few} options", partial(_heston, heston_greeks, surface, model), tuple)
    quoted = (100.0, np.linspace(80.0, 120.0, 10)[:, None], np.linspace(0.25, 2.5, 10), 0.02, 0.01, "call")
    prices = heston_price(*quoted, *model, device="cpu")
    yield Way(
        "calibrate_heston",
        "100 quotes",
        lambda where: calibrate_heston(*quoted, prices, device=where),
        lambda fit: (np.array(fit[:5]),),
    )
    asian = Asian(100.0, 1.0, "call", n_fixings=12)
    paths: tuple[tuple[str, Any, Any], ...] = (
        ("monte_carlo, GBM", asian, GBM(100.0, 0.05, 0.02, 0.25)),
        ("monte_carlo, Heston", European(100.0, 1.0, "call"), Heston(100.0, 0.02, 0.0, *model)),
    )
    for name, payoff, market in paths:
        for sampling in ("sobol", "pseudo"):
            yield Way(
                name,
                f"{n} paths, {sampling}",
                partial(_simulated, payoff, market, n, sampling),
                lambda found: (np.array([found.price, found.standard_error]),),
            )
    held, state, moves = options()
    size = f"{len(held)} positions x {len(moves)} scenarios"
    yield Way("revalue", size, lambda where: revalue(held, state, moves, device=where), lambda v: (v.by_underlying,))
    yield Way(
        "value_at_risk",
        size,
        lambda where: value_at_risk(held, state, moves, method="historical", device=where),
        lambda found: (np.array([found.total]), found.contributions),
    )
    spots = {name: 1.01 * spot for name, spot in state.spot.items()}
    later = Market(spots, volatility=0.4, rate=0.03, dividend=0.01, as_of=1.0 / 365.0)
    yield Way(
        "explain_pnl",
        f"{len(held)} positions",
        lambda where: explain_pnl(held, state, later, device=where),
        lambda found: tuple(found.by_position[:7]),
    )
    returns = np.random.default_rng(5).normal(0.0, 0.01, (max(n // 1000, 40), max(n // 1000, 5)))
    yield Way(
        "probability_of_backtest_overfitting",
        f"16 blocks, {returns.shape[1]} strategies, {returns.shape[0]} periods",
        lambda where: probability_of_backtest_overfitting(returns, 16, device=where),
        lambda found: (found.logits,),
    )


def _heston(function: Any, surface: Any, model: Any, where: Any) -> Any:
    return function(*surface, *model, device=where)


def _simulated(payoff: Any, market: Any, n: int, sampling: Any, where: Any) -> Any:
    return monte_carlo(payoff, market, n, 1, sampling=sampling, device=where)


def rows() -> Iterator[Row]:
    """From main memory and back, beside the processor."""
    for way in ways():
        error = apart(way.figures(way.work("cuda")), way.figures(way.work("cpu")))
        ours, peer = (milliseconds(partial(way.work, where)) for where in ("cuda", "cpu"))
        note = f"from main memory and back; {TOLERANCES[way.name]:.0e} allowed"
        yield Row(f"{way.name}, {way.size}", ours, peer, "processor", "ms", peer / ours, error, note)


def apart(ours: Any, theirs: Any) -> float:
    """Largest difference, relative to the largest value of each figure; infinite where one is nan and one is not."""
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        mine, other = np.asarray(mine), np.asarray(other)
        known = np.isfinite(other)
        if not np.isfinite(mine[known]).all() or not np.array_equal(mine[~known], other[~known], equal_nan=True):
            return float("inf")
        largest = float(np.max(np.abs(other[known]), initial=0.0))
        worst = max(worst, float(np.max(np.abs(mine - other)[known], initial=0.0)) / (largest or 1.0))
    return worst


def milliseconds(work: Callable[[], object]) -> float:
    """Median time of a call."""
    work()
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return median(times) * 1e3
