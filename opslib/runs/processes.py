"""The processes of a worker's runs: forked from one with everything loaded, or started where that one is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from opslib.record.client import environment
from opslib.settings import Settings

HAND_BACK = signal.SIGUSR1
"""Asks a run to end, and to go back to the queue."""
ELSEWHERE = 76
"""The exit code of a process that found its run going on in another one."""
_BEGIN_S = 5.0
_END_S = 1.5
_LOST = -signal.SIGKILL
_log = structlog.get_logger(__name__)


class RunProcess:
    """The process of one run.

    Attributes
    ----------
    pid : int
    """

    def __init__(self, pid: int, ended: asyncio.Future[int], late: _Late | None = None) -> None:
        self.pid = pid
        self._ended = ended
        self._late = late
        self._over = ended if late is None else asyncio.ensure_future(self._either(late))

    async def wait(self) -> int:
        """Wait for its end; its exit status."""
        return await asyncio.shield(self._over)

    async def _either(self, late: _Late) -> int:
        """The exit status of whichever of two processes had the run, once it has ended."""
        code = await self._ended
        if code == ELSEWHERE and not late.begun.done():  # what tells of the other one is on its way
            await asyncio.wait({late.begun}, timeout=_BEGIN_S)
        if late.pid is None:
            return code
        other = await late.ended
        return other if code == ELSEWHERE else code

    def hand_back(self) -> None:
        """Have it write that it goes back to the queue, and end."""
        self._signal(HAND_BACK)

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        known = [(self.pid, self._ended)]
        if self._late is not None and self._late.pid is not None:
            known.append((self._late.pid, self._late.ended))
        for pid, ended in known:
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


@dataclass(frozen=True)
class _Late:
    """What a forker that did not answer in time may begin yet."""

    begun: asyncio.Future[int]
    ended: asyncio.Future[int]

    @property
    def pid(self) -> int | None:
        """The process that it began after all."""
        there = self.begun.done() and not self.begun.cancelled() and self.begun.exception() is None
        return self.begun.result() if there else None


class RunProcesses:
    """Starts the processes of runs, and the forker that they come from.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._forker: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = False
        self._begun: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}

    async def tend(self) -> None:
        """Start the forker where there is none."""
        if self._forker is not None and self._forker.returncode is None:
            return
        self._ready = False
        words = ("opslib.runs.forker", str(os.getpid()))
        self._forker = await self._python(*words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        self._reading = asyncio.create_task(self._read(self._forker))

    async def start(self, run: int) -> RunProcess:
        """A process for a run: a fork, or a plain one where no forker is ready.

        A forker that does not answer in time may begin the run yet. One of the two processes gets it then, and both
        are watched.
        """
        late = None
        if self._ready and self._forker is not None and self._forker.stdin is not None:
            loop = asyncio.get_running_loop()
            begun = self._begun[run] = loop.create_future()
            ended = self._ended[run] = loop.create_future()
            try:
                self._forker.stdin.write(json.dumps({"run": run}).encode() + b"\n")
                return RunProcess(await asyncio.wait_for(asyncio.shield(begun), _BEGIN_S), ended)
            except (TimeoutError, OSError, RuntimeError) as error:
                _log.warning("the forker does not answer; the run is started plainly", run=run, why=str(error))
                late = _Late(begun, ended)
        process = await self._python(
            "opslib.runs.run", str(run), "--parent", str(os.getpid()), stdin=asyncio.subprocess.DEVNULL
        )
        return RunProcess(process.pid, asyncio.ensure_future(process.wait()), late)

    async def close(self) -> None:
        """End the forker; kill one that does not heed it."""
        if self._forker is not None and self._forker.returncode is None:
            self._forker.terminate()
            try:
                await asyncio.wait_for(self._forker.wait(), _END_S)
            except TimeoutError:
                self._forker.kill()
        if self._reading is not None:
            _, left = await asyncio.wait({self._reading}, timeout=_END_S)
            for reading in left:
                reading.cancel()

    async def _python(self, *words: str, stdin: int, stdout: int | None = None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            env=environment(self._settings),
            cwd=Path(tempfile.gettempdir()),
            stdin=stdin,
            stdout=stdout,
        )

    async def _read(self, forker: asyncio.subprocess.Process) -> None:
        """What the forker tells; when it is gone so are the runs that it forked, which end with it."""
        assert forker.stdout is not None
        while line := await forker.stdout.readline():
            facts = json.loads(line)
            if "ready" in facts:
                self._ready = True
            elif "pid" in facts:
                _settle(self._begun.pop(facts["run"], None), facts["pid"])
            elif "exit" in facts:
                _settle(self._ended.pop(facts["run"], None), facts["exit"])
        self._ready = False
        await forker.wait()
        for waiting in self._begun.values():
            if not waiting.done():
                waiting.set_exception(OSError("it ended"))
                waiting.exception()  # whoever waits hears of it; where nobody does, that is no news
        for waiting in self._ended.values():
            _settle(waiting, _LOST)
        self._begun.clear()
        self._ended.clear()


def _settle(waiting: asyncio.Future[int] | None, result: int) -> None:
    """Tell whoever waits, if anybody still does."""
    if waiting is not None and not waiting.done():
        waiting.set_result(result)
