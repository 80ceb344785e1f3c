"""Value at risk and expected shortfall with contributions, of exposures and of a book: the engine beside numpy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from bench.timing import Row, compare, report
from engine import expected_shortfall, value_at_risk
from engine.risk import Book, Market, Scenarios, revalue

CONFIDENCE = 0.99
SIZES = ((1_000, 5), (1_000, 500), (10_000, 100))
POSITIONS, SCENARIOS, UNDERLYINGS = 10_000, 1_000, 50
CHUNK = 2_048  # options whose columns stay in the cache
Figures = tuple[float, Any, Any]


def historical(exposures: Any, returns: Any) -> Figures:
    """What one writes with numpy: a matrix of losses, and quantiles of it."""
    losses = -returns * exposures
    total = losses.sum(axis=1)
    order = np.argsort(total)
    place = (len(total) - 1) * CONFIDENCE
    below = int(place)
    share = place - below
    parts = (1.0 - share) * losses[order[below]] + share * losses[order[below + 1]]
    return float(np.quantile(total, CONFIDENCE)), np.quantile(losses, CONFIDENCE, axis=0), parts


def shortfall(exposures: Any, returns: Any) -> Figures:
    """The mean of the worst 1 % of losses (a whole number of rows here)."""
    losses = -returns * exposures
    total = losses.sum(axis=1)
    worst = np.argsort(total)[::-1][: round(len(total) * (1.0 - CONFIDENCE))]
    alone = np.sort(losses, axis=0)[::-1][: len(worst)].mean(axis=0)
    return float(total[worst].mean()), alone, losses[worst].mean(axis=0)


def options() -> tuple[Book, Market, Scenarios]:
    """A book of European options, and a history of spots and volatilities."""
    rng = np.random.default_rng(10)
    names = [f"symbol {place}" for place in range(UNDERLYINGS)]
    underlying = rng.choice(names, POSITIONS)
    spot = dict(zip(names, rng.uniform(50.0, 150.0, UNDERLYINGS).tolist(), strict=True))
    book = Book.from_columns(
        id=[str(place) for place in range(POSITIONS)],
        underlying=underlying,
        kind=rng.choice(["call", "put"], POSITIONS),
        quantity=rng.normal(0.0, 100.0, POSITIONS),
        strike=np.array([spot[name] for name in underlying]) * rng.uniform(0.7, 1.3, POSITIONS),
        expiry=rng.uniform(0.02, 2.0, POSITIONS),
    )
    volatility = dict(zip(names, rng.uniform(0.2, 0.8, UNDERLYINGS).tolist(), strict=True))
    moves = 0.03 * rng.standard_t(4, size=(SCENARIOS, UNDERLYINGS))
    changes = 0.02 * rng.standard_normal((SCENARIOS, UNDERLYINGS))
    market = Market(spot, volatility=volatility, rate=0.03, dividend=0.01)
    return book, market, Scenarios(names, np.clip(moves, -0.9, 3.0), changes)


def per_scenario(book: Book, market: Market, moves: Scenarios) -> Any:
    """What one writes with numpy: Black-Scholes over the book for each scenario, in chunks that fit the cache."""
    group, sign, strike, weight = book.group, book.sign, book.strike, book.weight
    column = np.array([moves.underlyings.index(name) for name in book.underlyings])[group]
    spot = np.array([market.spot[name] for name in book.underlyings])[group]
    levels: Any = market.volatility
    volatility = np.array([levels[name] for name in book.underlyings])[group]
    root, fall = np.sqrt(book.expiry), np.exp(-0.01 * book.expiry)
    owed = strike * np.exp(-0.03 * book.expiry)
    moneyness = np.log(spot / strike) + 0.02 * book.expiry
    factors, log_factors = 1.0 + moves.spot, np.log1p(moves.spot)

    def value(here: slice, factor: Any, log_factor: Any, level: Any) -> Any:
        total = np.maximum(level, 0.0) * root[here]
        d1 = (moneyness[here] + log_factor) / total + 0.5 * total
        own = spot[here] * factor * fall[here]
        return sign[here] * (own * ndtr(sign[here] * d1) - owed[here] * ndtr(sign[here] * (d1 - total)))

    profit = np.zeros(len(moves))
    for first in range(0, len(book), CHUNK):
        here = slice(first, first + CHUNK)
        before, of = value(here, 1.0, 0.0, volatility[here]), column[here]
        for j in range(len(moves)):
            level = volatility[here] + moves.volatility[j, of]
            profit[j] += weight[here] @ (value(here, factors[j, of], log_factors[j, of], level) - before)
    return profit


def books() -> list[Row]:
    """Full revaluation of a book, and its VaR with a contribution of every position."""
    book, market, moves = options()
    ours, peer = revalue(book, market, moves).total, per_scenario(book, market, moves)
    case = f"{POSITIONS} options x {SCENARIOS} scenarios"
    error = float(np.abs(ours - peer).max() / np.abs(peer).max())
    figure = value_at_risk(book, market, moves, method="historical").total
    expected = float(np.quantile(-peer, CONFIDENCE))

    def plain() -> float:
        return float(np.quantile(-per_scenario(book, market, moves), CONFIDENCE))

    return [
        compare(
            f"full revaluation, {case}",
            partial(revalue, book, market, moves),
            partial(per_scenario, book, market, moves),
            "numpy per scenario, cache-sized",
            error=error,
            note="totals and by underlying",
            rounds=7,
        ),
        compare(
            f"historical VaR, {case}",
            partial(value_at_risk, book, market, moves, method="historical"),
            plain,
            "numpy per scenario, cache-sized",
            error=abs(figure / expected - 1.0),
            note="ours with contributions by position and underlying, the peer with the total alone",
            rounds=7,
        ),
    ]


def rows() -> list[Row]:
    """Compare both measures at three sizes, and the revaluation of a book."""
    found = books()
    for n_obs, n_symbols in SIZES:
        rng = np.random.default_rng(n_symbols)
        returns = 0.01 * rng.standard_t(4, size=(n_obs, n_symbols))
        exposures = rng.uniform(-1e6, 2e6, n_symbols)
        for name, ours, peer in (("VaR", value_at_risk, historical), ("ES", expected_shortfall, shortfall)):
            measure = ours(exposures, returns, method="historical", confidence=CONFIDENCE)
            expected = peer(exposures, returns)
            mine = np.array([measure.total, *measure.standalone, *measure.contributions])
            theirs = np.array([expected[0], *expected[1], *expected[2]])
            found.append(
                compare(
                    f"historical {name}, {n_obs} scenarios x {n_symbols} symbols",
                    partial(ours, exposures, returns, method="historical", confidence=CONFIDENCE),
                    partial(peer, exposures, returns),
                    "numpy",
                    error=float(np.abs(mine - theirs).max() / np.abs(theirs).max()),
                    note="with checks of every input, standalone figures and contributions",
                )
            )
    return found


if __name__ == "__main__":
    report("var", rows)
