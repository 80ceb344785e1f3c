"""A real Redis and PostgreSQL whose settings are changed and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from sandbox.crypto import redis_server
from tests.actions.undoing.asking import BEFORE
from tests.actions.world import World
from tests.postgres_server import Server, running


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("postgres"), 18) as server:
        yield server


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_server.RedisServer]:
    folder = tmp_path_factory.mktemp("redis")
    server = redis_server.start(folder, folder, redis_server.Passwords.fresh())
    yield server
    server.process.terminate()
    server.process.wait()


@pytest.fixture
def desk(world: World, database: Server, cache: redis_server.RedisServer) -> Iterator[World]:
    """The platform of the plans, with a database and a Redis whose latency is above its limit; the alert fires."""
    place = world.settings.state / "sandbox" / "crypto.json"
    endpoints = json.loads(place.read_text("utf-8"))["endpoints"]
    endpoints |= {"postgres": database.reader, "postgres_admin": database.url()}
    endpoints |= {"redis": cache.url("recorder"), "redis_admin": cache.url("admin")}
    place.write_text(json.dumps({"endpoints": endpoints}), "utf-8")
    world.platform.gauges["redis_latency_p99"] = 9000.0
    world.fire()
    yield world
    with redis.Redis.from_url(cache.url(), decode_responses=True) as client:
        client.config_set("maxmemory", BEFORE)
