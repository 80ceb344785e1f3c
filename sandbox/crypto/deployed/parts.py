"""The surroundings of the service where it is the pod `strategist`."""

from __future__ import annotations

import logging
import socket
import time
from functools import partial
from pathlib import Path

import redis

from sandbox import state
from sandbox.crypto.deployed import passage
from sandbox.crypto.deployed.remote_desk import RemoteDesk
from sandbox.crypto.deployed.requests import Asker
from sandbox.crypto.deployed.setup import STATE, Setup
from sandbox.crypto.parts import Parts
from sandbox.crypto.publisher import MARKER
from sandbox.crypto.redis_server import RedisServer
from sandbox.crypto.store import Jobs, Store
from sandbox.errors import NotUp, StartFailed

__all__ = ["deployed"]

_REDIS_S = 60.0
_AGAIN_S = 0.2

_log = logging.getLogger("trading-system")


def deployed(folder: Path, logs: Path) -> Parts:
    """What `up` put into the folder, and wait until an instance of Redis leads.

    Raises
    ------
    StartFailed
        The folder holds no platform, or Redis does not answer.
    """
    setup = Setup.read(folder)
    if setup is None:
        raise StartFailed(f"{folder} holds no platform: run `runbook sandbox up crypto --deployed`")
    servers = {
        name: RedisServer(name, setup.ports[port], setup.passwords)
        for name, port in (("primary", "redis"), ("replica", "redis-replica"))
    }
    before = state.load(folder / STATE)
    lately = next((name for name, one in servers.items() if before and one.url() == before.endpoints.redis_admin), None)
    in_use = _leader(servers, setup.sandbox_id, lately or "primary")
    store = Store(servers, Jobs(folder, logs / "redis-users.log"), in_use=in_use, path_port=setup.ports["path"])
    if setup.prometheus is not None:
        passage.lead_in(setup.prometheus, setup.passage)
    ask = Asker(lambda: store.url, "trading-platform")
    return Parts(
        sandbox_id=setup.sandbox_id,
        listener=socket.create_server(("127.0.0.1", setup.ports["api"])),
        store=store,
        prometheus=setup.prometheus,
        alertmanager=setup.alertmanager,
        web=None if setup.nginx is None else f"https://127.0.0.1:{setup.ports['web']}",
        pids=setup.pids,
        starts=setup.starts,
        webhook=setup.webhook,
        kubernetes_admin=setup.kubernetes_admin,
        desk=partial(RemoteDesk, ask=ask),
    )


def _leader(servers: dict[str, RedisServer], sandbox_id: str, lately: str) -> str:
    """The instance in use: one that takes writes and has the platform's mark, that of lately before the other.

    Where none has the mark, it is the primary once it answers.
    """
    deadline = time.monotonic() + _REDIS_S
    while True:
        said: dict[str, str] = {}
        for name in sorted(servers, key=lambda one: one != lately):
            try:
                with redis.Redis.from_url(
                    servers[name].url(), decode_responses=True, socket_timeout=2.0, socket_connect_timeout=1.0
                ) as client:
                    said[name] = str(client.info("replication")["role"])
                    if said[name] == "master" and client.get(MARKER) == sandbox_id:
                        return name
            except redis.RedisError as problem:
                said[name] = str(problem)
        if said["primary"] == "master":
            return "primary"
        if time.monotonic() > deadline:
            raise NotUp(f"no instance of Redis leads: {said}")
        _log.info("waiting for Redis: %s", said)
        time.sleep(_AGAIN_S)
