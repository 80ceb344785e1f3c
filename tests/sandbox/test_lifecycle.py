"""Starting twice, ending twice, and finding the way back after kill -9 of anything."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from opslib import web
from opslib.settings import Settings
from sandbox import crypto, processes, state
from sandbox.crypto import front, lifecycle
from sandbox.errors import StartFailed

pytestmark = pytest.mark.slow
needs_nginx = pytest.mark.skipif(front.available() is None, reason=front.LACKING)


def wait_for(seen: Callable[[], bool], within_s: float = 20.0) -> None:
    """Return once `seen` holds."""
    deadline = time.monotonic() + within_s
    while not seen():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def gone(found: state.State) -> bool:
    return not any(processes.alive(pid, start) for pid, start in found.processes)


def test_up_and_down_twice_are_harmless_and_leave_nothing(home: Settings) -> None:
    first = crypto.up(home, monitored=False)
    lines: list[str] = []
    second = crypto.up(home, monitored=False, progress=lines.append)
    assert second == first
    assert "already runs" in lines[-1]
    file = state.file(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text("utf-8"))["environment"] == "sandbox"
    assert crypto.down(home) is True
    assert gone(first)
    assert {path.name for path in file.parent.iterdir()} <= {"crypto.lock"}
    assert not Path(first.control).exists()
    assert crypto.down(home) is False


@pytest.mark.parametrize("victim", ["service", "redis", pytest.param("nginx", marks=needs_nginx)])
def test_up_recovers_after_a_kill(home: Settings, victim: str) -> None:
    first = crypto.up(home, monitored=False)
    os.kill(first.pids[victim], signal.SIGKILL)
    wait_for(lambda: not processes.alive(first.pids[victim], first.starts[victim]))
    second = crypto.up(home, monitored=False)
    assert second.sandbox_id != first.sandbox_id
    assert gone(first)
    crypto.verify(second)


def test_redis_goes_with_the_service(home: Settings) -> None:
    found = crypto.up(home, monitored=False)
    os.kill(found.pids["service"], signal.SIGKILL)
    wait_for(lambda: gone(found))


def test_the_platform_says_so_while_redis_is_away(home: Settings) -> None:
    found = crypto.up(home, monitored=False)
    os.kill(found.pids["redis"], signal.SIGKILL)
    with web.client(base_url=found.endpoints.api) as api:
        wait_for(lambda: api.get("/health").status_code == 503)
        assert api.get("/api/ready").json() == {"ready": False}
        assert api.get("/api/status").is_success


def test_a_foreign_process_with_a_remembered_pid_is_left_alone(home: Settings) -> None:
    path = state.file(home)
    state.folder(home)
    state.save(path.with_suffix(".launch"), {"pid": os.getpid(), "start": "1"})
    assert crypto.down(home) is False


@pytest.mark.parametrize("content", ["", "{", "[]", '{"platform": "crypto"}'])
def test_a_broken_state_file_is_no_obstacle(home: Settings, content: str) -> None:
    first = crypto.up(home, monitored=False)
    state.file(home).write_text(content, "utf-8")
    assert crypto.down(home) is True
    wait_for(lambda: gone(first))


def test_a_failed_start_shows_the_log(home: Settings) -> None:
    in_the_way = state.folder(home) / "crypto" / "conf"
    in_the_way.parent.mkdir()
    in_the_way.write_text("a file where a folder must be", "utf-8")
    with pytest.raises(StartFailed, match=r"the end of .*service\.out says:[\s\S]*NotADirectoryError"):
        lifecycle._launch(home, None)


def test_an_identity_is_a_pid_with_its_start() -> None:
    start = processes.started(os.getpid())
    assert start is not None
    assert processes.alive(os.getpid(), start)
    assert not processes.alive(os.getpid(), "1")
    assert processes.started(2**22 + 1) is None


def test_secrets_are_in_no_argument_and_no_environment(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_TOKEN", "secret-of-a-person")
    found = crypto.up(home, monitored=False)
    password = found.endpoints.redis_admin.rpartition("@")[0].rpartition(":")[2]
    for pid in found.pids.values():
        for part in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{part}").read_text("utf-8")
            assert password not in text
            assert "secret-of-a-person" not in text
    address = found.endpoints.redis.rpartition("@")[2]
    with redis.Redis.from_url(f"redis://{address}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
