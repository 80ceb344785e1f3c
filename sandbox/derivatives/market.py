"""What the desk trades: underlyings, the true volatility surface, the book and the clients. All of it generated."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

__all__ = [
    "BOOK",
    "CLIENTS",
    "LADDER_SPOTS",
    "RATE",
    "UNDERLYINGS",
    "Position",
    "Underlying",
    "black_scholes",
    "ladder",
    "surface",
]

RATE = 0.03  # continuously compounded, per year
CLIENTS = tuple(f"client-{number:02d}" for number in range(1, 13))
LADDER_SPOTS = 17  # points of a risk ladder around the reference spot
_ROOT_2 = math.sqrt(2.0)
_EXPIRIES = (30, 60, 91, 182)
_STRIKES = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15)


@dataclass(frozen=True, slots=True)
class Underlying:
    """A share or an index.

    Attributes
    ----------
    name : str
    spot : float
        Reference spot [USD].
    volatility : float
        At the money [per sqrt(year)].
    dividend : float
        Yield [per year].
    """

    name: str
    spot: float
    volatility: float
    dividend: float


@dataclass(frozen=True, slots=True)
class Position:
    """Options of one kind that the book holds; negative where they were sold."""

    underlying: str
    kind: str
    strike: float
    expiry_days: int
    quantity: float


UNDERLYINGS = {
    one.name: one
    for one in (
        Underlying("SPX", 5200.0, 0.16, 0.013),
        Underlying("NDX", 18200.0, 0.21, 0.007),
        Underlying("RUT", 2080.0, 0.23, 0.012),
        Underlying("SX5E", 4950.0, 0.17, 0.028),
        Underlying("AAPL", 190.0, 0.26, 0.005),
        Underlying("MSFT", 420.0, 0.24, 0.007),
        Underlying("NVDA", 880.0, 0.45, 0.0),
        Underlying("AMZN", 180.0, 0.31, 0.0),
        Underlying("JPM", 198.0, 0.22, 0.023),
        Underlying("XOM", 116.0, 0.23, 0.033),
        Underlying("TSLA", 172.0, 0.52, 0.0),
        Underlying("GLD", 215.0, 0.15, 0.0),
    )
}


def surface(moneyness: float, years: float) -> float:
    """Volatility at a log-moneyness and expiry over the one at the money: a skew, a smile and a term structure."""
    return 1.0 - 0.12 * moneyness + 0.45 * moneyness * moneyness + 0.05 * (math.sqrt(years) - 0.5)


def black_scholes(
    spot: float, strike: float, years: float, rate: float, dividend: float, volatility: float, sign: float
) -> float:
    """Price of a call (`sign` 1) or a put (-1) [USD].

    References
    ----------
    .. [1] J. C. Hull, *Options, Futures, and Other Derivatives*, 10th ed., eq. 17.4 and 17.5.
    """
    deviation = volatility * math.sqrt(years)
    d1 = (math.log(spot / strike) + (rate - dividend) * years) / deviation + 0.5 * deviation
    up = 0.5 * (1.0 + math.erf(sign * d1 / _ROOT_2))
    down = 0.5 * (1.0 + math.erf(sign * (d1 - deviation) / _ROOT_2))
    return sign * (spot * math.exp(-dividend * years) * up - strike * math.exp(-rate * years) * down)


def _book() -> tuple[Position, ...]:
    """Calls and puts sold on every underlying, calls more: short of gamma, vega and delta, the last of them hedged."""
    rng = random.Random(20_240_501)
    positions = []
    for one in UNDERLYINGS.values():
        for expiry in (60, 91):
            quantity = -rng.uniform(0.85, 1.15) * 270_000.0 / one.spot
            strike = round(one.spot * rng.choice((0.98, 1.0, 1.02)), 1)
            for kind, share in (("call", 1.3), ("put", 0.7)):
                positions.append(Position(one.name, kind, strike, expiry, round(share * quantity, 1)))
    return tuple(positions)


BOOK = _book()


def ladder() -> list[tuple[str, str, float, int, float]]:
    """Every option of the clients' risk ladders: underlying, kind, strike, days to expiry, spot; about 11,000."""
    found = []
    for one in UNDERLYINGS.values():
        for step in range(LADDER_SPOTS):
            spot = round(one.spot * (0.92 + 0.01 * step), 2)
            for strike in _STRIKES:
                for days in _EXPIRIES:
                    found += [(one.name, kind, round(one.spot * strike, 1), days, spot) for kind in ("call", "put")]
    return found
