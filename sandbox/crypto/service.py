"""The service process of the crypto platform: `python -m sandbox.crypto.service --state FILE`.

It owns every server of the platform (redis-server, nginx, Prometheus, Alertmanager): they end when it ends, however it
ends.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import logging.handlers
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from sandbox import processes
from sandbox.crypto import api, control, monitoring, redis_server
from sandbox.crypto.dashboards import Dashboards
from sandbox.crypto.front import Front
from sandbox.crypto.heart import Heart
from sandbox.crypto.store import Jobs, Store
from sandbox.state import Endpoints, State, save

__all__ = ["main"]

_LOGS = ("trading-system", "risk-harmoniser", "model-router")
_DAYS_KEPT = 7


def main(arguments: list[str] | None = None) -> None:
    """Run the platform until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="sandbox.crypto.service", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="state file to write once everything answers")
    parser.add_argument("--control", type=Path, required=True, help="path of the control socket")
    parser.add_argument("--nginx", help="start this nginx in front, with a certificate")
    parser.add_argument("--webhook", help="start Prometheus and Alertmanager, which posts to this address")
    parser.add_argument("--token-file", type=Path, help="bearer token that Alertmanager sends")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    # Until the server takes the signals over, they end the process as an exit does, so that no child stays.
    signal.signal(signal.SIGTERM, _leave)
    folder = options.state.with_suffix("")
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    _set_up_logs(logs)
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _run(options, folder, logs, children)
    finally:
        for process in reversed(children.values()):
            process.terminate()
        for process in children.values():
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        options.control.unlink(missing_ok=True)


def _run(options: argparse.Namespace, folder: Path, logs: Path, children: dict[str, subprocess.Popen[bytes]]) -> None:
    sandbox_id = f"sandbox-{secrets.token_hex(8)}"
    passwords = redis_server.Passwords.fresh()
    primary = redis_server.start(folder, logs, passwords)
    children["redis"] = primary.process
    replica = redis_server.start(folder, logs, passwords, name="redis-replica", replica_of=primary.port)
    children["redis-replica"] = replica.process
    jobs = Jobs(folder, logs / "redis-users.log")
    store = Store({"primary": primary, "replica": replica}, jobs)
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    front = None
    if options.nginx:
        front = Front(folder, logs / "nginx.log", address)
        front.start(options.nginx, children)
    watchers = monitoring.Servers(None, None)
    if options.webhook:
        watchers = monitoring.start(folder, logs, address, options.webhook, options.token_file, children)
    dashboards = Dashboards(folder, primary, watchers.prometheus)
    heart = Heart(folder, store, dashboards, sandbox_id, front)
    heart.start()
    store.start()
    dashboards.start()
    pids = {"service": os.getpid(), **{name: child.pid for name, child in children.items()}}
    state = State(
        platform="crypto",
        sandbox_id=sandbox_id,
        pids=pids,
        starts={name: processes.started(pid) or "" for name, pid in pids.items()},
        endpoints=Endpoints(
            api=address,
            web=None if front is None else front.address,
            **store.endpoints(),
            dashboards=f"{address}/grafana",
            files=(folder / "conf").as_uri(),
            prometheus=watchers.prometheus,
            alertmanager=watchers.alertmanager,
        ),
        control=str(options.control),
        webhook=options.webhook,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )

    def repointed() -> None:
        heart.reconnect()
        now_at = state.endpoints.model_copy(update=store.endpoints())
        save(options.state, state.model_copy(update={"endpoints": now_at}).model_dump())

    store.changed = repointed

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        channel = await control.serve(heart, options.control)
        save(options.state, state.model_dump())
        logging.getLogger("trading-system").info("Platform started, listening on %s", address)
        yield
        channel.close()
        heart.stop()
        dashboards.stop()
        store.stop()

    app = api.build(heart)
    app.router.lifespan_context = lifespan
    settings = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="on")
    asyncio.run(uvicorn.Server(settings).serve(sockets=[listener]))


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _set_up_logs(folder: Path) -> None:
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in _LOGS:
        handler = logging.handlers.TimedRotatingFileHandler(
            folder / f"{name}.log", when="midnight", backupCount=_DAYS_KEPT, encoding="utf-8"
        )
        handler.setFormatter(form)
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(handler)


if __name__ == "__main__":
    main()
