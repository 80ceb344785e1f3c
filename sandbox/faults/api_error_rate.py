"""Faults of playbook A02: requests that fail."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from sandbox.derivatives import manifests
from sandbox.derivatives.access import Access
from sandbox.derivatives.market import UNDERLYINGS, ladder
from sandbox.derivatives.service.cache import OLDEST_S, encode
from sandbox.derivatives.service.models import Models
from sandbox.derivatives.service.pricing import Option, Quote, greeks
from sandbox.derivatives.service.release import Release
from sandbox.derivatives.setup import RELEASE
from sandbox.faults.fault import Fault
from sandbox.faults.on_derivatives import demand, deploy, fault
from sandbox.progress import Progress

__all__ = ["FAULTS", "database_down"]


def cuda_out_of_memory(access: Access, rng: random.Random, _progress: Progress) -> None:
    """Some clients ask for a whole book at once, which does not fit the service's share of the card."""
    demand(access, large_share=round(rng.uniform(0.08, 0.15), 3), large_options=rng.randint(320, 640))


def database_down(access: Access, rng: random.Random, _progress: Progress) -> None:
    """The StatefulSet of the database is scaled to nothing; sessions have some seconds to end."""
    access.kube("scale", "statefulset/postgres", "--replicas=0")
    grace = f"--grace-period={rng.randint(2, 10)}"
    access.kube("delete", "pod", "postgres-0", "--ignore-not-found", "--wait=false", grace)


def pool_exhausted(access: Access, rng: random.Random, _progress: Progress) -> None:
    """A report opens connections and keeps them, until the database takes no more."""
    access.kube.send("apply", [manifests.report(rng.randint(42, 60))])


def bad_deployment(access: Access, rng: random.Random, progress: Progress) -> None:
    """A release whose dividends lack some underlyings."""
    gone = rng.sample(list(UNDERLYINGS), rng.randint(3, 5))
    dividends = {name: one.dividend for name, one in UNDERLYINGS.items() if name not in gone}
    progress("rolling out a release")
    deploy(access, Release(f"2.4.{rng.randint(1, 9)}", dividends=dividends), "dividends of the new quarter")


def slow_database(access: Access, rng: random.Random, _progress: Progress) -> None:
    """A migration keeps its transaction open, and with it the lock on the table of trades."""
    column = rng.choice(("desk", "trader", "venue", "strategy", "account"))
    access.kube.send("apply", [manifests.migration(column, rng.randint(2, 8))])


def stale_cache(access: Access, rng: random.Random, progress: Progress) -> None:
    """Results of hours ago, without an end of life, take the place of part of the cache."""
    release, now = Release(RELEASE), time.time()
    models = Models(access.setup.models)
    market = {one.name: Quote(one.spot, one.volatility) for one in UNDERLYINGS.values()}
    old = [Option(*one) for one in ladder() if rng.random() < 0.4]
    progress(f"putting {len(old)} old results into the cache")
    rows = greeks(old, market, models, release, card=True)
    with access.cache() as client, client.pipeline(transaction=False) as pipe:
        for option, row in zip(old, rows, strict=True):
            at = now - OLDEST_S - rng.uniform(600.0, 36_000.0)
            pipe.set(release.cache_key.format(**option._asdict(), now=at, release=release.name), encode(row, at))
        pipe.execute()


def _label(*labels: str) -> Callable[[Access], str | None]:
    """More than one per cent of requests fail with one of these errors."""

    def shows(access: Access) -> str | None:
        total = access.value("derivatives_api_error_pct")
        for label in labels:
            rate = access.value(f'sum(rate(derivatives_api_errors_total{{error="{label}"}}[20s]))')
            if total is not None and total > 1.0 and rate is not None and rate > 0.0:
                return f"{total:.1f} % of requests fail, among them with {label!r}"
        return None

    return shows


_AWAY = _label("Database connection failed")
FAULTS: dict[str, Fault] = {
    "bad-deployment": fault(bad_deployment, _label("Pricing failed")),
    "cuda-out-of-memory": fault(cuda_out_of_memory, _label("CUDA out of memory")),
    "database-down": fault(database_down, _AWAY),
    "pool-exhausted": fault(pool_exhausted, _AWAY, 240.0),
    "slow-database": fault(slow_database, _label("Database timeout")),
    "stale-cache": fault(stale_cache, _label("Stale cache")),
}
