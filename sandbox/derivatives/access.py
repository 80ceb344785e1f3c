"""How `up`, faults and `heal` reach the running platform: cluster, stores and service, verified to be the sandbox's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import redis

from opslib import web
from opslib.settings import Settings
from sandbox import cluster, state
from sandbox.cluster.kube import Kube
from sandbox.derivatives.contents import MARK
from sandbox.derivatives.setup import NAMESPACE, Setup
from sandbox.derivatives.sql import queries
from sandbox.errors import NotOurs, NotUp
from sandbox.state import State

__all__ = ["Access", "reach"]


@dataclass(frozen=True)
class Access:
    """The running platform, with the full identities.

    Attributes
    ----------
    kube : Kube
    setup : Setup
    api : str
    postgres, redis : (host, port)
        On this machine's loopback.
    prometheus : str or None
    """

    kube: Kube
    setup: Setup
    api: str
    postgres: tuple[str, int]
    redis: tuple[str, int]
    prometheus: str | None = None

    @contextmanager
    def database(self, user: str = "postgres", timeout_s: float = 60.0) -> Iterator[psycopg.Connection[Any]]:
        """A connection to the database.

        Raises
        ------
        psycopg.Error
        """
        with psycopg.connect(
            self.setup.postgres_url(user, *self.postgres),
            autocommit=True,
            connect_timeout=5,
            options=f"-c statement_timeout={round(timeout_s * 1000)}",
            application_name="operator",
        ) as connection:
            yield connection

    @contextmanager
    def cache(self) -> Iterator[Any]:
        """A client of Redis."""
        url = self.setup.redis_url(*self.redis)
        with redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=10.0, socket_connect_timeout=3.0
        ) as client:
            yield client

    def stats(self, pod: str) -> dict[str, Any] | None:
        """`/stats/engines` of one pod, through the API server; None where it does not answer."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/stats/engines"
        text = self.kube("get", "--raw", path, "--request-timeout=10s", allowed_to_fail=True)
        return dict(json.loads(text)) if text.startswith("{") else None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query of Prometheus.

        Raises
        ------
        NotUp
            Prometheus does not answer, or was not started.
        """
        try:
            answer = web.get(
                f"{self.prometheus}/api/v1/query",
                params={"query": expression},
                timeout=10.0,
            )
            answer.raise_for_status()
            return list(answer.json()["data"]["result"])
        except (httpx.HTTPError, ValueError, KeyError) as problem:
            raise NotUp(f"Prometheus of the sandbox does not answer ({problem})") from problem

    def value(self, expression: str) -> float | None:
        """The first value of an instant query, or None."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def verify(self) -> None:
        """Make sure that everything that answers carries the mark that `up` wrote.

        Raises
        ------
        NotUp, NotOurs
        """
        self.kube.verify(self.setup.sandbox_id)
        try:
            with self.cache() as client:
                mark = client.get(MARK)
            if mark not in (None, self.setup.sandbox_id):
                raise NotOurs()
        except redis.RedisError:
            pass  # it may be what is broken; the namespace is ours
        try:
            with self.database() as connection:
                found = connection.execute(queries("schema").read_mark).fetchall()
            if found != [(self.setup.sandbox_id,)]:
                raise NotOurs()
        except psycopg.errors.UndefinedTable as unmarked:
            raise NotOurs() from unmarked
        except psycopg.Error:
            pass  # likewise


def reach(settings: Settings, found: State | None = None) -> Access:
    """The running platform of this home.

    Raises
    ------
    NotUp
    """
    found = found or state.require(settings, NAMESPACE)
    running = cluster.find(settings)
    folder = state.file(settings, NAMESPACE).with_suffix("")
    setup = Setup.read(folder)
    if running is None or setup is None:
        raise NotUp(f"the sandbox platform {NAMESPACE} does not run: start it with `runbook sandbox up {NAMESPACE}`")
    stores = [urlsplit(address or "") for address in (found.endpoints.postgres_admin, found.endpoints.redis_admin)]
    postgres, cache = ((part.hostname or "", part.port or 0) for part in stores)
    return Access(
        Kube(running, folder, NAMESPACE), setup, found.endpoints.api, postgres, cache, found.endpoints.prometheus
    )
