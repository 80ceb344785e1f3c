"""Real PostgreSQL servers for the tests: the wheel's (18) and Debian's 15, on a free port of the loopback."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from opslib.store import embedded, unprivileged

DEBIAN = Path("/usr/lib/postgresql/15/bin")
READER, PASSWORD = "recorder", "swordfish-4711-reader"


@dataclass(frozen=True)
class Server:
    """A running server: an administrator's address, and those of roles that may only read."""

    port: int
    password: str
    process: subprocess.Popen[bytes]
    database: str = "postgres"

    def url(self, role: str = "postgres", password: str | None = None, database: str | None = None) -> str:
        """An address."""
        return f"postgresql://{role}:{password or self.password}@127.0.0.1:{self.port}/{database or self.database}"

    @property
    def reader(self) -> str:
        """The address of the role that reads statistics and tables."""
        return self.url(READER, PASSWORD)

    @property
    def blind(self) -> str:
        """The address of a role that may not see others' sessions."""
        return self.url("blind", PASSWORD)

    def admin(self, **given: object) -> psycopg.Connection:
        """A connection that may do everything, each statement its own transaction."""
        return psycopg.connect(self.url(), autocommit=True, **given)  # type: ignore[arg-type]


def binaries(version: int) -> Path:
    """The folder of a server's programs; skips where Debian's is not installed."""
    if version != 15:
        return embedded.binaries()
    if not (DEBIAN / "postgres").exists():
        pytest.skip("needs Debian's postgresql-15 (.ci/packages installs it)")
    return DEBIAN


def _ordinary(command: list[str]) -> list[str]:
    return [sys.executable, "-I", "-S", unprivileged.__file__, *command]


@contextmanager
def running(folder: Path, version: int, *settings: str) -> Iterator[Server]:
    """A server with its roles: `postgres` may everything, `recorder` reads, `blind` reads no statistics of others."""
    place, port, password = binaries(version), embedded.free_port(), secrets.token_urlsafe(12)
    secret = folder / "password"
    secret.write_text(password, "ascii")
    data = folder / "data"
    init = [str(place / "initdb"), "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-N"]
    subprocess.run(_ordinary([*init, "--encoding=UTF8", "--no-locale"]), check=True, capture_output=True)
    preload = ["-c", "shared_preload_libraries=pg_stat_statements"] if version == 15 else []
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    options += [part for setting in settings for part in ("-c", setting)]
    log = (folder / "log").open("wb")
    command = [str(place / "postgres"), "-D", str(data), "-p", str(port), *options, *preload]
    process = subprocess.Popen(_ordinary(command), stdout=log, stderr=log)
    server = Server(port, password, process)
    try:
        _wait(server)
        with server.admin() as admin:
            admin.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'")
            admin.execute(f"CREATE ROLE blind LOGIN PASSWORD '{PASSWORD}'")
            admin.execute(f"GRANT pg_monitor TO {READER}")
            admin.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            admin.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {READER}")
            if version == 15:
                admin.execute("CREATE SCHEMA extras")
                admin.execute(f"GRANT USAGE ON SCHEMA extras TO {READER}")
                admin.execute("CREATE EXTENSION pg_stat_statements SCHEMA extras")
        yield server
    finally:
        process.send_signal(signal.SIGINT)  # without waiting for its clients
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(20)
        log.close()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
