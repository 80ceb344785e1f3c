"""The sandbox's desk stepped by hand, without servers, and seen as the probes see it."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pandas as pd

from engine import pricing, risk
from opslib.diagnosis import Diagnosis, Verdict, large_loss
from sandbox.derivatives.feed import Exchange, Market
from sandbox.derivatives.hedger import Book, Mark
from sandbox.derivatives.market import BOOK, RATE, UNDERLYINGS, black_scholes, surface
from sandbox.derivatives.service.models import Surface, fit
from sandbox.derivatives.service.pricing import Option, Quote, greeks
from sandbox.derivatives.service.release import Release
from tests.diagnosis.told import context

NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
LIMIT, BAND, STALE_S, HEDGER_S, WINDOW_S = -100_000.0, 60_000.0, 5.0, 15.0, 900.0
_STEP_S = 3


class _Models:
    """Fitted once."""

    def get(self, name: str) -> Surface:
        return _surface(name)


@cache
def _surface(name: str) -> Surface:
    return Surface(fit(name))


def entries() -> dict[Any, float]:
    """The price of each position at the reference market."""
    found = {}
    for one in BOOK:
        under, years = UNDERLYINGS[one.underlying], one.expiry_days / 365.0
        import math

        level = under.volatility * surface(math.log(one.strike / under.spot), years)
        sign = 1.0 if one.kind == "call" else -1.0
        found[one] = black_scholes(under.spot, one.strike, years, RATE, under.dividend, level, sign)
    return found


@dataclass
class Happening:
    """What goes wrong, and when in the day of the simulation it does."""

    exchange: Exchange = field(default_factory=Exchange)
    release: Release = field(default_factory=lambda: Release("2.4.0"))
    hedging: bool = True


def happening(cause: str, seed: int) -> Happening:
    """As the faults of the sandbox, from its own ranges and somewhat beyond."""
    rng = random.Random(f"{cause} {seed}")
    names = list(UNDERLYINGS)
    match cause:
        case "wrong-greeks":
            return Happening(release=Release("2.5.1", volatility_scale=round(rng.uniform(1.3, 1.8), 2)))
        case "stale-market-data":
            halted = rng.sample(names, rng.randint(9, 12))
            return Happening(Exchange(halted=halted, move=rng.uniform(-0.14, -0.085), steps=rng.randint(8, 25)))
        case "market-move-hedged":
            return Happening(Exchange(move=rng.uniform(-0.13, -0.09), steps=1, volatility=rng.uniform(1.0, 1.25)))
        case "market-move-hedge-missed":
            return Happening(Exchange(move=rng.uniform(-0.16, -0.1), steps=rng.randint(10, 40)), hedging=False)
    return Happening()


@dataclass
class Desk:
    """What the probes tell at the moment of the alert; None for what could not be seen."""

    positions: pd.DataFrame | None
    quotes: pd.DataFrame | None
    hashes: dict[str, pd.DataFrame | None]
    book: dict[str, float] | None
    hedges: pd.DataFrame | None
    served: pd.DataFrame | None
    history: pd.DataFrame | None
    switch: tuple[bool, Any] | None
    log: pd.DataFrame | None

    def diagnose(self, began_s: float | None = None) -> Verdict:
        """As the notebook does it; `began_s` is how long ago the alert began [s], None: by hand."""
        case = Diagnosis(SimpleNamespace(unseen=[], context=context(), now=lambda: NOW), large_loss.CAUSES)
        if began_s is not None:
            case.about({"startsAt": (NOW - dt.timedelta(seconds=began_s)).isoformat()})
        market = large_loss.market(self.hashes, NOW)
        pnl = None if self.book is None else self.book["pnl_usd"]
        case.confirm(None if pnl is None else pnl < LIMIT, f"the book has lost {pnl} USD")
        table = served = value = None
        if self.positions is not None and market is not None:
            table = large_loss.holdings(self.positions, self.quotes, market, pricing)
        if table is not None and self.served is not None:
            served = large_loss.served(self.served, table, market, NOW, pricing, checked=12)
        if table is not None and self.hedges is not None:
            ratios = large_loss.ratios(served)
            value = large_loss.revalued(table, self.hedges, market, ratios, pricing, risk, stale_s=STALE_S)
        release = large_loss.release(self.history, NOW)
        hedger = large_loss.hedger(self.book, self.switch, self.log, self.hedges, NOW)
        levels = {"limit_usd": LIMIT, "band_usd": BAND, "stale_s": STALE_S, "hedger_stale_s": HEDGER_S}
        on_paper = None
        if value is not None and self.book is not None:
            on_paper = large_loss.paper(self.book, value, NOW, HEDGER_S)
        facts = {"served": served, "valuation": value, "paper": on_paper, "market": market, "release": release}
        case.examine("wrong-greeks", **facts, limit_usd=LIMIT, window_s=WINDOW_S, stale_s=STALE_S)
        case.examine("stale-market-data", market=market, stale_s=STALE_S)
        seen = {"valuation": value, "market": market, "hedger": hedger, **levels}
        case.examine("market-move-hedged", **seen)
        case.examine("market-move-hedge-missed", **seen)
        self.value, self.found_release = value, release
        return case.verdict()


def _rows(history: pd.DataFrame) -> pd.DataFrame:
    return history


def play(what: Happening, seed: int = 0, *, calm: int = 30, most: int = 120, lost: float = LIMIT) -> Desk:
    """Let the desk live until the book has lost so much (or for `most` seconds), then look, two seconds later."""
    market, desk, rng = Market(seed), Book(entries(), {}), random.Random(seed)
    trades: list[tuple[int, str]] = []
    off, summary, at, until = 0, {}, 0, None
    for second in range(calm + most):
        now = what if second >= calm else Happening()
        market.step(now.exchange, 1000 * second)
        if second % _STEP_S == 0:
            quotes = {name: Quote(spot, level) for name, (spot, level, _) in market.seen.items()}
            rows = greeks([Option(*_terms(one)) for one in BOOK], quotes, _Models(), now.release, True)
            marks = {one: Mark(row[0], row[1], row[2], row[3], row[7]) for one, row in zip(BOOK, rows, strict=True)}
            for name, units in sorted(desk.net_delta(marks).items()):
                if abs(units * quotes[name].spot) >= BAND:
                    if now.hedging:
                        desk.trade(name, -units, market.futures[name])
                        trades.append((second, name))
                    else:
                        off += 1
            summary, at = desk.summary(marks, market.futures), second
            if until is None and summary["pnl_usd"] < lost:
                until = second + 2
        if until is not None and second >= until:
            break
    return _seen(market, desk, what, trades, off, summary, at, second, rng, began=calm)


def _terms(one: Any) -> tuple[Any, ...]:
    return one.underlying, one.kind, one.strike, one.expiry_days


def _seen(
    market: Market,
    desk: Book,
    what: Happening,
    trades: Any,
    off: int,
    summary: Any,
    at: int,
    second: int,
    rng: Any,
    *,
    began: int,
) -> Desk:
    def ago(then: float) -> pd.Timestamp:
        return pd.Timestamp(NOW) - pd.Timedelta(seconds=second - then)

    documents = market.documents(1000 * second)
    for mapping in documents.values():
        for name in {"time", "future_time"} & set(mapping):
            mapping[name] = str(int(ago(int(mapping[name]) / 1000).timestamp() * 1000))
    frames = {key: pd.DataFrame({"field": list(told), "value": list(told.values())}) for key, told in documents.items()}
    book = {**summary, "time": ago(at).timestamp()}
    positions = pd.DataFrame(
        [(*_terms(one), one.quantity, desk.entries[one]) for one in BOOK],
        columns=["underlying", "kind", "strike", "expiry_days", "quantity", "entry_price"],
    )
    recent = [(then, name) for then, name in trades if then >= began]
    hedges = pd.DataFrame(
        [
            (name, *held, ago(max(then for then, of in trades if of == name)), sum(of == name for _, of in recent))
            for name, held in desk.hedges.items()
        ],
        columns=["underlying", "units", "cost", "last", "recent"],
    )
    last = {"hedged": ago(recent[-1][0]) if recent else pd.NaT, "off": ago(at) if off else pd.NaT, "failed": pd.NaT}
    counts = {"hedged": len(recent), "off": off, "failed": 0}
    log = pd.DataFrame({"count": counts, "last_seen": last})
    revisions = [(3, True, 45.0 if what.release.name != "2.4.0" else 9000.0), (2, False, 9100.0), (1, False, 9200.0)]
    history = pd.DataFrame(
        [
            (number, current, pd.Timestamp(NOW) - pd.Timedelta(seconds=age), f"Release {number}", "env")
            for number, current, age in revisions
        ],
        columns=["revision", "current", "created", "change_cause", "changes"],
    )
    return Desk(
        positions, frames["quotes"], {name: frames[f"market:{name}"] for name in UNDERLYINGS}, book, hedges,
        _served(market, what.release, rng, ago(second)), history, (what.hedging, None), log,
    )  # fmt: skip


def _served(market: Market, release: Release, rng: Any, at: pd.Timestamp) -> pd.DataFrame:
    """What clients asked for in the last seconds."""
    quotes = {name: Quote(spot, level) for name, (spot, level, _) in market.seen.items()}
    options = []
    for _ in range(60):
        name = rng.choice(list(UNDERLYINGS))
        strike = round(UNDERLYINGS[name].spot * rng.uniform(0.85, 1.15), 1)
        options.append(Option(name, rng.choice(("call", "put")), strike, rng.randint(7, 360)))
    rows = greeks(options, quotes, _Models(), release, True)
    table = [(at, *option[:4], *row[:5]) for option, row in zip(options, rows, strict=True)]
    names = ["timestamp", "underlying", "kind", "strike", "days", "price", "delta", "gamma", "vega", "theta"]
    return pd.DataFrame(table, columns=names)


__all__ = ["BAND", "LIMIT", "NOW", "WINDOW_S", "Desk", "Happening", "happening", "play", "replace"]
