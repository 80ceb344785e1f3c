"""Real servers, one of each for a test module."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opslib.probes import Target

if TYPE_CHECKING:
    import redis

SERVERS = runpy.run_path(str(Path(__file__).with_name("servers.py")))


@pytest.fixture(scope="module")
def redis_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, redis.Redis]]:
    """A Redis as the recorder sees it, and a client that may do everything."""
    with SERVERS["redis_server"](tmp_path_factory.mktemp("redis")) as (url, client):
        yield Target("redis", url), client


@pytest.fixture(scope="module")
def api() -> Iterator[Target]:
    """A real HTTP server that answers as a platform does, and as Prometheus's API under /api/v1/."""
    with SERVERS["http_server"]() as url:
        yield Target("api", url)


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    port: int = SERVERS["free_port"]()
    return port
