"""A crypto platform of its own for the tests of the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
import redis

from opslib import web
from opslib.settings import Settings
from sandbox import crypto, faults, state
from sandbox.state import State


@pytest.fixture(scope="session")
def sandbox_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home with a running crypto platform, without monitoring."""
    settings = Settings(home=tmp_path_factory.mktemp("sandbox") / "home")
    crypto.up(settings, monitored=False)
    yield settings
    crypto.down(settings)
    shutil.rmtree(settings.runtime, ignore_errors=True)


@pytest.fixture
def platform(sandbox_home: Settings) -> Iterator[State]:
    """The running platform; what a test changed is healed after it."""
    found = state.require(sandbox_home)
    yield found
    shown = crypto.platform_status(found)
    if shown["config_changes"] or max(symbol["var_pct"] for symbol in shown["symbols"].values()) > 1.3:
        faults.heal(sandbox_home)


@pytest.fixture
def api(platform: State) -> Iterator[httpx.Client]:
    """A client of its API."""
    with web.client(base_url=platform.endpoints.api, timeout=10.0) as client:
        yield client


@pytest.fixture
def reader(platform: State) -> Iterator[redis.Redis]:
    """Its Redis with the read-only identity."""
    with redis.Redis.from_url(platform.endpoints.redis, decode_responses=True) as client:
        yield client


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home in which nothing runs yet; whatever a test leaves is ended."""
    settings = Settings(home=tmp_path_factory.mktemp("home") / "home")
    yield settings
    crypto.down(settings)
    shutil.rmtree(settings.runtime, ignore_errors=True)
