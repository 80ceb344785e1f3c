"""Nothing of a cluster is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from opslib.settings import PROJECT, Settings
from sandbox import cluster as clusters
from sandbox.cluster import capsule
from tests.sandbox.cluster.conftest import traces, until

pytestmark = pytest.mark.slow

_TUNED = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys")
_MADE = ("/var/lib/kubelet", "/var/lib/cni", "/opt/containerd", "/usr/libexec/kubernetes", "/run/xtables.lock")


def machine() -> dict[str, object]:
    """Settings and folders of the machine that a kubelet likes to change."""
    tuned = {name: Path("/proc/sys", name).read_text() for name in _TUNED}
    return {**tuned, **{name: Path(name).exists() for name in _MADE}}


def command(home: Settings, *words: str) -> subprocess.Popen[str]:
    """The command `runbook sandbox WORDS` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from sandbox import cluster; from opslib.settings import Settings; {words[0]}"],
        env={**os.environ, "RUNBOOK_HOME": str(home.home), "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_is_killed_leaves_nothing_and_starts_again(home: Settings) -> None:
    before = machine()
    first = clusters.up(home)
    assert first.run("kubectl", "get", "nodes").returncode == 0
    assert machine() == before
    os.kill(capsule.first_process(first.keeper), signal.SIGKILL)
    until(lambda: not traces(home))  # without anybody's help
    assert clusters.find(home) is None
    second = clusters.up(home)
    assert second.sandbox_id != first.sandbox_id
    os.kill(second.keeper, signal.SIGKILL)  # the one that would remove the control groups
    until(lambda: not [left for left in traces(home) if left.startswith("process")])
    clusters.down(home)
    assert until(lambda: not traces(home), 20.0)
    assert {path.name for path in (home.state / "sandbox").iterdir()} == {"cluster.lock"}
    assert machine() == before
    assert clusters.down(home) is False


def test_a_killed_command_leaves_nothing_that_down_does_not_end(home: Settings) -> None:
    with command(home, "cluster.up(Settings())") as starting:
        until(lambda: (home.state / "sandbox" / "cluster" / "logs" / "api.log").exists())
        starting.kill()
    assert clusters.find(home) is None
    assert traces(home)
    assert clusters.down(home) is True
    assert until(lambda: not traces(home), 20.0)
    assert {path.name for path in (home.state / "sandbox").iterdir()} == {"cluster.lock"}
