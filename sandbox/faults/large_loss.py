"""Faults of playbook A04: the book loses more than 100,000 USD."""

from __future__ import annotations

import random

from sandbox.derivatives.access import Access
from sandbox.derivatives.market import UNDERLYINGS
from sandbox.derivatives.service.release import Release
from sandbox.faults.fault import Fault
from sandbox.faults.on_derivatives import deploy, exchange, fault
from sandbox.progress import Progress

__all__ = ["FAULTS"]


def wrong_greeks(access: Access, rng: random.Random, progress: Progress) -> None:
    """A release whose volatilities are too high: the loss is only on paper."""
    progress("rolling out a release")
    scale = round(rng.uniform(1.4, 1.7), 2)
    deploy(access, Release(f"2.5.{rng.randint(0, 9)}", volatility_scale=scale), "volatility in the new unit")


def stale_market_data(access: Access, rng: random.Random, _progress: Progress) -> None:
    """Most spots stand still while the market falls: hedges are marked by futures that move, options are not."""
    halted = rng.sample(list(UNDERLYINGS), rng.randint(10, 12))
    exchange(access, halted=halted, move=round(rng.uniform(-0.12, -0.09), 4), steps=rng.randint(10, 20))


def market_move_hedged(access: Access, rng: random.Random, _progress: Progress) -> None:
    """The market opens far lower: the hedger trades at once, but a gap cannot be hedged."""
    exchange(access, move=round(rng.uniform(-0.12, -0.1), 4), steps=1, volatility=round(rng.uniform(1.1, 1.2), 2))


def market_move_hedge_missed(access: Access, rng: random.Random, _progress: Progress) -> None:
    """The hedger is switched off when the market begins to fall, little by little."""
    with access.cache() as client:
        client.set("auto_hedger", "off")
    exchange(access, move=round(rng.uniform(-0.14, -0.11), 4), steps=rng.randint(12, 25))


def _lost(access: Access) -> str | None:
    value = access.value("max(derivatives_pnl_usd)")
    return f"the book has lost {-value:,.0f} USD" if value is not None and value < -100_000.0 else None


FAULTS: dict[str, Fault] = {
    "market-move-hedge-missed": fault(market_move_hedge_missed, _lost, 120.0),
    "market-move-hedged": fault(market_move_hedged, _lost, 120.0),
    "stale-market-data": fault(stale_market_data, _lost, 120.0),
    "wrong-greeks": fault(wrong_greeks, _lost, 120.0),
}
