"""True but unrelated noise: things that happen on a platform every day and explain nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import httpx
import psycopg
import redis

from opslib import web
from opslib.settings import Settings
from sandbox.derivatives.access import Access, reach
from sandbox.derivatives.sql import queries
from sandbox.platforms import Decoy

__all__ = ["decoys"]


def _annotate_deployment(access: Access, rng: random.Random) -> None:
    """Another team rolls out a harmless change of the exporters, the new pod before the old one ends."""
    stamp = {"reviewed": f"{rng.getrandbits(32):08x}"}
    cause = {"kubernetes.io/change-cause": "Review of the quarter: owners noted"}
    template = {"template": {"metadata": {"annotations": stamp}}}
    access.kube.patch("deployment", "exporters", {"metadata": {"annotations": cause}, "spec": template})


def _slow_query(access: Access, rng: random.Random) -> None:
    """Somebody counts a table in a slow way, once."""
    with access.database() as connection:
        connection.execute(queries("noise").slow_once, {"step": rng.randint(2, 9)})


def _slow_look(access: Access, rng: random.Random) -> None:
    """Somebody counts the service's own table in a slow way, once; who waits for a lock gives up at once."""
    with access.database(timeout_s=2.0) as connection:
        connection.execute(queries("noise").slow_look, {"step": rng.randint(2, 9)})


def _review_service(access: Access, rng: random.Random) -> None:
    """The owners of the service are noted on its Deployment: it was changed, and its pods stay as they are."""
    noted = {"owners-reviewed": f"{rng.getrandbits(32):08x}"}
    access.kube.patch("deployment", "derivatives-api", {"metadata": {"annotations": noted}})


def _restart_elsewhere(access: Access, _rng: random.Random) -> None:
    """The exporters are restarted, which nothing that is asked depends on."""
    access.kube("rollout", "restart", "deployment/exporters")


def _slow_command(access: Access, rng: random.Random) -> None:
    """Somebody lists a part of the cache, once."""
    with access.cache() as client:
        client.keys(f"greeks:{rng.choice(('SPX', 'NDX', 'TSLA'))}:call:*")


def _bad_request(access: Access, rng: random.Random) -> None:
    """A client sends a request that cannot be understood; the log says so."""
    body = {"client": "client-00", "options": [{"underlying": "SPX", "kind": rng.choice(("call", "put"))}]}
    web.post(f"{access.api}/greeks", json=body, timeout=20.0)


_KINDS: tuple[Callable[[Access, random.Random], None], ...] = (
    _annotate_deployment,
    _slow_query,
    _slow_look,
    _review_service,
    _restart_elsewhere,
    _slow_command,
    _bad_request,
)


def decoys(rng: random.Random, count: int) -> list[Decoy]:
    """Return `count` harmless events: a rollout beside, a note on the service, a slow query, a bad request."""
    order: list[Callable[[Access, random.Random], None]] = []
    while len(order) < count:
        order += rng.sample(_KINDS, len(_KINDS))

    def event(kind: Callable[[Access, random.Random], None], seed: int) -> Decoy:
        def happen(settings: Settings) -> None:
            with suppress(psycopg.Error, redis.RedisError, httpx.HTTPError):  # what it needs may be what is broken
                kind(reach(settings), random.Random(seed))

        return happen

    return [event(kind, rng.getrandbits(32)) for kind in order[:count]]
