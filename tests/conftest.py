"""Fixtures of every test: a home of its own, with a real PostgreSQL behind it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql

from opslib import store
from opslib.runs import caches
from opslib.settings import Settings
from opslib.store import embedded

pytest_plugins = ["tests.on_cluster"]

# every process of the tests loads what one of them compiled; in its own `__pycache__` each checkout would do it twice
os.environ.setdefault("NUMBA_CACHE_DIR", str(caches.compiled(Path.home() / ".cache" / "numba")))

# how long an example takes says nothing beside other tests: of what is slow there are benchmarks
hypothesis.settings.register_profile(
    "beside-others",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("beside-others")

_ON_A_CLUSTER = {"able", "kubeconfig", "of_the_sandbox"}  # the fixtures that stand for a Kubernetes of our own


_TEMPORARY = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give this run temporary files of its own, removed at its end: sockets and locks of an earlier one are not seen.

    The name is short, since the path of a socket has at most 107 bytes. The processes of xdist inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in its background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what the tests start can be interrupted
    if hasattr(config, "workerinput"):
        return
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # what failed tests leave is kept there
    config.stash[_TEMPORARY] = Path(tempfile.mkdtemp(prefix="rt-"))
    config.stash[_TEMPORARY].chmod(0o711)  # tests that become another user get through
    tempfile.tempdir = os.environ["TMPDIR"] = str(config.stash[_TEMPORARY])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove them."""
    if _TEMPORARY in config.stash:
        shutil.rmtree(config.stash[_TEMPORARY], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a cluster: one process runs those, after all others, so that one cluster serves them.

    Files with slow tests come first: at the end, several processes have something left to do.
    """
    slow = set()
    for item in items:
        if _ON_A_CLUSTER & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("slow") or item.get_closest_marker("acceptance"):
            slow.add(item.path)
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No RUNBOOK_* variable of the shell reaches a test."""
    for name in [name for name in os.environ if name.startswith("RUNBOOK_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    """One embedded server for the whole session; its database `runbook` is migrated and kept empty."""
    settings = Settings(home=tmp_path_factory.mktemp("server") / "home")
    store.ensure(settings)
    yield embedded.ensure(settings)
    store.stop(settings)


@pytest.fixture
def settings(tmp_path: Path, server: embedded.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A fresh home and a fresh, migrated database for the role `worker`; processes started by a test find both."""
    name = f"test_{secrets.token_hex(6)}"
    maintenance = server.url("owner", "postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(embedded.DATABASE)))
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNBOOK_DATABASE_URL", server.url("worker", name))
    settings = Settings()
    settings.make_home()
    yield settings
    shutil.rmtree(settings.runtime, ignore_errors=True)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def connection(settings: Settings) -> Iterator[store.Connection]:
    """A connection of the role `worker`."""
    with store.connect(settings) as connection:
        yield connection
