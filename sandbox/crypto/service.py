"""The service process of the crypto platform: `python -m sandbox.crypto.service --state FILE`.

It owns every server of the platform (redis-server, nginx, Prometheus, Alertmanager): they end when it ends, however it
ends. With `--deployed` it is itself the pod `strategist`, and the servers are others.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import logging.handlers
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from sandbox.crypto import api, control
from sandbox.crypto.dashboards import Dashboards
from sandbox.crypto.deployed.parts import deployed
from sandbox.crypto.heart import Heart
from sandbox.crypto.parts import local
from sandbox.state import State, save

__all__ = ["main"]

_LOGS = ("trading-system", "risk-harmoniser", "model-router")
_DAYS_KEPT = 7


def main(arguments: list[str] | None = None) -> None:
    """Run the platform until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="sandbox.crypto.service", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="state file to write once everything answers")
    parser.add_argument("--control", type=Path, required=True, help="path of the control socket")
    parser.add_argument("--deployed", action="store_true", help="every other part is a pod; the state's folder has it")
    parser.add_argument("--nginx", help="start this nginx in front, with a certificate")
    parser.add_argument("--webhook", help="start Prometheus and Alertmanager, which posts to this address")
    parser.add_argument("--token-file", type=Path, help="bearer token that Alertmanager sends")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    # Until the server takes the signals over, they end the process as an exit does, so that no child stays.
    signal.signal(signal.SIGTERM, _leave)
    folder = options.state.parent if options.deployed else options.state.with_suffix("")
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    _set_up_logs(logs, aloud=options.deployed)
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
    if options.deployed:
        parts = deployed(folder, logs)
    else:
        parts = local(
            folder,
            logs,
            children,
            nginx=options.nginx,
            webhook=options.webhook,
            token_file=options.token_file,
        )
    store = parts.store
    dashboards = Dashboards(folder, store.servers["primary"], parts.prometheus)
    heart = Heart(folder, store, dashboards, parts.sandbox_id, parts.front, parts.desk)
    heart.start()
    store.start()
    dashboards.start()
    state = State(
        platform="crypto",
        sandbox_id=parts.sandbox_id,
        pids=parts.pids,
        starts=parts.starts,
        endpoints=parts.endpoints(folder),
        control=str(options.control),
        webhook=parts.webhook,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )

    def repointed() -> None:
        heart.reconnect()
        save(options.state, state.model_copy(update={"endpoints": parts.endpoints(folder)}).model_dump())

    store.changed = repointed

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        channel = await control.serve(heart, options.control)
        save(options.state, state.model_dump())
        logging.getLogger("trading-system").info("Platform started, listening on %s", parts.address)
        yield
        channel.close()
        heart.stop()
        dashboards.stop()
        store.stop()

    app = api.build(heart)
    app.router.lifespan_context = lifespan
    settings = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="on")
    asyncio.run(uvicorn.Server(settings).serve(sockets=[parts.listener]))


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _set_up_logs(folder: Path, *, aloud: bool) -> None:
    """Write each log into its file, and to standard output where that is what is asked for first."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in _LOGS:
        handler = logging.handlers.TimedRotatingFileHandler(
            folder / f"{name}.log", when="midnight", backupCount=_DAYS_KEPT, encoding="utf-8"
        )
        handler.setFormatter(form)
        spoken = logging.StreamHandler(sys.stdout)
        spoken.setFormatter(form)
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)
        log.propagate = False
        for taker in (handler, spoken) if aloud else (handler,):
            log.addHandler(taker)


if __name__ == "__main__":
    main()
