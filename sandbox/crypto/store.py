"""The platform's store: two instances of Redis, the path to the one in use, the watch on it, and its other users."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from opslib.settings import PROJECT
from sandbox import processes
from sandbox.crypto.redis_server import RedisServer
from sandbox.errors import ControlRefused

__all__ = ["Jobs", "NetworkPath", "Store"]

_TIMEOUTS = {"socket_timeout": 2.0, "socket_connect_timeout": 1.0}
# Settings that may have been changed, and are put back.
_RESTORED = (
    "hz",
    "latency-monitor-threshold",
    "lazyfree-lazy-eviction",
    "maxclients",
    "maxmemory",
    "maxmemory-policy",
    "maxmemory-samples",
    "slowlog-log-slower-than",
    "timeout",
)

_log = logging.getLogger("trading-system")


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """A network path to an instance: the port that leads there, and whether the on-call takes it as well."""

    port: int
    everyone: bool


class Jobs:
    """Children of the platform's process that talk to its Redis; they end when it ends.

    Parameters
    ----------
    folder : Path
        Where they work.
    log : Path
        Takes their errors.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder, self._log = folder, log
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def start(self, module: str, facts: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Start `sandbox.clients.MODULE` and give it its facts."""
        command = [sys.executable, "-m", f"sandbox.clients.{module}"]
        environment = {"PATH": os.defpath, "LC_ALL": "C", "PYTHONPATH": str(PROJECT)}
        child = processes.spawn(command, self._log, self._folder, environment, piped=True)
        with self._lock:
            self._running.append(child)
        if child.stdin is not None:
            child.stdin.write(json.dumps(facts).encode() + b"\n")
            child.stdin.close()
        return child

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """End one."""
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
        with self._lock:
            self._running.remove(child)

    def end_all(self) -> None:
        """End every one."""
        for child in list(self._running):
            self.end(child)


class Store:
    """Two instances of Redis, of which the platform uses one.

    Parameters
    ----------
    servers : dict
        By name, `primary` and `replica`.
    jobs : Jobs
        Where its watch and other users run.
    in_use : str
        Name of the instance in use at first.
    path_port : int
        Where a path with a delay begins; 0 for any port.

    Attributes
    ----------
    in_use : str
        Name of the instance that the platform writes to.
    figures : dict
        What the watch told last: `up`, `p50_us`, `p99_us`, and what `INFO` says.
    changed : callable
        Called after another instance or path came into use.
    """

    def __init__(
        self, servers: dict[str, RedisServer], jobs: Jobs, *, in_use: str = "primary", path_port: int = 0
    ) -> None:
        self.servers = servers
        self.in_use = in_use
        self._path_port = path_port
        self.figures: dict[str, Any] = {}
        self.changed: Callable[[], None] = lambda: None
        self._jobs = jobs
        self._paths: dict[str, NetworkPath] = {}
        self._others: list[subprocess.Popen[bytes]] = []
        self._watch: subprocess.Popen[bytes] | None = None
        self._pristine: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where the platform reads and writes, with the full identity."""
        return self._address(self.in_use, "admin", platform=True)

    @property
    def standby(self) -> str:
        """Name of the other instance."""
        return next(name for name in self.servers if name != self.in_use)

    def endpoints(self) -> dict[str, str]:
        """The addresses as the state file tells them: of the instance in use, and of the other."""
        return {
            "redis": self._address(self.in_use, "recorder", platform=False),
            "redis_admin": self.servers[self.in_use].url(),
            "redis_replica": self.servers[self.standby].url("recorder"),
            "redis_replica_admin": self.servers[self.standby].url(),
        }

    def start(self) -> None:
        """Note the configuration as it is, and begin to watch."""
        with self._admin("primary") as client:
            self._pristine = {name: client.config_get(name)[name] for name in _RESTORED}
        self.watch_afresh()

    def use(self, name: str) -> None:
        """Let another instance be the one in use.

        Raises
        ------
        ControlRefused
            There is none of that name, or it takes no writes.
        """
        if name not in self.servers:
            raise ControlRefused(f"there is no instance {name!r} of Redis; there are {', '.join(self.servers)}")
        try:
            with self._admin(name) as client:
                role = str(client.info("replication")["role"])
        except redis.RedisError as problem:
            raise ControlRefused(f"the instance {name} does not answer ({problem})") from problem
        if role != "master":
            raise ControlRefused(f"the instance {name} follows another one; promote it first (REPLICAOF NO ONE)")
        if name != self.in_use:
            self.in_use = name
            _log.info("Redis in use is now the instance %s", name)
            self._repointed()

    def lead_over(self, delay_ms: float, jitter_ms: float, *, everyone: bool) -> None:
        """Lead the platform to the instance in use over a path with a delay each way [ms]; the on-call too if told."""
        port = self.servers[self.in_use].port
        facts = {"port": self._path_port, "to_port": port, "delay_ms": delay_ms, "jitter_ms": jitter_ms}
        relay = self._jobs.start("relay", facts)
        self._others.append(relay)
        told = relay.stdout.readline() if relay.stdout is not None else b""
        self._paths[self.in_use] = NetworkPath(int(json.loads(told)["port"]), everyone)
        self._repointed()

    def add_user(self, job: str, **facts: Any) -> None:
        """Let another user of the store begin its work."""
        server = self.servers[self.in_use]
        address = {"port": server.port, "password": server.passwords.admin}
        self._others.append(self._jobs.start("jobs", {"job": job, "address": address, **facts}))

    def restore(self) -> None:
        """Put both instances back to what they are after a start: roles, configuration, no keys, no other users."""
        for child in self._others:
            self._jobs.end(child)
        moved = self.in_use != "primary" or bool(self._paths)
        self._others, self._paths, self.in_use = [], {}, "primary"
        for name in self.servers:
            with suppress(redis.RedisError), self._admin(name) as client:
                for setting, value in self._pristine.items():
                    client.config_set(setting, value)
                if name == "primary":
                    client.replicaof("NO", "ONE")
                    client.flushall(asynchronous=True)
                else:
                    client.replicaof("127.0.0.1", self.servers["primary"].port)
                client.config_resetstat()
                client.slowlog_reset()
                client.execute_command("LATENCY", "RESET")
        if moved:
            self.changed()

    def watch_afresh(self) -> None:
        """Watch the path that is in use now, from a clean sheet."""
        if self._watch is not None:
            self._jobs.end(self._watch)
        server, path = self.servers[self.in_use], self._paths.get(self.in_use)
        facts = {"port": path.port if path else server.port, "password": server.passwords.admin}
        self.figures = {}
        self._watch = child = self._jobs.start("watch", facts)
        threading.Thread(target=self._listen, args=(child,), name="watch", daemon=True).start()

    def stop(self) -> None:
        """End the watch and the other users."""
        self._jobs.end_all()

    def _address(self, name: str, identity: str, *, platform: bool) -> str:
        path = self._paths.get(name)
        over = path.port if path is not None and (platform or path.everyone) else None
        return self.servers[name].url(identity, over)

    def _admin(self, name: str) -> redis.Redis:
        return redis.Redis.from_url(self.servers[name].url(), decode_responses=True, **_TIMEOUTS)

    def _repointed(self) -> None:
        self.changed()
        self.watch_afresh()

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        """Take what the watch tells, until it ends."""
        with suppress(ValueError, OSError):
            for line in child.stdout or ():
                if child is self._watch:
                    self.figures = json.loads(line)
