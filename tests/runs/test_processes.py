"""The processes of a worker's runs, with a forker that answers late, twice, or not at all."""

from __future__ import annotations

import asyncio
import sys

import pytest

from opslib import store
from opslib.runs import processes
from opslib.runs.processes import RunProcesses
from opslib.settings import Settings
from opslib.sql import queries
from tests.runs.support import queued

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"ready": 1}', flush=True)
time.sleep(600)
"""


async def with_forker(settings: Settings, script: str) -> RunProcesses:
    """Processes whose forker is a script; it repeats, on its output, what a forker would say."""
    made = RunProcesses(settings)
    pipe = asyncio.subprocess.PIPE
    made._forker = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdin=pipe, stdout=pipe)
    made._reading = asyncio.create_task(made._read(made._forker))
    return made


def say(made: RunProcesses, line: str) -> None:
    assert made._forker is not None
    assert made._forker.stdin is not None
    made._forker.stdin.write(line.encode() + b"\n")


def test_an_answer_that_nobody_waits_for_any_more_does_no_harm(offline: Settings) -> None:
    async def scene() -> int:
        made = await with_forker(offline, ECHO)
        loop = asyncio.get_running_loop()
        for waiting in (made._begun, made._ended):
            waiting[7] = loop.create_future()
            waiting[7].cancel()
        made._ended[8] = loop.create_future()
        ended = made._ended[8]
        for line in ('{"run": 7, "pid": 1}', '{"run": 7, "exit": 0}', '{"run": 8, "exit": 3}'):
            say(made, line)
        try:
            return await asyncio.wait_for(ended, 20)
        finally:
            await made.close()

    assert asyncio.run(scene()) == 3


def test_a_forker_that_does_not_end_is_killed(offline: Settings) -> None:
    async def scene() -> int | None:
        made = await with_forker(offline, DEAF)
        assert made._forker is not None
        while not made._ready:
            await asyncio.sleep(0.05)
        await asyncio.wait_for(made.close(), 120)  # a bound of waiting: left alone, it would end by itself after 600 s
        return await made._forker.wait()

    assert asyncio.run(scene()) == -9  # killed, it did not end by itself


@pytest.mark.slow
def test_a_run_that_a_late_forker_has_is_watched_to_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_BEGIN_S", 0.5)
    _, run = queued(settings, "var-breach")
    with store.transaction(settings) as connection:  # what the process of the late forker did
        connection.execute(queries("runs").claim, {"run": run, "worker": "elsewhere/1/1"})

    async def scene() -> tuple[bool, int]:
        made = await with_forker(settings, ECHO)
        made._ready = True
        process = await made.start(run)  # the forker's answer, `run` alone, says nothing
        say(made, f'{{"run": {run}, "pid": 999999999}}')
        waiting = asyncio.ensure_future(process.wait())
        await process._ended
        await asyncio.sleep(0.2)
        early = waiting.done()
        say(made, f'{{"run": {run}, "exit": 5}}')
        try:
            return early, await asyncio.wait_for(waiting, 20)
        finally:
            await made.close()

    assert asyncio.run(scene()) == (False, 5)
