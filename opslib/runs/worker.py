"""The worker: takes runs from the queue and executes each in a process of its own.

Told to end it takes no more, and drains: runs that go on may end, and go back to the queue when they take too long.
Told twice it hands them back at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import procrastinate
import psycopg
import structlog
from procrastinate.exceptions import ProcrastinateException

from opslib import store
from opslib.errors import RunbookError
from opslib.runs import leases, queue, reaper
from opslib.runs.processes import ELSEWHERE, RunProcess, RunProcesses
from opslib.schedule.looker import Looker
from opslib.settings import Settings
from opslib.store import processes

KIND = "worker"
CONCURRENCY = 2
_KEPT = 1  # slots that only critical runs get
_BEAT_S = 3.0
_REAP_S = 5.0
_POLL_S = 5.0  # beside what the queue says by itself
_AGAIN_S = 1.0
_HAND_BACK_S = 7.0
_AFTER_S = 3.0
_END_S = 1.5
_log = structlog.get_logger(__name__)


class NotTaken(RunbookError):
    """The run was not executed to its end here; where it still waits it is queued again in a moment."""


def alive(settings: Settings) -> bool:
    """Whether a worker is alive, on this machine or another.

    Raises
    ------
    StoreError
        When the store is away.
    """
    with store.connect(settings) as connection:
        return processes.alive(connection, KIND)


def main(settings: Settings, *, concurrency: int = CONCURRENCY) -> int:
    """Work until SIGTERM or SIGINT, then drain; ended within 30 s.

    Raises
    ------
    StoreError
        When the store cannot be reached at the start.
    """
    store.ensure(settings)
    reaper.attend(settings)
    with asyncio.Runner() as runner:
        code = runner.run(Worker(settings, concurrency).work())
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)  # without waiting for threads that ask a store which does not answer


class Worker:
    """One worker process.

    Parameters
    ----------
    settings : Settings
    concurrency : int
        How many runs at once; beside these one slot is kept for critical runs alone.
    """

    def __init__(self, settings: Settings, concurrency: int = CONCURRENCY) -> None:
        self._settings = settings
        self._concurrency = concurrency
        self._ending, self._hurried = asyncio.Event(), asyncio.Event()
        self._until = 0.0
        self._processes = RunProcesses(settings)
        self._runs: dict[int, RunProcess] = {}
        self._executing: set[asyncio.Future[None]] = set()
        self._nursery: subprocess.Popen[bytes] | None = None

    async def work(self) -> int:
        """Take runs until asked to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end)
        upkeep = [
            asyncio.create_task(step())
            for step in (self._beat, self._reap, self._tidy, self._keep_warm, Looker(self._settings).work)
        ]
        taking = asyncio.create_task(self._take())
        await self._ending.wait()
        for task in (taking, *upkeep):
            task.cancel()
        await asyncio.gather(taking, *upkeep, return_exceptions=True)
        await self._drain()
        await asyncio.gather(self._processes.close(), asyncio.to_thread(self._end_nursery))
        return 0

    def _end_nursery(self) -> None:
        if self._nursery is None:
            return
        self._nursery.terminate()
        try:
            self._nursery.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._nursery.kill()

    def _told_to_end(self) -> None:
        if self._ending.is_set():
            self._hurried.set()
        else:
            self._until = time.monotonic() + self._settings.drain_s
        self._ending.set()

    async def _take(self) -> None:
        """The queue, connected to again whenever the store was away."""
        while not self._ending.is_set():
            try:
                address = await asyncio.to_thread(store.url, self._settings, "worker")
                connector = procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=6, timeout=5)
                app = procrastinate.App(connector=connector)
                app.task(name=queue.TASK, queue=queue.QUEUE)(self._run)
                async with app.open_async(), asyncio.TaskGroup() as slots:
                    slots.create_task(self._serve(app, [queue.CRITICAL, queue.QUEUE], self._concurrency))
                    slots.create_task(self._serve(app, [queue.CRITICAL], _KEPT))
            except* (RunbookError, ProcrastinateException, psycopg.Error, OSError) as error:
                why = "; ".join(str(one).strip() for one in error.exceptions)
                _log.warning("the queue is away; trying again", why=why)
            await asyncio.sleep(_AGAIN_S)

    @staticmethod
    async def _serve(app: procrastinate.App, queues: list[str], slots: int) -> None:
        """Take runs from these queues, so many at once."""
        await app.run_worker_async(
            queues=queues,
            concurrency=slots,
            install_signal_handlers=False,
            fetch_job_polling_interval=_POLL_S,
            update_heartbeat_interval=_POLL_S,
            shutdown_graceful_timeout=0.1,
            delete_jobs="successful",
        )

    async def _run(self, run: int) -> None:
        """One job: outlives a lost connection to the queue, since the run writes its own end."""
        executing = asyncio.ensure_future(self._execute(run))
        self._executing.add(executing)
        executing.add_done_callback(self._executed)
        await asyncio.shield(executing)

    def _executed(self, executing: asyncio.Future[None]) -> None:
        self._executing.discard(executing)
        if not executing.cancelled():
            executing.exception()  # the job has it, unless the queue is gone

    async def _execute(self, run: int) -> None:
        if self._ending.is_set():
            raise NotTaken
        if run in self._runs:
            return
        process = self._runs[run] = await self._processes.start(run)
        try:
            code = await process.wait()
        finally:
            del self._runs[run]
        # A job that failed is looked for when waiting runs are; one that succeeded is forgotten.
        if code not in (0, ELSEWHERE):
            await self._quietly(partial(reaper.hand_back, run=run) if self._ending.is_set() else reaper.attend)
            await self._quietly(reaper.close_ended)
            raise NotTaken(f"the process of run {run} ended with {code}")

    async def _beat(self) -> None:
        """Say that this worker is alive."""
        process, kept = processes.Process(self._settings, KIND), store.Kept(self._settings)
        try:
            while True:
                with kept:
                    await self._quietly(lambda _: process.beat(leases.counted(self._settings)))
                await asyncio.sleep(_BEAT_S)
        finally:
            kept.close()
            await self._quietly(lambda _: process.close())

    async def _reap(self) -> None:
        await self._often(reaper.attend)

    async def _tidy(self) -> None:
        """What may take its time, and must not keep the reaper from the next run that is lost."""
        await asyncio.gather(self._often(reaper.tidy), self._often(reaper.close_ended, every_s=_AGAIN_S))

    async def _often(self, step: Callable[[Settings], object], every_s: float = _REAP_S) -> None:
        with closing(store.Kept(self._settings)) as kept:
            while True:
                await asyncio.sleep(every_s)
                with kept:
                    await self._quietly(step)

    async def _keep_warm(self) -> None:
        """A forker for runs and a nursery for kernels, started again when they have ended."""
        while self._settings.warm_kernels:
            await self._processes.tend()
            if self._nursery is None or self._nursery.poll() is not None:
                self._nursery = await asyncio.to_thread(leases.start, self._settings)
            await asyncio.sleep(_REAP_S)

    async def _quietly(self, step: Callable[[Settings], object]) -> None:
        """A step that may fail while the store is away or the disk is full, and is tried again later."""
        try:
            await asyncio.to_thread(step, self._settings)
        except (RunbookError, psycopg.Error, OSError) as error:
            _log.warning("a step of the worker waits", why=str(error).strip())

    async def _drain(self) -> None:
        """Let the runs end that do so in time; hand back the others; kill what does not even do that."""
        hurry: asyncio.Future[Any] = asyncio.ensure_future(self._hurried.wait())
        while self._executing and not hurry.done() and (left := self._until - time.monotonic()) > 0:
            waiting: set[asyncio.Future[Any]] = {*self._executing, hurry}
            await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        for process in self._runs.values():
            process.hand_back()
        if self._executing:
            await asyncio.wait(self._executing, timeout=_HAND_BACK_S)
        for process in self._runs.values():
            process.kill()
        if self._executing:
            await asyncio.wait(self._executing, timeout=_AFTER_S)
