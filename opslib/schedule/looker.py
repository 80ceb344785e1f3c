"""The part of a worker that looks at the schedule, as a periodic task of the queue: one worker a minute does it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import procrastinate
import psycopg
import structlog
from procrastinate.exceptions import ProcrastinateException

from opslib import store
from opslib.errors import RunbookError
from opslib.schedule import looking
from opslib.settings import Settings

EVERY = "* * * * *"
_POLL_S = 2.0
_AGAIN_S = 1.0
_WATCH_S = 2.0
_JUMP_S = 10.0
_log = structlog.get_logger(__name__)


class Looker:
    """Looks at the schedule every minute, and whenever the jitter of a start is over, until it is cancelled.

    It has a queue of its own, so that no run that goes on keeps a look waiting.

    Parameters
    ----------
    settings : Settings
    every : str
        How often, as a cron expression of the queue's, which may have seconds as a sixth field.
    """

    def __init__(self, settings: Settings, every: str = EVERY) -> None:
        self._settings = settings
        self._every = every

    async def work(self) -> None:
        """The queue, connected to again whenever the store was away or the clock jumped."""
        while True:
            try:
                await self._serve()
            except (RunbookError, ProcrastinateException, psycopg.Error, OSError) as error:
                _log.warning("the schedule's queue is away; trying again", why=str(error).strip())
            await asyncio.sleep(_AGAIN_S)

    async def _serve(self) -> None:
        address = await asyncio.to_thread(store.url, self._settings, "worker")
        connector = procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=2, timeout=5)
        app = procrastinate.App(connector=connector)
        task = app.task(name=looking.TASK, queue=looking.QUEUE, pass_context=False)(self._look)
        app.periodic(cron=self._every)(task)
        async with app.open_async():
            worker = app.run_worker_async(
                queues=[looking.QUEUE],
                concurrency=1,
                listen_notify=False,
                fetch_job_polling_interval=_POLL_S,
                install_signal_handlers=False,
                shutdown_graceful_timeout=1.0,
                delete_jobs="successful",
            )
            parts = {asyncio.create_task(worker), asyncio.create_task(clock_jump())}
            try:
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
            for part in done:
                part.result()

    async def _look(self, timestamp: int) -> None:  # noqa: ARG002 - when the queue thought it was time
        """One look; whatever keeps it from being done, the next one makes up for it."""
        try:
            await asyncio.to_thread(looking.look, self._settings)
        except (RunbookError, psycopg.Error) as error:
            _log.error("the schedule could not be looked at", why=str(error).strip())


async def clock_jump(clock: Callable[[], float] = time.time, watch_s: float = _WATCH_S) -> None:
    """Return when a clock was set: the queue reckons the next minute from it and would oversleep."""
    before = clock() - time.monotonic()
    while abs(clock() - time.monotonic() - before) < _JUMP_S:
        await asyncio.sleep(watch_s)
    _log.warning("the clock was set; the schedule is looked at anew")
