"""The server: intake, API and console in one application.

`python -m opslib.server --host --port` runs it alone; `runbook serve` runs it with everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import psycopg
import structlog
import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from opslib import api, console, intake, store
from opslib.api import connections, tallies
from opslib.errors import RunbookError
from opslib.runs import expiry, reaper
from opslib.settings import Settings
from opslib.store import processes

__all__ = ["configuration", "create_app", "main"]

SWEEP_S = 1.0
_BEATS = 3
_log = structlog.get_logger("server")


def create_app(settings: Settings) -> FastAPI:
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        upkeep = [asyncio.create_task(step(settings)) for step in (_keep_house, _close_records)]
        yield
        for task in upkeep:
            task.cancel()
        await asyncio.gather(*upkeep, return_exceptions=True)

    app = FastAPI(
        title="runbook",
        summary="Executable runbooks: an alert becomes an executed, sealed notebook.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(connections.BoundedBodies)
    api.install(app, settings)
    app.include_router(console.router(settings))
    return app


async def _keep_house(settings: Settings) -> None:
    """Every second the upkeep of intake; every third, runs that have to end, counts, that the server is alive.

    The runs are those that wait too long, and those whose process is gone: there may be no worker left to see it.
    Goes on while the database is away.
    """
    process: processes.Process | None = None
    kept = store.Kept(settings)
    turn = 0
    try:
        while True:
            try:
                with kept:
                    await run_in_threadpool(intake.keep_house, settings)
                    if process is None:
                        process = await run_in_threadpool(processes.register, settings, "server")
                    elif turn % _BEATS == 0:
                        await run_in_threadpool(process.beat)
                        await run_in_threadpool(tallies.fold, settings)
                        await run_in_threadpool(expiry.expire, settings)
                        await run_in_threadpool(reaper.end_gone, settings)
            except (RunbookError, psycopg.Error, OSError) as error:
                _log.warning("housekeeping waits for the database", error=str(error).splitlines()[0])
            turn += 1
            await asyncio.sleep(SWEEP_S)
    finally:
        kept.close()
        if process is not None:
            with contextlib.suppress(RunbookError, psycopg.Error):
                process.close()


async def _close_records(settings: Settings) -> None:
    """Close the records of the runs that were ended here, which may have to wait for archive and signer."""
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await run_in_threadpool(reaper.close_ended, settings)
        except (RunbookError, psycopg.Error, OSError) as error:
            _log.warning("a record is closed later", error=str(error).splitlines()[0])


def configuration(app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connections.Connection,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 * 1024,
    )


def main(arguments: list[str] | None = None) -> None:
    """Serve until told to stop."""
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m opslib.server", description=__doc__)
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port)
    given = parser.parse_args(arguments)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    server = uvicorn.Server(configuration(create_app(settings), given.host, given.port))
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    sys.exit(0 if server.started else 3)  # as `uvicorn.run`: 3 where it could not begin


if __name__ == "__main__":
    main()
