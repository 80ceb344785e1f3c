"""A game day through Prometheus, Alertmanager and the service, as a user plays it; cut off once, it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opslib import store
from opslib.settings import Settings
from sandbox.crypto import monitoring

pytestmark = [pytest.mark.acceptance, pytest.mark.alone]
RUNBOOK = str(Path(sys.executable).with_name("runbook"))
COMMAND = [
    RUNBOOK,
    "gameday",
    "--only",
    "var-breach/*",
    "--seed",
    "4",
    "--decoys",
    "2",
    "--healthy",
    "3",
    "--json",
]


@pytest.mark.skipif(monitoring.available() is None, reason="needs apt-get install prometheus prometheus-alertmanager")
def test_a_game_day_that_is_cut_off_goes_on_and_leaves_nothing_running(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    environment = {**os.environ, "RUNBOOK_HOME": str(settings.home)}
    try:
        with subprocess.Popen(COMMAND, env=environment, stderr=subprocess.PIPE, text=True) as first:
            assert first.stderr is not None
            seen = next((line for line in first.stderr if line.startswith("healthy 1: no false alarm")), None)
            assert seen, "the first round was not played"
            first.send_signal(signal.SIGINT)
            first.stderr.read()
            assert first.wait(120) == 130
        done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr
        assert "going on with the game day" in done.stderr
        assert "healthy 1" not in done.stderr, "a round that was played is not played again"
        told = json.loads(done.stdout)
        assert told["summary"]["n"] == told["summary"]["correct"] == 4, told
        assert told["summary"]["false_alarms"] == told["summary"]["harmful"] == told["summary"]["unneeded"] == 0, told
        assert len(told["healthy"]) == 3, told
        assert told["summary"]["brier"] < 0.1
        for one in told["faults"]:
            assert one["plan_ok"], one
            assert one["rank"] == 1
            assert one["problem"] is None
        assert (settings.state / "gameday" / "scoreboard.html").is_file()
        assert store.running(settings) is None
        assert not (settings.state / "sandbox" / "crypto.json").exists()
        verified = subprocess.run([RUNBOOK, "verify"], env=environment, capture_output=True, text=True, check=False)
        assert verified.returncode == 0, verified.stdout
    finally:
        subprocess.run([RUNBOOK, "sandbox", "down"], env=environment, capture_output=True, check=False)
        store.stop(settings)
        shutil.rmtree(settings.runtime, ignore_errors=True)
