"""`runbook serve` as the demo and game days start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opslib import store
from opslib.settings import PROJECT, Settings
from sandbox import processes
from tests.sandbox.derivatives.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.acceptance]

STARTS = """
import signal, sys
from pathlib import Path
from opslib.settings import Settings
from sandbox.service import Service

settings = Settings()
service = Service(settings, settings.home / "serve.log")
service.start(ends_with_us=True)
print(service._process.pid, flush=True)
signal.pause()
"""


def test_it_ends_with_a_game_day_that_is_killed(tmp_path: Path) -> None:
    variables = {**os.environ, "RUNBOOK_HOME": str(tmp_path / "home"), "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen([sys.executable, "-c", STARTS], env=variables, stdout=subprocess.PIPE) as day:
        assert day.stdout is not None
        serve = int(day.stdout.readline())
        start = processes.started(serve)
        assert start is not None
        day.send_signal(signal.SIGKILL)
    wait_for(lambda: not processes.alive(serve, start))
    store.stop(Settings(home=tmp_path / "home"), force=True)
