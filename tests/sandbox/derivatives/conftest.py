"""The derivatives platform as plain processes: a real PostgreSQL, a real Redis, the service, no cluster."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from psycopg import sql

from opslib import web
from opslib.settings import PROJECT
from opslib.store import embedded
from sandbox import processes
from sandbox.crypto import redis_server
from sandbox.crypto.monitoring import available
from sandbox.derivatives import contents, settle
from sandbox.derivatives.service.models import Models, write_store
from sandbox.derivatives.service.release import Release, write
from sandbox.derivatives.setup import Setup
from sandbox.errors import CannotRun
from sandbox.gpu.description import CARD


def wait_for(seen: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Poll until `seen` returns something; errors of a server that is not up yet are waited out."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if found := seen():
                return found
        except (httpx.HTTPError, redis.RedisError, psycopg.Error):
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def require_a_cluster() -> None:
    """Skip the test where this machine lacks what the platform on its own cluster, watched, needs."""
    try:
        settle.check_programs()
    except CannotRun as lacking:
        pytest.skip(str(lacking))
    if available() is None:
        pytest.skip("needs Prometheus and Alertmanager (apt-get install prometheus-alertmanager)")


@dataclass
class Plain:
    """The platform's processes, and where they answer."""

    folder: Path
    redis_url: str
    postgres_url: str
    api: str
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *words: str, **environment: str) -> None:
        """Start `python -m sandbox.derivatives.NAME WORDS`."""
        port = self.api.rpartition(":")[2]
        setting = {
            "PATH": os.defpath,
            "PYTHONPATH": str(PROJECT),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "REDIS_URL": self.redis_url,
            "POSTGRES_URL": self.postgres_url,
            "RELEASES": str(self.folder / "releases"),
            "RELEASE": "2.4.0",
            "MODELS": str(self.folder / "models"),
            "CARD": str(self.folder / "card"),
            "GPU_MEMORY_MIB": "256",
            "HOST": "127.0.0.1",
            "PORT": port,
            "API_HOST": "127.0.0.1",
            "API_PORT": port,
            "EXCHANGE": str(self.folder / "exchange.json"),
            "DEMAND": str(self.folder / "demand.json"),
            **environment,
        }
        command = [sys.executable, "-m", f"sandbox.derivatives.{name}", *words]
        log = self.folder / f"{name}.log"
        self.children[name] = processes.spawn(command, log, self.folder, setting)

    def stop(self, name: str) -> None:
        """End one."""
        child = self.children.pop(name)
        child.terminate()
        child.wait(timeout=20.0)

    def log(self, name: str) -> str:
        """What one said."""
        return (self.folder / f"{name}.log").read_text("utf-8")

    def serve(self, **environment: str) -> None:
        """Start the service anew with another environment, and wait until it answers."""
        if "service" in self.children:
            self.stop("service")
        self.start("service", **environment)
        wait_for(lambda: web.get(f"{self.api}/health").json()["market"])

    def stats(self) -> dict[str, Any]:
        """`/stats/engines`."""
        return dict(web.get(f"{self.api}/stats/engines").json())


@dataclass(frozen=True)
class Here(Setup):
    """A platform whose stores and files are those of the plain one."""

    plain: Plain | None = None

    def postgres_url(self, user: str, host: str, port: int) -> str:
        assert self.plain is not None
        return self.plain.postgres_url

    def redis_url(self, host: str, port: int, *, reader: bool = False) -> str:
        assert self.plain is not None
        return self.plain.redis_url

    @property
    def releases(self) -> Path:
        return self.folder / "releases"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def exchange(self) -> Path:
        return self.folder / "exchange.json"

    @property
    def demand(self) -> Path:
        return self.folder / "demand.json"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, server: embedded.Server) -> Iterator[Plain]:
    """The service and its market, on a card; ended afterwards."""
    folder = tmp_path_factory.mktemp("derivatives")
    (folder / "card/clients").mkdir(parents=True)
    (folder / "card/card.json").write_text(json.dumps({**CARD, "memory_mib": 2048, "reserved_mib": 0}), "utf-8")
    write(folder / "releases", Release("2.4.0"))
    write_store(folder / "models")
    store = redis_server.start(folder, folder)
    name = f"derivatives_{secrets.token_hex(4)}"
    with psycopg.connect(server.url("owner", "postgres"), autocommit=True) as maintenance:
        maintenance.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    found = Plain(folder, store.admin_url, server.url("owner", name), f"http://127.0.0.1:{processes.free_port()}")
    try:
        with (
            psycopg.connect(found.postgres_url, autocommit=True) as connection,
            redis.Redis.from_url(found.redis_url) as client,
        ):
            contents.fill_database(connection, "sandbox-test", trades=2_000)
            contents.reset_book(connection, client)
            contents.warm_cache(client, Models(folder / "models"), Release("2.4.0"))
        found.start("feed")
        found.serve()
        yield found
    finally:
        for one in list(found.children):
            found.stop(one)
        store.process.terminate()
        store.process.wait()
    with psycopg.connect(server.url("owner", "postgres"), autocommit=True) as maintenance:
        maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
