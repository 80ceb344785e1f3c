"""What `derivatives-api` answers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any

import redis
from prometheus_client import Counter

from engine.errors import EngineError
from sandbox.derivatives.market import UNDERLYINGS
from sandbox.derivatives.service.cache import Cache, StaleCache
from sandbox.derivatives.service.card import Card, OutOfMemory
from sandbox.derivatives.service.http import Answer, Request, document
from sandbox.derivatives.service.meters import Meters, resident_bytes
from sandbox.derivatives.service.models import Models
from sandbox.derivatives.service.pricing import FIELDS, Option, PricingFailed, Quote, Row, greeks
from sandbox.derivatives.service.queue import Queue
from sandbox.derivatives.service.release import Release
from sandbox.derivatives.service.sessions import Sessions
from sandbox.derivatives.service.store import DatabaseAway, DatabaseSlow, Store

__all__ = ["Application"]

_WORKSPACE_MIB = 2.0  # memory of the card that one option takes
_LOOK_S = 1.0
_USUAL = 10  # options of a request
_ROUNDS = 100
_log = logging.getLogger("api")
_LABELS: dict[type[Exception], tuple[str, int]] = {
    OutOfMemory: ("CUDA out of memory", 503),
    DatabaseAway: ("Database connection failed", 503),
    DatabaseSlow: ("Database timeout", 503),
    StaleCache: ("Stale cache", 500),
    PricingFailed: ("Pricing failed", 500),
    redis.RedisError: ("Cache unavailable", 503),
}


class Application:
    """The service, without its sockets.

    Parameters
    ----------
    release, models, card, cache, store
        What it works with.
    batch : int
        Options that go to the card at once; 0 for all of a request.
    """

    def __init__(self, release: Release, models: Models, card: Card, cache: Cache, store: Store, batch: int) -> None:
        self.meters = Meters()
        self.queue = Queue(self.meters.latency.observe, self._wake)
        self.sessions = Sessions()
        self._release, self._models, self._card, self._cache, self._store = release, models, card, cache, store
        self._batch = batch
        self._market: dict[str, Quote] = {}
        self._usual: list[Option] = []
        self._book: dict[str, float] = {}
        self._trading: dict[str, Any] = {"enabled": True, "reason": "", "since": None}
        self._hedging: dict[str, Any] = {"enabled": True, "reason": "", "since": None}
        self._counted: dict[Counter, int] = {}
        self._started = time.monotonic()
        self._background: set[asyncio.Task[None]] = set()

    async def warm(self) -> None:
        """Compute the usual until it is quick, with the card's memory for it held: the first request is as the next."""
        self._market = await self._cache.market(list(UNDERLYINGS)) or {}
        if self._models.missing:
            return  # what has to be fitted first is not quick
        options = [Option(name, "call", quote.spot, 30) for name, quote in self._market.items()]
        usual = (options * _USUAL)[:_USUAL]
        try:
            for _ in range(_ROUNDS):
                self._compute("", usual)
        except (OutOfMemory, PricingFailed) as error:
            _log.warning("started without having computed: %s", error)
        else:
            self._usual = options[:1]

    async def handle(self, request: Request) -> Answer:
        """Answer a request; what fails is counted by its label and told in the log."""
        begun = time.perf_counter()
        try:
            answer = await self._route(request)
        except (KeyError, TypeError, ValueError, EngineError) as error:
            if isinstance(error, PricingFailed):
                answer = self._failed(error)
            else:
                answer = document({"error": "bad request", "message": f"{type(error).__name__}: {error}"}, 400)
        except (OutOfMemory, DatabaseAway, DatabaseSlow, StaleCache, redis.RedisError) as error:
            answer = self._failed(error)
        if request.path not in ("/metrics", "/health"):
            self.meters.requests.labels(request.path).inc()
            self.meters.whole.observe(time.perf_counter() - begun)
        return answer

    async def watch(self) -> None:
        """Follow market, book, switches and card, every second, for ever."""
        while True:
            self._card.look()
            self._market = await self._cache.market(list(UNDERLYINGS)) or self._market
            self._book = await self._cache.book() or self._book
            try:
                self._trading = await self._cache.auto_trading()
                self._hedging = await self._cache.auto_hedger()
            except (redis.RedisError, ValueError) as problem:
                _log.warning("a switch cannot be read: %s", problem)
            await asyncio.sleep(_LOOK_S)

    def _wake(self) -> None:
        """Compute something usual, of which nothing is kept; nothing where what is usual is not quick."""
        if self._usual:
            with suppress(OutOfMemory, PricingFailed):
                self._compute("", self._usual)

    def _failed(self, error: Exception) -> Answer:
        label, status = next(found for kind, found in _LABELS.items() if isinstance(error, kind))
        self.meters.errors.labels(label).inc()
        _log.error("%s", error)
        return document({"error": label, "message": str(error)}, status)

    async def _route(self, request: Request) -> Answer:
        match request.method, request.path:
            case "POST", "/greeks":
                return await self._greeks(json.loads(request.body))
            case "GET", "/trades":
                return document(await self._store.trades(request.query["client"]))
            case "POST", "/trades":
                return await self._trade(json.loads(request.body))
            case "DELETE", "/sessions":
                return document({"closed": self.sessions.end(request.query["session"])})
            case "GET", "/positions":
                return document({"positions": await self._store.positions()})
            case "GET", "/stats/engines":
                return document(self._stats())
            case "GET", "/metrics":
                return Answer(200, self._metrics(), "text/plain; version=0.0.4; charset=utf-8")
            case "GET", "/health":
                return document({"status": "ok", "release": self._release.name, "market": bool(self._market)})
            case "GET", "/auto-trading":
                return document(await self._cache.auto_trading())
            case "POST", "/auto-trading/stop" | "/auto-trading/start":
                reason = str(json.loads(request.body or b"{}").get("reason", ""))[:200]
                await self._cache.set_auto_trading(request.path.endswith("start"), reason)
                self._trading = await self._cache.auto_trading()
                _log.warning("auto-trading %s: %s", "started" if self._trading["enabled"] else "stopped", reason)
                return document(self._trading)
            case "GET", "/auto-hedger":
                return document(await self._cache.auto_hedger())
            case "POST", "/auto-hedger/stop" | "/auto-hedger/start":
                reason = str(json.loads(request.body or b"{}").get("reason", ""))[:200]
                await self._cache.set_auto_hedger(request.path.endswith("start"), reason)
                self._hedging = await self._cache.auto_hedger()
                _log.warning("auto-hedger %s: %s", "started" if self._hedging["enabled"] else "stopped", reason)
                return document(self._hedging)
        return document({"error": "not found"}, 404)

    async def _greeks(self, asked: dict[str, Any]) -> Answer:
        client, session = str(asked["client"]), str(asked.get("session", ""))
        options = [
            Option(one["underlying"], one["kind"], float(one["strike"]), int(one["expiry_days"]), one.get("spot"))
            for one in asked["options"]
        ]
        if asked.get("cache", True):
            marked = [place for place, one in enumerate(options) if one.spot is not None]
        else:
            marked = []
        found = await self._cache.find([options[place] for place in marked]) if marked else []
        cached = {place: row for place, row in zip(marked, found, strict=True) if row is not None}
        wanted = [place for place in range(len(options)) if place not in cached]
        chosen = [options[place] for place in wanted]
        rows: list[Row] = await self.queue.run(lambda: self._compute(client, chosen)) if chosen else []
        if rows and session:
            self.sessions.note(client, session, rows)
        computed = dict(zip(wanted, rows, strict=True))
        fresh = [place for place in marked if place in computed]
        if fresh:
            self._later(self._cache.keep([options[place] for place in fresh], [computed[place] for place in fresh]))
        if chosen and asked.get("keep", True):
            self._later(self._remember(chosen[0], rows[0]))
        every = [cached[place] if place in cached else computed[place] for place in range(len(options))]
        return document({"greeks": [dict(zip(FIELDS, row, strict=True)) for row in every]})

    def _compute(self, client: str, options: list[Option]) -> list[Row]:
        """Greeks of one request, in batches through the card's memory, and how much of the whole the client is."""
        there = self._card.there
        size = self._batch or len(options)
        rows: list[Row] = []
        for start in range(0, len(options), size):
            part = options[start : start + size]
            if there:
                self._card.take(len(part) * _WORKSPACE_MIB)
            rows += greeks(part, self._market, self._models, self._release, there)
        self.sessions.share(client)
        return rows

    async def _trade(self, asked: dict[str, Any]) -> Answer:
        if asked.get("auto") and not self._trading["enabled"]:
            return document({"error": "auto-trading is stopped", "message": self._trading["reason"]}, 409)
        names = ("client", "underlying", "kind", "strike", "days", "quantity", "price")
        await self._store.add_trade({name: asked[name] for name in names})
        return document({"stored": True})

    async def _remember(self, option: Option, row: Row) -> None:
        try:
            await self._store.add_greeks(option, row)
        except (DatabaseAway, DatabaseSlow) as problem:
            self.meters.errors.labels(_LABELS[type(problem)][0]).inc()
            _log.error("Greeks not stored: %s", problem)

    def _later(self, work: Any) -> None:
        """Let something be done after the answer."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _stats(self) -> dict[str, Any]:
        hits, misses = self._cache.hits, self._cache.misses
        return {
            "greeks_engine": {
                **self.queue.times.summary(),
                "requests": self.queue.times.count,
                "device": "gpu" if self._card.there else "cpu",
                "queue_depth": self.queue.deepest,
                "batch": self._batch,
                "models_resident": self._models.resident,
                "models_total": len(UNDERLYINGS),
                "model_loads": self._models.loads,
            },
            "cache": {"hits": hits, "misses": misses, "hit_rate": hits / (hits + misses) if hits + misses else None},
            "memory": {"rss_mib": round(resident_bytes() / 2**20, 1), "sessions": len(self.sessions)},
            "gpu": self._card.describe(),
            "book": self._book,
            "auto_trading": self._trading,
            "auto_hedger": self._hedging,
            "release": self._release.name,
            "uptime_s": round(time.monotonic() - self._started, 1),
        }

    def _metrics(self) -> bytes:
        meters = self.meters
        for counter, value in (
            (meters.hits, self._cache.hits),
            (meters.misses, self._cache.misses),
            (meters.loads, self._models.loads),
        ):
            counter.inc(value - self._counted.get(counter, 0))
            self._counted[counter] = value
        meters.models.set(self._models.resident)
        meters.depth.set(self.queue.depth())
        meters.sessions.set(len(self.sessions))
        meters.card.set(self._card.there)
        meters.card_memory.set(self._card.used_bytes)
        meters.card_share.set(self._card.share_bytes)
        meters.pnl.set(self._book.get("pnl_usd", 0.0))
        meters.pnl_options.set(self._book.get("pnl_options_usd", 0.0))
        meters.pnl_hedges.set(self._book.get("pnl_hedges_usd", 0.0))
        meters.delta.set(self._book.get("net_delta_usd", 0.0))
        meters.trading.set(bool(self._trading["enabled"]))
        meters.hedging.set(bool(self._hedging["enabled"]))
        meters.cache_up.set(self._cache.connected)
        return meters.text()
