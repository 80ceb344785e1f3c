"""The processes of a worker's runs: forked from one with everything loaded, or started where that one is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import structlog

from opslib.record.client import environment
from opslib.settings import Settings

HAND_BACK = signal.SIGUSR1
"""Asks a run to end, and to go back to the queue."""
_BEGIN_S = 5.0
_LOST = -signal.SIGKILL
_log = structlog.get_logger(__name__)


class RunProcess:
    """The process of one run.

    Attributes
    ----------
    pid : int
    """

    def __init__(self, pid: int, ended: asyncio.Future[int]) -> None:
        self.pid = pid
        self._ended = ended

    async def wait(self) -> int:
        """Wait for its end; its exit status."""
        return await asyncio.shield(self._ended)

    def hand_back(self) -> None:
        """Have it write that it goes back to the queue, and end."""
        self._signal(HAND_BACK)

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


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
        """A process for a run: a fork, or a plain one where no forker is ready."""
        if self._ready and self._forker is not None and self._forker.stdin is not None:
            loop = asyncio.get_running_loop()
            begun = self._begun[run] = loop.create_future()
            ended = self._ended[run] = loop.create_future()
            try:
                self._forker.stdin.write(json.dumps({"run": run}).encode() + b"\n")
                return RunProcess(await asyncio.wait_for(begun, _BEGIN_S), ended)
            except (TimeoutError, OSError, RuntimeError) as error:
                _log.warning("the forker does not answer; the run is started plainly", run=run, why=str(error))
            finally:
                self._begun.pop(run, None)
        process = await self._python(
            "opslib.runs.run", str(run), "--parent", str(os.getpid()), stdin=asyncio.subprocess.DEVNULL
        )
        return RunProcess(process.pid, asyncio.ensure_future(process.wait()))

    async def close(self) -> None:
        """End the forker."""
        if self._forker is not None and self._forker.returncode is None:
            self._forker.terminate()
            await self._forker.wait()
        if self._reading is not None:
            await self._reading

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
            elif "pid" in facts and facts["run"] in self._begun:
                self._begun[facts["run"]].set_result(facts["pid"])
            elif "exit" in facts and facts["run"] in self._ended:
                self._ended.pop(facts["run"]).set_result(facts["exit"])
        self._ready = False
        await forker.wait()
        for waiting in self._begun.values():
            if not waiting.done():
                waiting.set_exception(OSError("it ended"))
        for waiting in self._ended.values():
            waiting.set_result(_LOST)
        self._ended.clear()
